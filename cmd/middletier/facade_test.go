package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

const (
	mcpClient   = "97777777-7777-4777-8777-777777777777" // the client of the authorization server
	mcpSecret   = "another-secret-that-must-not-be-seen"
	mcpCallback = "https://chat.example/callback"
	proof       = "correct-horse-battery-staple-0123456789-ABCDEF" // a code verifier
)

func proofChallenge() string {
	sum := sha256.Sum256([]byte(proof))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// mcpDirectory is the test's directory with the client of the authorization server, whose
// tenant has consented to all scopes of the service but one.
func mcpDirectory() mockidp.Directory {
	directory := testDirectory()
	for i, app := range directory.Apps {
		if app.ClientID == demoMiddleTier {
			directory.Apps[i].Scopes = append(slices.Clone(app.Scopes), "ToDoList.Admin")
		}
	}
	directory.Apps = append(directory.Apps, mockidp.App{
		Name: "mcp", TenantID: demoTenant, ClientID: mcpClient, ObjectID: "97777777-0000-4000-8000-000000000000", Secrets: []string{mcpSecret},
		RedirectURIs: mockidp.RedirectURIs{Web: []string{mcpCallback, "http://127.0.0.1/callback"}},
	})
	directory.Grants = append(directory.Grants, mockidp.Grant{
		Client: "mcp", Resource: "middletier", Scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"},
	})
	return directory
}

// withFacade gives the API todo an authorization server.
func withFacade(f *file) {
	d := f.DownstreamAPIs["todo"]
	d.MCP.AuthorizationServer = authorizationServerKeys{
		ClientID: mcpClient, ClientSecret: mcpSecret, AllowedRedirectURIs: []string{mcpCallback, "http://127.0.0.1/callback"},
	}
	f.DownstreamAPIs["todo"] = d
}

// newFacade starts a world with the authorization server.
func newFacade(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newStoppedWorldOf(t, mcpDirectory(), append([]func(*file){withFacade}, change...)...)
	w.startReady()
	return w
}

func (w *world) issuer() string { return w.url + "/mcp/todo" }

func ours(name string) string { return "api://" + demoMiddleTier + "/" + name }

// changedForm returns a form with some parameters changed, by name and value; "-": without it.
func changedForm(form url.Values, changes ...string) url.Values {
	form = maps.Clone(form)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "-" {
			form.Del(changes[i])
			continue
		}
		form.Set(changes[i], changes[i+1])
	}
	return form
}

// goodAuthorization is an authorization request as MCP clients send it.
func (w *world) goodAuthorization(changes ...string) url.Values {
	return changedForm(url.Values{
		"response_type": {"code"}, "client_id": {mcpClient}, "redirect_uri": {mcpCallback}, "state": {"a state"},
		"scope": {"ToDoList.Read offline_access"}, "code_challenge": {proofChallenge()}, "code_challenge_method": {"S256"},
		"resource": {w.url + "/api/todo/mcp"},
	}, changes...)
}

// authorize sends an authorization request.
func (w *world) authorize(query string) *reply {
	w.t.Helper()
	return w.call("GET", "/mcp/todo/authorize?"+query, "", "")
}

// sentTo returns where an answer sends the browser, and with what.
func (r *reply) sentTo(t *testing.T) (target string, parameters url.Values) {
	t.Helper()
	target, query, _ := strings.Cut(r.Header.Get("Location"), "?")
	parameters, err := url.ParseQuery(query)
	if err != nil || r.StatusCode != http.StatusFound {
		t.Fatalf("got %d %v %s, want a redirect", r.StatusCode, r.Header, r.body)
	}
	return target, parameters
}

// signInAt follows an authorization URL to the platform, as follow does.
func (w *world) signInAt(t *testing.T, authorizeURL, user string) url.Values {
	t.Helper()
	return follow(t, w.transport(), w.idp.URL(), authorizeURL, user)
}

// follow follows an authorization URL as the browser of a user who clicks on their name and
// agrees to everything, and returns what is sent to the redirect URI.
func follow(t *testing.T, transport http.RoundTripper, platform, authorizeURL, user string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: transport, Jar: jar, CheckRedirect: noRedirects.CheckRedirect}
	resp, err := browser.Get(authorizeURL)
	for range 10 {
		if err != nil {
			t.Fatal(err)
		}
		body, readErr := io.ReadAll(resp.Body)
		resp.Body.Close()
		location := resp.Header.Get("Location")
		action, flow := formAction.FindSubmatch(body), formFlow.FindSubmatch(body)
		switch {
		case readErr != nil:
			t.Fatal(readErr)
		case strings.HasPrefix(location, platform):
			resp, err = browser.Get(location)
		case location != "":
			_, query, _ := strings.Cut(location, "?")
			parameters, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			return parameters
		case action != nil && flow != nil:
			form := url.Values{"flow": {html.UnescapeString(string(flow[1]))}, "user": {user}, "action": {"choose"}}
			if strings.Contains(string(body), `value="consent"`) {
				form.Set("action", "consent")
			}
			var req *http.Request
			if req, err = http.NewRequest("POST", platform+html.UnescapeString(string(action[1])), strings.NewReader(form.Encode())); err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", platform)
			resp, err = browser.Do(req)
		default:
			t.Fatalf("the sign-in ends with %d %s", resp.StatusCode, body)
		}
	}
	t.Fatal("the sign-in does not end")
	return nil
}

// aliceSignsIn returns a code for alice.
func (w *world) aliceSignsIn(t *testing.T, changes ...string) string {
	t.Helper()
	got := w.signInAt(t, w.issuer()+"/authorize?"+w.goodAuthorization(changes...).Encode(), "aaaaaaaa-0000-4000-8000-000000000001")
	if got.Get("code") == "" || got.Get("state") != "a state" {
		t.Fatalf("the sign-in ends with %q", got)
	}
	return got.Get("code")
}

// redemption is the request of a client that has got a code.
func (w *world) redemption(code string, changes ...string) url.Values {
	return changedForm(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {mcpClient}, "code": {code}, "redirect_uri": {mcpCallback},
		"code_verifier": {proof}, "resource": {w.url + "/api/todo/mcp"},
	}, changes...)
}

// oauthAnswer is the answer of a token endpoint.
type oauthAnswer struct {
	*reply
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	Scope        string
	Error        string
	Description  string `json:"error_description"`
	Codes        []int  `json:"error_codes"`
}

