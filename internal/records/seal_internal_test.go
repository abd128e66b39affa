package records

import (
	"crypto/rand"
	"encoding/base64"
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
	sealed, err := ours.seal(key, Record{Value: []byte("a refresh token")})
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
