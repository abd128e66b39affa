package mockidp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// signOut opens the logout endpoint.
func (u user) signOut(query url.Values) seen {
	u.t.Helper()
	return u.send("GET", "/"+contoso+"/oauth2/v2.0/logout?"+query.Encode(), nil)
}

func (u user) signedIn(objectID string) bool {
	u.t.Helper()
	hint := map[string]string{aliceID: "alice@contoso.example", bobID: "bob@contoso.example"}[objectID]
	_, response := u.open(contoso, asSPA("prompt", "none", "login_hint", hint)).response(u.t)
	return response.Has("code")
}

// Signing out ends the session, tells the applications that the user signed in to, and goes
// back to the one that asked, with its state.
func TestUserSignsOut(t *testing.T) {
	directory := testDirectory()
	directory.Apps[0].FrontChannelLogoutURI = "https://web.example/signout-oidc?tenant=1"
	k := startWith(t, directory)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	back := u.signOut(form("post_logout_redirect_uri", spaURI, "state", "a state"))
	if target, parameters := back.response(t); target != spaURI || parameters.Get("state") != "a state" || len(parameters) != 1 {
		t.Errorf("back: got %s %v", target, parameters)
	}
	if u.signedIn(aliceID) {
		t.Error("still signed in")
	}
	response := u.signIn(contoso, asWeb(), aliceID)
	page := u.signOut(form("post_logout_redirect_uri", webURI))
	told := `src="https://web.example/signout-oidc?tenant=1&amp;sid=` + response.Get("session_state") + `"`
	if page.status != http.StatusOK || !strings.Contains(page.body, told) || !strings.Contains(page.body, `href="`+webURI+`"`) {
		t.Errorf("front-channel page: got %d %s, want %s", page.status, page.body, told)
	}
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-src https://web.example;") {
		t.Errorf("policy: got %s", policy)
	}
	if page := u.signOut(nil); page.status != http.StatusOK || strings.Contains(page.body, "<iframe") {
		t.Errorf("nobody signed in: got %d %s", page.status, page.body)
	}
}

// With several accounts the user chooses, unless the request names one.
func TestUserSignsOutOfOneAccount(t *testing.T) {
	k := start(t)
	u := k.user()
	query := asWeb("prompt", "select_account")
	u.signIn(contoso, query, aliceID)
	u.signIn(contoso, query, bobID)
	page := u.signOut(form("post_logout_redirect_uri", webURI, "state", "x"))
	if page.status != http.StatusOK || !strings.Contains(page.body, "bob@contoso.example") {
		t.Fatalf("got %d %s, want the page with both", page.status, page.body)
	}
	if target, parameters := u.press(page, "user", bobID).response(t); target != webURI || parameters.Get("state") != "x" {
		t.Errorf("back: got %s %v", target, parameters)
	}
	if !u.signedIn(aliceID) || u.signedIn(bobID) {
		t.Error("signed out another account than the chosen one")
	}
	for name, hint := range map[string]func(response url.Values, idToken string) []string{
		"username": func(url.Values, string) []string { return []string{"logout_hint", "ALICE@contoso.example"} },
		"session": func(response url.Values, _ string) []string {
			return []string{"logout_hint", response.Get("session_state")}
		},
		"ID token": func(_ url.Values, idToken string) []string { return []string{"id_token_hint", idToken} },
		"login_hint claim": func(_ url.Values, idToken string) []string {
			return []string{"logout_hint", claimsOf(t, idToken)["login_hint"].(string)}
		},
	} {
		u := k.user()
		response := u.signIn(contoso, query, aliceID)
		_, tokens, _ := k.redeem(contoso, "", codeForm(response.Get("code")))
		u.signIn(contoso, query, bobID)
		u.signOut(form(hint(response, tokens["id_token"].(string))...))
		if u.signedIn(aliceID) || !u.signedIn(bobID) {
			t.Errorf("%s: signed out another account than the named one", name)
		}
	}
}

