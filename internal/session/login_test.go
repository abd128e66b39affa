package session_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"middletier/internal/session"
	"middletier/internal/testkit/tokentest"
)

// A problem's loginUrl leads back to the page that sent the request, and to nobody else's.
func TestLoginURLLeadsBackToThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		const call = base + "/bff/api/todo/items"
		for _, row := range []struct {
			name, method, path, mode, referer, want string
		}{
			{"a script", "POST", call, "cors", "https://app.example/mt/page?a=b", "/mt/page?a=b"},
			{"a script of a page outside publicUrl", "GET", call, "cors", "https://app.example/elsewhere", "/elsewhere"},
			{"a script that says no page", "GET", call, "cors", "", "/mt/"},
			{"a page that says its origin only", "GET", call, "cors", "https://app.example/", "/"},
			{"a window", "GET", call + "?a=b%2Fc", "navigate", "https://app.example/mt/page", "/mt/bff/api/todo/items?a=b%2Fc"},
			{"a window with an escaped path", "GET", base + "/bff/api/todo/a%20b%2Fc", "navigate", "", "/mt/bff/api/todo/a%20b%2Fc"},
			{"a window with a path that hides another", "GET", base + "/bff/api/todo/%2e%2e/x", "navigate", "", "/mt/"},
			{"a form, which cannot be sent again", "POST", call, "navigate", "https://app.example/mt/form", "/mt/form"},
			{"a window of a route that is no API's", "GET", base + "/bff/user", "navigate", "https://app.example/mt/page", "/mt/page"},
			{"a window of a path outside basePath", "GET", "/bff/api/todo/items", "navigate", "", "/mt/"},
			{"another host", "GET", call, "cors", "https://evil.example/mt/page", "/mt/"},
			{"another port", "GET", call, "cors", "https://app.example:8443/mt/page", "/mt/"},
			{"another scheme", "GET", call, "cors", "http://app.example/mt/page", "/mt/"},
			{"a user before the host", "GET", call, "cors", "https://app.example@evil.example/", "/mt/"},
			{"a path that is a host", "GET", call, "cors", "https://app.example//evil.example", "/mt/"},
			{"a path that is a host, escaped", "GET", call, "cors", "https://app.example/%2Fevil.example", "/mt/"},
			{"what is no URL", "GET", call, "cors", "https://app.example/%zz", "/mt/"},
			{"a very long page", "GET", call, "cors", "https://app.example/" + strings.Repeat("x", 3000), "/mt/"},
		} {
			req := httptest.NewRequest(row.method, row.path, nil)
			req.Header.Set("Sec-Fetch-Mode", row.mode)
			req.Header.Set("Referer", row.referer)
			want := "/mt/bff/login?" + url.Values{"returnUrl": {row.want}}.Encode()
			if got := r.LoginURL(req, session.LoginRequest{}); got != want {
				t.Errorf("%s: got %s, want %s", row.name, got, want)
			}
		}
	})
}

// What a loginUrl asks for is what the provider is asked for.
func TestLoginURLHoldsWhatToAskFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1?>"}}}` // base64 with + and / elsewhere
		loginURL := r.LoginURL(httptest.NewRequest("GET", base+"/bff/user", nil), session.LoginRequest{
			Scopes: []string{writeScope, readScope}, Claims: claims, Prompt: "select_account",
		})
		location := r.browser().begin(strings.TrimPrefix(loginURL, "/mt/bff/login"))
		query := queryOf(t, location)
		for name, want := range map[string]string{
			"claims": claims, "prompt": "select_account", "scope": "openid profile offline_access " + readScope + " " + writeScope,
		} {
			if got := query.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	})
}

func queryOf(t *testing.T, location string) url.Values {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// Nothing that protects a sign-in is used for another one.
func TestSignInsHaveSecretsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		seen := map[string]bool{}
		for range 3 {
			query := queryOf(t, b.begin(""))
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				if value := query.Get(name); len(value) < 26 || seen[value] {
					t.Errorf("%s: got %q, want a new one", name, value)
				}
				seen[query.Get(name)] = true
			}
		}
	})
}

