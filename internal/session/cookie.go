package session

import (
	"net/http"
	"strings"
	"time"

	"middletier/internal/records"
)

// cookieNames are the names of our cookies. The prefix keeps a page of another host of the same
// domain from setting them ("Cookies: HTTP State Management Mechanism", RFC 6265bis, section
// 4.1.3.2). It needs TLS, which there is none of on a developer's machine.
type cookieNames struct {
	secure  bool
	session string
	login   string // the beginning: the state of the attempt follows
}

const (
	hostPrefix    = "__Host-"
	sessionCookie = "middletier"
	loginCookie   = "middletier-login-"
)

func newCookieNames(secure bool) cookieNames {
	prefix := ""
	if secure {
		prefix = hostPrefix
	}
	return cookieNames{secure, prefix + sessionCookie, prefix + loginCookie}
}

// IsOwnCookie reports whether a cookie of this name is this service's.
func (m *Manager) IsOwnCookie(name string) bool {
	if len(name) >= len(hostPrefix) && strings.EqualFold(name[:len(hostPrefix)], hostPrefix) {
		name = name[len(hostPrefix):]
	}
	name = strings.ToLower(name) // some readers ignore case
	return name == sessionCookie || strings.HasPrefix(name, loginCookie)
}

// CookieName is the name of the cookie of a session.
func (m *Manager) CookieName() string { return m.names.session }

// HasCookie reports whether r has the cookie of a session, whatever it is worth.
func (m *Manager) HasCookie(r *http.Request) bool { return len(r.CookiesNamed(m.names.session)) > 0 }

// keyOf returns the key in r's cookie. Two different cookies are none: somebody else has set one
// of them.
func (m *Manager) keyOf(r *http.Request) (key records.Key, ok bool) {
	cookies := r.CookiesNamed(m.names.session)
	if len(cookies) == 0 {
		return records.Key{}, false
	}
	for _, cookie := range cookies[1:] {
		if cookie.Value != cookies[0].Value {
			return records.Key{}, false
		}
	}
	return records.ParseKey(cookies[0].Value)
}

// cookie returns a cookie of ours. life 0 is the browser's session; a negative one deletes it.
func (n cookieNames) cookie(name, value string, sameSite http.SameSite, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: n.secure, HttpOnly: true, SameSite: sameSite}
	switch {
	case life < 0:
		c.MaxAge = -1
	case life > 0:
		c.MaxAge = int(life / time.Second)
	}
	return c
}

func (m *Manager) setSession(w http.ResponseWriter, key records.Key) {
	http.SetCookie(w, m.names.cookie(m.names.session, key.Secret(), http.SameSiteStrictMode, 0))
}

func (m *Manager) dropSession(w http.ResponseWriter) {
	http.SetCookie(w, m.names.cookie(m.names.session, "", http.SameSiteStrictMode, -1))
}

func (m *Manager) dropAttempt(w http.ResponseWriter, state string) {
	http.SetCookie(w, m.names.cookie(m.names.login+state, "", http.SameSiteLaxMode, -1))
}
