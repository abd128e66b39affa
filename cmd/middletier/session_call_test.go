package main

import (
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"middletier/internal/mockidp"
	"middletier/internal/records"
	"middletier/internal/testkit/redistest"
)

// withSessions turns sessions on, for a service that browsers reach at its own address.
func withSessions(f *file) {
	f.Session.Enabled = true
	f.Server.PublicURL = webAppURL
}

// ownPage are the headers that a browser sends with a fetch of a page of the service's own
// origin that has the session's header.
var ownPage = []string{"X-CSRF: 1", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Origin: https://app.contoso.example"}

// A request of a session must come from a script of this origin: it has a header that pages
// of others cannot send, and browsers say that it is not theirs.
func TestSessionRequestsComeFromOurOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSessions, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
	})
	const own, csrf = "Origin: https://app.contoso.example", "X-CSRF: 1"
	for _, row := range []struct {
		name  string
		lines []string
		pass  bool // to the check of the session
	}{
		{"no browser", []string{csrf}, true},
		{"a script of our origin", ownPage, true},
		{"a script of our origin, in an old browser", []string{csrf, own}, true},
		{"without Origin, as with GET", []string{csrf, "Sec-Fetch-Site: same-origin"}, true},
		{"without the header", []string{"Sec-Fetch-Site: same-origin", own}, false},
		{"an empty header", []string{"X-CSRF: "}, false},
		{"another value", []string{"X-CSRF: 01"}, false},
		{"true", []string{"X-CSRF: true"}, false},
		{"twice", []string{csrf, csrf}, false},
		{"a list", []string{"X-CSRF: 1, 1"}, false},
		{"another name", []string{"X_CSRF: 1"}, false},
		{"in the query", []string{}, false},
		{"another site", []string{csrf, "Sec-Fetch-Site: cross-site"}, false},
		{"another origin of our site", []string{csrf, "Sec-Fetch-Site: same-site"}, false},
		{"a script that says none", []string{csrf, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: cors"}, false},
		{"an unknown site", []string{csrf, "Sec-Fetch-Site: next-door"}, false},
		{"two sites", []string{csrf, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, false},
		{"another origin", []string{csrf, "Origin: https://evil.example"}, false},
		{"an origin of server.cors", []string{csrf, "Origin: https://listed.example"}, false},
		{"a frame without an origin", []string{csrf, "Origin: null"}, false},
		{"ours over http", []string{csrf, "Origin: http://app.contoso.example"}, false},
		{"ours with another port", []string{csrf, "Origin: https://app.contoso.example:8443"}, false},
		{"an origin that begins like ours", []string{csrf, "Origin: https://app.contoso.example.evil.example"}, false},
		{"a sibling's", []string{csrf, "Origin: https://evil.contoso.example"}, false},
		{"two origins", []string{csrf, own, "Origin: https://evil.example"}, false},
		{"the host that the request names, not publicUrl", []string{csrf, "Origin: " + w.url}, false},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "QUERY"} {
			paths := []string{"/bff/api/todo/items"}
			if method == "GET" {
				paths = append(paths, "/bff/user")
			}
			status, kind := http.StatusForbidden, "cross-site-request"
			if row.pass {
				status, kind = http.StatusUnauthorized, "session-required"
			}
			for _, path := range paths {
				r := w.send(method, w.url+path+"?X-CSRF=1", "", nil, row.lines...)
				if r.StatusCode != status || r.kind() != kind {
					t.Errorf("%s, %s %s: got %d %s, want %d %s", row.name, method, path, r.StatusCode, r.body, status, kind)
				}
				wantNoCORS(t, method+", "+row.name, r)
			}
		}
	}
	if seen := w.api.seen(); len(seen) != 0 || w.exchanges() != 0 {
		t.Errorf("the API got %d requests, the provider %d", len(seen), w.exchanges())
	}
}

// wantNoCORS: an answer lets no page of another origin read it.
func wantNoCORS(t *testing.T, what string, r *reply) {
	t.Helper()
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Timing-Allow-Origin" {
			t.Errorf("%s: got %s: %s", what, name, r.Header.Get(name))
		}
	}
}

