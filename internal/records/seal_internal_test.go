package records

import (
	"crypto/rand"
	"encoding/base64"
	"reflect"
	"strconv"
	"testing"
)

// The id of an encryption key only says which one to try: without the key itself, a session's
// key opens nothing.
func TestCipherNeedsTheEncryptionKey(t *testing.T) {
	newOne := func() sealer {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // it never fails
		s, err := newSealer([]string{base64.StdEncoding.EncodeToString(b)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ours, theirs, key := newOne(), newOne(), NewKey()
	sealed, err := ours.seal(key, Record{Value: []byte("a refresh token"), mark: Mark{[]Owner{{1}}, []string{"since"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := ours.open(key, sealed); !ok {
		t.Fatal("our own key does not open the record")
	}
	copy(sealed[1:], keyID(theirs.keys[0]))
	if _, ok := theirs.open(key, sealed); ok {
		t.Error("another encryption key opens the record")
	}
}

// Nobody turns a record into another one by the byte that says how it is laid out.
func TestLayoutIsSealed(t *testing.T) {
	s, err := newSealer(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, many := range []int{1, 2, maxOwners} {
		r := Record{Value: []byte("a refresh token")}
		for i := range many {
			r.mark.owners, r.mark.since = append(r.mark.owners, Owner{byte(i + 2)}), append(r.mark.since, strconv.Itoa(i))
		}
		key := NewKey()
		sealed, err := s.seal(key, r)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.open(key, sealed); !ok || !reflect.DeepEqual(got, r) {
			t.Errorf("%d owners: got %+v %v, want %+v", many, got, ok, r)
		}
		sealed[0] ^= layoutOfOne ^ layoutOfMany
		if got, ok := s.open(key, sealed); ok {
			t.Errorf("%d owners, in the other layout: got %+v, want nothing", many, got)
		}
	}
}
