package redistier

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What is read is what would have been written, and everything else is refused.
func FuzzDecodeNotice(f *testing.F) {
	id, key := newReplicaID(), Key{1, 2, 3}
	for _, n := range []Notice{{TheseTokens, []Key{key, {}}}, {AllOfUser, []Key{key}}, {What: Everything}} {
		f.Add(n.encode(id))
	}
	f.Add(Notice{What: TheseTokens}.encode(id))
	f.Add(Notice{AllOfUser, []Key{key, key}}.encode(id))
	f.Add(Notice{Everything, []Key{key}}.encode(id))
	f.Add(Notice{'x', nil}.encode(id))
	f.Add(append(Notice{AllOfUser, []Key{key}}.encode(id), 0))
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, from, ok := decodeNotice(b)
		wanted := map[Forgotten]bool{TheseTokens: len(n.Keys) > 0, AllOfUser: len(n.Keys) == 1, Everything: len(n.Keys) == 0}[n.What]
		if ok && (!wanted || len(n.Keys) > maxNoticeKeys || !bytes.Equal(n.encode(from), b)) {
			t.Errorf("%x is read as %+v", b, n)
		}
	})
}

func TestNoticesAreRead(t *testing.T) {
	id, key := newReplicaID(), Key{1, 2, 3}
	for _, n := range []Notice{{TheseTokens, []Key{key}}, {TheseTokens, []Key{key, {}}}, {AllOfUser, []Key{key}}, {What: Everything}} {
		got, from, ok := decodeNotice(n.encode(id))
		if !ok || from != id || got.What != n.What || len(got.Keys) != len(n.Keys) {
			t.Errorf("%+v is read as %+v, %v", n, got, ok)
		}
	}
}

// unconnected returns a tier that never connects.
func unconnected(t *testing.T, prefix string, key byte) *Redis {
	t.Helper()
	s, err := New(Config{
		URL: "unix:///nonexistent", KeyPrefix: prefix, Timeout: time.Second, Log: slog.New(slog.DiscardHandler),
		EncryptionKeys: []string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{key}, 32))},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() }) // it never connected
	return s
}

// publisher answers PUBLISH in place of Redis.
type publisher struct {
	err      error
	messages []string
}

func (p *publisher) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *publisher) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, command redis.Cmder) error {
		p.messages = append(p.messages, string(command.Args()[2].([]byte)))
		command.SetErr(p.err)
		return p.err
	}
}

func (p *publisher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// reply is an error that Redis sends.
type reply string

func (r reply) Error() string { return string(r) }

func (reply) RedisError() {}

// What is refused for good does not stop the rest; what passes is a failure like others.
func TestRefusedNoticesByReason(t *testing.T) {
	for _, row := range []struct {
		err    string
		isOpen bool // the breaker, after three
	}{
		{"NOPERM User limited has no permissions to access the 'middletier:forgotten' channel", false},
		{"ERR unknown command 'PUBLISH', with args beginning with: 'middletier:forgotten'", false},
		{"LOADING Redis is loading the dataset in memory", true},
		{"CLUSTERDOWN The cluster is down", true},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true},
		{"ERR max number of clients reached", true},
	} {
		s := unconnected(t, "middletier:", 1)
		s.AddHook(&publisher{err: reply(row.err)})
		for range breakerFailures {
			if err := s.Publish(t.Context(), Notice{What: Everything}); err == nil {
				t.Errorf("%s: got no error", row.err)
			}
		}
		if up, failed := s.Status(); up == row.isOpen || failed != breakerFailures {
			t.Errorf("%s: got up %v and %d failures, want up %v and %d", row.err, up, failed, !row.isOpen, breakerFailures)
		}
	}
}

// Other replicas read every part of a notice that is too large for one message.
func TestLargeNoticeIsReadByOthers(t *testing.T) {
	one, other := unconnected(t, "middletier:", 1), unconnected(t, "middletier:", 1)
	sent := Notice{What: TheseTokens}
	for i := range 2*maxNoticeKeys + 1 {
		sent.Keys = append(sent.Keys, Key{byte(i), byte(i >> 8)})
	}
	var p publisher
	one.AddHook(&p)
	if err := one.Publish(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	var got []Key
	for i, message := range p.messages {
		n, ok := other.read(message)
		if !ok || n.What != TheseTokens {
			t.Errorf("message %d: got %d keys about %q, %v", i, len(n.Keys), n.What, ok)
		}
		got = append(got, n.Keys...)
	}
	if !slices.Equal(got, sent.Keys) {
		t.Errorf("got %d keys in %d messages, want all %d", len(got), len(p.messages), len(sent.Keys))
	}
}

// A replica does not heed its own notices, which it may hear when there is a new
// token, nor those of another prefix or with another key.
func TestWhoseNoticesAreHeeded(t *testing.T) {
	start := func(prefix string, key byte) *Redis { return unconnected(t, prefix, key) }
	one := start("middletier:", 1)
	for name, row := range map[string]struct {
		from *Redis
		want bool
	}{
		"another replica": {start("middletier:", 1), true},
		"itself":          {one, false},
		"another prefix":  {start("elsewhere:", 1), false},
		"another key":     {start("middletier:", 2), false},
	} {
		sealed := row.from.sealer.seal(row.from.channel(), Notice{What: Everything}.encode(row.from.id))
		if n, ok := one.read(string(sealed)); ok != row.want || ok && n.What != Everything {
			t.Errorf("%s: got %+v, %v; want %v", name, n, ok, row.want)
		}
	}
}
