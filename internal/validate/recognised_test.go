package validate_test

import (
	"context"
	"crypto/fips140"
	"crypto/sha256"
	"strings"
	"testing"
)

// Nothing but the very bytes that were verified is recognised.
func TestTamperedTokenIsNotRecognised(t *testing.T) {
	var token string
	fips140.WithoutEnforcement(func() { token = userDraft().Token() }) // the platform computes SHA-1
	v := start(t)
	for _, when := range []string{"new", "recognised"} {
		if caller := accept(t, v, token); caller.Token() != token || caller.Digest() != sha256.Sum256([]byte(token)) {
			t.Errorf("the caller of a %s token has another one, or another digest", when)
		}
	}
	refused := func(what, tampered string) {
		t.Helper()
		if caller, err := v.Validate(context.Background(), tampered); err == nil {
			t.Errorf("%s: got a caller, %s", what, caller.ObjectID())
		}
	}
	for i := range token {
		other := "A"
		if token[i] == 'A' {
			other = "B"
		}
		refused("a byte changed", token[:i]+other+token[i+1:])
	}
	for _, end := range []string{"A", "=", ".", "\x00", " ", strings.Repeat("\x00", 16)} {
		refused("bytes added", token+end)
		refused("bytes added before", end+token)
	}
	for _, n := range []int{1, 2, 16, len(token) / 2, len(token)} {
		refused("truncated", token[:len(token)-n])
		refused("without its beginning", token[n:])
	}
	accept(t, v, token)
}
