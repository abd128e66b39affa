package demo

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// provenContext is the authentication context that the case step-up demands.
const provenContext = "c1"

// stepUp returns a handler that makes the API demand an authentication context where a case
// says so. It answers as an API with Conditional Access does ("Developer guide to Conditional
// Access authentication context"). The API then validates the token, this claim included.
func (c *cases) stepUp(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		demand := c.demands[r.Header.Get("X-Request-ID")]
		c.mu.Unlock()
		var token struct {
			Contexts []string `json:"acrs"`
		}
		_ = json.Unmarshal(claimsOf(bearer(r.Header)), &token) // without claims, it lacks the context
		if demand == "" || slices.Contains(token.Contexts, demand) {
			api.ServeHTTP(w, r)
			return
		}
		claims := fmt.Sprintf(`{"access_token":{"acrs":{"essential":true,"value":%q}}}`, demand)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="", error="insufficient_claims", claims="%s"`,
			base64.StdEncoding.EncodeToString([]byte(claims))))
		w.WriteHeader(http.StatusUnauthorized)
	})
}
