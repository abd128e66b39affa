package records_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/records"
	"middletier/internal/testkit/recordstest"
	"middletier/internal/testkit/redistest"
)

const life = time.Hour

var alice, bob = records.OwnerOf(records.LongRunning, [32]byte{1}), records.OwnerOf(records.LongRunning, [32]byte{2})

// replica returns a store in a server, whose encryption keys are made of these bytes.
func replica(t *testing.T, server *redistest.Server, bytesOfKeys ...byte) *records.Store {
	t.Helper()
	var keys [][]byte
	for _, c := range bytesOfKeys {
		keys = append(keys, bytes.Repeat([]byte{c}, 32))
	}
	return recordstest.Open(t, server, keys...)
}

// put keeps a record of an owner under a new key.
func put(t *testing.T, s *records.Store, owner records.Owner, value string) records.Key {
	t.Helper()
	m, err := s.Begin(t.Context(), life, owner)
	if err != nil {
		t.Fatal(err)
	}
	key := records.NewKey()
	if err := s.Put(t.Context(), key, m, []byte(value), life); err != nil {
		t.Fatal(err)
	}
	return key
}

// want checks what is under key, "" for nothing.
func want(t *testing.T, s *records.Store, key records.Key, value string) records.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if value == "" && !errors.Is(err, records.ErrUnknown) || value != "" && (err != nil || string(r.Value) != value) {
		t.Errorf("Get: got %q %v, want %q", r.Value, err, value)
	}
	return r
}

// stores are all kinds of store, each with another replica of it.
func stores(t *testing.T, test func(t *testing.T, one, other *records.Store)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		s := records.NewMemory(records.DefaultMemory)
		test(t, s, s)
	})
	for name, start := range map[string]func(testing.TB) *redistest.Server{
		"redis":   func(t testing.TB) *redistest.Server { return redistest.Start(t) },
		"cluster": redistest.StartCluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			test(t, replica(t, server, 1), replica(t, server, 1))
		})
	}
}

func TestRecordsAreKeptReplacedAndDeleted(t *testing.T) {
	stores(t, func(t *testing.T, one, other *records.Store) {
		key := put(t, one, alice, "first")
		r := want(t, other, key, "first")
		if err := other.Replace(t.Context(), key, r, []byte("second"), life); err != nil {
			t.Fatal(err)
		}
		want(t, one, key, "second")
		want(t, one, records.NewKey(), "")
		if err := other.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		want(t, one, key, "")
		if err := one.Replace(t.Context(), key, r, []byte("third"), life); !errors.Is(err, records.ErrUnknown) {
			t.Errorf("Replace of a deleted record: got %v, want %v", err, records.ErrUnknown)
		}
		want(t, one, key, "")
		if err := one.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete without a record: got %v, want nil", err)
		}
	})
}