// A sign-in with the scope of an API asks the user to consent to that, and the session still has
// a token for this service.
func TestSignInForAnAPIsScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, func(c *session.Config) { c.APIScopes = append(c.APIScopes, "api://notes/Read") }).browser()
		if a := b.get("/bff/login?scope=api://todo/Read+api://notes/Read"); a.status != 400 {
			t.Errorf("scopes of two APIs: got %d %s, want 400", a.status, a.body)
		}
		location := b.begin("?returnUrl=/mt/page&scope=Write+openid+" + todoScope)
		if got := queryOf(t, location).Get("scope"); got != "openid profile offline_access "+todoScope {
			t.Errorf("the scope that the user is asked for: got %q", got)
		}
		callback := strings.TrimPrefix(b.atPlatform(location, aliceID), public)
		if a := b.send("GET", callback, true); a.status != http.StatusOK || !strings.Contains(a.body, "/mt/page") {
			t.Fatalf("the callback: got %d %s; log:\n%s", a.status, a.body, b.log)
		}
		token := tokentest.Read(t, b.wantToken())
		if token["aud"] != middleID || token["scp"] != "Read Write" || token["oid"] != aliceID {
			t.Errorf("the session's token: got %v, want one for this service with Read and Write", token)
		}
		if codes, refreshes := k.idp.Count("authorization_code"), k.idp.Count("refresh_token"); codes != 1 || refreshes != 1 {
			t.Errorf("exchanges: got %d of codes and %d of refresh tokens, want one each", codes, refreshes)
		}
	})
}

// Where the token for this service does not come, a consent begins no session, and the one that
// there was stays.
func TestConsentWithoutATokenOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		b.signIn(aliceID, "")
		key := b.sessionCookie()
		callback := b.callbackOf(aliceID, "?scope="+todoScope)
		k.idp.RevokeSignIns("alice")
		if a := b.send("GET", callback, true); a.status < 400 || b.sessionCookie() != key {
			t.Errorf("the callback: got %d %s, want a refusal and the same session", a.status, a.body)
		}
		b.wantUser(aliceID)
	})
}

// A claims challenge is answered by the session's own account, whose next token has proved it.
func TestSignInAnswersAClaimsChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, nil).browser()
		b.signIn(aliceID, "")
		former := b.sessionCookie()
		if got := tokentest.Read(t, b.wantToken())["acrs"]; got != nil {
			t.Errorf("acrs before: got %v", got)
		}
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`))
		location := b.begin("?claims=" + claims)
		if got := queryOf(t, location).Get("login_hint"); got != "alice@contoso.example" {
			t.Errorf("login_hint: got %q, want the session's account", got)
		}
		if got := queryOf(t, b.begin("?loginHint=bob&claims="+claims))["login_hint"]; !slices.Equal(got, []string{"bob"}) {
			t.Errorf("login_hint: got %q, want that of the query", got)
		}
		if got := queryOf(t, b.begin("")).Get("login_hint"); got != "" {
			t.Errorf("login_hint: got %q, want none where anybody may sign in", got)
		}
		callback := strings.TrimPrefix(b.atPlatform(location, aliceID), public)
		if a := b.send("GET", callback, true); a.status != http.StatusOK {
			t.Fatalf("the callback: got %d %s; log:\n%s", a.status, a.body, b.log)
		}
		if got, _ := tokentest.Read(t, b.wantToken())["acrs"].([]any); len(got) != 1 || got[0] != "c1" {
			t.Errorf("acrs: got %v, want c1", got)
		}
		b.setCookie(former)
		b.wantUser("")
	})
}

// A hidden frame leaves a session alone where the provider knows another user.
func TestSilentLoginOfAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		r := k.start(nil, nil)
		alice, bob := r.browser(), r.browser()
		bob.signIn(bobID, "")
		alice.signIn(aliceID, "")
		alice.atIDP = bob.atIDP
		key := alice.sessionCookie()
		for _, hinted := range []bool{true, false} {
			location := alice.get("/bff/silent-login").header.Get("Location")
			query := queryOf(t, location)
			if query.Get("prompt") != "none" || query.Get("login_hint") == "" {
				t.Errorf("the authorization request: got %v, want prompt none and the session's account", query)
			}
			if !hinted { // a provider that reads no hint
				query.Del("login_hint")
				location, _, _ = strings.Cut(location, "?")
				location += "?" + query.Encode()
			}
			callback := strings.TrimPrefix(alice.atPlatform(location, ""), public)
			if codeOf(callback) == "" != hinted {
				t.Errorf("the platform's answer: got %s, hint %t", callback, hinted)
			}
			a := alice.send("GET", callback, true)
			if a.status != http.StatusFound || a.header.Get("Location") != "/mt/bff/silent-login-callback" || alice.sessionCookie() != key {
				t.Errorf("the callback, hint %t: got %d %s, want the frame's page and the same cookie", hinted, a.status, a.body)
			}
			alice.wantUser(aliceID)
		}
	})
}