// postForm sends a form to the token endpoint, with header lines.
func (w *world) postForm(form url.Values, lines ...string) oauthAnswer {
	w.t.Helper()
	lines = append(lines, "Content-Type: application/x-www-form-urlencoded")
	return w.asOAuth(w.send("POST", w.issuer()+"/token", "", strings.NewReader(form.Encode()), lines...))
}

func (w *world) asOAuth(r *reply) oauthAnswer {
	w.t.Helper()
	answer := oauthAnswer{reply: r}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		w.t.Fatalf("got %d %q: %v", r.StatusCode, r.body, err)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" || r.Header.Get("Pragma") != "no-cache" {
		w.t.Errorf("Cache-Control is %q, want no-store", got)
	}
	if got := r.Header.Get("Access-Control-Allow-Origin"); got != "*" || r.Header.Get("Access-Control-Allow-Credentials") != "" {
		w.t.Errorf("Access-Control-Allow-Origin is %q, want * without credentials", got)
	}
	return answer
}

// lastForm returns the last form that the platform got at its token endpoint.
func (w *world) lastForm(t *testing.T) url.Values {
	t.Helper()
	for _, seen := range slices.Backward(w.idp.Requests()) {
		if strings.HasSuffix(seen.Path, "/token") {
			return seen.Form
		}
	}
	t.Fatal("the platform got no token request")
	return nil
}

// A client signs a user in, gets tokens, uses and renews them, and sees the provider in the
// browser only.
func TestFacadeSignsAUserIn(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	withTodo(t, w)
	code := w.aliceSignsIn(t)
	got := w.postForm(w.redemption(code))
	if got.StatusCode != 200 || got.TokenType != "Bearer" || got.ExpiresIn < 60 || got.RefreshToken == "" || got.Scope != ours("ToDoList.Read") {
		t.Fatalf("token: got %d %s", got.StatusCode, got.body)
	}
	if r := w.call("GET", "/api/todo/items", got.AccessToken, ""); r.StatusCode != 200 {
		t.Errorf("the token gives %d %s", r.StatusCode, r.body)
	}
	again := w.postForm(url.Values{"grant_type": {"refresh_token"}, "client_id": {mcpClient}, "refresh_token": {got.RefreshToken}})
	if again.StatusCode != 200 || again.RefreshToken == "" {
		t.Fatalf("refresh: got %d %s", again.StatusCode, again.body)
	}
	if r := w.call("POST", "/api/todo/items", again.AccessToken, `{"title":"x"}`); r.StatusCode != 201 {
		t.Errorf("the token after the refresh gives %d %s", r.StatusCode, r.body)
	}
	if log := w.log.String(); strings.Contains(log, mcpSecret) || strings.Contains(log, got.RefreshToken) || strings.Contains(log, code) {
		t.Error("the log has a secret")
	}
	lines := w.log.lines(t)
	if i := slices.IndexFunc(lines, func(line map[string]any) bool { return line["route"] == "/mcp/{name}/token" }); i < 0 || lines[i]["api"] != "todo" {
		t.Errorf("no log line of the token endpoint in %v", lines)
	}
}

// Only what the client cannot do without goes to the provider, and of us the credential.
func TestFacadeRelaysNothingElse(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	query := w.goodAuthorization(
		"nonce", "a nonce", "prompt", "login", "login_hint", "alice@contoso.example", "domain_hint", "contoso.example", "response_mode", "form_post",
		"claims", `{"id_token":{}}`, "request", "x.y.z", "request_uri", "https://evil.example/", "client_secret", "s", "audience", "x", "response_type", "code")
	target, sent := w.authorize(query.Encode()).sentTo(t)
	if want := w.idp.URL() + "/" + demoTenant + "/oauth2/v2.0/authorize"; target != want {
		t.Errorf("the browser goes to %s, want %s", target, want)
	}
	want := url.Values{
		"client_id": {mcpClient}, "redirect_uri": {mcpCallback}, "state": {"a state"}, "nonce": {"a nonce"}, "code_challenge": {proofChallenge()},
		"code_challenge_method": {"S256"}, "scope": {ours("ToDoList.Read") + " offline_access"}, "prompt": {"login"},
		"login_hint": {"alice@contoso.example"}, "domain_hint": {"contoso.example"}, "response_type": {"code"},
	}
	if sent.Encode() != want.Encode() {
		t.Errorf("the provider gets %s\nwant %s", sent.Encode(), want.Encode())
	}

	code := w.aliceSignsIn(t)
	got := w.postForm(w.redemption(code, "client_secret", "s", "client_assertion", "a.b.c", "client_assertion_type", "x", "claims", "{}",
		"requested_token_use", "on_behalf_of", "assertion", "a.b.c", "username", "bob", "scope", "ToDoList.Read"))
	if got.StatusCode != 200 {
		t.Fatalf("token: got %d %s", got.StatusCode, got.body)
	}
	form := w.lastForm(t)
	names := slices.Sorted(maps.Keys(form))
	if want := []string{"client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri", "scope"}; !slices.Equal(names, want) {
		t.Errorf("the token endpoint gets %q, want %q", names, want)
	}
	if form.Get("scope") != ours("ToDoList.Read") {
		t.Errorf("scope is %q", form.Get("scope"))
	}
}

