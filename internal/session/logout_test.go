package session_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/records"
	"middletier/internal/session"
)

// No sign-out leads to another origin, whether there is a session or not.
func TestSignOutReturnsToOurOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		alice, stranger := r.browser(), r.browser()
		alice.signIn(aliceID, "")
		sid := "sid=" + url.QueryEscape(alice.user()["sid"].(string))
		for _, returnURL := range []string{"https://evil.example", "//evil.example", "/%2Fevil.example", "evil", "/\\evil.example"} {
			for name, b := range map[string]*browser{"with a session": alice, "without one": stranger} {
				a := b.get("/bff/logout?" + sid + "&returnUrl=" + url.QueryEscape(returnURL))
				if a.status != http.StatusBadRequest || a.problem() != "invalid-request" {
					t.Errorf("returnUrl=%s, %s: got %d to %s, want 400", returnURL, name, a.status, a.header.Get("Location"))
				}
			}
		}
		alice.wantUser(aliceID)
		for query, want := range map[string]string{"": "/mt/", "?returnUrl=/mt/bye": "/mt/bye"} {
			a := stranger.get("/bff/logout" + query)
			if a.status != http.StatusFound || a.header.Get("Location") != want || a.header["Set-Cookie"] != nil {
				t.Errorf("/bff/logout%s without a session: got %d %v, want 302 to %s and no cookie", query, a.status, a.header, want)
			}
		}
	})
}

// The URL to return to after a sign-out may be as long as after a sign-in, escaped.
func TestSignOutReturnsToALongURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		returnURL := "/mt/" + strings.Repeat("ä", 1000)
		logout := "/bff/logout?sid=" + url.QueryEscape(b.user()["sid"].(string)) + "&returnUrl=" + url.QueryEscape(returnURL)
		state := queryOf(t, b.get(logout).header.Get("Location")).Get("state")
		a := b.send("GET", "/signout-callback-oidc?state="+state, true)
		if got, err := url.PathUnescape(a.header.Get("Location")); err != nil || got != returnURL {
			t.Errorf("after the sign-out: got %.80s %v, want the page", got, err)
		}
	})
}

// The provider's frame ends the sessions of one name, with or without the issuer, and none if it
// gives two names.
func TestProviderSignsOutByOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		for _, row := range []struct {
			more   string
			status int
			user   string
		}{
			{"", 200, ""},
			{"&iss=" + url.QueryEscape(k.idp.URL()+"/"+tenant+"/v2.0"), 200, ""},
			{"&iss=", 200, aliceID},
			{"&iss=" + url.QueryEscape(k.idp.URL()+"/"+fabrikam+"/v2.0"), 200, aliceID},
			{"&sid=other", 400, aliceID},
		} {
			b.signIn(aliceID, "")
			sid := url.QueryEscape(b.user()["sid"].(string))
			if a := b.send("GET", "/signout-oidc?sid="+sid+row.more, true); a.status != row.status {
				t.Errorf("with %q: got %d %s, want %d", row.more, a.status, a.body, row.status)
			}
			b.wantUser(row.user)
		}
	})
}

// A user is one of a tenant: an object ID alone ends nobody's sessions.
func TestSessionsEndForAUserOfATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		b := r.browser()
		b.signIn(aliceID, "")
		if err := r.EndUser(t.Context(), fabrikam, aliceID); err != nil {
			t.Fatal(err)
		}
		b.wantUser(aliceID)
	})
}

// A page that asks who is signed in uses the session, and is told what is left after that.
func TestUserUsesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		for range 3 {
			time.Sleep(20 * time.Minute)
			if left := b.user()["bff:session_expires_in"]; left != 1800.0 {
				t.Errorf("got %v s left, want 1800", left)
			}
		}
	})
}

// A session lasts no longer than the replica that is asked allows, whatever the one that began it
// did: a shorter time holds for the sessions that there are.
func TestShorterTimesHoldForOldSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := records.NewMemory(records.DefaultMemory)
		long := k.start(store, nil)
		idle := k.start(store, func(c *session.Config) { c.IdleTimeout = time.Minute })
		short := k.start(store, func(c *session.Config) { c.Lifetime, c.IdleTimeout = 2*time.Minute, 2*time.Minute })
		b := long.browser()
		b.signIn(aliceID, "")
		time.Sleep(time.Minute - time.Nanosecond)
		b.on(idle).wantUser(aliceID)
		time.Sleep(time.Nanosecond)
		b.on(idle).wantUser("")
		b.on(short).wantUser(aliceID)
		b.wantToken() // it is used
		time.Sleep(time.Minute)
		b.on(short).wantUser("")
		b.wantUser(aliceID)
	})
}

// A use is written within a minute, however long the session may be idle.
func TestUseIsWrittenWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, func(c *session.Config) { c.IdleTimeout, c.Lifetime = 8*time.Hour, 24*time.Hour }).browser()
		b.signIn(aliceID, "")
		for _, step := range []struct {
			pause time.Duration
			want  float64
		}{{59 * time.Second, 8*3600 - 59}, {time.Second, 8 * 3600}} {
			time.Sleep(step.pause)
			b.wantToken()
			if left := b.user("?slide=false")["bff:session_expires_in"]; left != step.want {
				t.Errorf("%v later: got %v s left, want %v", step.pause, left, step.want)
			}
		}
	})
}
