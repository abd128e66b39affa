package redistier

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"
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

// A replica does not heed its own notices, which it may hear when there is a new
// token, nor those of another prefix or with another key.
func TestWhoseNoticesAreHeeded(t *testing.T) {
	start := func(prefix string, key byte) *Redis {
		s, err := New(Config{
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
