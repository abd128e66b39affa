package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
)

// Names of RFC 8693, sections 2.1 and 3.
const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
)

// gatewaySecret is the secret of the client gw, in withGateway.
const gatewaySecret = "gateway-secret-+%-that-must-not-be-seen"

// withGateway lets the client gw exchange tokens for todo and both from other machines.
func withGateway(t *testing.T) (change func(*file), secretFile string) {
	t.Helper()
	secretFile = filepath.Join(t.TempDir(), "gateway-secret")
	writeSecret(t, secretFile, gatewaySecret)
	return func(f *file) {
		f.Sidecar.TokenClients = []tokenClient{{ClientID: "gw", ClientSecretFile: secretFile, APIs: []string{
			"Todo", "both",
			"asApp", "asRobot",
		}}}
	}, secretFile
}

func writeSecret(t *testing.T, path, secret string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// elsewhere makes every caller of the sidecar listener one of another machine.
func elsewhere(f *file) { f.Sidecar.AllowedCallers = []string{"192.0.2.0/24"} }

// grantAnswer is an answer of the token endpoint.
type grantAnswer struct {
	*reply
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	Scope           string `json:"scope"`

	Error       string `json:"error"`
	Description string `json:"error_description"`
	Suberror    string `json:"suberror"`
	Claims      string `json:"claims"`
	ErrorCodes  []int  `json:"error_codes"`
}

// grant posts a form to the token endpoint. change may alter the request.
func (w *world) grant(form url.Values, change ...func(*http.Request)) grantAnswer {
	w.t.Helper()
	return w.grantText(form.Encode(), change...)
}

func (w *world) grantText(form string, change ...func(*http.Request)) grantAnswer {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.side+"/oauth2/token", strings.NewReader(form))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(req)
	}
	answer := grantAnswer{reply: w.do(req)}
	if answer.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal([]byte(answer.body), &answer); err != nil {
			w.t.Fatalf("%v in %s", err, answer.body)
		}
		if answer.Header.Get("Cache-Control") == "" || !strings.Contains(answer.Header.Get("Cache-Control"), "no-store") ||
			answer.Header.Get("Pragma") != "no-cache" {
			w.t.Errorf("got %v, want an answer that no cache keeps", answer.Header)
		}
	}
	return answer
}

// exchangeForm asks for a token for todo on behalf of the token's user. pairs replace
// fields, or remove them if the value is "".
func exchangeForm(token string, pairs ...string) url.Values {
	form := url.Values{
		"grant_type": {exchangeGrant}, "subject_token": {token}, "subject_token_type": {accessTokenType}, "audience": {"todo"},
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Del(pairs[i])
		if pairs[i+1] != "" {
			form.Set(pairs[i], pairs[i+1])
		}
	}
	return form
}

func asBasic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(id, secret) }
}

func claimsOfToken(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	return claims
}