// A refresh without scope asks for scopes of this service, and for those alone that the user
// has agreed to. One with other scopes is refused, although the refresh token is good for them.
func TestFacadeRefreshAsksForOurScopes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, more string // a scope of the rules beyond those that were granted
		asked      []string
	}{
		{"all granted", "", []string{ours("ToDoList.Read") + " " + ours("ToDoList.ReadWrite") + " offline_access"}},
		{"one is not", "ToDoList.Admin", []string{
			ours("ToDoList.Admin") + " " + ours("ToDoList.Read") + " " + ours("ToDoList.ReadWrite") + " offline_access",
			ours(".default") + " offline_access",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newFacade(t, func(f *file) {
				if row.more != "" {
					d := f.DownstreamAPIs["todo"]
					d.Access = slices.Clone(d.Access)
					d.Access[0].Scopes = append(slices.Clone(d.Access[0].Scopes), row.more)
					f.DownstreamAPIs["todo"] = d
				}
			})
			token := w.postForm(w.redemption(w.aliceSignsIn(t))).RefreshToken
			w.idp.ResetRequests()
			for _, scope := range []string{"-", "", "openid", "offline_access profile"} {
				w.idp.ResetRequests()
				refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {mcpClient}, "refresh_token": {token}, "resource": {w.url + "/api/todo/mcp"}}
				got := w.postForm(changedForm(refresh, "scope", scope))
				if got.StatusCode != 200 || strings.Contains(got.Scope, ".default") {
					t.Errorf("scope %q: got %d %s", scope, got.StatusCode, got.body)
				}
				var asked []string
				for _, seen := range w.idp.Requests() {
					if strings.HasSuffix(seen.Path, "/token") {
						asked = append(asked, seen.Form.Get("scope"))
					}
				}
				if !slices.Equal(asked, row.asked) {
					t.Errorf("scope %q: the provider is asked for %q, want %q", scope, asked, row.asked)
				}
			}
		})
	}
}

// Metadata is where RFC 8414 puts it, whatever a gateway does to the path, and the API's own
// metadata leads there.
func TestFacadeMetadata(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		public, basePath string
		issuer           string // "": at the address of the service
		paths            []string
	}{
		{"", "", "", []string{"/.well-known/oauth-authorization-server/mcp/todo"}},
		{"", "/m", "", []string{
			"/.well-known/oauth-authorization-server/m/mcp/todo", "/m/.well-known/oauth-authorization-server/mcp/todo",
			"/.well-known/oauth-authorization-server/mcp/todo",
		}},
		{"https://gw.example/a/b/", "", "https://gw.example/a/b/mcp/todo", []string{
			"/.well-known/oauth-authorization-server/a/b/mcp/todo", "/.well-known/oauth-authorization-server/mcp/todo",
			"/.well-known/oauth-authorization-server/mcp/todo/",
		}},
		{"https://gw.example", "/m", "https://gw.example/m/mcp/todo", []string{
			"/.well-known/oauth-authorization-server/m/mcp/todo", "/m/.well-known/oauth-authorization-server/mcp/todo",
		}},
	} {
		t.Run(row.public+row.basePath, func(t *testing.T) {
			t.Parallel()
			w := newFacade(t, func(f *file) { f.Server.PublicURL, f.Server.BasePath = row.public, row.basePath })
			issuer := row.issuer
			if issuer == "" {
				issuer = w.url + row.basePath + "/mcp/todo"
			}
			for _, path := range row.paths {
				r := w.send("GET", w.url+path, "", nil, "Origin: https://inspector.example")
				var got map[string]any
				if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.StatusCode != 200 {
					t.Fatalf("%s: got %d %s", path, r.StatusCode, r.body)
				}
				want := map[string]any{
					"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token",
					"registration_endpoint": issuer + "/register", "code_challenge_methods_supported": []any{"S256"},
					"response_types_supported": []any{"code"}, "response_modes_supported": []any{"query"},
					"grant_types_supported":                 []any{"authorization_code", "refresh_token"},
					"token_endpoint_auth_methods_supported": []any{"none"},
					"scopes_supported":                      []any{ours("ToDoList.Read"), ours("ToDoList.ReadWrite"), "openid", "profile", "offline_access"},
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: got %v\nwant %v", path, got, want)
				}
				if origin := r.Header.Get("Access-Control-Allow-Origin"); origin != "*" {
					t.Errorf("%s: Access-Control-Allow-Origin is %q", path, origin)
				}
			}
			for _, path := range []string{
				"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/", "/.well-known/oauth-authorization-server/mcp/other",
				"/.well-known/oauth-authorization-server/mcp/todo/x", "/.well-known/oauth-authorization-server/mcp/", "/mcp/todo", "/mcp/todo/", "/mcp/other/authorize",
			} {
				if r := w.call("GET", row.basePath+path, "", ""); r.StatusCode != 404 {
					t.Errorf("%s: got %d, want 404", path, r.StatusCode)
				}
			}
		})
	}
}

// Without the keys there is nothing.
func TestWithoutFacadeItsRoutesAreUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, target := range []string{"GET /.well-known/oauth-authorization-server/mcp/todo", "GET /mcp/todo/authorize", "POST /mcp/todo/token", "POST /mcp/todo/register"} {
		method, path, _ := strings.Cut(target, " ")
		if r := w.call(method, path, "", ""); r.StatusCode != 404 || r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %d, want 404", target, r.StatusCode)
		}
	}
}

// Where the redirect URI is not known to be good, nobody is sent anywhere.
func TestFacadeIsNoOpenRedirect(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	for _, uri := range badRedirectURIs {
		r := w.authorize(w.goodAuthorization("redirect_uri", uri, "response_type", "nonsense").Encode())
		if r.StatusCode != 400 || r.kind() != "invalid-request" || r.Header.Get("Location") != "" || strings.Contains(r.body, "evil") {
			t.Errorf("%q: got %d %s, Location %q; want 400", uri, r.StatusCode, r.body, r.Header.Get("Location"))
		}
		got := w.postForm(w.redemption("a-code", "redirect_uri", uri))
		if got.StatusCode != 400 || got.Error != "invalid_grant" && !strings.ContainsRune(uri, '\t') {
			t.Errorf("%q at the token endpoint: got %d %s", uri, got.StatusCode, got.body)
		}
	}
	for _, query := range []string{
		w.goodAuthorization("client_id", "-").Encode(), w.goodAuthorization("client_id", demoSPA).Encode(), w.goodAuthorization("client_id", strings.ToUpper(mcpClient)+" ").Encode(),
		w.goodAuthorization("redirect_uri", "-").Encode(), w.goodAuthorization().Encode() + "&client_id=" + mcpClient,
		w.goodAuthorization().Encode() + "&redirect_uri=" + url.QueryEscape(mcpCallback), w.goodAuthorization().Encode() + "&%zz=1",
		w.goodAuthorization().Encode() + ";a=b", w.goodAuthorization("state", strings.Repeat("x", 17<<10)).Encode(),
		w.goodAuthorization("state", "a\r\nSet-Cookie: x=y").Encode(), w.goodAuthorization("state", "\xff").Encode(),
		w.goodAuthorization().Encode() + strings.Repeat("&a", 60),
	} {
		if r := w.authorize(query); r.StatusCode != 400 || r.Header.Get("Location") != "" {
			t.Errorf("%.300s: got %d %s", query, r.StatusCode, r.Header.Get("Location"))
		}
	}
	if n := len(w.idp.Requests()); slices.ContainsFunc(w.idp.Requests(), func(r mockidp.Request) bool { return r.Method == "POST" }) {
		t.Errorf("the platform was asked %d times", n)
	}
}