// Nobody is sent where no application of the tenant wants to get them back.
func TestSignOutRedirectsToRegisteredURIsOnly(t *testing.T) {
	k := start(t)
	u := k.user()
	_, tokens, _ := k.redeem(contoso, "", codeForm(u.signIn(contoso, asWeb(), aliceID).Get("code")))
	idToken := tokens["id_token"].(string)
	for name, query := range map[string]url.Values{
		"unregistered":           form("post_logout_redirect_uri", "https://evil.example/"),
		"another path":           form("post_logout_redirect_uri", webURI+"/more"),
		"another scheme":         form("post_logout_redirect_uri", "http://web.example/signin-oidc"),
		"user name in it":        form("post_logout_redirect_uri", "https://web.example@evil.example/signin-oidc"),
		"no scheme":              form("post_logout_redirect_uri", "//evil.example/"),
		"script":                 form("post_logout_redirect_uri", "javascript:alert(1)"),
		"of another client":      form("post_logout_redirect_uri", spaURI, "client_id", middleID),
		"not the ID token's":     form("post_logout_redirect_uri", spaURI, "id_token_hint", idToken),
		"of another tenant":      form("post_logout_redirect_uri", "https://foreign.example/"),
		"loopback and a host":    form("post_logout_redirect_uri", "http://localhost:1@evil.example/"),
		"loopback and a path":    form("post_logout_redirect_uri", "http://localhost:1/evil"),
		"with a line break":      form("post_logout_redirect_uri", webURI+"\r\nX: y"),
		"with a fragment":        form("post_logout_redirect_uri", webURI+"#x"),
		"with a query":           form("post_logout_redirect_uri", webURI+"?next=https://evil.example"),
		"broken ID token's path": form("post_logout_redirect_uri", "https://evil.example/", "id_token_hint", "abc"),
	} {
		if got := u.signOut(query); got.status != http.StatusOK || got.header.Get("Location") != "" || strings.Contains(got.body, "evil") {
			t.Errorf("%s: got %d %q, want the page without a way back", name, got.status, got.header.Get("Location"))
		}
	}
	for name, query := range map[string]url.Values{
		"any app's": form("post_logout_redirect_uri", spaURI), "the client's": form("post_logout_redirect_uri", webURI, "client_id", middleID),
		"the ID token's": form("post_logout_redirect_uri", webURI, "id_token_hint", idToken),
		"loopback":       form("post_logout_redirect_uri", nativeURI),
	} {
		if got := u.signOut(query); got.status != http.StatusFound {
			t.Errorf("%s: got %d %s, want a redirect", name, got.status, got.body)
		}
	}
}

// An access token for the scopes of OpenID Connect alone is good for the user's profile, with
// the sub of the client's ID token; another token is not.
func TestUserInfo(t *testing.T) {
	k := start(t)
	u := k.user()
	code := func(scope string) map[string]any {
		_, response := u.open(contoso, asSPA("scope", scope)).response(t)
		status, body, _ := k.redeem(contoso, spaOrigin, spaCodeForm(response.Get("code")))
		if status != http.StatusOK {
			t.Fatalf("code for %s: got %d %v", scope, status, body)
		}
		return body
	}
	u.signIn(contoso, asSPA(), aliceID)
	tokens := code("openid profile")
	if tokens["scope"] != "openid profile" {
		t.Errorf("scope: got %v", tokens["scope"])
	}
	for _, method := range []string{"GET", "POST"} {
		got := u.send(method, "/oidc/userinfo", nil, "Authorization", "Bearer "+tokens["access_token"].(string), "Origin", spaOrigin)
		info := parse(t, []byte(got.body))
		if got.status != http.StatusOK || info["sub"] != claimsOf(t, tokens["id_token"])["sub"] || info["email"] != "alice@contoso.example" {
			t.Errorf("%s: got %d %v", method, got.status, info)
		}
		if got.header.Get("Access-Control-Allow-Origin") != spaOrigin {
			t.Errorf("%s: CORS: got %v", method, got.header)
		}
	}
	expired := k.UserClaims("alice", "spa", graphID)
	expired["exp"] = 1
	for name, authorization := range map[string]string{
		"none": "", "another scheme": "Basic " + tokens["access_token"].(string), "not a token": "Bearer abc",
		"ID token": "Bearer " + tokens["id_token"].(string), "another API's": "Bearer " + code("api://todo/Read")["access_token"].(string),
		"expired": "Bearer " + k.Sign(expired), "of an app": "Bearer " + k.AppToken("daemon", graphID),
		"of another platform": "Bearer " + start(t).UserToken("alice", "spa", graphID),
		"refresh token":       "Bearer " + code("openid offline_access")["refresh_token"].(string),
	} {
		got := u.send("GET", "/oidc/userinfo", nil, "Authorization", authorization)
		if got.status != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: got %d %v, want 401", name, got.status, got.header)
		}
	}
}
