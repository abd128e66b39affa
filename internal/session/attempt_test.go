package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/door"
	"middletier/internal/session"
)

// While keys are rotated, a replica opens what the others have sealed with any of the keys that it
// knows, and seals with the first.
func TestReplicasRotateTheKeysOfSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		keyed := func(keys ...byte) *replica {
			return k.start(nil, func(c *session.Config) {
				c.LoginKeys = nil
				for _, key := range keys {
					c.LoginKeys = append(c.LoginKeys, bytes.Repeat([]byte{key}, 32))
				}
			})
		}
		old, both, latest := keyed(1), keyed(2, 1), keyed(2)
		for _, row := range []struct {
			name     string
			from, at *replica
			status   int
		}{
			{"of the old key, at one with both", old, both, 200},
			{"of one with both, at one with the new key", both, latest, 200},
			{"of one with both, at one with the old key", both, old, 400},
			{"of the old key, at one with the new key", old, latest, 400},
		} {
			b := row.from.browser()
			callback := b.callbackOf(aliceID, "")
			if a := b.on(row.at).send("GET", callback, true); a.status != row.status {
				t.Errorf("a sign-in %s: got %d %s, want %d", row.name, a.status, a.body, row.status)
			}
		}
	})
}

// The cookie of a sign-in that nobody has finished goes with the next one, and one that nobody can
// read does too.
func TestDeadSignInsLeaveNoCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.begin("")
		b.begin("")
		time.Sleep(10 * time.Minute)
		for _, c := range []string{"__Host-middletier-login-" + strings.Repeat("A", 26), "other"} {
			b.cookies[c] = &http.Cookie{Name: c, Value: "x"}
		}
		b.begin("")
		if len(b.cookies) != 2 || b.cookies["other"] == nil {
			t.Errorf("cookies: got %v, want that of the last sign-in and the other one", b.cookies)
		}
	})
}

// A second cookie of the name of a sign-in's, which a page of another host can set where there is
// no TLS, does not hinder it.
func TestSignInFindsItsOwnCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, func(c *session.Config) { c.PublicURL = loopback }).browser()
		callback := b.callbackOf(aliceID, "")
		var lines string
		for name, c := range b.cookies {
			lines = name + "=x; " + name + "=" + c.Value
		}
		clear(b.cookies)
		if a := b.send("GET", callback, true, "Cookie", lines); a.status != http.StatusOK {
			t.Errorf("the callback: got %d %s, want a session", a.status, a.body)
		}
	})
}

// Browsers drop a cookie that is too large, so such a sign-in is refused at its beginning.
func TestSignInThatFitsIntoNoCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"access_token":{"a":{"value":"` + strings.Repeat("x", 1900) + `"}}}`))
		long := "returnUrl=/" + strings.Repeat("x", 2000)
		for query, want := range map[string]int{"claims=" + claims: 302, long: 302, long + "&claims=" + claims: 400} {
			clear(b.cookies)
			if a := b.get("/bff/login?" + query); a.status != want || (len(b.cookies) == 1) != (want == 302) {
				t.Errorf("GET /bff/login with %d bytes: got %d and %d cookies, want %d", len(query), a.status, len(b.cookies), want)
			}
			for name, c := range b.cookies {
				if size := len(name + c.Value); size > 4096 {
					t.Errorf("a cookie of %d bytes, want at most 4096", size)
				}
			}
		}
	})
}

// The claims of a challenge have a bound of their own.
func TestClaimsOfASignInAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		for size, want := range map[int]int{2048: 302, 2049: 400} {
			claims := `{"access_token":{"a":{"value":""}}}`
			claims = strings.Replace(claims, `""`, `"`+strings.Repeat("x", size-len(claims))+`"`, 1)
			for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} { // with padding or without
				if a := b.get("/bff/login?claims=" + url.QueryEscape(encoding.EncodeToString([]byte(claims)))); a.status != want {
					t.Errorf("claims of %d bytes: got %d %s, want %d", size, a.status, a.body, want)
				}
			}
		}
	})
}

// The URL to return to stands in the page as it was asked for, whatever HTML would make of it.
func TestReturnURLIsEscapedInThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		const target = "/mt/page?a=1&copy=2&quot;'"
		if next := b.signIn(aliceID, "?returnUrl="+url.QueryEscape(target)); next != target {
			t.Errorf("after the sign-in: got %s, want %s", next, target)
		}
		a := b.send("GET", b.callbackOf(aliceID, "?returnUrl="+url.QueryEscape(target)), true)
		if strings.Contains(a.body, target) || !strings.Contains(a.body, html.EscapeString(target)) {
			t.Errorf("the page: got %s, want the URL escaped", a.body)
		}
	})
}

// A hidden frame ends at the page that tells the page around it, and only pages of our own may
// frame either. The script that tells it is the one that may run.
func TestSilentLoginStaysInItsFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		delete(b.cookies, "__Host-middletier")
		callback := strings.TrimPrefix(b.atPlatform(b.get("/bff/silent-login").header.Get("Location"), ""), public)
		a := b.send("GET", callback, true)
		next := refreshOf.FindStringSubmatch(a.body)
		if next == nil || next[1] != "/mt/bff/silent-login-callback" {
			t.Errorf("the callback: got %d %s, want a page that goes on to the frame's", a.status, a.body)
		}
		last := b.get("/bff/silent-login-callback")
		for name, page := range map[string]answer{"the callback": a, "the frame's page": last} {
			policy := page.header.Get("Content-Security-Policy")
			if !strings.HasSuffix(policy, "; frame-ancestors 'self'") || page.header.Get("X-Frame-Options") != "SAMEORIGIN" {
				t.Errorf("%s: got %v, want to be framed by our origin alone", name, page.header)
			}
		}
		_, script, _ := strings.Cut(last.body, "<script>")
		script, _, _ = strings.Cut(script, "</script>")
		policy := last.header.Get("Content-Security-Policy")
		if script == "" || !strings.Contains(policy, "; script-src "+door.HashSource(script)+";") {
			t.Errorf("the frame's page: got %s with the policy %s, want its script to be allowed", last.body, policy)
		}
	})
}

// Where the browser has left, a silent sign-in has not failed.
func TestSilentLoginWhoseBrowserLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		location := b.get("/bff/silent-login").header.Get("Location")
		callback := strings.TrimPrefix(b.atPlatform(location, ""), public)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", base+callback, nil)
		for _, c := range b.cookies {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
		if resp, err := (&inMemory{b.handler}).RoundTrip(r); err == nil {
			_ = resp.Body.Close() // it is in memory
			t.Errorf("the callback: got %s, want no answer", resp.Status)
		}
		if strings.Contains(b.log.String(), "a silent sign-in failed") {
			t.Errorf("got a line that it failed; log:\n%s", b.log)
		}
	})
}