var badRedirectURIs = []string{
	"", "https://evil.example/", "https://chat.example/", "https://chat.example", "https://chat.example/callback/",
	"https://chat.example/callback?x=1", "https://chat.example/callback#", "https://chat.example/callback#x",
	"https://chat.example/callback%20", "https://chat.example/callback ", " https://chat.example/callback",
	"https://chat.example/CALLBACK", "https://CHAT.example/callback", "HTTPS://chat.example/callback",
	"http://chat.example/callback", "https://chat.example:443/callback", "https://chat.example./callback",
	"https://chat.example/../callback", "https://chat.example//callback", "https://chat.example/callback/..",
	"https://chat.example/./callback", "https://user@chat.example/callback",
	"https://chat.example@evil.example/callback", "https://chat.example%2eevil.example/callback",
	"https://chat.example.evil.example/callback", "https://chat.example\\@evil.example/callback",
	"https://evil.example\\chat.example/callback", "https:/chat.example/callback", "https:chat.example/callback",
	"//chat.example/callback", "/callback", "javascript:alert(1)//https://chat.example/callback", "data:text/html,x",
	"cursor://chat.example/callback", "https://chat.example/callback\t", "https://chat.example/c%61llback",
	"https://xn--chat.example/callback", "https://chat.example/callback,https://evil.example/",
	"https://chat.example/callback https://evil.example/", "http://127.0.0.1:0/callback",
	"http://127.0.0.1:65536/callback", "http://127.0.0.1:080/callback", "http://127.0.0.1:/callback",
	"http://127.0.0.1:80a/callback", "http://127.0.0.1:80@evil.example/callback",
	"http://127.0.0.1.evil.example/callback", "http://127.0.0.1@evil.example/callback",
	"http://127.0.0.1#@evil.example/callback", "http://127.0.0.1?x/callback", "http://127.0.0.1\\evil.example/callback",
	"http://user:1@127.0.0.1/callback", "http://localhost/callback", "http://127.1/callback", "http://0.0.0.0/callback",
	"http://[::1]/callback", "http://2130706433/callback", "https://127.0.0.1/callback",
	"http://127.0.0.1:1:2/callback", "http://127.0.0.1:-1/callback", "http://127.0.0.1:1/callback/",
	"http://127.0.0.1/", "http://127.0.0.1:8000", "http://127.0.0.2:8000/callback",
}

// Errors of a client whose redirect URI is good go there, with the issuer that says so.
func TestFacadeSendsErrorsToTheClient(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	good := w.goodAuthorization().Encode()
	for _, row := range []struct{ name, query, code string }{
		{"no response type", w.goodAuthorization("response_type", "-").Encode(), "invalid_request"},
		{"implicit", w.goodAuthorization("response_type", "token").Encode(), "unsupported_response_type"},
		{"hybrid", w.goodAuthorization("response_type", "code id_token").Encode(), "unsupported_response_type"},
		{"ID token", w.goodAuthorization("response_type", "id_token").Encode(), "unsupported_response_type"},
		{"no PKCE", w.goodAuthorization("code_challenge", "-", "code_challenge_method", "-").Encode(), "invalid_request"},
		{"no challenge", w.goodAuthorization("code_challenge", "-").Encode(), "invalid_request"},
		{"plain by default", w.goodAuthorization("code_challenge_method", "-").Encode(), "invalid_request"},
		{"plain", w.goodAuthorization("code_challenge_method", "plain").Encode(), "invalid_request"},
		{"s256", w.goodAuthorization("code_challenge_method", "s256").Encode(), "invalid_request"},
		{"short challenge", w.goodAuthorization("code_challenge", proofChallenge()[1:]).Encode(), "invalid_request"},
		{"padded challenge", w.goodAuthorization("code_challenge", proofChallenge()+"=").Encode(), "invalid_request"},
		{"scope of Graph", w.goodAuthorization("scope", "User.Read").Encode(), "invalid_scope"},
		{"scope of Graph in full", w.goodAuthorization("scope", "https://graph.microsoft.com/Mail.Read").Encode(), "invalid_scope"},
		{"scope of Graph beside ours", w.goodAuthorization("scope", "ToDoList.Read Mail.Read").Encode(), "invalid_scope"},
		{"scope of the API", w.goodAuthorization("scope", "api://todo/ToDoList.Read").Encode(), "invalid_scope"},
		{"scope that no rule names", w.goodAuthorization("scope", ours("ToDoList.Admin")).Encode(), "invalid_scope"},
		{"everything", w.goodAuthorization("scope", ours(".default")).Encode(), "invalid_scope"},
		{"everything, short", w.goodAuthorization("scope", ".default").Encode(), "invalid_scope"},
		{"email", w.goodAuthorization("scope", "email").Encode(), "invalid_scope"},
		{"scopes with a tab", w.goodAuthorization("scope", "ToDoList.Read\u00a0openid").Encode(), "invalid_scope"},
		{"scope in another case", w.goodAuthorization("scope", "todolist.read").Encode(), "invalid_scope"},
		{"scope twice", good + "&scope=openid", "invalid_request"},
		{"state twice", good + "&state=other", "invalid_request"},
		{"prompt twice", good + "&prompt=none&prompt=none", "invalid_request"},
		{"unknown twice", good + "&x=1&x=2", "invalid_request"},
		{"resource of somebody else", w.goodAuthorization("resource", "https://evil.example/mcp").Encode(), "invalid_target"},
		{"resource on another port", w.goodAuthorization("resource", "http://127.0.0.1:1/mcp").Encode(), "invalid_target"},
		{"resource with a user name", w.goodAuthorization("resource", strings.Replace(w.url, "http://", "http://u@", 1)).Encode(), "invalid_target"},
		{"resource that looks like ours", w.goodAuthorization("resource", w.url+"@evil.example/").Encode(), "invalid_target"},
		{"resource without a scheme", w.goodAuthorization("resource", "//evil.example/mcp").Encode(), "invalid_target"},
		{"resources of somebody else", good + "&resource=" + url.QueryEscape("https://evil.example/mcp"), "invalid_target"},
		{"resource that is no URL", w.goodAuthorization("resource", "https://%zz").Encode(), "invalid_target"},
	} {
		target, got := w.authorize(row.query).sentTo(t)
		if target != mcpCallback || got.Get("error") != row.code || got.Get("iss") != w.issuer() || got.Get("error_description") == "" {
			t.Errorf("%s: got %s with %q, want %s", row.name, target, got, row.code)
		}
		wantState := "a state"
		if row.name == "state twice" {
			wantState = ""
		}
		if got.Get("state") != wantState || got.Has("code") {
			t.Errorf("%s: got state %q", row.name, got.Get("state"))
		}
	}
	if n := len(w.idp.Requests()); slices.ContainsFunc(w.idp.Requests(), func(r mockidp.Request) bool { return strings.Contains(r.Path, "/oauth2/") }) {
		t.Errorf("the platform was asked %d times", n)
	}
}

