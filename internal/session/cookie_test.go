package session_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"middletier/internal/session"
)

// Without TLS, on a developer's machine, cookies have no prefix, which needs Secure.
func TestCookiesOfLoopbackAndOfTLS(t *testing.T) {
	for url, names := range map[string]struct{ session, login string }{
		public:   {"__Host-middletier", "__Host-middletier-login-"},
		loopback: {"middletier", "middletier-login-"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newKit(t).start(nil, func(c *session.Config) { c.PublicURL = url })
			b := r.browser()
			callback := b.callbackOf(aliceID, "")
			if len(b.cookies) != 1 {
				t.Fatalf("%s: got cookies %v, want one", url, b.cookies)
			}
			for name, c := range b.cookies { // Secure, HttpOnly, path and prefix are checked for every answer
				if !strings.HasPrefix(name, names.login) || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
					t.Errorf("%s: the cookie of an attempt: got %+v", url, c)
				}
			}
			if a := b.send("GET", callback, true); a.status != http.StatusOK {
				t.Fatalf("%s: the callback: got %d %s", url, a.status, a.body)
			}
			c := b.cookies[names.session]
			if len(b.cookies) != 1 || c == nil || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 0 || !c.Expires.IsZero() || len(c.Value) < 26 {
				t.Errorf("%s: the session's cookie: got %v", url, b.cookies)
			}
			b.wantUser(aliceID)
			other := map[string]string{public: "middletier", loopback: "__Host-middletier"}[url]
			req := httptest.NewRequest("GET", base+"/bff/api/token", nil)
			req.AddCookie(&http.Cookie{Name: other, Value: c.Value})
			if _, err := r.Token(req); err == nil || r.HasCookie(req) {
				t.Errorf("%s: a cookie named %s opens the session", url, other)
			}
		})
	}
}

// Cookies of our names that an API sets or gets are kept apart, whatever their case.
func TestOwnCookiesAreKnownByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, url := range []string{public, loopback} {
			r := newKit(t).start(nil, func(c *session.Config) { c.PublicURL = url })
			for name, want := range map[string]bool{
				"__Host-middletier": true, "middletier": true, "__host-MIDDLETIER": true, "MiddleTier": true,
				"__Host-middletier-login-ABC": true, "middletier-login-": true, "__HOST-Middletier-Login-x": true,
				"": false, "__Host-": false, "middletier2": false, "middletier-log": false, "__Secure-middletier": false,
				"xmiddletier": false, "__Host-other": false, "__Host-__Host-middletier": false,
			} {
				if got := r.IsOwnCookie(name); got != want {
					t.Errorf("IsOwnCookie(%q): got %t, want %t", name, got, want)
				}
			}
		}
	})
}

// Two different cookies of our name are none: a page of another host of the domain may have set
// one of them. The same one twice is one.
func TestTwoCookiesAreNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		alice, bob := r.browser(), r.browser()
		alice.signIn(aliceID, "")
		bob.signIn(bobID, "")
		for _, row := range []struct {
			values []string
			want   bool
		}{
			{[]string{alice.sessionCookie(), alice.sessionCookie()}, true},
			{[]string{strings.ToUpper(alice.sessionCookie())}, true},
			{[]string{alice.sessionCookie(), bob.sessionCookie()}, false},
			{[]string{alice.sessionCookie(), ""}, false},
			{[]string{alice.sessionCookie() + "0"}, false},
			{[]string{alice.sessionCookie()[1:]}, false},
		} {
			req := httptest.NewRequest("GET", base+"/bff/api/token", nil)
			for _, value := range row.values {
				req.AddCookie(&http.Cookie{Name: "__Host-middletier", Value: value})
			}
			if _, err := r.Token(req); (err == nil) != row.want {
				t.Errorf("%d cookies: got %v, want a session: %t", len(row.values), err, row.want)
			}
		}
	})
}