// Below /bff there is no CORS: a preflight is a request like any other, and is refused.
func TestSessionsHaveNoCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSessions, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
		f.Server.ServerTiming = true
	})
	preflight := []string{"Origin: https://listed.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-csrf"}
	for _, path := range []string{"/bff/api/todo/items", "/bff/user", "/bff/login"} {
		r := w.send("OPTIONS", w.url+path, "", nil, preflight...)
		if r.StatusCode < 400 {
			t.Errorf("%s: got %d, want a refusal", path, r.StatusCode)
		}
		wantNoCORS(t, path, r)
	}
	if r := w.send("OPTIONS", w.url+"/api/todo/items", "", nil, preflight...); r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("/api: got %v, want CORS as ever", r.Header)
	}
}

// One pipeline: what /api answers to a user's token, /bff/api answers to the session of the
// same user, and says where to sign in if that helps.
func TestSessionsAreAnsweredAsTokensAre(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) {
		f.Session.Scopes = []string{"ToDoList.Read"}
		api := f.DownstreamAPIs["todo"]
		appOnly, closed := api, api
		appOnly.RequestAppToken, closed.Access = true, nil
		f.DownstreamAPIs = map[string]downstreamAPI{"todo": api, "daemon": appOnly, "closed": closed}
	})
	const (
		own   = "api%3A%2F%2F" + demoMiddleTier + "%2F"
		write = "returnUrl=%2F&scope=" + own + "ToDoList.ReadWrite"
	)
	refusal := func(code string, number int) *mockidp.Fault {
		return &mockidp.Fault{Error: code, ErrorCodes: []int{number}}
	}
	for _, row := range []struct {
		name, method, path, line string
		fault                    *mockidp.Fault
		status                   int
		kind, login              string // the query of the loginUrl; "": none
	}{
		{name: "a call", method: "GET", path: "todo/items?a=%20b", status: 200},
		{name: "no such API", method: "GET", path: "nothing/items", status: 404, kind: "unknown-api"},
		{name: "no rule", method: "GET", path: "closed/items", status: 403, kind: "no-access-rule"},
		{name: "an API for applications", method: "GET", path: "daemon/items", status: 403, kind: "wrong-token-type"},
		{name: "a method without a rule", method: "PATCH", path: "todo/items", status: 405, kind: "method-not-allowed"},
		{name: "a method in lower case", method: "post", path: "todo/items", status: 400, kind: "invalid-request"},
		{name: "a method in a header", method: "GET", path: "todo/items", line: "X-HTTP-Method-Override: DELETE", status: 403, kind: "insufficient-scope", login: write},
		{name: "a path that leaves the API", method: "GET", path: "todo/..%2fother", status: 400, kind: "invalid-request"},
		{name: "too little scope", method: "POST", path: "todo/items", status: 403, kind: "insufficient-scope", login: write},
		{name: "consent is missing", method: "GET", path: "todo/items", fault: refusal("invalid_grant", 65001), status: 403, kind: "consent-required", login: "prompt=consent&returnUrl=%2F&scope=" + own + ".default"},
		{name: "the user must act", method: "GET", path: "todo/items", fault: refusal("interaction_required", 50076), status: 401, kind: "interaction-required", login: "prompt=login&returnUrl=%2F"},
		{name: "we are refused", method: "GET", path: "todo/items", fault: refusal("unauthorized_client", 700016), status: 500, kind: "misconfigured"},
		{name: "the provider is down", method: "GET", path: "todo/items", fault: &mockidp.Fault{Status: 503}, status: 503, kind: "identity-provider-unavailable"},
	} {
		page, token := w.signIn("alice"), w.idp.UserToken("alice", "web", "middletier", "ToDoList.Read")
		var lines []string
		if row.line != "" {
			lines = []string{row.line}
		}
		if row.fault != nil {
			row.fault.Flow = "on_behalf_of"
			w.idp.AddFault(*row.fault)
		}
		bearer := w.send(row.method, w.url+"/api/"+row.path, token, nil, lines...)
		cookie := page.call(row.method, "/bff/api/"+row.path, "", lines...)
		w.idp.ClearFaults()
		login := ""
		if row.login != "" {
			login = "/bff/login?" + row.login
		}
		for way, r := range map[string]*reply{"/api": bearer, "/bff/api": cookie} {
			if r.StatusCode != row.status || r.kind() != row.kind {
				t.Errorf("%s, %s: got %d %s, want %d %s", row.name, way, r.StatusCode, r.body, row.status, row.kind)
			}
		}
		if bearer.problem.LoginURL != "" || cookie.problem.LoginURL != login {
			t.Errorf("%s: loginUrl: got %q and %q, want none and %q", row.name, bearer.problem.LoginURL, cookie.problem.LoginURL, login)
		}
		if got, want := cookie.problem.Detail, bearer.problem.Detail; got != want {
			t.Errorf("%s: got %q, want %q, as on /api", row.name, got, want)
		}
	}
}