// A gateway on this machine trades a user's token without credentials of its own.
func TestTokenExchange(t *testing.T) {
	w := newSidecar(t, withAPIs)
	alice := w.alice()
	for _, row := range []struct {
		name  string
		form  url.Values
		scope string // of the answer
	}{
		{"by name", exchangeForm(alice), "api://todo/.default"},
		{"by name, in any case", exchangeForm(alice, "audience", "TODO"), "api://todo/.default"},
		{"a JWT", exchangeForm(alice, "subject_token_type", jwtType), "api://todo/.default"},
		{"a type is requested", exchangeForm(alice, "requested_token_type", accessTokenType), "api://todo/.default"},
		{"by base URL", exchangeForm(alice, "audience", "", "resource", w.api.URL, "scope", "api://todo/.default"), "api://todo/.default"},
		{"by scope", exchangeForm(alice, "audience", "", "scope", "api://todo/ToDoList.Read"), "api://todo/ToDoList.Read"},
		{"by a short scope", exchangeForm(alice, "audience", "delegated", "scope", "ToDoList.Read"), "api://todo/ToDoList.Read"},
		{"with scopes of OpenID Connect", exchangeForm(alice, "scope", "openid profile offline_access"), "api://todo/.default"},
		{"with credentials that nobody needs", exchangeForm(alice, "client_id", "x", "client_secret", "y"), "api://todo/.default"},
		{"an API with appScopes", exchangeForm(alice, "audience", "both"), "api://todo/ToDoList.Read"},
	} {
		got := w.grant(row.form)
		if got.StatusCode != 200 || got.TokenType != "Bearer" || got.IssuedTokenType != accessTokenType || got.Scope != row.scope {
			t.Errorf("%s: got %d %s, want 200 with %s", row.name, got.StatusCode, got.body, row.scope)
			continue
		}
		claims := claimsOfToken(t, got.AccessToken)
		expires, _ := claims.GetExpirationTime()
		if claims["oid"] != aliceID || claims["aud"] != demoToDo || claims["azp"] != demoMiddleTier {
			t.Errorf("%s: got a token with %v, want alice's for todo", row.name, claims)
		}
		if left := int64(time.Until(expires.Time) / time.Second); got.ExpiresIn < left-30 || got.ExpiresIn > left+30 {
			t.Errorf("%s: expires in %d s, want %d", row.name, got.ExpiresIn, left)
		}
	}
	if got := w.grant(exchangeForm(alice, "requested_token_type", jwtType)); got.IssuedTokenType != jwtType {
		t.Errorf("a JWT is requested: got %d %s", got.StatusCode, got.body)
	}
	// Both of the other routes' and of this one's tokens are the same.
	if n := w.exchanges(); n > 3 {
		t.Errorf("%d exchanges for three sets of scopes, want 3", n)
	}
}

