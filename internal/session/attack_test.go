package session_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/session"
	"middletier/internal/testkit/tokentest"
)

// edited is a callback with other parameters.
func edited(callback string, changes ...string) string {
	path, raw, _ := strings.Cut(callback, "?")
	query, _ := url.ParseQuery(raw)
	for i := 0; i < len(changes); i += 2 {
		if query.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			query.Del(changes[i])
		}
	}
	return path + "?" + query.Encode()
}

// No callback but that of the browser's own attempt begins a session.
func TestCallbackBelongsToItsAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b, other *browser, callback string) string
		want   string
	}{
		"no state":           {func(_, _ *browser, at string) string { return edited(at, "state", "") }, "400 invalid-request"},
		"another state":      {func(_, _ *browser, at string) string { return edited(at, "state", strings.Repeat("A", 26)) }, "400 invalid-request"},
		"a hostile state":    {func(_, _ *browser, at string) string { return edited(at, "state", "../x") }, "400 invalid-request"},
		"two states":         {func(_, _ *browser, at string) string { return at + "&state=x" }, "400 invalid-request"},
		"two codes":          {func(_, _ *browser, at string) string { return at + "&code=x" }, "400 invalid-request"},
		"no code":            {func(_, _ *browser, at string) string { return edited(at, "code", "") }, "400 invalid-request"},
		"another issuer":     {func(_, _ *browser, at string) string { return at + "&iss=https://evil.example" }, "502 identity-provider-error"},
		"without its cookie": {func(b, _ *browser, at string) string { clear(b.cookies); return at }, "400 invalid-request"},
		"of another browser": {func(_, other *browser, _ string) string { return other.callbackOf(bobID, "") }, "400 invalid-request"},
		"a code of another": {func(_, other *browser, at string) string {
			return edited(at, "code", codeOf(other.callbackOf(bobID, "")))
		}, "401 interaction-required"},
		"a code that is none": {func(_, _ *browser, at string) string { return edited(at, "code", "x") }, "401 interaction-required"},
		"too late":            {func(_, _ *browser, at string) string { time.Sleep(10 * time.Minute); return at }, "400 invalid-request"},
		"another cookie's":    {func(b, _ *browser, at string) string { b.swapAttempts(); return at }, "400 invalid-request"},
		"an edited cookie":    {func(b, _ *browser, at string) string { b.editAttempts(); return at }, "400 invalid-request"},
		"denied":              {func(_, _ *browser, at string) string { return edited(at, "code", "", "error", "access_denied") }, "403 consent-required"},
		"login required":      {func(_, _ *browser, at string) string { return edited(at, "code", "", "error", "login_required") }, "401 interaction-required"},
		"unavailable": {func(_, _ *browser, at string) string {
			return edited(at, "code", "", "error", "temporarily_unavailable")
		}, "503 identity-provider-unavailable"},
		"we are wrong":         {func(_, _ *browser, at string) string { return edited(at, "code", "", "error", "unauthorized_client") }, "500 misconfigured"},
		"error without cookie": {func(b, _ *browser, _ string) string { return "/signin-oidc?error=access_denied&state=x" }, "400 invalid-request"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKit(t)
				r := k.start(nil, nil)
				b, other := r.browser(), r.browser()
				at := c.change(b, other, b.callbackOf(aliceID, ""))
				a := b.send("GET", at, true)
				if got := fmt.Sprint(a.status, " ", a.problem()); got != c.want {
					t.Errorf("the callback: got %d %s, want %s", a.status, a.body, c.want)
				}
				if b.sessionCookie() != "" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("the callback: got a session or headers %v", a.header)
				}
			})
		})
	}
}

// A code that was made for another sign-in, which an attacker slips into the victim's, is refused
// whichever of the two bindings the attacker got round: the nonce of the ID token, or PKCE.
func TestInjectedCodesAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change []string // pairs: parameters of the authorization request
		want   string
	}{
		"another nonce":     {[]string{"nonce", "of-the-attacker"}, "502 identity-provider-error"},
		"no nonce":          {[]string{"nonce", ""}, "502 identity-provider-error"},
		"another challenge": {[]string{"code_challenge", strings.Repeat("A", 43)}, "401 interaction-required"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newKit(t).start(nil, nil).browser()
				location := edited(b.begin(""), row.change...)
				a := b.send("GET", strings.TrimPrefix(b.atPlatform(location, aliceID), public), true)
				if got := fmt.Sprint(a.status, " ", a.problem()); got != row.want || b.sessionCookie() != "" {
					t.Errorf("the callback: got %s %s, session %t, want %s and none", got, a.body, b.sessionCookie() != "", row.want)
				}
			})
		})
	}
}

