package mockidp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// A redirect URI that is not the registered text is shown, and nobody is sent there.
func TestRedirectURITricks(t *testing.T) {
	k := start(t)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID) // so that only the redirect URI keeps the code back
	good := map[string]url.Values{middleID: asWeb(), spaID: asSPA(), nativeID: asNative()}
	for _, row := range []struct{ client, uri string }{
		{spaID, "https://evil.example/"},
		{spaID, "https://spa.example"},
		{spaID, "https://spa.example//"},
		{spaID, "https://spa.example/more"},
		{spaID, "https://spa.example/."},
		{spaID, "https://spa.example/../"},
		{spaID, "https://spa.example/%2e%2e/"},
		{spaID, "https://spa.example/?next=https://evil.example"},
		{spaID, "https://spa.example/#fragment"},
		{spaID, "https://SPA.example/"},
		{spaID, "HTTPS://spa.example/"},
		{spaID, "http://spa.example/"},
		{spaID, "https://spa.example:443/"},
		{spaID, "https://spa.example.evil.example/"},
		{spaID, "https://evil.example/https://spa.example/"},
		{spaID, "https://spa.example@evil.example/"},
		{spaID, "https://user@spa.example/"},
		{spaID, "https://spa.example\\@evil.example/"},
		{spaID, "https://evil.example\\spa.example/"},
		{spaID, "//spa.example/"},
		{spaID, "/"},
		{spaID, " https://spa.example/"},
		{spaID, "https://spa.example/ "},
		{spaID, "https://spa.example/\r\nSet-Cookie: a=b"},
		{spaID, "https://spa.example/\x00"},
		{spaID, "https://ѕpa.example/"}, // with a Cyrillic letter
		{spaID, "javascript:alert(1)//https://spa.example/"},
		{spaID, "data:text/html,<script>alert(1)</script>"},
		{spaID, webURI},    // another client's
		{spaID, nativeURI}, // loopback without being native
		{middleID, "https://web.example/back"},
		{middleID, "https://web.example/back?kept=1&more=2"},
		{middleID, "https://web.example/back?kept=2"},
		{nativeID, "http://localhost:99999999"},
		{nativeID, "http://localhost:1@evil.example/"},
		{nativeID, "http://localhost:1.evil.example/"},
		{nativeID, "http://localhost.evil.example:1/"},
		{nativeID, "http://localhost:1/other"},
		{nativeID, "http://localhost:1?a=b"},
		{nativeID, "http://localhost:1#a"},
		{nativeID, "http://localhost:-1"},
		{nativeID, "http://localhost:1\\@evil.example"},
		{nativeID, "https://localhost:1"},
		{nativeID, "http://127.0.0.1:1"},
		{nativeID, "http://127.0.0.2:1/signed-in"},
		{nativeID, "http://[::1]:1"},
		{nativeID, "http://2130706433:1"},
		{nativeID, "http://LOCALHOST:1"},
		{nativeID, "msal" + nativeID + "://auth/more"},
	} {
		query := change(cloneForm(good[row.client]), []string{"redirect_uri", row.uri, "prompt", "none"})
		got := u.open(contoso, query)
		if got.status != http.StatusBadRequest || got.header.Get("Location") != "" || !strings.Contains(got.body, "AADSTS50011") ||
			!strings.Contains(got.body, "Registered redirect URIs") ||
			strings.Contains(got.body, "<script>") || strings.Contains(got.body, "<a ") {
			t.Errorf("%s: got %d %q %s, want a page with AADSTS50011", row.uri, got.status, got.header.Get("Location"), got.body)
		}
	}
	for _, row := range []struct{ client, uri, target string }{
		{nativeID, "http://localhost", "http://localhost/"},
		{nativeID, "http://localhost:1/", "http://localhost:1/"},
		{nativeID, "http://127.0.0.1:65535/signed-in", "http://127.0.0.1:65535/signed-in"},
		{nativeID, "msal" + nativeID + "://auth", "msal" + nativeID + "://auth"},
		{middleID, "https://web.example/back?kept=1", "https://web.example/back?kept=1"},
	} {
		query := change(cloneForm(good[row.client]), []string{"redirect_uri", row.uri, "prompt", "none"})
		location := u.open(contoso, query).header.Get("Location")
		if !strings.HasPrefix(location, row.target+"?") && !strings.HasPrefix(location, row.target+"&") {
			t.Errorf("%s: got %q, want it to begin with %s", row.uri, location, row.target)
		}
	}
}

