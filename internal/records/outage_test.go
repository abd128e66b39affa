package records_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"middletier/internal/records"
	"middletier/internal/testkit/redistest"
)

// Where Redis does not answer nobody is told that there is no record, and nobody waits for
// longer than the timeout.
func TestOutageIsNoMissingRecord(t *testing.T) {
	for name, c := range map[string]struct{ breaks, mends func(*redistest.Server) }{
		"killed":  {(*redistest.Server).Kill, nil},
		"silent":  {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
		"loading": {(*redistest.Server).RestartLoading, (*redistest.Server).FinishLoading},
		"wrong password": {func(s *redistest.Server) {
			s.Do("CONFIG SET requirepass another")
			s.Do("CLIENT KILL TYPE normal SKIPME yes")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			s := replica(t, server, 1)
			key := put(t, s, alice, "a")
			r := want(t, s, key, "a")
			m, err := s.Begin(t.Context(), life, alice)
			if err != nil {
				t.Fatal(err)
			}
			c.breaks(server)
			if c.mends != nil {
				defer c.mends(server)
			}
			_, getErr := s.Get(t.Context(), key)
			_, beginErr := s.Begin(t.Context(), life, alice)
			_, lockErr := s.Lock(t.Context(), key, r, time.Minute)
			for what, err := range map[string]error{
				"Get": getErr, "Begin": beginErr, "Lock": lockErr,
				"Put":         s.Put(t.Context(), records.NewKey(), m, []byte("b"), life),
				"Replace":     s.Replace(t.Context(), key, r, []byte("b"), life),
				"Delete":      s.Delete(t.Context(), key),
				"DeleteOwned": s.DeleteOwned(t.Context(), bob),
			} {
				if !errors.Is(err, records.ErrUnavailable) {
					t.Errorf("%s: got %v, want %v", what, err, records.ErrUnavailable)
				}
			}
		})
	}
}

// A sign-out that Redis did not hear of counts here at once, and everywhere when Redis
// answers again.
func TestDeletionIsMadeUpFor(t *testing.T) {
	server := redistest.Start(t)
	one, other := replica(t, server, 1), replica(t, server, 1)
	key := put(t, one, alice, "a")
	server.Freeze()
	err := one.DeleteOwned(t.Context(), alice)
	server.Thaw()
	if !errors.Is(err, records.ErrUnavailable) {
		t.Fatalf("DeleteOwned: got %v, want %v", err, records.ErrUnavailable)
	}
	deadline := time.After(30 * time.Second)
	for {
		_, err := one.Get(t.Context(), key)
		if err == nil {
			t.Fatal("the record is there after its deletion")
		}
		if _, err := other.Get(t.Context(), key); errors.Is(err, records.ErrUnknown) {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("another replica still has the record")
		}
	}
}

// What somebody else wrote in our place is no record.
func TestForeignValuesAreNoRecords(t *testing.T) {
	server := redistest.Start(t)
	s := replica(t, server, 1)
	key := put(t, s, alice, "a")
	name := fmt.Sprintf("middletier:%x", key.Digest())
	for what, write := range map[string]func(){
		"text":  func() { server.Do("SET", name, "somebody else's") },
		"empty": func() { server.Do("SET", name, "") },
		"large": func() { server.Do("SET", name, string(make([]byte, 1<<20))) },
		"list":  func() { server.Do("DEL", name); server.Do("RPUSH", name, "x") },
	} {
		write()
		if _, err := s.Get(t.Context(), key); !errors.Is(err, records.ErrUnknown) {
			t.Errorf("%s: got %v, want %v", what, err, records.ErrUnknown)
		}
	}
	server.Do("DEL", name)
	server.Do("DEL", fmt.Sprintf("middletier:%x:user", alice))
	server.Do("SET", fmt.Sprintf("middletier:%x:user", alice), "somebody else's")
	want(t, s, put(t, s, alice, "b"), "b")
}