func TestTokenExchangeIsRefused(t *testing.T) {
	w := newSidecar(t, withAPIs)
	alice := w.alice()
	forged := alice[:len(alice)-4] + "AAAA"
	expiredClaims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	expiredClaims["exp"] = time.Now().Add(-time.Hour).Unix()
	expired := w.idp.Sign(expiredClaims)
	for _, row := range []struct {
		name string
		form string
		want string
	}{
		{"no grant", exchangeForm(alice, "grant_type", "").Encode(), "invalid_request"},
		{"another grant", exchangeForm(alice, "grant_type", "password").Encode(), "unsupported_grant_type"},
		{"Entra's grant", exchangeForm(alice, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer").Encode(), "unsupported_grant_type"},
		{"no subject", exchangeForm("", "subject_token", "").Encode(), "invalid_request"},
		{"no type", exchangeForm(alice, "subject_token_type", "").Encode(), "invalid_request"},
		{"an ID token", exchangeForm(alice, "subject_token_type", "urn:ietf:params:oauth:token-type:id_token").Encode(), "invalid_request"},
		{"another type is requested", exchangeForm(alice, "requested_token_type",
			"urn:ietf:params:oauth:token-type:refresh_token").Encode(), "invalid_request"},
		{"an actor", exchangeForm(alice, "actor_token", alice).Encode(), "invalid_request"},
		{"an actor's type", exchangeForm(alice, "actor_token_type", jwtType).Encode(), "invalid_request"},
		{"a forged subject", exchangeForm(forged).Encode(), "invalid_request"},
		{"an expired subject", exchangeForm(expired).Encode(), "invalid_request"},
		{"no token", exchangeForm("nonsense").Encode(), "invalid_request"},
		{"an application as the subject", exchangeForm(w.daemon()).Encode(), "invalid_request"},
		{"no target", exchangeForm(alice, "audience", "").Encode(), "invalid_request"},
		{"an unknown target", exchangeForm(alice, "audience", "nope").Encode(), "invalid_target"},
		{"an unknown resource", exchangeForm(alice, "resource", "https://nope.example/").Encode(), "invalid_target"},
		{"two targets", exchangeForm(alice).Encode() + "&audience=delegated", "invalid_target"},
		{"an unknown scope", exchangeForm(alice, "scope", "api://other/Other.Read").Encode(), "invalid_scope"},
		{"a scope that is not configured", exchangeForm(alice, "scope", "api://todo/ToDoList.ReadWrite").Encode(), "invalid_scope"},
		{"all of what is configured in part", exchangeForm(alice, "audience", "delegated", "scope",
			"api://todo/.default").Encode(), "invalid_scope"},
		{"twice", exchangeForm(alice).Encode() + "&grant_type=" + exchangeGrant, "invalid_request"},
		{"two subjects", exchangeForm(alice).Encode() + "&subject_token=x", "invalid_request"},
		{"malformed", exchangeForm(alice).Encode() + "&a=%zz", "invalid_request"},
		{"nothing", "", "invalid_request"},
		{"a bad token is not in a log", exchangeForm("the-secret-token").Encode(), "invalid_request"},
	} {
		got := w.grantText(row.form)
		if got.StatusCode != 400 || got.Error != row.want || got.Description == "" || got.AccessToken != "" ||
			got.Header["Www-Authenticate"] != nil {
			t.Errorf("%s: got %d %s %v, want 400 %s", row.name, got.StatusCode, got.body, got.Header, row.want)
		}
	}
	if n := w.exchanges(); n != 0 {
		t.Errorf("%d exchanges, want none", n)
	}
	for _, secret := range []string{alice[:40], forged[len(forged)-60:], "the-secret-token"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// Only a form is read, of the body alone, and no more of it than a token needs.
func TestTokenRequestsAreForms(t *testing.T) {
	w := newSidecar(t, withAPIs)
	form := exchangeForm(w.alice()).Encode()
	kind := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", value) }
	}
	for name, change := range map[string]func(*http.Request){
		"JSON": kind("application/json"), "multipart": kind("multipart/form-data; boundary=x"),
		"no type":         func(r *http.Request) { r.Header.Del("Content-Type") },
		"another charset": kind("application/x-www-form-urlencoded; charset=utf-16"), "nonsense": kind("x"),
		"compressed": func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
		"in the query": func(r *http.Request) {
			r.URL.RawQuery, r.Body, r.ContentLength = form, http.NoBody, 0
		},
	} {
		if got := w.grantText(form, change); got.StatusCode != 400 || got.Error != "invalid_request" {
			t.Errorf("%s: got %d %s, want 400 invalid_request", name, got.StatusCode, got.body)
		}
	}
	if got := w.grantText(form, kind("Application/X-WWW-Form-Urlencoded; charset=UTF-8")); got.StatusCode != 200 {
		t.Errorf("with a charset: got %d %s", got.StatusCode, got.body)
	}
	if got := w.grantText(form + "&x=" + strings.Repeat("x", 64<<10)); got.StatusCode != 413 || got.Error != "invalid_request" {
		t.Errorf("a large form: got %d %.200s, want 413 invalid_request", got.StatusCode, got.body)
	}
	many := form
	for i := range 100 {
		many += fmt.Sprintf("&x%d=", i)
	}
	if got := w.grantText(many); got.StatusCode != 400 || got.Error != "invalid_request" {
		t.Errorf("many fields: got %d %s, want 400", got.StatusCode, got.body)
	}
	for _, path := range []string{"/OAuth2/TOKEN", "/oauth2/token/"} {
		other := func(r *http.Request) { r.URL.Path = path }
		if got := w.grantText(form, other); got.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, got.StatusCode, got.body)
		}
	}
	if r := w.beside("GET", "/oauth2/token", ""); r.StatusCode != 405 || r.Header.Get("Allow") != "POST" {
		t.Errorf("GET: got %d, Allow: %s", r.StatusCode, r.Header.Get("Allow"))
	}
}

func TestTokenExchangeAsTheApplication(t *testing.T) {
	w := newSidecar(t, withAPIs)
	ask := func(pairs ...string) url.Values {
		form := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Add(pairs[i], pairs[i+1])
		}
		return form
	}
	for _, row := range []struct {
		name string
		form url.Values
		aud  string // of the token, or an error
	}{
		{"by name", ask("audience", "todo"), demoToDo},
		{"by scope", ask("scope", "api://notes/.default"), "a9e70003-0000-4000-8000-00000000000a"},
		{"by resource", ask("resource", "api://notes"), "a9e70003-0000-4000-8000-00000000000a"},
		{"an API with scopes for users too", ask("audience", "both"), "a9e70003-0000-4000-8000-00000000000a"},
		{"a delegated scope", ask("audience", "delegated", "scope", "api://todo/ToDoList.Read"), "invalid_scope"},
		{"unknown", ask("scope", "api://other/.default"), "invalid_scope"},
		{"unknown target", ask("audience", "api://other"), "invalid_target"},
		{"an agent's user", ask("audience", "asRobot"), "invalid_request"},
	} {
		got := w.grant(row.form)
		if got.StatusCode != 200 {
			if got.StatusCode != 400 || got.Error != row.aud {
				t.Errorf("%s: got %d %s, want %s", row.name, got.StatusCode, got.body, row.aud)
			}
			continue
		}
		claims := claimsOfToken(t, got.AccessToken)
		if claims["aud"] != row.aud || claims["idtyp"] != "app" || got.IssuedTokenType != "" || !strings.HasSuffix(got.Scope, "/.default") {
			t.Errorf("%s: got %s with %v, want an application's for %s", row.name, got.body, claims, row.aud)
		}
	}
	// An API that is called as the application gives the application's token for a user's too.
	if got := w.grant(exchangeForm(w.alice(), "audience", "asApp")); claimsOfToken(t, got.AccessToken)["idtyp"] != "app" {
		t.Errorf("got %d %s, want the application's token", got.StatusCode, got.body)
	}
}