func codeOf(callback string) string {
	_, raw, _ := strings.Cut(callback, "?")
	query, _ := url.ParseQuery(raw)
	return query.Get("code")
}

// swapAttempts gives each attempt's cookie the value of another one's.
func (b *browser) swapAttempts() {
	b.begin("")
	var cookies []*http.Cookie
	for _, c := range b.cookies {
		cookies = append(cookies, c)
	}
	cookies[0].Value, cookies[1].Value = cookies[1].Value, cookies[0].Value
}

func (b *browser) editAttempts() {
	for _, c := range b.cookies {
		c.Value = c.Value[:30] + "A" + c.Value[31:]
		if c.Value[30] == 'A' {
			c.Value = c.Value[:30] + "BB" + c.Value[32:]
		}
	}
}

// A callback that comes again begins nothing, and does not end what it began.
func TestCallbackCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		at := b.callbackOf(aliceID, "")
		if a := b.send("GET", at, true); a.status != http.StatusOK {
			t.Fatalf("the callback: got %d %s", a.status, a.body)
		}
		key := b.sessionCookie()
		if a := b.send("GET", at, true); a.status != http.StatusBadRequest || a.problem() != "invalid-request" {
			t.Errorf("the same callback: got %d %s, want 400", a.status, a.body)
		}
		if b.wantUser(aliceID); b.sessionCookie() != key {
			t.Error("the same callback changed the session")
		}
	})
}

// Several tabs may sign in at the same time, up to a number; a sign-in ends the session before.
func TestSignInsOfSeveralTabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		first := b.callbackOf(aliceID, "?returnUrl=/one")
		time.Sleep(time.Second)
		var locations []string
		for range 5 {
			locations = append(locations, b.begin(""))
			time.Sleep(time.Second)
		}
		if len(b.cookies) != 5 {
			t.Errorf("cookies of attempts: got %d, want 5", len(b.cookies))
		}
		if a := b.send("GET", first, true); a.status != http.StatusBadRequest {
			t.Errorf("the oldest attempt: got %d, want 400", a.status)
		}
		var old []string
		for _, location := range locations[3:] {
			if a := b.send("GET", strings.TrimPrefix(b.atPlatform(location, aliceID), public), true); a.status != http.StatusOK {
				t.Fatalf("the callback: got %d %s", a.status, a.body)
			}
			old = append(old, b.sessionCookie())
		}
		b.wantUser(aliceID)
		b.signIn(bobID, "?prompt=select_account")
		b.wantUser(bobID)
		if b.sessionCookie() == old[1] {
			t.Error("the key is the same after another sign-in")
		}
		b.cookies["__Host-middletier"].Value = old[1]
		b.wantUser("")
	})
}

// A session that began after the sign-in did ends with it too, where the browser sends its cookie
// along.
func TestSignInEndsASessionThatBeganMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		callback := b.callbackOf(aliceID, "")
		b.signIn(aliceID, "")
		former := b.sessionCookie()
		if a := b.send("GET", callback, false); a.status != http.StatusOK || b.sessionCookie() == former {
			t.Fatalf("the callback: got %d %s, want another session", a.status, a.body)
		}
		b.wantUser(aliceID)
		b.setCookie(former)
		b.wantUser("")
	})
}