// What clients of all kinds send is understood.
func TestFacadeUnderstandsClients(t *testing.T) {
	t.Parallel()
	w := newFacade(t, func(f *file) { f.Server.PublicURL = "https://gw.example/a" })
	all := ours("ToDoList.Read") + " " + ours("ToDoList.ReadWrite")
	for _, row := range []struct {
		name    string
		changes []string
		scope   string
	}{
		{"no scope", []string{"scope", "-"}, all},
		{"empty scope", []string{"scope", ""}, all},
		{"scopes of OpenID alone", []string{"scope", "openid profile offline_access"}, all + " openid profile offline_access"},
		{"short", []string{"scope", "ToDoList.ReadWrite"}, ours("ToDoList.ReadWrite")},
		{"in full", []string{"scope", ours("ToDoList.ReadWrite")}, ours("ToDoList.ReadWrite")},
		{"by GUID", []string{"scope", demoMiddleTier + "/ToDoList.Read"}, ours("ToDoList.Read")},
		{"twice in two spellings", []string{"scope", "ToDoList.Read  " + ours("ToDoList.Read") + " openid openid"}, ours("ToDoList.Read") + " openid"},
		{"resource behind the gateway", []string{"resource", "https://GW.example:443/a/api/todo/mcp"}, ours("ToDoList.Read") + " offline_access"},
		{"resource by the name that it called", []string{"resource", w.url + "/api/todo/mcp"}, ours("ToDoList.Read") + " offline_access"},
		{"resource as the provider has it", []string{"resource", "api://" + demoMiddleTier}, ours("ToDoList.Read") + " offline_access"},
		{"no resource", []string{"resource", "-"}, ours("ToDoList.Read") + " offline_access"},
		{"loopback", []string{"redirect_uri", "http://127.0.0.1:51234/callback"}, ours("ToDoList.Read") + " offline_access"},
		{"loopback without a port", []string{"redirect_uri", "http://127.0.0.1/callback"}, ours("ToDoList.Read") + " offline_access"},
	} {
		_, sent := w.authorize(w.goodAuthorization(row.changes...).Encode()).sentTo(t)
		if sent.Get("error") != "" || sent.Get("scope") != row.scope {
			t.Errorf("%s: got %q, want scope %q", row.name, sent, row.scope)
		}
	}
	r := w.authorize(w.goodAuthorization().Encode() + "&resource=" + url.QueryEscape("https://gw.example/a"))
	if _, sent := r.sentTo(t); sent.Get("error") != "" {
		t.Errorf("two resources: got %q", sent) // RFC 8707, section 2
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers of the redirect: %v", r.Header)
	}
}