// A call with a session reaches the API as one with a token does, without the cookie. The
// API's cookies and links are those of its place below /bff/api.
func TestCallsOfSessions(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) {
		api := f.DownstreamAPIs["todo"]
		api.ResponseHeaders.KeepCookies = true
		f.DownstreamAPIs["todo"] = api
	})
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := rw.Header()
		for _, cookie := range []string{sessionName + "=stolen; Path=/; Secure", "middletier=x", "=" + sessionName + "=x", sessionName + "-login-x=y", "theirs=1"} {
			h.Add("Set-Cookie", cookie)
		}
		h.Set("Clear-Site-Data", `"cookies"`)
		h.Set("Location", w.api.URL+"/items/7")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "public, max-age=60")
		rw.WriteHeader(http.StatusCreated)
		_, _ = rw.Write(append([]byte("got "), body...))
	})
	page := w.signIn("alice")
	r := page.call("POST", "/bff/api/todo/items?a=%20b", "milk", "Accept: text/plain")
	if r.StatusCode != http.StatusCreated || r.body != "got milk" {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	if got := r.Header["Set-Cookie"]; len(got) != 1 || got[0] != "theirs=1" || r.Header["Clear-Site-Data"] != nil {
		t.Errorf("cookies: got %q, want the API's own; Clear-Site-Data: %q", got, r.Header["Clear-Site-Data"])
	}
	if got, want := r.Header.Get("Location"), webAppURL+"/bff/api/todo/items/7"; got != want {
		t.Errorf("Location: got %q, want %q", got, want)
	}
	wantNoCORS(t, "a call", r)
	if got := r.Header.Get("Cache-Control") + "; " + r.Header.Get("Vary"); got != "private, max-age=60; Cookie" {
		t.Errorf("Cache-Control and Vary: got %q, want no shared cache to keep a session's answer", got)
	}
	seen := w.api.last(t)
	if seen.RequestURI != "/items?a=%20b" || seen.Header["Cookie"] != nil || seen.Header.Get("X-Forwarded-Prefix") != "/bff/api/todo" {
		t.Errorf("the API got %s with %v", seen.RequestURI, seen.Header)
	}
	if claims := claimsOf(t, seen); claims["oid"] != objectIDs["alice"] || claims["aud"] != demoToDo {
		t.Errorf("the API's token: got %v, want one for it, of alice", claims)
	}
	line := w.log.lines(t)[len(w.log.lines(t))-1]
	if line["route"] != "/bff/api/{name}/{path…}" || line["api"] != "todo" || line["client"] != demoWeb || line["oid"] != objectIDs["alice"] {
		t.Errorf("log: got %v", line)
	}
	if secret := page.cookies[sessionName].Value; strings.Contains(w.log.String(), secret) {
		t.Error("the log holds the cookie")
	}
	before := w.idp.Count("on_behalf_of")
	page.call("GET", "/bff/api/todo/items", "")
	if got := w.idp.Count("on_behalf_of"); got != before {
		t.Errorf("a second call: got %d exchanges, want none", got-before)
	}
}

