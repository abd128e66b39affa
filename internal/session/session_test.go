package session_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/testkit/tokentest"
)

func TestUserSignsInCallsAndSignsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		b.wantUser("")
		b.wantProblem("401 session-required")
		if next := b.signIn(aliceID, "?returnUrl="+url.QueryEscape("/mt/page?a=b#c")); next != "/mt/page?a=b#c" {
			t.Errorf("after the sign-in: got %s", next)
		}
		b.wantUser(aliceID)
		if got := tokentest.Read(t, b.wantToken()); got["aud"] != middleID || got["scp"] != "Read" || got["oid"] != aliceID || got["azp"] != webID {
			t.Errorf("the session's token: got %v", got)
		}
		claims := b.user()
		logoutURL, _ := claims["bff:logout_url"].(string)
		if left, _ := claims["bff:session_expires_in"].(float64); left != 1800 || !strings.HasPrefix(logoutURL, "/mt/bff/logout?sid=") {
			t.Errorf("GET /bff/user: got %v, want 1800 s and the URL of the sign-out", claims)
		}
		key := *b.cookies["__Host-middletier"]
		if key.SameSite != http.SameSiteStrictMode || key.MaxAge != 0 || len(b.cookies) != 1 {
			t.Errorf("cookies: got %+v, want one for the browser's session, Strict", b.cookies)
		}
		a := b.get(strings.TrimPrefix(logoutURL, "/mt") + "&returnUrl=/mt/bye")
		if a.status != http.StatusFound || b.sessionCookie() != "" {
			t.Errorf("GET /bff/logout: got %d, want 302 and no cookie", a.status)
		}
		back := b.atPlatform(a.header.Get("Location"), "")
		if a := b.send("GET", strings.TrimPrefix(back, public), true); a.status != http.StatusFound || a.header.Get("Location") != "/mt/bye" {
			t.Errorf("after the sign-out: got %d to %s, want /mt/bye", a.status, a.header.Get("Location"))
		}
		b.cookies[key.Name] = &key // a copy of the cookie
		b.wantUser("")
		b.wantProblem("401 session-required")
	})
}

// A session lasts while it is used, but no longer than its lifetime, and its access token is
// renewed meanwhile.
func TestSessionLastsWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		b.signIn(aliceID, "")
		tokens := map[string]bool{}
		for range 8*3 - 1 { // 20 minutes each
			time.Sleep(20 * time.Minute)
			tokens[b.wantToken()] = true
		}
		if got := k.idp.Count("refresh_token"); got != len(tokens)-1 && got != len(tokens) || got < 5 || got > 8 {
			t.Errorf("refreshes in 8 hours: got %d for %d tokens, want 5 to 8", got, len(tokens))
		}
		if left := b.user()["bff:session_expires_in"]; left != 1200.0 {
			t.Errorf("20 minutes before the end: got %v s", left)
		}
		time.Sleep(20 * time.Minute)
		b.wantProblem("401 session-required")

		b.signIn(aliceID, "")
		time.Sleep(29 * time.Minute)
		if left := b.user("?slide=false")["bff:session_expires_in"]; left != 60.0 {
			t.Errorf("without sliding: got %v s, want 60", left)
		}
		time.Sleep(59 * time.Second)
		b.wantUser(aliceID)
		time.Sleep(time.Second)
		b.wantUser("")
	})
}