// What is deleted while it is made or replaced does not come back.
func TestDeletionOfAnOwnersRecordsWins(t *testing.T) {
	stores(t, func(t *testing.T, one, other *records.Store) {
		first, second, bobs := put(t, one, alice, "first"), put(t, other, alice, "second"), put(t, one, bob, "bob's")
		r := want(t, one, first, "first")
		m, err := one.Begin(t.Context(), life, alice)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.DeleteOwned(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		if err := one.Replace(t.Context(), first, r, []byte("replaced"), life); !errors.Is(err, records.ErrUnknown) {
			t.Errorf("Replace after the deletion: got %v, want %v", err, records.ErrUnknown)
		}
		late := records.NewKey()
		if err := one.Put(t.Context(), late, m, []byte("late"), life); err != nil {
			t.Fatal(err)
		}
		for _, key := range []records.Key{first, second, late} {
			want(t, one, key, "")
			want(t, other, key, "")
		}
		want(t, other, bobs, "bob's")
		want(t, other, put(t, one, alice, "new"), "new")
	})
}

// Each owner of a record ends it, also while it is made or replaced, and no other record.
func TestEveryOwnerEndsARecord(t *testing.T) {
	theirs := records.OwnerOf(records.ProviderSession, [32]byte{3})
	stores(t, func(t *testing.T, one, other *records.Store) {
		for _, owner := range []records.Owner{alice, theirs} {
			m, err := one.Begin(t.Context(), life, alice, theirs)
			if err != nil {
				t.Fatal(err)
			}
			key, late := records.NewKey(), records.NewKey()
			if err := one.Put(t.Context(), key, m, []byte("first"), life); err != nil {
				t.Fatal(err)
			}
			r := want(t, other, key, "first")
			if err := other.Replace(t.Context(), key, r, []byte("second"), life); err != nil {
				t.Fatal(err)
			}
			r = want(t, one, key, "second")
			alone := map[bool]records.Key{true: put(t, one, alice, "alice's"), false: put(t, one, theirs, "theirs")}
			if err := other.DeleteOwned(t.Context(), owner); err != nil {
				t.Fatal(err)
			}
			if err := one.Replace(t.Context(), key, r, []byte("replaced"), life); !errors.Is(err, records.ErrUnknown) {
				t.Errorf("Replace after the deletion: got %v, want %v", err, records.ErrUnknown)
			}
			if err := one.Put(t.Context(), late, m, []byte("late"), life); err != nil {
				t.Fatal(err)
			}
			for _, ended := range []records.Key{key, late, alone[owner == alice]} {
				want(t, one, ended, "")
				want(t, other, ended, "")
			}
			want(t, other, alone[owner != alice], map[bool]string{true: "alice's", false: "theirs"}[owner != alice])
		}
		if _, err := one.Begin(t.Context(), life); err == nil {
			t.Error("Begin without an owner: got nil, want an error")
		}
	})
}

func TestDeleteAllEndsEveryRecord(t *testing.T) {
	stores(t, func(t *testing.T, one, other *records.Store) {
		keys := []records.Key{put(t, one, alice, "a"), put(t, other, bob, "b")}
		m, err := one.Begin(t.Context(), life, alice)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.DeleteAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := records.NewKey()
		if err := one.Put(t.Context(), late, m, []byte("late"), life); err != nil {
			t.Fatal(err)
		}
		for _, key := range append(keys, late) {
			want(t, one, key, "")
		}
		want(t, other, put(t, one, alice, "new"), "new")
	})
}

func TestOneHolderOfALockAtATime(t *testing.T) {
	stores(t, func(t *testing.T, one, other *records.Store) {
		key := put(t, one, alice, "0")
		r := want(t, one, key, "0")
		var group sync.WaitGroup
		for i := range 20 {
			s := []*records.Store{one, other}[i%2]
			group.Go(func() {
				unlock, err := s.Lock(t.Context(), key, r, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				defer unlock()
				held, err := s.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				_, _ = fmt.Sscan(string(held.Value), &n) // it is checked in the end
				if err := s.Replace(t.Context(), key, held, fmt.Append(nil, n+1), life); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		want(t, one, key, "20")
	})
}

func TestLockIsWaitedForUntilTheContextEnds(t *testing.T) {
	stores(t, func(t *testing.T, one, other *records.Store) {
		key := put(t, one, alice, "a")
		r := want(t, one, key, "a")
		unlock, err := one.Lock(t.Context(), key, r, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := other.Lock(ctx, key, r, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock: got %v, want %v", err, context.DeadlineExceeded)
		}
		unlock()
		unlock, err = other.Lock(t.Context(), key, r, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	})
}

// Whoever copies Redis and has our encryption keys still lacks the record's key.
func TestRecordsOpenWithBothKeysOnly(t *testing.T) {
	server := redistest.Start(t)
	s := replica(t, server, 1)
	const secret = "the-refresh-token-that-nobody-may-see"
	key := put(t, s, alice, secret)
	for _, name := range server.Keys() {
		if strings.Contains(name, key.Secret()) {
			t.Errorf("the name %q holds the key", name)
		}
		if strings.HasSuffix(name, ":user") {
			continue
		}
		if value := server.Get(name); strings.Contains(value, secret) || strings.Contains(value, key.Secret()) {
			t.Errorf("%s: its value is readable: %q", name, value)
		}
	}
	want(t, replica(t, server, 2, 1), key, secret) // the keys are rotated
	want(t, replica(t, server, 2), key, "")
	// Another key's place does not help.
	other := put(t, s, alice, "another")
	digest, otherDigest := key.Digest(), other.Digest()
	server.Do("COPY", fmt.Sprintf("middletier:%x", digest), fmt.Sprintf("middletier:%x", otherDigest), "REPLACE")
	want(t, s, other, "")
}

func TestKeysAreReadInEitherCase(t *testing.T) {
	key := records.NewKey()
	for _, text := range []string{key.Secret(), strings.ToUpper(key.Secret())} {
		if got, ok := records.ParseKey(text); !ok || got != key {
			t.Errorf("ParseKey(%q): got %q %v, want the key", text, got.Secret(), ok)
		}
	}
	for _, text := range []string{"", "AllocateForMe", key.Secret() + "0", key.Secret()[1:], key.Secret()[1:] + "w", key.Secret()[1:] + "\n"} {
		if _, ok := records.ParseKey(text); ok {
			t.Errorf("ParseKey(%q): got a key, want none", text)
		}
	}
	if bits := len(key.Secret()) * 5; bits < 128 {
		t.Errorf("a key has %d bits, want 128 at least", bits)
	}
	for _, shown := range []string{fmt.Sprint(key), fmt.Sprintf("%+v %#v %q", key, key, []records.Key{key})} {
		if strings.Contains(shown, key.Secret()) {
			t.Errorf("the key is printed: %s", shown)
		}
	}
}

func TestRecordsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := records.NewMemory(records.DefaultMemory)
		key := put(t, s, alice, "a")
		time.Sleep(life - time.Second)
		r := want(t, s, key, "a")
		if err := s.Replace(t.Context(), key, r, []byte("b"), life); err != nil {
			t.Fatal(err)
		}
		time.Sleep(life - time.Second)
		r = want(t, s, key, "b")
		time.Sleep(time.Second)
		if err := s.Replace(t.Context(), key, r, []byte("c"), life); !errors.Is(err, records.ErrUnknown) {
			t.Errorf("Replace of a record that has expired: got %v, want %v", err, records.ErrUnknown)
		}
		want(t, s, key, "")
	})
	server := redistest.Start(t)
	key := put(t, replica(t, server, 1), alice, "a")
	if left := server.Do("PTTL", fmt.Sprintf("middletier:%x", key.Digest())).(int64); left <= 0 || left > life.Milliseconds() {
		t.Errorf("the record lives for %d ms more, want less than %v", left, life)
	}
	owner := fmt.Sprintf("middletier:%x:generation", alice)
	if left := server.Do("PTTL", owner).(int64); left < life.Milliseconds() {
		t.Errorf("the generation lives for %d ms more, want no less than its records", left)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for name, c := range map[string]records.MemoryConfig{
		"by number": {MaxRecords: 3, MaxBytes: 1 << 20},
		"by size":   {MaxRecords: 1000, MaxBytes: 3 * (1000 + 100)},
	} {
		t.Run(name, func(t *testing.T) {
			s := records.NewMemory(c)
			value := strings.Repeat("x", 1000)
			var keys []records.Key
			for range 100 {
				keys = append(keys, put(t, s, alice, value))
			}
			for _, key := range keys[:97] {
				want(t, s, key, "")
			}
			for _, key := range keys[97:] {
				want(t, s, key, value)
			}
			m, err := s.Begin(t.Context(), life, alice)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Put(t.Context(), records.NewKey(), m, make([]byte, records.MaxValue+1), life); err == nil {
				t.Error("Put of a value that is too large: got nil, want an error")
			}
		})
	}
}

// Many deletions during a Put end what is being made rather than forget that it was deleted.
func TestManyDeletionsAreNotForgotten(t *testing.T) {
	s := records.NewMemory(records.DefaultMemory)
	m, err := s.Begin(t.Context(), life, alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteOwned(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	for i := range 1 << 15 {
		if err := s.DeleteOwned(t.Context(), records.OwnerOf(records.LongRunning, [32]byte{2, byte(i), byte(i >> 8)})); err != nil {
			t.Fatal(err)
		}
	}
	key := records.NewKey()
	if err := s.Put(t.Context(), key, m, []byte("late"), life); err != nil {
		t.Fatal(err)
	}
	want(t, s, key, "")
}