// Without a session that counts, the page learns where to sign in, and comes back to where
// it is.
func TestWithoutASessionThePageSignsIn(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	page := w.signIn("alice")
	cookie := "Cookie: " + sessionName + "=" + page.cookies[sessionName].Value
	const away = "Referer: https://evil.example/x"
	for _, row := range []struct {
		name        string
		lines       []string
		status      int
		kind, login string
	}{
		{"no cookie", nil, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"no cookie, from a page", []string{"Referer: " + webAppURL + "/lists/7?done=1"}, 401, "session-required", "/bff/login?returnUrl=%2Flists%2F7%3Fdone%3D1"},
		{"no cookie, from elsewhere", []string{away}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"an unknown cookie", []string{"Cookie: " + sessionName + "=" + strings.Repeat("A", 32)}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"no cookie at all", []string{"Cookie: " + sessionName + "=x; a=b"}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"the name of loopback", []string{"Cookie: middletier=" + page.cookies[sessionName].Value}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"a bearer token", []string{"Authorization: Bearer " + w.alice()}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"the token of the platform's sign-in", []string{"X-MS-TOKEN-AAD-ACCESS-TOKEN: " + w.alice()}, 401, "session-required", "/bff/login?returnUrl=%2F"},
		{"both", []string{cookie, "Authorization: Bearer " + w.alice()}, 400, "invalid-request", ""},
		{"both, one empty", []string{cookie, "Authorization: "}, 400, "invalid-request", ""},
		{"both, Basic", []string{cookie, "Authorization: Basic eDp5"}, 400, "invalid-request", ""},
		{"the session", []string{cookie}, 200, "", ""},
	} {
		r := w.send("GET", w.url+"/bff/api/todo/items", "", nil, append(append([]string(nil), ownPage...), row.lines...)...)
		if r.StatusCode != row.status || r.kind() != row.kind || r.problem.LoginURL != row.login {
			t.Errorf("%s: got %d %s, want %d %s with loginUrl %q", row.name, r.StatusCode, r.body, row.status, row.kind, row.login)
		}
		if r.StatusCode == 401 && !strings.Contains(r.Header.Get("WWW-Authenticate"), "resource_metadata=\""+webAppURL+"/.well-known/oauth-protected-resource/api/todo\"") {
			t.Errorf("%s: got WWW-Authenticate %q", row.name, r.Header.Get("WWW-Authenticate"))
		}
	}
	if r := w.send("GET", w.url+"/api/todo/items", "", nil, append([]string{cookie}, ownPage...)...); r.StatusCode != 401 || r.kind() != "missing-token" {
		t.Errorf("/api with a cookie: got %d %s", r.StatusCode, r.body)
	}
}

// A window that opens an API's URL without a session is sent to the sign-in, and back. With
// one it is refused: it shows no header.
func TestWindowsAreSentToTheSignIn(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	window := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: cross-site"}
	const back = "/bff/login?returnUrl=%2Fbff%2Fapi%2Ftodo%2Fitems%3Fa%3Db"
	r := w.send("GET", w.url+"/bff/api/todo/items?a=b", "", nil, window...)
	if r.StatusCode != http.StatusFound || r.Header.Get("Location") != back || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d to %q %v, want %q", r.StatusCode, r.Header.Get("Location"), r.Header, back)
	}
	for name, lines := range map[string][]string{
		"a frame":          {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
		"a script's fetch": {"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"},
		"an image":         {"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"},
	} {
		if r := w.send("GET", w.url+"/bff/api/todo/items", "", nil, lines...); r.StatusCode != 403 || r.kind() != "cross-site-request" {
			t.Errorf("%s: got %d %s", name, r.StatusCode, r.body)
		}
	}
	if r := w.send("POST", w.url+"/bff/api/todo/items", "", nil, window...); r.StatusCode != 403 || r.kind() != "cross-site-request" {
		t.Errorf("a form: got %d %s", r.StatusCode, r.body)
	}
	page := w.signIn("alice")
	if r := page.send("GET", "/bff/api/todo/items", "", window...); r.StatusCode != 403 || r.kind() != "cross-site-request" {
		t.Errorf("with a session: got %d %s", r.StatusCode, r.body)
	}
	if seen := w.api.seen(); len(seen) > 0 {
		t.Errorf("the API got %d requests", len(seen))
	}
}

// While Redis cannot be read, nobody knows whether a window has a session.
func TestWindowsWithoutRedisAreToldSo(t *testing.T) {
	redis := redistest.Start(t)
	w := newSessionWorld(t, withRedis(redis))
	page := w.newPage()
	page.cookies[sessionName] = &http.Cookie{Name: sessionName, Value: records.NewKey().Secret()}
	redis.Kill()
	r := page.send("GET", "/bff/api/todo/items", "", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none")
	if r.StatusCode != http.StatusServiceUnavailable || r.kind() != "shared-cache-unavailable" || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 with Retry-After", r.StatusCode, r.body)
	}
}

