package mockidp

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

// FuzzOverride: whatever a query holds, it makes claims that can be signed, or a sentence.
func FuzzOverride(f *testing.F) {
	for _, query := range []string{
		"exp=-20s&scp=&aud=x", "roles=a,b&aud=%5B1%5D", "exp=9223372036854775807&iat=-1", "exp=-9223372036854775808", "a=%7B%7D&=&a",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		now := time.Unix(1_800_000_000, 0)
		claims := map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scp": "a"}
		if err := override(claims, query, now); err != nil {
			if len(err.Error()) < 10 {
				t.Errorf("%q: got the error %q", text, err)
			}
			return
		}
		if _, err := json.Marshal(claims); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