// The credential that the service adds opens nothing but codes and refresh tokens of its own
// client.
func TestFacadeTokenEndpointRefuses(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	w.idp.ResetRequests()
	good := w.redemption("a-code")
	refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {mcpClient}, "refresh_token": {"x"}}
	const typ = "Content-Type: application/x-www-form-urlencoded"
	for _, row := range []struct {
		name, body, code string
		status           int
		lines            []string
	}{
		{"client credentials", changedForm(good, "grant_type", "client_credentials").Encode(), "unsupported_grant_type", 400, nil},
		{"on behalf of", changedForm(good, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer").Encode(), "unsupported_grant_type", 400, nil},
		{"password", changedForm(good, "grant_type", "password").Encode(), "unsupported_grant_type", 400, nil},
		{"device code", changedForm(good, "grant_type", "urn:ietf:params:oauth:grant-type:device_code").Encode(), "unsupported_grant_type", 400, nil},
		{"token exchange", changedForm(good, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange").Encode(), "unsupported_grant_type", 400, nil},
		{"agent's user", changedForm(good, "grant_type", "user_fic").Encode(), "unsupported_grant_type", 400, nil},
		{"grant in another case", changedForm(good, "grant_type", "Authorization_Code").Encode(), "unsupported_grant_type", 400, nil},
		{"grant with a blank", changedForm(good, "grant_type", "authorization_code ").Encode(), "unsupported_grant_type", 400, nil},
		{"two grants", good.Encode() + "&grant_type=client_credentials", "invalid_request", 400, nil},
		{"no grant", changedForm(good, "grant_type", "-").Encode(), "invalid_request", 400, nil},
		{"no client", changedForm(good, "client_id", "-").Encode(), "invalid_client", 400, nil},
		{"another client", changedForm(good, "client_id", demoWeb).Encode(), "invalid_client", 400, nil},
		{"the service itself", changedForm(good, "client_id", demoMiddleTier).Encode(), "invalid_client", 400, nil},
		{"two clients", good.Encode() + "&client_id=" + demoWeb, "invalid_request", 400, nil},
		{"client in a header", good.Encode(), "invalid_client", 401, []string{"Authorization: Basic YTpi"}},
		{"bearer token", good.Encode(), "invalid_client", 401, []string{"Authorization: Bearer x"}},
		{"no code", changedForm(good, "code", "-").Encode(), "invalid_request", 400, nil},
		{"two codes", good.Encode() + "&code=b", "invalid_request", 400, nil},
		{"no verifier", changedForm(good, "code_verifier", "-").Encode(), "invalid_request", 400, nil},
		{"short verifier", changedForm(good, "code_verifier", "short").Encode(), "invalid_request", 400, nil},
		{"long verifier", changedForm(good, "code_verifier", strings.Repeat("a", 129)).Encode(), "invalid_request", 400, nil},
		{"no redirect URI", changedForm(good, "redirect_uri", "-").Encode(), "invalid_grant", 400, nil},
		{"no refresh token", changedForm(refresh, "refresh_token", "-").Encode(), "invalid_request", 400, nil},
		{"scope of Graph", changedForm(good, "scope", "https://graph.microsoft.com/.default").Encode(), "invalid_scope", 400, nil},
		{"refresh for Graph", changedForm(refresh, "scope", "Mail.Read").Encode(), "invalid_scope", 400, nil},
		{"refresh for the API", changedForm(refresh, "scope", "api://todo/ToDoList.Read").Encode(), "invalid_scope", 400, nil},
		{"refresh for everything", changedForm(refresh, "scope", ours(".default")).Encode(), "invalid_scope", 400, nil},
		{"a code, for somebody else", changedForm(good, "resource", "https://evil.example/mcp").Encode(), "invalid_target", 400, nil},
		{"refresh for somebody else", changedForm(refresh, "resource", "https://evil.example/mcp").Encode(), "invalid_target", 400, nil},
		{"refresh for two", refresh.Encode() + "&resource=" + url.QueryEscape(w.url) + "&resource=https://evil.example/", "invalid_target", 400, nil},
		{"unknown twice", good.Encode() + "&x=1&x=2", "invalid_request", 400, nil},
		{"empty twice", good.Encode() + "&scope=&scope=", "invalid_request", 400, nil},
		{"malformed", good.Encode() + "&%zz", "invalid_request", 400, nil},
		{"semicolon", good.Encode() + ";x=1", "invalid_request", 400, nil},
		{"NUL", changedForm(good, "code", "a\x00b").Encode(), "invalid_request", 400, nil},
		{"not UTF-8", changedForm(good, "code", "a\xffb").Encode(), "invalid_request", 400, nil},
		{"many fields", good.Encode() + strings.Repeat("&a", 50), "invalid_request", 400, nil},
		{"huge", changedForm(good, "code", strings.Repeat("a", 16<<10)).Encode(), "invalid_request", 413, nil},
		{"empty", "", "invalid_client", 400, nil},
		{"JSON", `{"grant_type":"authorization_code"}`, "invalid_request", 400, []string{"Content-Type: application/json"}},
		{"no type", good.Encode(), "invalid_request", 400, []string{"Content-Type: "}},
		{"multipart", good.Encode(), "invalid_request", 400, []string{"Content-Type: multipart/form-data; boundary=x"}},
		{"two types", good.Encode(), "invalid_request", 400, []string{typ, "Content-Type: application/json"}},
		{"UTF-16", good.Encode(), "invalid_request", 400, []string{typ + "; charset=utf-16"}},
		{"compressed", good.Encode(), "invalid_request", 400, []string{typ, "Content-Encoding: gzip"}},
	} {
		lines := row.lines
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "Content-Type") }) {
			lines = append(slices.Clone(lines), typ)
		}
		got := w.asOAuth(w.send("POST", w.issuer()+"/token", "", strings.NewReader(row.body), lines...))
		if got.StatusCode != row.status || got.Error != row.code || got.Description == "" {
			t.Errorf("%s: got %d %s, want %d %s", row.name, got.StatusCode, got.body, row.status, row.code)
		}
	}
	for _, target := range []string{"GET /token", "PUT /token", "DELETE /register", "GET /register", "POST /authorize", "PUT /authorize"} {
		method, path, _ := strings.Cut(target, " ")
		if r := w.call(method, "/mcp/todo"+path, "", ""); r.StatusCode != 405 || r.Header.Get("Allow") == "" {
			t.Errorf("%s: got %d with Allow %q, want 405", target, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	// The query is no form.
	r := w.asOAuth(w.send("POST", w.issuer()+"/token?"+good.Encode(), "", nil, typ))
	if r.Error != "invalid_client" {
		t.Errorf("form in the query: got %d %s", r.StatusCode, r.body)
	}
	if w.idp.Count("authorization_code")+w.idp.Count("refresh_token")+w.idp.Count("client_credentials") > 0 {
		t.Error("the platform was asked for a token")
	}
}

// Codes and refresh tokens that are not the client's, or not for this service, give nothing.
func TestFacadeRedeemsNothingOfOthers(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	code := w.aliceSignsIn(t)
	for _, row := range []struct {
		name    string
		changes []string
		number  int
	}{
		{"another verifier", []string{"code_verifier", strings.ToLower(proof)}, 501481},
		{"another redirect URI", []string{"redirect_uri", "http://127.0.0.1/callback"}, 500112},
	} {
		got := w.postForm(w.redemption(code, row.changes...))
		if got.StatusCode != 400 || got.Error != "invalid_grant" || !slices.Contains(got.Codes, row.number) || strings.Contains(got.body, "AADSTS") {
			t.Errorf("%s: got %d %s", row.name, got.StatusCode, got.body)
		}
	}
	if got := w.postForm(w.redemption(code)); got.StatusCode != 200 {
		t.Fatalf("the code after that: got %d %s", got.StatusCode, got.body)
	}
	if got := w.postForm(w.redemption(code)); got.StatusCode != 400 || got.Error != "invalid_grant" {
		t.Errorf("the code twice: got %d %s", got.StatusCode, got.body)
	}

	// A user can be sent to the provider past this service, for another resource.
	past := func(scope, client, redirect string) string {
		query := changedForm(w.goodAuthorization("resource", "-"), "scope", scope, "client_id", client, "redirect_uri", redirect)
		return w.signInAt(t, w.idp.URL()+"/"+demoTenant+"/oauth2/v2.0/authorize?"+query.Encode(), "aaaaaaaa-0000-4000-8000-000000000001").Get("code")
	}
	graph := past("openid offline_access User.Read", mcpClient, mcpCallback)
	if got := w.postForm(w.redemption(graph)); got.StatusCode != 400 || got.AccessToken+got.RefreshToken+got.IDToken != "" {
		t.Errorf("a code for Graph: got %d %s", got.StatusCode, got.body)
	}
	if w.idp.Count("authorization_code") == 0 {
		t.Error("the platform was not asked, so nothing was tried")
	}
	const web = "http://localhost:3000/auth/redirect"
	foreign := past(ours("ToDoList.Read"), demoWeb, web)
	if got := w.postForm(w.redemption(foreign)); got.StatusCode == 200 {
		t.Errorf("a code of another client: got %d %s", got.StatusCode, got.body)
	}
}

// What is wrong here is not said to be wrong with the client, which would register again.
func TestFacadeHidesItsOwnFaults(t *testing.T) {
	t.Parallel()
	w := newFacade(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.MCP.AuthorizationServer.ClientSecret = "expired"
		f.DownstreamAPIs["todo"] = d
	})
	got := w.postForm(w.redemption(w.aliceSignsIn(t)))
	if got.StatusCode != 500 || got.Error != "server_error" || strings.Contains(got.body, "AADSTS") || strings.Contains(got.body, "expired") {
		t.Errorf("a wrong secret: got %d %s", got.StatusCode, got.body)
	}
	lines := w.log.lines(t)
	if last := lines[len(lines)-1]; last["problem"] != "misconfigured" {
		t.Errorf("the log line is %v", last)
	}
	down := detour(func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	w.detour.Store(&down)
	if got := w.postForm(w.redemption("a-code")); got.StatusCode != 503 || got.Error != "temporarily_unavailable" || got.Header.Get("Retry-After") == "" {
		t.Errorf("no provider: got %d %s %v", got.StatusCode, got.body, got.Header)
	}
}

// A redirect of the token endpoint is not followed: the credential would go along.
func TestFacadeFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	calls := 0
	elsewhere := detour(func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
		calls++
		header := http.Header{"Location": {w.url + "/elsewhere"}}
		return &http.Response{StatusCode: 307, Header: header, Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1}, nil
	})
	w.detour.Store(&elsewhere)
	if got := w.postForm(w.redemption("a-code")); got.StatusCode != 502 || got.Error != "server_error" || calls != 1 {
		t.Errorf("got %d %s after %d requests", got.StatusCode, got.body, calls)
	}
}

// A secret in a file proves who the client is.
func TestFacadeCredentialFromAFile(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(mcpSecret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newFacade(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.MCP.AuthorizationServer.ClientSecret, d.MCP.AuthorizationServer.ClientSecretFile = "", secret
		f.DownstreamAPIs["todo"] = d
	})
	if got := w.postForm(w.redemption(w.aliceSignsIn(t))); got.StatusCode != 200 {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
}

// A registration brings the client that there is, and no other redirect URI.
func TestFacadeRegisters(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	register := func(body string, lines ...string) (oauthAnswer, map[string]any) {
		t.Helper()
		got := w.asOAuth(w.send("POST", w.issuer()+"/register", "", strings.NewReader(body), lines...))
		var members map[string]any
		_ = json.Unmarshal([]byte(got.body), &members) // asOAuth did
		return got, members
	}
	const typ = "Content-Type: application/json"
	got, members := register(`{"redirect_uris":["https://chat.example/callback","http://127.0.0.1:6274/callback"],"client_name":"Inspector",
		"grant_types":["authorization_code","refresh_token","client_credentials"],"token_endpoint_auth_method":"client_secret_basic"}`, typ)
	want := map[string]any{
		"client_id": mcpClient, "redirect_uris": []any{"https://chat.example/callback", "http://127.0.0.1:6274/callback"},
		"token_endpoint_auth_method": "none", "grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
		"scope": ours("ToDoList.Read") + " " + ours("ToDoList.ReadWrite") + " openid profile offline_access",
	}
	if got.StatusCode != 201 || fmt.Sprint(members) != fmt.Sprint(want) || strings.Contains(got.body, mcpSecret) {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
	for _, row := range []struct {
		name, body, code string
		lines            []string
	}{
		{"foreign redirect URI", `{"redirect_uris":["https://evil.example/"]}`, "invalid_redirect_uri", []string{typ}},
		{"one of two is foreign", `{"redirect_uris":["https://chat.example/callback","https://evil.example/"]}`, "invalid_redirect_uri", []string{typ}},
		{"none", `{}`, "invalid_redirect_uri", []string{typ}},
		{"empty", `{"redirect_uris":[]}`, "invalid_redirect_uri", []string{typ}},
		{"twice", `{"redirect_uris":["https://evil.example/"],"redirect_uris":["https://chat.example/callback"]}`, "invalid_client_metadata", []string{typ}},
		{"in another case", `{"Redirect_URIs":["https://chat.example/callback"]}`, "invalid_redirect_uri", []string{typ}},
		{"no list", `{"redirect_uris":"https://chat.example/callback"}`, "invalid_client_metadata", []string{typ}},
		{"a list", `[]`, "invalid_client_metadata", []string{typ}},
		{"trailing data", `{"redirect_uris":["https://chat.example/callback"]}{}`, "invalid_client_metadata", []string{typ}},
		{"nothing", ``, "invalid_client_metadata", []string{typ}},
		{"deep", `{"x":` + strings.Repeat("[", 8000) + strings.Repeat("]", 8000) + `}`, "invalid_redirect_uri", []string{typ}},
		{"text, as a form of any page sends it", `{"redirect_uris":["https://chat.example/callback"]}`, "invalid_request", []string{"Content-Type: text/plain"}},
		{"form", `redirect_uris=https://chat.example/callback`, "invalid_request", []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"huge", `{"redirect_uris":["https://chat.example/callback"],"x":"` + strings.Repeat("x", 16<<10) + `"}`, "invalid_request", []string{typ}},
	} {
		if got, _ := register(row.body, row.lines...); got.StatusCode/100 != 4 || got.Error != row.code {
			t.Errorf("%s: got %d %s, want %s", row.name, got.StatusCode, got.body, row.code)
		}
	}
}

// Pages of every origin may use what programs in browsers need, and no more.
func TestFacadeAnswersPreflights(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{nil, {"https://app.contoso.example"}} {
		w := newFacade(t, func(f *file) { f.Server.CORS.AllowedOrigins = origins })
		for path, methods := range map[string]string{
			"/.well-known/oauth-authorization-server/mcp/todo": "GET, HEAD", "/mcp/todo/token": "POST", "/mcp/todo/register": "POST", "/mcp/todo/authorize": "", "/api/todo/items": "",
		} {
			r := w.send("OPTIONS", w.url+path, "", nil, "Origin: https://inspector.example", "Access-Control-Request-Method: POST",
				"Access-Control-Request-Headers: content-type")
			if r.Header.Get("Access-Control-Allow-Methods") != methods || (r.Header.Get("Access-Control-Allow-Origin") == "*") != (methods != "") {
				t.Errorf("%s: got %d %v, want %q", path, r.StatusCode, r.Header, methods)
			}
			if r.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: credentials are allowed", path)
			}
		}
	}
}

// One address cannot send without end, on any of the routes, and others can go on.
func TestFacadeLimitsAddresses(t *testing.T) {
	t.Parallel()
	w := newFacade(t, func(f *file) { f.Server.TrustedProxies = []string{"127.0.0.1/32"} })
	send := func(path, address string) *reply {
		method := "POST"
		if strings.HasPrefix(path, "/authorize") {
			method = "GET"
		}
		return w.send(method, w.issuer()+path, "", nil, "X-Forwarded-For: "+address)
	}
	for _, path := range []string{"/authorize?" + w.goodAuthorization().Encode(), "/token", "/register"} {
		limited := (*reply)(nil)
		for range 2000 {
			if r := send(path, "2001:db8:1:2::7"); r.StatusCode == 429 {
				limited = r
				break
			}
		}
		if limited == nil {
			t.Fatalf("%.12s: no limit", path)
		}
		if limited.Header.Get("Retry-After") == "" || limited.Header.Get("RateLimit") == "" {
			t.Errorf("%.12s: headers are %v", path, limited.Header)
		}
		if isOAuth := strings.Contains(limited.body, `"temporarily_unavailable"`); isOAuth == (limited.kind() == "rate-limited") {
			t.Errorf("%.12s: got %s", path, limited.body)
		}
		if r := send(path, "203.0.113.9"); r.StatusCode == 429 {
			t.Errorf("%.12s: another address is limited", path)
		}
	}
}

// A body that does not come ends the request, and not only the patience of its client.
func TestFacadeEndsASlowBody(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	conn := w.dial(t, 30*time.Second)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /mcp/todo/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant_type=")
	begin := time.Now()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), `"invalid_request"`) {
		t.Errorf("got %q, %v after %v", answer, err, time.Since(begin))
	}
}