// A sign-in that fails at the provider is begun again with what it was begun for.
func TestFailedSignInKeepsWhereItGoes(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	for _, failure := range []string{"error=access_denied", "error=login_required"} {
		page := w.newPage()
		at, err := url.Parse(page.send("GET", "/bff/login?returnUrl=/items%3Fpage=2", "").Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		r := page.sendAs("GET", "/signin-oidc?"+failure+"&state="+at.Query().Get("state"), "", true)
		login, err := url.Parse(r.problem.LoginURL)
		if err != nil || login.Path != "/bff/login" || login.Query().Get("returnUrl") != "/items?page=2" {
			t.Errorf("%s: got %d %s, want a loginUrl that returns to /items?page=2", failure, r.StatusCode, r.body)
		}
	}
}

// A claims challenge, of the provider or of the API, reaches the page as a loginUrl with the
// claims, whatever the token declares; the sign-in meets it and comes back to where the page was,
// and the call goes through.
func TestPagesAnswerClaimsChallenges(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) { f.AzureAd.ClientCapabilities = nil }) // the token declares none
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	page := w.signIn("alice")
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Error: "interaction_required", Suberror: "basic_action", ErrorCodes: []int{50079}, Claims: claims})
	r := page.call("GET", "/bff/api/todo/items", "", "Referer: "+webAppURL+"/lists/7?done=1")
	login, err := url.Parse(r.problem.LoginURL)
	if err != nil || r.StatusCode != http.StatusUnauthorized || r.kind() != "claims-challenge" {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	if got, err := base64.RawURLEncoding.DecodeString(login.Query().Get("claims")); err != nil || string(got) != claims {
		t.Errorf("claims: got %q %v, want %q", got, err, claims)
	}
	if next := page.follow(r.problem.LoginURL, "alice"); next != "/lists/7?done=1" {
		t.Errorf("after the sign-in: got %q, want where the page was", next)
	}
	if r := page.call("GET", "/bff/api/todo/items", ""); r.StatusCode != http.StatusOK {
		t.Errorf("after the sign-in: got %d %s", r.StatusCode, r.body)
	}
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", ErrorCodes: []int{50079}, Claims: claims})
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(claims))+`"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	r = page.call("GET", "/bff/api/todo/items", "", "Sec-Fetch-Mode: cors")
	if r.StatusCode != http.StatusUnauthorized || r.kind() != "claims-challenge" || !strings.Contains(r.problem.LoginURL, "claims=") {
		t.Errorf("of the API: got %d %s", r.StatusCode, r.body)
	}
}

// An operator ends a user's sessions, and all of them, also in memory.
func TestOperatorsEndSessions(t *testing.T) {
	t.Parallel()
	w := newStoppedSessionWorld(t)
	p := w.startReady()
	listener := httptest.NewServer(p.api.Admin(new(slog.LevelVar)))
	t.Cleanup(listener.Close)
	wantSessions := func(when string, pages map[*page]bool) {
		t.Helper()
		for page, alive := range pages {
			r := page.call("GET", "/bff/api/todo/items", "")
			if (r.StatusCode == http.StatusOK) != alive || !alive && r.kind() != "session-required" {
				t.Errorf("%s: got %d %s, want a session: %v", when, r.StatusCode, r.body, alive)
			}
		}
	}
	alice, elsewhere, bob := w.signIn("alice"), w.signIn("alice"), w.signIn("bob")
	wantSessions("at first", map[*page]bool{alice: true, elsewhere: true, bob: true})
	if r := w.ask("DELETE", listener.URL+"/cache/users/"+demoTenant+"/"+strings.ToUpper(objectIDs["alice"])); r.StatusCode != http.StatusNoContent {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	wantSessions("after alice's deletion", map[*page]bool{alice: false, elsewhere: false, bob: true})
	wantSessions("a new sign-in", map[*page]bool{w.signIn("alice"): true})
	if r := w.ask("DELETE", listener.URL+"/cache"); r.StatusCode != http.StatusNoContent {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	wantSessions("after the deletion of everything", map[*page]bool{bob: false})
}

// Without sessions there is nothing below /bff.
func TestWithoutSessionsThereIsNoRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.send("GET", w.url+"/bff/api/todo/items", "", nil, ownPage...); r.StatusCode != http.StatusNotFound || r.kind() != "not-found" {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
}