// From another machine, a client with a secret trades users' tokens for its APIs, and
// nothing else is open to it.
func TestTokenExchangeFromElsewhere(t *testing.T) {
	gateway, secretFile := withGateway(t)
	w := newSidecar(t, withAPIs, withOpenGates, gateway, elsewhere)
	alice := w.alice()
	byForm := func(pairs ...string) url.Values {
		return exchangeForm(alice, append([]string{"client_id", "gw", "client_secret", gatewaySecret}, pairs...)...)
	}
	for name, got := range map[string]grantAnswer{
		"form": w.grant(byForm()), "Basic": w.grant(exchangeForm(alice), asBasic("gw", gatewaySecret)),
		"Basic, encoded":                w.grant(exchangeForm(alice), asBasic("gw", url.QueryEscape(gatewaySecret))),
		"Basic, and its id in the form": w.grant(exchangeForm(alice, "client_id", "gw"), asBasic("gw", gatewaySecret)),
		"another API":                   w.grant(byForm("audience", "both")),
		"any host":                      w.grant(byForm(), func(r *http.Request) { r.Host = "middletier.example" }),
	} {
		if got.StatusCode != 200 || claimsOfToken(t, got.AccessToken)["oid"] != aliceID {
			t.Errorf("%s: got %d %s, want alice's token", name, got.StatusCode, got.body)
		}
	}
	for name, got := range map[string]grantAnswer{
		"no credentials":        w.grant(exchangeForm(alice)),
		"an id alone":           w.grant(exchangeForm(alice, "client_id", "gw")),
		"a wrong secret":        w.grant(exchangeForm(alice, "client_id", "gw", "client_secret", "x")),
		"no secret":             w.grant(exchangeForm(alice), asBasic("gw", "")),
		"an unknown client":     w.grant(exchangeForm(alice, "client_id", "x", "client_secret", gatewaySecret)),
		"no client":             w.grant(exchangeForm(alice), asBasic("", gatewaySecret)),
		"a wrong secret, Basic": w.grant(exchangeForm(alice), asBasic("gw", gatewaySecret+"x")),
		"a bearer token":        w.grant(byForm(), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+alice) }),
		"two headers": w.grant(exchangeForm(alice), asBasic("gw", gatewaySecret), func(r *http.Request) {
			r.Header.Add("Authorization", r.Header.Get("Authorization"))
		}),
		"the id in another case": w.grant(exchangeForm(alice), asBasic("GW", gatewaySecret)),
		"an assertion": w.grant(exchangeForm(alice, "client_id", "gw", "client_assertion", alice,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")),
	} {
		if got.StatusCode != 401 || got.Error != "invalid_client" || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic realm=") {
			t.Errorf("%s: got %d %s %v, want 401 invalid_client", name, got.StatusCode, got.body, got.Header["Www-Authenticate"])
		}
	}
	for name, row := range map[string]struct {
		got  grantAnswer
		want string
	}{
		"two ways":                {w.grant(byForm(), asBasic("gw", gatewaySecret)), "invalid_request"},
		"another id in the form":  {w.grant(exchangeForm(alice, "client_id", "x"), asBasic("gw", gatewaySecret)), "invalid_request"},
		"an API of others":        {w.grant(byForm("audience", "delegated")), "invalid_target"},
		"a scope of others":       {w.grant(byForm("audience", "", "scope", "api://notes/.default")), "invalid_scope"},
		"as the application":      {w.grant(byForm("grant_type", "client_credentials")), "unauthorized_client"},
		"an API called as it":     {w.grant(byForm("audience", "asApp")), "unauthorized_client"},
		"an agent's user":         {w.grant(byForm("audience", "asRobot")), "unauthorized_client"},
		"an application's token":  {w.grant(byForm("subject_token", w.daemon())), "invalid_request"},
		"a refused subject token": {w.grant(byForm("subject_token", alice+"x")), "invalid_request"},
	} {
		if row.got.StatusCode != 400 || row.got.Error != row.want {
			t.Errorf("%s: got %d %s, want 400 %s", name, row.got.StatusCode, row.got.body, row.want)
		}
	}
	t.Run("the other routes stay closed", func(t *testing.T) {
		for _, path := range []string{
			"/Validate", "/AuthorizationHeader/todo", "/AuthorizationHeaderUnauthenticated/todo", "/openapi/v1.json", "/nope", "/oauth2/token",
		} {
			if r := w.beside("GET", path, alice); r.StatusCode != 403 || r.kind() != "caller-not-allowed" {
				t.Errorf("GET %s: got %d %s, want 403", path, r.StatusCode, r.body)
			}
		}
		page := func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }
		if got := w.grant(byForm(), page); got.StatusCode != 403 {
			t.Errorf("a web page: got %d %s, want 403", got.StatusCode, got.body)
		}
		for _, path := range []string{"/oauth2//token", "/x/../oauth2/token", "/%6fauth2/token"} {
			if got := w.grant(byForm(), func(r *http.Request) { r.URL.Opaque = path }); got.StatusCode != 403 {
				t.Errorf("%s: got %d %s, want 403", path, got.StatusCode, got.body)
			}
		}
	})
	t.Run("a new secret", func(t *testing.T) {
		writeSecret(t, secretFile, "the-next-secret")
		if got := w.grant(byForm()); got.StatusCode != 401 {
			t.Errorf("the last secret: got %d %s, want 401", got.StatusCode, got.body)
		}
		if got := w.grant(exchangeForm(alice), asBasic("gw", "the-next-secret")); got.StatusCode != 200 {
			t.Errorf("the next secret: got %d %s, want 200", got.StatusCode, got.body)
		}
		if err := os.Remove(secretFile); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"", "the-next-secret"} {
			got := w.grant(exchangeForm(alice, "client_id", "gw", "client_secret", secret))
			if got.StatusCode != 500 || got.Error != "server_error" || strings.Contains(got.body, "gateway-secret") {
				t.Errorf("no file, %q: got %d %s, want 500", secret, got.StatusCode, got.body)
			}
		}
	})
	for _, secret := range []string{gatewaySecret, "the-next-secret", alice[:40]} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if line := w.log.lines(t)[0]; line["tokenClient"] != "gw" || line["route"] != "/oauth2/token" || line["oid"] != aliceID {
		t.Errorf("got the log line %v", line)
	}
}