// check finds what is missing, and what clients would stumble over.
func TestMistakesInAnAuthorizationServer(t *testing.T) {
	t.Parallel()
	const section = "downstreamApis.todo.mcp.authorizationServer"
	good := "clientId: " + mcpClient + ", clientSecret: " + mcpSecret + `, allowedRedirectUris: ["https://chat.example/callback"]`
	for _, row := range []struct {
		keys, want string
		code       int
	}{
		{good, section + ": warning: server.publicUrl is not set", 0},
		{"clientId: ''", "", 0},
		{strings.Replace(good, mcpClient, "''", 1), section + ".clientId: must be set", 1},
		{strings.Replace(good, "clientSecret: "+mcpSecret+", ", "", 1), section + ": needs exactly one of clientSecret, clientSecretFile, clientCredentials", 1},
		{good + ", clientSecretFile: /nowhere", section + ": needs exactly one of", 1},
		{good + ", clientCredentials: [{clientSecret: x}]", section + ": needs exactly one of", 1},
		{strings.Replace(good, "clientSecret: "+mcpSecret, "clientSecretFile: /nowhere", 1), section + ".clientSecretFile: warning: open /nowhere", 0},
		{strings.Replace(good, "clientSecret: "+mcpSecret, "clientCredentials: [{clientSecretFile: /nowhere}]", 1), section + ".clientCredentials[0].clientSecretFile: warning: open /nowhere", 0},
		{strings.Replace(good, "clientSecret: "+mcpSecret, "clientCredentials: [{sourceType: Path}]", 1), section + ".clientCredentials[0].certificateDiskPath: must be set", 1},
		{strings.Replace(good, `["https://chat.example/callback"]`, "[]", 1), section + ".allowedRedirectUris: must name where users are sent", 1},
		{strings.Replace(good, "https://chat", "http://chat", 1), section + ".allowedRedirectUris[0]: must be https", 1},
		{strings.Replace(good, mcpClient, "11111111-2222-4333-8444-555555555555", 1) + ", secret: x", section + ".secret: unknown key", 1},
	} {
		var stdout, stderr strings.Builder
		path := writeConfig(t, goodConfig+"    mcp: {authorizationServer: {"+row.keys+"}}\n")
		code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr})
		if code != row.code || !strings.Contains(stderr.String(), row.want) || strings.Contains(stdout.String()+stderr.String(), mcpSecret) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", row.keys, code, stderr.String(), row.code, row.want)
		}
	}
	for _, row := range []struct{ before, after, want string }{
		{"azureAd:\n", "azureAd:\n  allowedClients: [44444444-4444-4444-8444-444444444444]\n", section + ".clientId: warning: is not in azureAd.allowedClients"},
		{mcpClient, demoMiddleTier, section + ".clientId: warning: is azureAd.clientId"},
	} {
		var stdout, stderr strings.Builder
		path := writeConfig(t, strings.Replace(goodConfig+"    mcp: {authorizationServer: {"+good+"}}\n", row.before, row.after, 1))
		if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr}); code != 0 || !strings.Contains(stderr.String(), row.want) {
			t.Errorf("%s: got exit code %d and %q", row.want, code, stderr.String())
		}
	}
}

// check --online tries the credential of the authorization server by itself.
func TestCheckTriesTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	w := newStoppedWorldOf(t, mcpDirectory(), withFacade)
	for secret, want := range map[string]result{mcpSecret: resultOK, "wrong": resultFailed} {
		d := w.file.DownstreamAPIs["todo"]
		d.MCP.AuthorizationServer.ClientSecret = secret
		w.file.DownstreamAPIs["todo"] = d
		findings := try(t.Context(), trials(w.file, w.transport(), w.transport()))
		i := slices.IndexFunc(findings, func(f finding) bool { return f.what == "todo: authorization server" })
		if i < 0 || findings[i].result != want || strings.Contains(findings[i].detail, mcpSecret) {
			t.Errorf("%s: got %v", want, findings)
		}
	}
}
