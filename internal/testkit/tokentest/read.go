package tokentest

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// Read returns the claims of a token, which it does not check.
func Read(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatalf("token %q: %v", token, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(data, &claims); err != nil {
		t.Fatalf("token %q: %v", token, err)
	}
	return claims
}
