package obo

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"
)

// What is read is what would have been written, and everything else is refused.
func FuzzDecodeNotice(f *testing.F) {
	id, key := newReplicaID(), cacheKey{1, 2, 3}
	for _, n := range []notice{{theseTokens, []cacheKey{key, {}}}, {allOfUser, []cacheKey{key}}, {what: everything}} {
		f.Add(n.encode(id))
	}
	f.Add(notice{what: theseTokens}.encode(id))
	f.Add(notice{allOfUser, []cacheKey{key, key}}.encode(id))
	f.Add(notice{everything, []cacheKey{key}}.encode(id))
	f.Add(notice{'x', nil}.encode(id))
	f.Add(append(notice{allOfUser, []cacheKey{key}}.encode(id), 0))
	f.Add([]byte("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, from, ok := decodeNotice(b)
		wanted := map[forgotten]bool{theseTokens: len(n.keys) > 0, allOfUser: len(n.keys) == 1, everything: len(n.keys) == 0}[n.what]
		if ok && (!wanted || len(n.keys) > maxNoticeKeys || !bytes.Equal(n.encode(from), b)) {
			t.Errorf("%x is read as %+v", b, n)
		}
	})
}

func TestNoticesAreRead(t *testing.T) {
	id, key := newReplicaID(), cacheKey{1, 2, 3}
	for _, n := range []notice{{theseTokens, []cacheKey{key}}, {theseTokens, []cacheKey{key, {}}}, {allOfUser, []cacheKey{key}}, {what: everything}} {
		got, from, ok := decodeNotice(n.encode(id))
		if !ok || from != id || got.what != n.what || len(got.keys) != len(n.keys) {
			t.Errorf("%+v is read as %+v, %v", n, got, ok)
		}
	}
}

// A replica does not heed its own notices, which it may hear when there is a new
// token, nor those of another prefix or with another key.
func TestWhoseNoticesAreHeeded(t *testing.T) {
	start := func(prefix string, key byte) *shared {
		s, err := newShared(RedisConfig{
			URL: "unix:///nonexistent", KeyPrefix: prefix, Timeout: time.Second,
			EncryptionKeys: []string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{key}, 32))},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.client.Close() }) // it never connected
		return s
	}
	one := start("middletier:", 1)
	for name, row := range map[string]struct {
		from *shared
		want bool
	}{
		"another replica": {start("middletier:", 1), true},
		"itself":          {one, false},
		"another prefix":  {start("elsewhere:", 1), false},
		"another key":     {start("middletier:", 2), false},
	} {
		sealed := row.from.sealer.seal(row.from.channel(), notice{what: everything}.encode(row.from.id))
		if n, ok := one.read(string(sealed)); ok != row.want || ok && n.what != everything {
			t.Errorf("%s: got %+v, %v; want %v", name, n, ok, row.want)
		}
	}
}
