package mockidp_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// A user signs in to an app of each platform by a click, and the code gives tokens: to a web
// app with its secret, to the others with PKCE.
func TestUserSignsIn(t *testing.T) {
	k := start(t)
	for name, row := range map[string]struct {
		query    url.Values
		redeem   func(string, ...string) url.Values
		origin   string
		target   string
		strength string
	}{
		"web":    {query: asWeb(), redeem: codeForm, target: webURI, strength: "1"},
		"spa":    {query: asSPA(), redeem: spaCodeForm, origin: spaOrigin, target: spaURI, strength: "0"},
		"native": {query: asNative(), redeem: nativeCodeForm, target: nativeURI + "/", strength: "0"},
	} {
		u := k.user()
		page := u.open(contoso, row.query)
		if page.status != http.StatusOK || !strings.Contains(page.body, "bob@contoso.example") || strings.Contains(page.body, "frida") {
			t.Fatalf("%s: page: got %d %s, want the tenant's users", name, page.status, page.body)
		}
		target, response := u.choose(page, aliceID).response(t)
		if target != row.target || response.Get("state") != "a state" || response.Get("session_state") == "" || response.Has("error") {
			t.Fatalf("%s: response: got %s %v, want %s", name, target, response, row.target)
		}
		status, body, header := k.redeem(contoso, row.origin, row.redeem(response.Get("code")))
		if status != http.StatusOK {
			t.Fatalf("%s: code: got %d %v, want 200", name, status, body)
		}
		if got := header.Get("Access-Control-Allow-Origin"); got != row.origin {
			t.Errorf("%s: Access-Control-Allow-Origin: got %q, want %q", name, got, row.origin)
		}
		access, id := claimsOf(t, body["access_token"]), claimsOf(t, body["id_token"])
		if access["aud"] != todoID || access["oid"] != aliceID || access["scp"] != "Read" || access["azpacr"] != row.strength {
			t.Errorf("%s: access token: got %v", name, access)
		}
		if nonce, _ := id["nonce"].(string); id["oid"] != aliceID || id["sid"] != response.Get("session_state") ||
			id["sid"] != access["sid"] || nonce != row.query.Get("nonce") {
			t.Errorf("%s: ID token: got %v", name, id)
		}
		if body["refresh_token"] == nil || body["scope"] != "api://todo/Read" {
			t.Errorf("%s: got %v", name, body)
		}
	}
}