func cloneForm(form url.Values) url.Values {
	clone := url.Values{}
	for name, values := range form {
		clone[name] = append([]string{}, values...)
	}
	return clone
}

// Every bad request with a genuine redirect URI is answered there with its state, and with no
// code; what is not understood is shown.
func TestAuthorizationRequestIsRefused(t *testing.T) {
	k := start(t)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	for _, row := range []struct {
		name    string
		tenant  string // "": contoso
		changes []string
		code    string // "" : shown on a page
		number  int
	}{
		{"unknown tenant", "nobody.example", nil, "", 90002},
		{"no client", "", []string{"client_id", ""}, "", 900144},
		{"unknown client", "", []string{"client_id", aliceID}, "", 700016},
		{"client by name", "", []string{"client_id", "spa"}, "", 700016},
		{"client of another tenant", fabrikam, nil, "", 700016},
		{"resource as client", "", []string{"client_id", graphID}, "", 50011},
		{"no redirect URI, and several registered", "", []string{"client_id", middleID, "redirect_uri", ""}, "", 900971},
		{"no redirect URI, and none registered", "", []string{"client_id", daemonID, "redirect_uri", ""}, "", 900971},
		{"single tenant's app on common", "common", nil, "invalid_request", 50194},
		{"single tenant's app on organizations", "organizations", nil, "invalid_request", 50194},
		{"no response type", "", []string{"response_type", ""}, "invalid_request", 900144},
		{"token", "", []string{"response_type", "token"}, "unsupported_response_type", 700051},
		{"token and ID token", "", []string{"response_type", "id_token token"}, "unsupported_response_type", 700051},
		{"unknown response type", "", []string{"response_type", "code magic"}, "unsupported_response_type", 70005},
		{"code twice", "", []string{"response_type", "code code"}, "unsupported_response_type", 70005},
		{"unknown mode", "", []string{"response_mode", "web_message"}, "invalid_request", 70007},
		{"ID token by query", "", []string{"response_type", "id_token", "response_mode", "query"}, "invalid_request", 70007},
		{"ID token without nonce", "", []string{"response_type", "id_token", "nonce", ""}, "invalid_request", 900144},
		{"code and ID token without nonce", "", []string{"response_type", "code id_token", "nonce", ""}, "invalid_request", 900144},
		{"ID token without openid", "", []string{"response_type", "id_token", "scope", "api://todo/Read"}, "unsupported_response_type", 70005},
		{"no scope", "", []string{"scope", ""}, "invalid_request", 900144},
		{"blank scope", "", []string{"scope", "  "}, "invalid_scope", 70011},
		{"two resources", "", []string{"scope", "api://todo/Read api://middle/access_as_user"}, "invalid_scope", 28000},
		{"unknown resource", "", []string{"scope", "api://nothing/Read"}, "invalid_resource", 500011},
		{"resource of another tenant", "", []string{"scope", "api://foreign/Read"}, "invalid_resource", 500011},
		{"scope that is not exposed", "", []string{"scope", "api://todo/Fly"}, "invalid_client", 650053},
		{"scope that Graph does not have", "", []string{"scope", "Mail.Read"}, "invalid_scope", 70011},
		{"unknown prompt", "", []string{"prompt", "always"}, "invalid_request", 90023},
		{"none and another prompt", "", []string{"prompt", "none login"}, "invalid_request", 90023},
		{"claims that are no JSON", "", []string{"claims", "{"}, "invalid_request", 90013},
		{"claims of another form", "", []string{"claims", `{"access_token":[]}`}, "invalid_request", 90013},
		{"context that does not exist", "", []string{"claims", `{"id_token":{"acrs":{"value":"<script>"}}}`}, "invalid_request", 90013},
		{"no PKCE", "", []string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request", 9002325},
		{"method without challenge", "", []string{"code_challenge", ""}, "invalid_request", 501491},
		{"plain", "", []string{"code_challenge", proof, "code_challenge_method", "plain"}, "invalid_request", 50149},
		{"plain unsaid", "", []string{"code_challenge_method", ""}, "invalid_request", 50149},
		{"unknown method", "", []string{"code_challenge_method", "s256"}, "invalid_request", 50149},
		{"short challenge", "", []string{"code_challenge", "abc"}, "invalid_request", 501491},
		{"challenge in standard base64", "", []string{"code_challenge", strings.Repeat("+", 43)}, "invalid_request", 501491},
		{"long challenge", "", []string{"code_challenge", strings.Repeat("a", 44)}, "invalid_request", 501491},
	} {
		tenant := row.tenant
		if tenant == "" {
			tenant = contoso
		}
		got := u.open(tenant, asSPA(row.changes...))
		want := fmt.Sprintf("AADSTS%d: ", row.number)
		if row.code == "" {
			if got.status < 400 || got.header.Get("Location") != "" || !strings.Contains(got.body, want) {
				t.Errorf("%s: got %d %s, want a page with %s", row.name, got.status, got.body, want)
			}
			continue
		}
		target, response := got.response(t)
		if target != spaURI || response.Get("error") != row.code || !strings.HasPrefix(response.Get("error_description"), want) ||
			response.Get("state") != "a state" || response.Has("code") || response.Has("id_token") {
			t.Errorf("%s: got %s %v, want %s %s", row.name, target, response, row.code, want)
		}
	}
}

// A state that is left out stays out, and one that is empty comes back empty.
func TestStateIsEchoedAsItCame(t *testing.T) {
	k := start(t)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	without := asSPA()
	without.Del("state")
	empty := asSPA()
	empty.Set("state", "")
	strange := asSPA("state", "\"'<>&#?+% \u00fc\r\n"+strings.Repeat("x", 20_000))
	for name, query := range map[string]url.Values{"without": without, "empty": empty, "strange": strange} {
		for _, mode := range []string{"query", "fragment", "form_post"} {
			query.Set("response_mode", mode)
			_, response := u.open(contoso, query).response(t)
			if !response.Has("code") || fmt.Sprint(response["state"]) != fmt.Sprint(query["state"]) {
				t.Errorf("%s by %s: got state %.60q", name, mode, response["state"])
			}
		}
	}
}

// Nothing of a request becomes part of a page but as text, whatever parameter it comes in.
func TestPagesShowNoScript(t *testing.T) {
	const script = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`
	directory := testDirectory()
	directory.Users[0].Name, directory.Users[0].Username = script, "<b>alice</b>@contoso.example"
	directory.Apps[2].Name = script
	directory.Grants[2].Client = spaID
	k := startWith(t, directory)
	check := func(name string, got seen) {
		t.Helper()
		body := strings.Replace(got.body, "<script>document.forms[0].submit();\n</script>", "", 1)
		for _, bad := range []string{"<script", "<img", "<b>", "javascript:"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: got %s, want no %s", name, body, bad)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if got.header.Get("Content-Type") != "text/html; charset=utf-8" {
			return
		}
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "frame-ancestors 'none'") || got.header.Get("Cache-Control") != "no-store, no-cache" ||
			got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Referrer-Policy") == "" {
			t.Errorf("%s: headers: got %v", name, got.header)
		}
	}
	u := k.user()
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt", "login_hint", "domain_hint",
		"claims", "code_challenge", "code_challenge_method", "client_info", "sid", "client-request-id", "unknown", script,
	} {
		query := asSPA(name, script)
		check(name, u.open(contoso, query))
		query.Set("response_mode", "form_post")
		check(name+", by form", u.open(contoso, query))
		check(name+", to sign out", u.signOut(form(name, script)))
	}
	for _, name := range []string{"post_logout_redirect_uri", "logout_hint", "id_token_hint"} {
		check(name, u.signOut(form(name, script)))
	}
	check("tenant", u.open(url.PathEscape(script), asSPA()))
	page := u.open(contoso, asSPA("scope", "api://todo/Write", "claims", `{"id_token":{"acrs":{"value":"c1"}}}`))
	check("users", page)
	page = u.choose(page, aliceID)
	check("proof", page)
	page = u.press(page, "action", "prove")
	check("consent", page)
	check("action", u.press(page, "action", script))
	check("flow", u.send("POST", "/"+contoso+"/login", form("flow", script)))
}

// The form of a page is good for the browser that got it, from our own page, for a while.
func TestPageFormsAreRefused(t *testing.T) {
	k := start(t)
	u := k.user()
	page := u.open(contoso, asSPA())
	flow := flowOf.FindStringSubmatch(page.body)[1]
	fields := form("action", "choose", "user", aliceID, "flow", flow)
	path := "/" + contoso + "/login"
	own := k.URL()
	changed := "A"
	if flow[60:61] == changed {
		changed = "B"
	}
	with := func(flow string) url.Values { return change(cloneForm(fields), []string{"flow", flow}) }
	_, tokens, _ := k.redeem(contoso, "", codeForm(k.user().signIn(contoso, asWeb(), aliceID).Get("code")))
	for name, got := range map[string]seen{
		"another origin":        u.send("POST", path, fields, "Origin", "https://evil.example"),
		"no origin to speak of": u.send("POST", path, fields, "Origin", "null"),
		"another port":          u.send("POST", path, fields, "Origin", own+"1"),
		"http":                  u.send("POST", path, fields, "Origin", strings.Replace(own, "https", "http", 1)),
		"cross-site":            u.send("POST", path, fields, "Sec-Fetch-Site", "cross-site"),
		"same-site":             u.send("POST", path, fields, "Sec-Fetch-Site", "same-site", "Origin", own),
		"another browser":       k.user().send("POST", path, fields, "Origin", own),
		"no flow":               u.send("POST", path, with(""), "Origin", own),
		"changed flow":          u.send("POST", path, with(flow[:60]+changed+flow[61:]), "Origin", own),
		"a refresh token":       u.send("POST", path, with(tokens["refresh_token"].(string)), "Origin", own),
		"to sign out":           u.send("POST", "/"+contoso+"/logout", fields, "Origin", own),
		"not a form":            u.send("POST", path, fields, "Origin", own, "Content-Type", "text/plain"),
	} {
		if got.status != http.StatusBadRequest || got.header.Get("Location") != "" || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %d %v, want 400", name, got.status, got.header)
		}
	}
	if _, response := u.open(contoso, asSPA("prompt", "none")).response(t); response.Get("error") != "login_required" {
		t.Errorf("after all these: got %v, want nobody signed in", response)
	}
	for name, userID := range map[string]string{"a user of another tenant": fridaID, "nobody": ""} {
		if got := u.choose(page, userID); got.status != http.StatusOK || !strings.Contains(got.body, "Choose who signs in") {
			t.Errorf("%s: got %d %s, want the page once more", name, got.status, got.body)
		}
	}
	// A page of one step does not stand for another user's or an earlier step.
	for _, action := range []string{"consent", "prove"} {
		if got := u.press(page, "action", action); got.status != http.StatusOK || !strings.Contains(got.body, "Choose who signs in") {
			t.Errorf("%s before the choice: got %d %s, want the page", action, got.status, got.body)
		}
	}
	if _, response := u.choose(page, aliceID).response(t); !response.Has("code") {
		t.Errorf("the page itself: got %v, want a code", response)
	}
}

// Parameters may come once each, and in any size that fits into a header or a body.
func TestAuthorizationParametersAreBounded(t *testing.T) {
	k := start(t)
	u := k.user()
	path := "/" + contoso + "/oauth2/v2.0/authorize"
	for _, name := range []string{"client_id", "redirect_uri", "state", "scope", "claims"} {
		query := asSPA()
		query.Add(name, query.Get(name)+"x")
		query.Add(name, "y")
		if got := u.open(contoso, query); got.status != http.StatusBadRequest || !strings.Contains(got.body, "AADSTS9000411") {
			t.Errorf("%s twice: got %d %s, want a page", name, got.status, got.body)
		}
	}
	if got := u.send("GET", path+"?client_id=%zz", nil); got.status != http.StatusBadRequest || !strings.Contains(got.body, "AADSTS9000411") {
		t.Errorf("malformed: got %d %s", got.status, got.body)
	}
	if got := u.send("POST", path, asSPA("state", strings.Repeat("s", 2<<20))); got.status != http.StatusBadRequest {
		t.Errorf("2 MiB: got %d, want 400", got.status)
	}
	large := strings.Repeat("s", 700_000)
	page := u.send("POST", path, asSPA("state", large, "response_mode", "form_post"))
	if _, response := u.choose(page, aliceID).response(t); response.Get("state") != large || !response.Has("code") {
		t.Errorf("700 kB of state: got %d, want a code", page.status)
	}
	if got := u.send("POST", "/"+contoso+"/login", form("flow", strings.Repeat("f", 5<<20))); got.status != http.StatusBadRequest {
		t.Errorf("5 MiB of flow: got %d, want 400", got.status)
	}
}

// On common and organizations the users of all tenants of a multi-tenant app are offered, and
// the code is the user's tenant's.
func TestUserOfAnyTenantSignsIn(t *testing.T) {
	k := start(t)
	query := func(changes ...string) url.Values {
		shared := []string{"client_id", sharedID, "redirect_uri", "https://shared.example/", "scope", "openid " + sharedID + "/Read"}
		return asSPA(append(shared, changes...)...)
	}
	for _, path := range []string{"common", "organizations"} {
		u := k.user()
		page := u.open(path, query())
		for _, name := range []string{"alice@contoso.example", "frida@fabrikam.example"} {
			if !strings.Contains(page.body, name) {
				t.Errorf("%s: page: got %s, want %s", path, page.body, name)
			}
		}
		if page := u.open(path, query("domain_hint", "fabrikam.example")); strings.Contains(page.body, "alice@") {
			t.Errorf("%s with a domain hint: got %s", path, page.body)
		}
		_, response := u.choose(page, fridaID).response(t)
		redeem := spaCodeForm(response.Get("code"), "client_id", sharedID, "redirect_uri", "https://shared.example/")
		status, body, _ := k.redeem(contoso, "https://shared.example", redeem)
		if status != http.StatusBadRequest || body["error"] != "invalid_grant" {
			t.Errorf("%s: in another tenant: got %d %v", path, status, body)
		}
		status, body, _ = k.redeem(path, "https://shared.example", redeem)
		if status != http.StatusOK || claimsOf(t, body["access_token"])["tid"] != fabrikam {
			t.Errorf("%s: got %d %v, want a token of fabrikam", path, status, body)
		}
	}
}

// A fault of the flow authorize is an error at the redirect URI.
func TestFaultRefusesSignIn(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{Flow: "authorize", Times: 1, Error: "temporarily_unavailable", ErrorCodes: []int{90033}})
	got := k.user().open(contoso, asSPA())
	target, response := got.response(t)
	if response.Get("error") != "temporarily_unavailable" || response.Get("state") != "a state" ||
		!strings.HasPrefix(got.header.Get("Location"), target+"#") {
		t.Errorf("got %v, want an error in the fragment", got.header)
	}
}

// Pages of single-page applications may call the token endpoint, no others.
func TestCrossOriginRequests(t *testing.T) {
	k := start(t)
	u := k.user()
	path := "/" + contoso + "/oauth2/v2.0/token"
	for origin, want := range map[string]string{spaOrigin: spaOrigin, "https://evil.example": "", "null": "", "https://web.example": ""} {
		got := u.send("OPTIONS", path, nil,
			"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "client-request-id")
		if allowed := got.header.Get("Access-Control-Allow-Origin"); got.status != http.StatusNoContent || allowed != want ||
			(want != "") != (got.header.Get("Access-Control-Allow-Headers") == "client-request-id") {
			t.Errorf("preflight of %s: got %d %v", origin, got.status, got.header)
		}
		if got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight of %s: allows credentials", origin)
		}
		// Even a refusal and a fault are for the page to read.
		k.AddFault(mockidp.Fault{Flow: "refresh_token", Times: 1, Error: "temporarily_unavailable", Status: 503})
		for range 2 {
			got := u.send("POST", path, form("grant_type", "refresh_token", "client_id", spaID, "refresh_token", "x"), "Origin", origin)
			if allowed := got.header.Get("Access-Control-Allow-Origin"); got.status < 400 || allowed != want {
				t.Errorf("refusal for %s: got %d %v", origin, got.status, got.header)
			}
		}
	}
	for _, path := range []string{
		"/common/v2.0/.well-known/openid-configuration", "/common/discovery/v2.0/keys",
		"/common/discovery/instance?authorization_endpoint=" + url.QueryEscape(k.URL()+"/common/oauth2/v2.0/authorize"),
	} {
		if got := u.send("GET", path, nil, "Origin", "https://evil.example"); got.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got %v, want every page to read it", path, got.header)
		}
	}
	// A page that cannot read a refusal or a fault sees a network error in its place.
	for _, c := range []struct{ flow, path, origin, want string }{
		{"metadata", "/nowhere.example/v2.0/.well-known/openid-configuration", "https://evil.example", "*"},
		{"keys", "/nowhere.example/discovery/v2.0/keys", "https://evil.example", "*"},
		{"metadata", "/common/discovery/instance?authorization_endpoint=https://nowhere.example/common/", "https://evil.example", "*"},
		{"userinfo", "/oidc/userinfo", spaOrigin, spaOrigin},
		{"userinfo", "/oidc/userinfo", "https://evil.example", ""},
	} {
		k.AddFault(mockidp.Fault{Flow: c.flow, Times: 1, Error: "temporarily_unavailable", Status: 503})
		for _, kind := range []string{"fault", "refusal"} {
			got := u.send("GET", c.path, nil, "Origin", c.origin)
			if allowed := got.header.Get("Access-Control-Allow-Origin"); got.status < 400 || allowed != c.want {
				t.Errorf("%s of %s for %s: got %d %v, want %q", kind, c.path, c.origin, got.status, got.header, c.want)
			}
		}
	}
	if got := u.open(contoso, asSPA()); got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("authorize: got %v, want no page to read it", got.header)
	}
}
