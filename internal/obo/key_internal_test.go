package obo

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestKeysOfDifferentPartsDiffer makes lists of parts from pieces that look like
// the lengths and the limits between parts.
func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	pieces := []string{
		"", "a", "aa", "/", " ", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x01", "\x00\x00\x00\x01a", "\x00\x00\x00\x02", "api://todo/Read",
	}
	r := rand.New(rand.NewPCG(1, 2))
	part := func() (s string) {
		for range r.IntN(3) {
			s += pieces[r.IntN(len(pieces))]
		}
		return s
	}
	seen := map[cacheKey]string{}
	for range 50_000 {
		flow, assertion, identity, tenant, claims := part(), part(), part(), part(), part()
		scopes := make([]string, r.IntN(4))
		for i := range scopes {
			scopes[i] = part()
		}
		parts := fmt.Sprintf("%q %q %q %q %q %q", flow, assertion, identity, tenant, claims, scopes)
		key := newKey(flow, []byte(assertion), identity, tenant, claims, scopes)
		if other, ok := seen[key]; ok && other != parts {
			t.Fatalf("%s and %s have the same key", other, parts)
		}
		seen[key] = parts
		if again := newKey(flow, []byte(assertion), identity, tenant, claims, scopes); again != key {
			t.Fatalf("%s has two keys", parts)
		}
	}
}