// What a proxy on this machine forwards comes from its address, often with a local Host: it is
// a client's nevertheless.
func TestTokenExchangeThroughAProxyOnThisMachine(t *testing.T) {
	gateway, _ := withGateway(t)
	w := newSidecar(t, withAPIs, withOpenGates, gateway)
	alice := w.alice()
	own := url.Values{"grant_type": {"client_credentials"}, "audience": {"todo"}}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, change := range map[string]func(*http.Request){
		"X-Forwarded-For": header("X-Forwarded-For", "203.0.113.7"), "X-Forwarded-For: local": header("X-Forwarded-For", "127.0.0.1"),
		"X-Forwarded-Proto": header("X-Forwarded-Proto", "https"), "X-Forwarded-Host": header("X-Forwarded-Host", "localhost"),
		"Forwarded": header("Forwarded", "for=127.0.0.1"), "Via": header("Via", "1.1 gateway"), "X-Real-IP": header("X-Real-IP", "203.0.113.7"),
	} {
		for _, form := range []url.Values{own, exchangeForm(alice)} {
			if got := w.grant(form, change); got.StatusCode != 401 || got.Error != "invalid_client" {
				t.Errorf("%s: got %d %s, want 401 invalid_client", name, got.StatusCode, got.body)
			}
		}
	}
	withSecret := func(pairs ...string) url.Values {
		return exchangeForm(alice, append([]string{"client_id", "gw", "client_secret", gatewaySecret}, pairs...)...)
	}
	if got := w.grant(withSecret(), header("X-Forwarded-For", "203.0.113.7")); got.StatusCode != 200 {
		t.Errorf("a client: got %d %s, want 200", got.StatusCode, got.body)
	}
	proxied := header("X-Forwarded-For", "203.0.113.7")
	if got := w.grant(withSecret("audience", "delegated"), proxied); got.StatusCode != 400 || got.Error != "invalid_target" {
		t.Errorf("an API of others: got %d %s, want 400 invalid_target", got.StatusCode, got.body)
	}
	if got := w.grant(withSecret("grant_type", "client_credentials"), proxied); got.StatusCode != 400 || got.Error != "unauthorized_client" {
		t.Errorf("as the application: got %d %s, want 400 unauthorized_client", got.StatusCode, got.body)
	}
	if got := w.grant(own); got.StatusCode != 200 {
		t.Errorf("the application: got %d %s, want 200", got.StatusCode, got.body)
	}
}

