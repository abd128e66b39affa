package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/session"
)

// The provider is told who signs out and where to come back to, which is open for an hour.
func TestSignOutAtTheProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		for _, row := range []struct {
			pause time.Duration
			want  string
		}{{59 * time.Minute, "/mt/bye"}, {time.Hour, "/mt/"}} {
			b.signIn(aliceID, "")
			former := *b.cookies["__Host-middletier"]
			sid := url.QueryEscape(b.user()["sid"].(string))
			query := queryOf(t, b.get("/bff/logout?returnUrl=/mt/bye&sid="+sid).header.Get("Location"))
			if query.Get("client_id") != webID || query.Get("post_logout_redirect_uri") != public+"/signout-callback-oidc" ||
				query.Get("logout_hint") == "" && query.Get("id_token_hint") == "" {
				t.Errorf("the sign-out at the provider: got %v, want our client, the way back and who it is", query)
			}
			b.cookies[former.Name] = &former // which has ended
			if a := b.get("/bff/logout?sid=" + sid); a.status != 302 || b.sessionCookie() != "" {
				t.Errorf("a sign-out of a session that has ended: got %d, want 302 and no cookie", a.status)
			}
			time.Sleep(row.pause)
			a := b.send("GET", "/signout-callback-oidc?state="+query.Get("state"), true)
			if got := a.header.Get("Location"); got != row.want {
				t.Errorf("%s later: got %s, want %s", row.pause, got, row.want)
			}
		}
		attempt := b.begin("?returnUrl=/mt/bye")
		for _, c := range b.cookies { // sealed by the same key for another place
			if a := b.send("GET", "/signout-callback-oidc?state="+c.Value, true); a.header.Get("Location") != "/mt/" {
				t.Errorf("the cookie of %s as a state: got %s", attempt, a.header.Get("Location"))
			}
		}
	})
}

// What the routes answer stays in the browser and in no frame, and says of the user alone.
func TestAnswersSayNoMoreThanTheyMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		a := b.send("GET", b.callbackOf(aliceID, ""), true)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Frame-Options":         "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s of the callback: got %q, want %q", name, got, want)
			}
		}
		claims := b.user()
		for _, name := range []string{"nonce", "aud", "iss", "exp", "iat", "nbf"} {
			if got, ok := claims[name]; ok {
				t.Errorf("/bff/user has %s: %v", name, got)
			}
		}
		before := k.idp.Count("authorization_code")
		b.send("GET", b.callbackOf(aliceID, "")+"&iss=https://evil.example", true)
		if got := k.idp.Count("authorization_code") - before; got != 0 {
			t.Errorf("the code beside another issuer is redeemed")
		}
	})
}

// A refresh outlives the request that began it.
func TestRefreshOutlivesItsFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		r := k.start(nil, func(c *session.Config) { c.IdleTimeout = 8 * time.Hour })
		b := r.browser()
		b.signIn(aliceID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Delay: 300 * time.Millisecond})
		time.Sleep(2 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		first := httptest.NewRequestWithContext(ctx, "GET", base+"/bff/api/token", nil)
		first.AddCookie(b.cookies["__Host-middletier"])
		ended := make(chan error)
		go func() {
			_, err := r.Token(first)
			ended <- err
		}()
		time.Sleep(100 * time.Millisecond)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the first request: got %v, want its own end", err)
		}
		b.wantToken()
		if got := k.idp.Count("refresh_token"); got != 1 {
			t.Errorf("refreshes: got %d, want 1", got)
		}
	})
}

// Whoever watches a session learns that it has ended.
func TestWatchEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		b := r.browser()
		b.signIn(aliceID, "")
		req := httptest.NewRequest("GET", base+"/bff/api/token", nil)
		req.AddCookie(b.cookies["__Host-middletier"])
		if _, err := r.Token(req); err != nil {
			t.Fatal(err)
		}
		var ended atomic.Bool
		stop := r.Watch(req, func() { ended.Store(true) })
		defer stop()
		time.Sleep(10 * time.Second)
		if ended.Load() {
			t.Error("the watch ended before the session")
		}
		if err := r.EndAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if !ended.Load() {
			t.Error("the watch did not end with the session")
		}
	})
}
