package records

import (
	"bytes"
	"encoding/base64"
	"testing"
)

func FuzzSealedRecordsAreReadSafely(f *testing.F) {
	s, err := newSealer([]string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))})
	if err != nil {
		f.Fatal(err)
	}
	key := NewKey()
	sealed, err := s.seal(key, Record{Owner: Owner{1}, Value: []byte("value"), since: "since"})
	if err != nil {
		f.Fatal(err)
	}
	if r, ok := s.open(key, sealed); !ok || string(r.Value) != "value" || r.since != "since" || r.Owner != (Owner{1}) {
		f.Fatalf("open: got %v %v, want what was sealed", r, ok)
	}
	f.Add([]byte{})
	f.Add(sealed)
	f.Add(append(make([]byte, len(Owner{})), 0, 3, 'a', 'b', 'c', 'v'))
	f.Add(append(make([]byte, len(Owner{})), 0xff, 0xff, 'a'))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := s.open(key, b); ok && !bytes.Equal(b, sealed) {
			t.Errorf("open(%q): got a record, want none: nobody sealed it", b)
		}
		if r, ok := parse(b); ok && len(r.Owner)+2+len(r.since)+len(r.Value) != len(b) {
			t.Errorf("parse(%q): got %v, want all of it", b, r)
		}
	})
}