// ID tokens have sid and login_hint only for an app that asks for these optional claims. sid has
// also one that is told of sign-outs by it.
func TestOptionalClaimsOfIDTokens(t *testing.T) {
	for name, row := range map[string]struct {
		optional []string
		logout   string
		want     []string
	}{
		"none":                 {},
		"of access tokens":     {optional: []string{"idtyp", "xms_cc"}},
		"sid":                  {optional: []string{"sid"}, want: []string{"sid"}},
		"login_hint":           {optional: []string{"login_hint"}, want: []string{"login_hint"}},
		"front-channel logout": {logout: "https://web.example/signout-oidc", want: []string{"sid"}},
	} {
		directory := testDirectory()
		directory.Apps[0].OptionalClaims, directory.Apps[0].FrontChannelLogoutURI = row.optional, row.logout
		k := startWith(t, directory)
		u := k.user()
		_, tokens, _ := k.redeem(contoso, "", codeForm(u.signIn(contoso, asWeb(), aliceID).Get("code")))
		claims := claimsOf(t, tokens["id_token"])
		var got []string
		for _, claim := range []string{"sid", "login_hint"} {
			if claims[claim] != nil {
				got = append(got, claim)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

// The claim login_hint is a hint for the next sign-in. It does not show the username.
func TestLoginHintClaimChoosesTheAccount(t *testing.T) {
	k := start(t)
	u := k.user()
	hints := map[string]string{}
	for _, id := range []string{aliceID, bobID} {
		response := u.signIn(contoso, asWeb("prompt", "select_account"), id)
		_, tokens, _ := k.redeem(contoso, "", codeForm(response.Get("code")))
		hints[id] = claimsOf(t, tokens["id_token"])["login_hint"].(string)
	}
	for id, hint := range hints {
		_, response := u.open(contoso, asWeb("prompt", "none", "login_hint", hint)).response(t)
		_, tokens, _ := k.redeem(contoso, "", codeForm(response.Get("code")))
		if tokens["id_token"] == nil || claimsOf(t, tokens["id_token"])["oid"] != id || strings.Contains(hint, "@") {
			t.Errorf("hint %s: got %v with %v, want the account %s", hint, response, tokens, id)
		}
	}
	other := strings.ToUpper(hints[aliceID])
	if _, response := u.open(contoso, asWeb("prompt", "none", "login_hint", other)).response(t); response.Get("error") != "login_required" {
		t.Errorf("changed hint: got %v, want login_required", response)
	}
}

// The session's cookie signs in without a page, and what a page would decide is an error with
// prompt=none.
func TestSingleSignOn(t *testing.T) {
	k := start(t)
	u := k.user()
	for _, hint := range []string{"", "alice@contoso.example"} {
		_, response := u.open(contoso, asSPA("prompt", "none", "login_hint", hint)).response(t)
		if response.Get("error") != "login_required" || !strings.HasPrefix(response.Get("error_description"), "AADSTS50058") {
			t.Errorf("nobody signed in, hint %q: got %v, want login_required", hint, response)
		}
	}
	first := u.signIn(contoso, asSPA(), aliceID)
	sid := first.Get("session_state")
	for name, changes := range map[string][]string{
		"silent": {"prompt", "none"}, "by page": {"prompt", ""}, "by hint": {"prompt", "none", "login_hint", "ALICE@contoso.example"},
		"by session": {"prompt", "none", "sid", sid}, "by another app": {"prompt", "none", "client_id", nativeID, "redirect_uri", nativeURI},
		"hidden form": {"prompt", "none", "response_mode", "form_post"},
	} {
		_, response := u.open(contoso, asSPA(changes...)).response(t)
		if response.Get("code") == "" || response.Get("session_state") != sid {
			t.Errorf("%s: got %v, want a code of the same session", name, response)
		}
	}
	for name, row := range map[string]struct {
		changes []string
		want    string
	}{
		"another user":     {[]string{"login_hint", "bob@contoso.example"}, "login_required"},
		"another session":  {[]string{"sid", aliceID}, "interaction_required"},
		"not consented":    {[]string{"scope", "api://todo/Write"}, "consent_required"},
		"not proved":       {[]string{"claims", `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`}, "interaction_required"},
		"unknown resource": {[]string{"scope", "api://nothing/Read"}, "invalid_resource"},
	} {
		_, response := u.open(contoso, asSPA(append(row.changes, "prompt", "none")...)).response(t)
		if response.Get("error") != row.want {
			t.Errorf("%s: got %v, want %s", name, response, row.want)
		}
	}
	for _, prompt := range []string{"login", "select_account"} {
		if page := u.open(contoso, asSPA("prompt", prompt)); page.status != http.StatusOK || !strings.Contains(page.body, "Choose who signs in") {
			t.Errorf("prompt=%s: got %d %s, want the page", prompt, page.status, page.body)
		}
	}
	u.signIn(contoso, asSPA("prompt", "select_account"), bobID)
	if _, response := u.open(contoso, asSPA("prompt", "none")).response(t); response.Get("error") != "interaction_required" {
		t.Errorf("two users: got %v, want interaction_required", response)
	}
	if _, response := k.user().open(contoso, asSPA("prompt", "none")).response(t); response.Get("error") != "login_required" {
		t.Errorf("another browser: got %v, want login_required", response)
	}
}

// A request may leave out the redirect URI where the app has only one.
func TestOnlyRedirectURIMayBeLeftOut(t *testing.T) {
	k := start(t)
	u := k.user()
	page := u.open(contoso, asSPA("client_id", sharedID, "scope", "openid "+sharedID+"/Read", "redirect_uri", ""))
	location, response := u.choose(page, aliceID).response(t)
	if !strings.HasPrefix(location, "https://shared.example/") || response.Get("code") == "" {
		t.Errorf("got %s with %v, want a code for https://shared.example/", location, response)
	}
}

// An app gets a token for itself by its GUID only, whatever the flow (AADSTS90009).
func TestTokenForTheAppItself(t *testing.T) {
	const byGUID, byURI = "openid offline_access " + middleID + "/.default", "openid api://middle/access_as_user"
	k := start(t)
	u := k.user()
	if _, response := u.open(contoso, asWeb("scope", byURI)).response(t); !strings.HasPrefix(response.Get("error_description"), "AADSTS90009") {
		t.Errorf("sign-in by URI: got %v, want AADSTS90009", response)
	}
	page := u.choose(u.open(contoso, asWeb("scope", byGUID)), aliceID)
	_, response := u.press(page, "action", "consent").response(t)
	status, tokens, _ := k.redeem(contoso, "", codeForm(response.Get("code")))
	if claims := claimsOf(t, tokens["access_token"]); status != http.StatusOK || claims["aud"] != middleID || claims["azp"] != middleID ||
		claims["scp"] != "access_as_user" {
		t.Errorf("sign-in by GUID: got %d %v", status, claims)
	}
	refresh := form("grant_type", "refresh_token", "client_id", middleID, "client_secret", "s3cret",
		"refresh_token", tokens["refresh_token"].(string))
	asRefresh := func(scope string) url.Values { return change(refresh, []string{"scope", scope}) }
	if status, body := k.post(contoso, asRefresh(strings.ToUpper(middleID)+"/access_as_user")); status != http.StatusOK {
		t.Errorf("refresh by GUID: got %d %v", status, body)
	}
	k.wantRefusals([]refusalCase{
		{name: "refresh by URI", form: asRefresh("api://middle/.default"), code: "invalid_request", number: 90009},
		{name: "on behalf of", form: k.obo("scope", "api://middle/access_as_user"), code: "invalid_request", number: 90009},
	})
	status, body := k.post(contoso, k.daemon("scope", "api://middle/.default"))
	if status != http.StatusOK {
		t.Errorf("without a user: got %d %v, want a token", status, body)
	}
}

// What the user accepts on the consent page is remembered, and granted to no other user.
func TestUserConsents(t *testing.T) {
	k := start(t)
	u := k.user()
	page := u.choose(u.open(contoso, asSPA("scope", "openid api://todo/Read api://todo/Write")), aliceID)
	if page.status != http.StatusOK || !strings.Contains(page.body, "<code>Write</code>") || strings.Contains(page.body, "<code>Read</code>") {
		t.Fatalf("consent page: got %d %s, want what is not granted yet", page.status, page.body)
	}
	if _, response := u.press(page, "action", "cancel").response(t); response.Get("error") != "access_denied" ||
		response.Get("error_subcode") != "cancel" || !strings.HasPrefix(response.Get("error_description"), "AADSTS65004") {
		t.Errorf("cancelled: got %v", response)
	}
	_, response := u.press(page, "action", "consent").response(t)
	status, body, _ := k.redeem(contoso, spaOrigin, spaCodeForm(response.Get("code")))
	if status != http.StatusOK || claimsOf(t, body["access_token"])["scp"] != "Read Write" {
		t.Errorf("code: got %d %v", status, body)
	}
	if _, response := u.open(contoso, asSPA("scope", "api://todo/Write", "prompt", "none")).response(t); response.Get("code") == "" {
		t.Errorf("consented before: got %v, want a code", response)
	}
	if page := u.open(contoso, asSPA("prompt", "consent")); !strings.Contains(page.body, "Permissions requested") {
		t.Errorf("prompt=consent: got %d %s, want the page", page.status, page.body)
	} else if _, response := u.press(page, "action", "consent").response(t); response.Get("code") == "" {
		t.Errorf("prompt=consent, accepted: got %v", response)
	}
	other := k.user()
	page = other.choose(other.open(contoso, asSPA("scope", "api://todo/Write")), bobID)
	if !strings.Contains(page.body, "Permissions requested") {
		t.Errorf("another user: got %d %s, want the consent page", page.status, page.body)
	}
}

// A client that the API knows, and that asks for it by .default, gets the user's consent for both:
// its own to use the API, and the API's to use what is behind it. Another client, or one that names
// scopes, gets its own only.
func TestCombinedConsent(t *testing.T) {
	const both = "openid api://middle/.default"
	for name, row := range map[string]struct {
		known  []string
		scope  string
		prompt string
		want   bool
	}{
		"known":               {known: []string{"spa"}, scope: both, want: true},
		"known by client ID":  {known: []string{"todo", strings.ToUpper(spaID)}, scope: both, want: true},
		"asked again":         {known: []string{"spa"}, scope: both, prompt: "consent", want: true},
		"not known":           {known: []string{"todo"}, scope: both},
		"by the scope's name": {known: []string{"spa"}, scope: "openid api://middle/access_as_user"},
	} {
		directory := testDirectory()
		directory.Apps[0].KnownClients = row.known
		directory.Apps[0].Requires = []mockidp.Requirement{{Resource: "todo", Scopes: []string{"Read", "Admin"}}}
		if row.prompt != "" {
			directory.Grants = append(directory.Grants, mockidp.Grant{Client: "spa", Resource: "middle", Scopes: []string{"access_as_user"}})
		}
		k := startWith(t, directory)
		u := k.user()
		page := u.choose(u.open(contoso, asSPA("scope", row.scope, "prompt", row.prompt)), aliceID)
		asks := strings.Contains(page.body, "middle wants to use todo for you") && strings.Contains(page.body, "<code>Admin</code>") &&
			!strings.Contains(page.body, "<code>Read</code>") // is granted
		if asks != row.want || !strings.Contains(page.body, "spa wants to use middle for you") {
			t.Errorf("%s: page: got %d %s, want it to ask for the API too: %t", name, page.status, page.body, row.want)
		}
		if _, response := u.press(page, "action", "consent").response(t); !response.Has("code") {
			t.Errorf("%s: got %v, want a code", name, response)
		}
		status, body := k.post(contoso, k.obo("scope", "api://todo/Admin"))
		if (status == http.StatusOK) != row.want {
			t.Errorf("%s: on behalf of: got %d %v, want success: %t", name, status, body, row.want)
		}
	}
}

// A claims challenge is refused without the user, met on the page, and remembered by the
// session and by the refresh token.
func TestUserProvesWhoTheyAre(t *testing.T) {
	k := start(t)
	u := k.user()
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	first := u.signIn(contoso, asSPA(), aliceID)
	_, tokens, _ := k.redeem(contoso, spaOrigin, spaCodeForm(first.Get("code")))
	refresh := form("grant_type", "refresh_token", "client_id", spaID, "scope", "api://todo/Read", "claims", claims,
		"refresh_token", tokens["refresh_token"].(string))
	status, body, _ := k.redeem(contoso, spaOrigin, refresh)
	if status != http.StatusBadRequest || body["error"] != "interaction_required" || body["claims"] != claims {
		t.Fatalf("refresh: got %d %v, want interaction_required with the claims", status, body)
	}
	page := u.open(contoso, asSPA("claims", body["claims"].(string)))
	if page.status != http.StatusOK || !strings.Contains(page.body, "<code>c1</code>") {
		t.Fatalf("page: got %d %s", page.status, page.body)
	}
	_, response := u.press(page, "action", "prove").response(t)
	_, tokens, _ = k.redeem(contoso, spaOrigin, spaCodeForm(response.Get("code"), "claims", claims))
	if got := claimsOf(t, tokens["access_token"])["acrs"]; len(got.([]any)) != 1 || got.([]any)[0] != "c1" {
		t.Errorf("acrs: got %v, want c1", got)
	}
	refresh.Set("refresh_token", tokens["refresh_token"].(string))
	if status, body, _ := k.redeem(contoso, spaOrigin, refresh); status != http.StatusOK || claimsOf(t, body["access_token"])["acrs"] == nil {
		t.Errorf("refresh afterwards: got %d %v", status, body)
	}
	if _, response := u.open(contoso, asSPA("claims", claims, "prompt", "none")).response(t); response.Get("code") == "" {
		t.Errorf("the session forgot: got %v", response)
	}
}

// What a user accepts for the middle tier counts when it trades their token.
func TestConsentOnThePageCountsOnBehalfOf(t *testing.T) {
	k := start(t)
	scope := []string{"scope", "api://todo/Admin"}
	if status, body := k.post(contoso, k.obo(scope...)); status != http.StatusBadRequest || body["suberror"] != "consent_required" {
		t.Fatalf("before: got %d %v, want consent_required", status, body)
	}
	u := k.user()
	page := u.choose(u.open(contoso, asWeb(scope...)), aliceID)
	if _, response := u.press(page, "action", "consent").response(t); !response.Has("code") {
		t.Fatalf("consent: got %v", response)
	}
	if status, body := k.post(contoso, k.obo(scope...)); status != http.StatusOK || claimsOf(t, body["access_token"])["scp"] != "Admin" {
		t.Errorf("afterwards: got %d %v", status, body)
	}
	bob := k.obo(append(scope, "assertion", k.UserToken("bob", "spa", "middle"))...)
	if status, body := k.post(contoso, bob); status != http.StatusBadRequest {
		t.Errorf("another user: got %d %v, want consent_required", status, body)
	}
}