// What a sign-in is asked for is checked before the browser leaves.
func TestLoginRefusesBadQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		for _, query := range []string{
			"returnUrl=https://evil.example", "returnUrl=//evil.example", "returnUrl=/a&returnUrl=/b", "prompt=none+login", "prompt=x",
			"scope=api://other/Read", "scope=Nope", "scope=api://middle/Nope", "claims=x", "claims=bnVsbA", "claims=W10", "loginHint=a&login_hint=b",
			"loginHint=a%0Ab", "loginHint=" + strings.Repeat("x", 400), "claims=" + strings.Repeat("A", 4000), "%zz", "a=1;b=2",
		} {
			if a := b.get("/bff/login?" + query); a.status != http.StatusBadRequest || a.problem() != "invalid-request" || len(b.cookies) > 0 {
				t.Errorf("GET /bff/login?%s: got %d %s, want 400", query, a.status, a.body)
			}
		}
		location, err := url.Parse(b.begin("?prompt=login&login_hint=alice&domainHint=contoso.example&scope=Write&claims=eyJhY2Nlc3NfdG9rZW4iOnt9fQ"))
		if err != nil {
			t.Fatal(err)
		}
		query := location.Query()
		for name, want := range map[string]string{
			"client_id": webID, "redirect_uri": public + "/signin-oidc", "response_mode": "query", "response_type": "code", "prompt": "login",
			"login_hint": "alice", "domain_hint": "contoso.example", "code_challenge_method": "S256", "claims": `{"access_token":{}}`,
			"scope": "openid profile offline_access api://middle/Read api://middle/Write",
		} {
			if got := query.Get(name); got != want {
				t.Errorf("%s of the authorization request: got %q, want %q", name, got, want)
			}
		}
	})
}

// Other sites may link to a sign-in. As an image or in a frame, they could begin so many that
// their cookies are too long for any further request.
func TestOtherSitesBeginSignInsInWindowsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		for _, row := range []struct {
			site, mode, dest string
			want             int
		}{
			{"", "", "", 302},
			{"", "cors", "", 302}, // of a program, such as Node's fetch
			{"none", "navigate", "document", 302},
			{"same-origin", "navigate", "iframe", 302}, // the silent sign-in
			{"same-origin", "cors", "empty", 302},
			{"cross-site", "navigate", "document", 302},
			{"same-site", "navigate", "document", 302},
			{"same-site", "navigate", "", 302},
			{"same-site", "no-cors", "image", 403},
			{"same-site", "no-cors", "", 403},
			{"same-site", "cors", "empty", 403},
			{"same-site", "navigate", "iframe", 403},
			{"cross-site", "no-cors", "image", 403},
			{"cross-site", "navigate", "iframe", 403},
		} {
			for _, path := range []string{"/bff/login", "/bff/silent-login"} {
				b := r.browser()
				var headers []string
				for name, value := range map[string]string{"Sec-Fetch-Site": row.site, "Sec-Fetch-Mode": row.mode, "Sec-Fetch-Dest": row.dest} {
					if value != "" {
						headers = append(headers, name, value)
					}
				}
				a := b.get(path, headers...)
				isRefused := a.problem() == "cross-site-request" && len(b.cookies) == 0
				if a.status != row.want || isRefused != (row.want == 403) {
					t.Errorf("%s with %q: got %d %s and %d cookies, want %d", path, headers, a.status, a.body, len(b.cookies), row.want)
				}
			}
		}
	})
}

func TestRoutesAnswerGetOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		for _, path := range []string{
			"/bff/login", "/bff/user", "/bff/logout", "/bff/silent-login", "/bff/silent-login-callback", "/signin-oidc", "/signout-callback-oidc", "/signout-oidc",
		} {
			for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "X"} {
				if a := b.send(method, path, false, "X-CSRF", "1"); a.status != 405 || a.header.Get("Allow") != "GET" {
					t.Errorf("%s %s: got %d, Allow %q, want 405 and GET", method, path, a.status, a.header.Get("Allow"))
				}
			}
		}
		for _, mark := range [][]string{nil, {"X-CSRF", "0"}, {"X-CSRF", ""}, {"X-CSRF", "1", "X-CSRF", "1"}} {
			if a := b.get("/bff/user", mark...); a.status != 403 || a.problem() != "cross-site-request" {
				t.Errorf("GET /bff/user with %q: got %d %s, want 403", mark, a.status, a.body)
			}
		}
		b.wantUser(aliceID)
	})
}