// Without clients, nobody from elsewhere is told that there is a token endpoint.
func TestTokenEndpointIsClosedWithoutClients(t *testing.T) {
	w := newSidecar(t, elsewhere)
	if got := w.grant(exchangeForm(w.alice())); got.StatusCode != 403 || got.kind() != "caller-not-allowed" {
		t.Errorf("got %d %s, want 403", got.StatusCode, got.body)
	}
}

// What the provider says reaches the gateway, in the words of OAuth.
func TestTokenExchangeThatTheProviderRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		fault  mockidp.Fault
		status int
		want   string
		check  func(grantAnswer) bool
	}{
		{
			"claims",
			mockidp.Fault{
				Error: "interaction_required", ErrorCodes: []int{50076},
				Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
			},
			400, "interaction_required", func(a grantAnswer) bool { return strings.Contains(a.Claims, "acrs") && a.ErrorCodes[0] == 50076 },
		},
		{
			"consent",
			mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{65001}, Suberror: "consent_required"},
			400, "invalid_grant", func(a grantAnswer) bool { return a.Suberror == "consent_required" },
		},
		{
			"throttled",
			mockidp.Fault{Status: 429, Error: "temporarily_unavailable", Header: map[string]string{"Retry-After": "7"}},
			503, "temporarily_unavailable", func(a grantAnswer) bool { return a.Header.Get("Retry-After") != "" },
		},
		{
			"our secret",
			mockidp.Fault{Error: "invalid_client", ErrorCodes: []int{7000215}},
			500, "server_error",
			func(grantAnswer) bool { return true },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newSidecar(t)
			alice := w.alice()
			w.idp.AddFault(row.fault)
			if got := w.grant(exchangeForm(alice)); got.StatusCode != row.status || got.Error != row.want || !row.check(got) {
				t.Errorf("got %d %s %v, want %d %s", got.StatusCode, got.body, got.Header, row.status, row.want)
			}
		})
	}
}

// What cannot be had is said without parameters that only other routes have.
func TestTokenEndpointNamesNoParameterOfOtherRoutes(t *testing.T) {
	w := newSidecar(t, withAPIs)
	for _, row := range []struct {
		name string
		form url.Values
		want string
	}{
		{"an application's token", exchangeForm(w.daemon(), "audience", "delegated"), "The token has no user"},
		{"an agent's user", url.Values{"grant_type": {"client_credentials"}, "audience": {"asRobot"}}, "called as an agent's user"},
	} {
		got := w.grant(row.form)
		if got.StatusCode != 400 || got.Error != "invalid_request" || !strings.Contains(got.Description, row.want) ||
			strings.Contains(got.Description, "optionsOverride") || strings.Contains(got.Description, "AgentUser") {
			t.Errorf("%s: got %d %s, want 400 invalid_request: %s", row.name, got.StatusCode, got.body, row.want)
		}
	}
}