// The provider's page signs out by the name of its session alone, from a frame without a cookie.
func TestProviderSignsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		r := k.start(nil, nil)
		alice, bob := r.browser(), r.browser()
		alice.signIn(aliceID, "")
		bob.signIn(bobID, "")
		sid := url.QueryEscape(alice.user()["sid"].(string))
		stranger := r.browser()
		for _, path := range []string{
			"/signout-oidc", "/signout-oidc?sid=x", "/signout-oidc?sid=" + sid + "&iss=https://evil.example", "/bff/logout?sid=" + sid,
		} {
			if a := stranger.send("GET", path, true); a.status >= 400 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("GET %s: got %d", path, a.status)
			}
		}
		for _, path := range []string{"/bff/logout", "/bff/logout?sid=x", "/bff/logout?sid=" + sid + "&sid=" + sid} {
			if a := alice.get(path); a.status != 400 {
				t.Errorf("GET %s: got %d, want 400", path, a.status)
			}
		}
		if alice.send("GET", "/bff/logout?sid=x", true); alice.sessionCookie() == "" {
			t.Error("another site's link took the cookie away")
		}
		alice.wantUser(aliceID)
		a := stranger.send("GET", "/signout-oidc?sid="+sid+"&iss="+url.QueryEscape(k.idp.URL()+"/"+tenant+"/v2.0"), true)
		if got := a.header.Get("Content-Security-Policy"); a.status != 200 || !strings.HasSuffix(got, "frame-ancestors "+k.idp.URL()) {
			t.Errorf("the provider's sign-out: got %d, %s", a.status, got)
		}
		alice.wantUser("")
		bob.wantUser(bobID)
	})
}

func TestOperatorEndsSessionsOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		alice, bob := r.browser(), r.browser()
		alice.signIn(aliceID, "")
		bob.signIn(bobID, "")
		if err := r.EndUser(t.Context(), strings.ToUpper(tenant), strings.ToUpper(aliceID)); err != nil {
			t.Fatal(err)
		}
		alice.wantUser("")
		bob.wantUser(bobID)
	})
}

// A hidden frame signs in who is signed in at the provider, and never another user.
func TestSilentLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		b := r.browser()
		silent := func() answer {
			t.Helper()
			at := strings.TrimPrefix(b.atPlatform(b.get("/bff/silent-login").header.Get("Location"), ""), public)
			b.send("GET", at, true)
			return b.get("/bff/silent-login-callback")
		}
		want := func(loggedIn string) {
			t.Helper()
			a := silent()
			if !strings.Contains(a.body, `{source: "bff-silent-login", isLoggedIn: `+loggedIn+`}, "https://app.example")`) ||
				!strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'self'") {
				t.Errorf("the frame's page: got %s %v, want %s", a.body, a.header, loggedIn)
			}
		}
		want("false")
		b.signIn(aliceID, "")
		delete(b.cookies, "__Host-middletier")
		want("true")
		b.wantUser(aliceID)
	})
}

// A refresh token that is refused ends the session, and asks the provider once.
func TestRefusedRefreshTokenEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }).browser()
		b.signIn(aliceID, "")
		time.Sleep(2 * time.Hour)
		k.idp.RevokeSignIns("alice")
		for range 3 {
			b.wantProblem("401 session-required")
		}
		if got := k.idp.Count("refresh_token"); got != 1 {
			t.Errorf("refreshes: got %d, want 1", got)
		}
	})
}

// While the provider is ill the old token is used as long as it is good, and the provider is not
// asked by every request.
func TestProviderIsIllAtARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }).browser()
		b.signIn(aliceID, "")
		first := b.wantToken()
		expires := time.Unix(int64(tokentest.Read(t, first)["exp"].(float64)), 0)
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Status: 429, Header: map[string]string{"Retry-After": "600"}, Body: "{}"})
		time.Sleep(time.Until(expires) - time.Minute)
		for range 10 {
			if got := b.wantToken(); got != first {
				t.Error("got another token")
			}
		}
		time.Sleep(2 * time.Minute)
		for range 10 {
			b.wantProblem("503 identity-provider-unavailable")
		}
		if got := k.idp.Count("refresh_token"); got != 1 {
			t.Errorf("refreshes: got %d, want 1", got)
		}
		k.idp.ClearFaults()
		time.Sleep(10 * time.Minute)
		b.wantToken()
	})
}

// Requests of one session share one refresh, also where a refresh token is good once.
func TestRequestsShareARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }).browser()
		b.signIn(aliceID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", SingleUse: true})
		for range 3 {
			time.Sleep(2 * time.Hour)
			got := make(chan string)
			for range 50 {
				go func() {
					token, problem := b.token()
					got <- token + problem
				}()
			}
			tokens := map[string]bool{}
			for range 50 {
				tokens[<-got] = true
			}
			if len(tokens) != 1 || tokens["401 session-required"] {
				t.Errorf("50 requests: got %d different answers", len(tokens))
			}
		}
		if got := k.idp.Count("refresh_token"); got != 3 {
			t.Errorf("refreshes: got %d, want 3", got)
		}
	})
}
