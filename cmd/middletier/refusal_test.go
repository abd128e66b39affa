package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
	"middletier/internal/validate"
)

// A refused request reaches neither the token endpoint nor the API.
func TestRefusedRequestsGoNowhere(t *testing.T) {
	w := newWorld(t, func(f *file) {
		f.AzureAd.AllowedClients = nil
		api := f.DownstreamAPIs["todo"]
		api.Access = append(api.Access[:0:0], api.Access...)
		api.Access[0].Paths = []string{"/items/**"}
		f.DownstreamAPIs["todo"] = api
	})
	foreign, err := mockidp.New(demoDirectory(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	user := func(name string, value any) string { // a good token with one thing changed
		claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return w.idp.Sign(claims)
	}
	good := user("uti", "good")
	idToken := func(audience string) string {
		claims := w.idp.UserClaims("alice", "app", "middletier")
		for _, name := range []string{"scp", "azp", "azpacr", "xms_cc", "idtyp"} {
			delete(claims, name)
		}
		claims["aud"], claims["nonce"] = audience, "n"
		return w.idp.Sign(claims)
	}
	now := time.Now().Unix()
	forged := func() string {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")))
		token.Header["kid"] = w.idp.KeyID()
		signed, err := token.SignedString(foreign.Key())
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	metadata := w.leadsTo("/api/todo")
	invalid := func(sentence string) string {
		return fmt.Sprintf(`Bearer error="invalid_token", error_description=%q`, sentence) + metadata
	}
	missing := fmt.Sprintf(`Bearer realm="%s"`, demoMiddleTier)

	for _, row := range []struct {
		name, method, path, token string
		status                    int
		kind, challenge           string
	}{
		{"no token", "GET", "/api/todo/items", "", 401, "missing-token", missing + metadata + `, scope="api://` + demoMiddleTier + `/ToDoList.Read"`},
		{"no token on /app", "GET", "/app/todo/items", "", 401, "missing-token", missing + w.leadsTo("") + `, scope="api://` + demoMiddleTier + `/.default"`},
		{"no token, unknown API", "GET", "/api/nothing/items", "", 401, "missing-token", missing + w.leadsTo("")},
		{"expired", "GET", "/api/todo/items", user("exp", now-120), 401, "invalid-token", invalid("The token has expired.")},
		{"not yet valid", "GET", "/api/todo/items", user("nbf", now+120), 401, "invalid-token", invalid("The token is not valid yet.")},
		{"wrong audience", "GET", "/api/todo/items", user("aud", "api://other"), 401, "invalid-token", invalid(sentences[validate.WrongAud])},
		{"for Microsoft Graph", "GET", "/api/todo/items", user("aud", "00000003-0000-0000-c000-000000000000"), 401, "invalid-token", invalid(sentences[validate.ForGraph])},
		{"an ID token", "GET", "/api/todo/items", idToken(demoMiddleTier), 401, "invalid-token", invalid(sentences[validate.IDToken])},
		{"the client's ID token", "GET", "/api/todo/items", idToken("44444444-4444-4444-8444-444444444444"), 401, "invalid-token", invalid(sentences[validate.IDToken])},

		{"wrong issuer", "GET", "/api/todo/items", user("iss", "https://login.example/"+demoTenant+"/v2.0"), 401, "invalid-token", invalid("The token was issued by another issuer or tenant.")},
		{"another tenant", "GET", "/api/todo/items", user("tid", fabrikam), 401, "invalid-token", invalid("The token was issued by another issuer or tenant.")},
		{"foreign key", "GET", "/api/todo/items", forged(), 401, "invalid-token", invalid("The token's signature was not made with a current key of the identity provider.")},
		{"unknown key id", "GET", "/api/todo/items", foreign.Sign(w.idp.UserClaims("alice", "app", "middletier")), 401, "invalid-token", invalid("The token's signature was not made with a current key of the identity provider.")},
		{"not a token", "GET", "/api/todo/items", "nonsense", 401, "invalid-token", invalid("The token is malformed.")},
		{"no scope and no role", "GET", "/api/todo/items", user("scp", nil), 401, "invalid-token", invalid("The token is not an access token with scopes or app permissions.")},
		{"missing scope", "POST", "/api/todo/items", w.bob(), 403, "insufficient-scope", `Bearer error="insufficient_scope", scope="api://` + demoMiddleTier + `/ToDoList.ReadWrite"` + metadata},
		{"missing app permission", "POST", "/app/todo/items", w.daemon(), 403, "insufficient-scope", `Bearer error="insufficient_scope", scope="api://` + demoMiddleTier + `/.default"` + w.leadsTo("")},
		{"a user's role is no app permission", "POST", "/app/todo/items", user("roles", []string{"ToDoList.ReadWrite.All"}), 403, "wrong-token-type", ""},
		{"app on the user's path", "GET", "/api/todo/items", w.daemon(), 403, "wrong-token-type", ""},
		{"user on the app's path", "GET", "/app/todo/items", good, 403, "wrong-token-type", ""},
		{"unknown API", "GET", "/api/nothing/items", good, 404, "unknown-api", ""},
		{"API in another case", "GET", "/api/ToDo/items", good, 404, "unknown-api", ""},
		{"no API", "GET", "/api/", good, 404, "unknown-api", ""},
		{"method of no rule", "PATCH", "/api/todo/items", good, 405, "method-not-allowed", ""},
		{"path of no rule", "GET", "/api/todo/secrets", good, 403, "no-access-rule", ""},
		{"dot segments", "GET", "/api/todo/items/%2e%2e/secrets", good, 400, "invalid-request", ""},
		{"encoded slash", "GET", "/api/todo/items%2fx", good, 400, "invalid-request", ""},
		{"nothing there", "GET", "/nothing", good, 404, "not-found", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(w.log.lines(t))
			r := w.call(row.method, row.path, row.token, "")
			if r.StatusCode != row.status || r.kind() != row.kind {
				t.Errorf("%s %s: got %d %q, want %d %q", row.method, row.path, r.StatusCode, r.kind(), row.status, row.kind)
			}
			if got := strings.Join(r.Header["Www-Authenticate"], " | "); got != row.challenge {
				t.Errorf("WWW-Authenticate: got  %s\nwant %s", got, row.challenge)
			}
			if row.status == 405 && r.Header.Get("Allow") != "DELETE, GET, HEAD, POST" {
				t.Errorf("Allow: got %q", r.Header.Get("Allow"))
			}
			if lines := w.log.lines(t); len(lines) != before+1 || lines[before]["problem"] != row.kind ||
				lines[before]["requestId"] != r.problem.RequestID {
				t.Errorf("log lines of the request: %v, want one with problem and requestId", lines[before:])
			}
			checkProblem(t, w, r, row.path)
		})
	}
	if got := w.exchanges(); got != 0 {
		t.Errorf("refused requests made %d token requests", got)
	}
	if got := w.api.seen(); len(got) != 0 {
		t.Errorf("refused requests reached the API %d times", len(got))
	}
}

// checkProblem checks what all problems have in common.
func checkProblem(t *testing.T, w *world, r *reply, path string) {
	t.Helper()
	p := r.problem
	if p.Type != w.url+"/problems/"+r.kind() || p.Title == "" || p.Detail == "" || p.Status != r.StatusCode || p.Instance != path {
		t.Errorf("problem: got %s", r.body)
	}
	if p.RequestID == "" || p.RequestID != r.Header.Get("X-Request-Id") {
		t.Errorf("requestId: got %q, header %q", p.RequestID, r.Header.Get("X-Request-Id"))
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", got)
	}
	if page := w.call("GET", strings.TrimPrefix(p.Type, w.url), "", ""); page.StatusCode != 200 || !strings.Contains(page.body, `"action":"`) {
		t.Errorf("type %s leads to %d %s", p.Type, page.StatusCode, page.body)
	}
}

// The presentation of a token is tested over a raw connection, because client
// libraries would correct it.
func TestPresentationOfTheToken(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	for _, row := range []struct {
		name, headers string
		status        int
		kind          string
	}{
		{"one header", "Authorization: Bearer " + alice, 200, ""},
		{"another case", "authorization: BEARER " + alice, 200, ""},
		{"several spaces", "Authorization: Bearer   " + alice, 200, ""},
		{"two headers", "Authorization: Bearer " + alice + "\r\nAuthorization: Bearer " + alice, 400, "invalid-request"},
		{"two tokens", "Authorization: Bearer " + alice + ", Bearer " + alice, 400, "invalid-request"},
		{"a space after it", "Authorization: Bearer " + alice + " ", 200, ""},
		{"a word after it", "Authorization: Bearer " + alice + " x", 400, "invalid-request"},
		{"a space in it", "Authorization: Bearer " + alice[:9] + " " + alice[9:], 400, "invalid-request"},
		{"a tab in it", "Authorization: Bearer " + alice[:9] + "\t" + alice[9:], 400, "invalid-request"},
		{"a comma after it", "Authorization: Bearer " + alice + ",", 400, "invalid-request"},
		{"a comma before", "Authorization: Bearer ," + alice, 400, "invalid-request"},
		{"a parameter after it", "Authorization: Bearer " + alice + `, realm="x"`, 400, "invalid-request"},
		{"the JSON form of a JWS", `Authorization: Bearer {"protected":"e30","payload":"e30","signature":""}`, 400, "invalid-request"},
		{"the scheme twice", "Authorization: Bearer Bearer " + alice, 400, "invalid-request"},
		{"two headers, one of another scheme", "Authorization: Basic YTpi\r\nAuthorization: Bearer " + alice, 400, "invalid-request"},
		{"two headers, one empty", "Authorization: \r\nAuthorization: Bearer " + alice, 400, "invalid-request"},
		{"a NUL in it", "Authorization: Bearer " + alice + "\x00", 400, ""},
		{"a bare carriage return in it", "Authorization: Bearer " + alice[:9] + "\r" + alice[9:], 400, ""},
		{"a tab for the space", "Authorization: Bearer\t" + alice, 401, "missing-token"},
		{"a colon for the space", "Authorization: Bearer:" + alice, 401, "missing-token"},
		{"the scheme of a bound token", "Authorization: DPoP " + alice, 401, "missing-token"},
		{"a scheme that begins so", "Authorization: Bearerx " + alice, 401, "missing-token"},
		{"as a parameter", "Authorization: Bearer=" + alice, 401, "missing-token"},
		{"nothing after the scheme", "Authorization: Bearer", 401, "missing-token"},
		{"blanks after the scheme", "Authorization: bearer  \t ", 401, "missing-token"},
		{"a comma after the scheme", "Authorization: Bearer ,", 400, "invalid-request"},
		{"two headers with nothing after the scheme", "Authorization: Bearer\r\nAuthorization: Bearer", 400, "invalid-request"},
		{"empty header", "Authorization: ", 401, "missing-token"},
		{"another scheme", "Authorization: Basic YTpi", 401, "missing-token"},
		{"only the token", "Authorization: " + alice, 401, "missing-token"},
		{"a cookie", "Cookie: access_token=" + alice, 401, "missing-token"},
		{"another header", "X-Authorization: Bearer " + alice, 401, "missing-token"},
		{"the proxy's header", "Proxy-Authorization: Bearer " + alice, 401, "missing-token"},
		{"the platform's header", "X-MS-TOKEN-AAD-ACCESS-TOKEN: " + alice, 401, "missing-token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := rawRequest(t, w, "GET /api/todo/items HTTP/1.1\r\nHost: x\r\n"+row.headers+"\r\nConnection: close\r\n\r\n")
			if r.StatusCode != row.status {
				t.Errorf("got %d, want %d", r.StatusCode, row.status)
			}
			challenge := r.Header.Get("WWW-Authenticate")
			if row.kind == "invalid-request" && challenge != `Bearer error="invalid_request"` ||
				row.kind == "missing-token" && (!strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, "error=")) {
				t.Errorf("WWW-Authenticate: got %q", challenge)
			}
		})
	}
	form := url.Values{"access_token": {alice}}.Encode()
	for name, r := range map[string]*reply{
		"in the query": w.call("GET", "/api/todo/items?"+form, "", ""),
		"in a form":    w.call("POST", "/api/todo/items", "", form),
		"in the path":  w.call("GET", "/api/todo/items;"+form, "", ""),
	} {
		if r.StatusCode != 401 || r.kind() != "missing-token" {
			t.Errorf("%s: got %d %s, want 401 missing-token", name, r.StatusCode, r.body)
		}
	}
}

// rawRequest sends bytes and reads one answer.
func rawRequest(t *testing.T, w *world, request string) *http.Response {
	t.Helper()
	return sendRaw(t, w.dial(t, 15*time.Second), request) // half of the service's own
}

// sendRaw sends bytes on a connection, reads the head of one answer, and closes it.
func sendRaw(t *testing.T, conn net.Conn, request string) *http.Response {
	t.Helper()
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // only head and status matter
	return resp
}

func TestLimits(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.MaxBodySize, f.Server.MaxHeaderSize = 1<<20, 32<<10 })
	alice := w.alice()
	announced := func(size int) *reply { return w.call("POST", "/api/todo/items", alice, strings.Repeat("x", size)) }
	chunked := func(size int) *reply {
		req, err := http.NewRequest("POST", w.url+"/api/todo/items", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", size))})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+alice)
		return w.do(req)
	}
	header := func(size int) *reply {
		req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+alice)
		req.Header.Set("X-Large", strings.Repeat("x", size))
		return w.do(req)
	}
	for _, row := range []struct {
		name   string
		reply  *reply
		status int
		kind   string
	}{
		{"largest body", announced(1 << 20), 200, ""},
		{"largest chunked body", chunked(1 << 20), 200, ""},
		{"body too large", announced(1<<20 + 1), 413, "body-too-large"},
		{"chunked body too large", chunked(1<<20 + 1), 413, "body-too-large"},
		{"large headers", header(24 << 10), 200, ""},
		{"headers too large", header(33 << 10), 431, "headers-too-large"},
	} {
		if row.reply.StatusCode != row.status || row.kind != "" && row.reply.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", row.name, row.reply.StatusCode, row.reply.body, row.status, row.kind)
		}
	}
	req, err := http.NewRequest("GET", w.url+"/api/todo/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	if r := w.do(req); r.StatusCode != 501 {
		t.Errorf("upgrade: got %d, want 501", r.StatusCode)
	}
}

func TestDownstreamFailures(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(w *world)
		status int
		kind   string
		calls  int // exchanges
	}{
		{"unreachable", func(w *world) { w.api.Close() }, 502, "downstream-unreachable", 1},
		{"slow", func(w *world) {
			w.api.handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, 504, "downstream-timeout", 1},
		{"breaks off before it answers", func(w *world) {
			w.api.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, 502, "downstream-unreachable", 1},
		{"rejects every token", func(w *world) {
			w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(401) })
		}, 502, "downstream-rejected-token", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(f *file) {
				api := f.DownstreamAPIs["todo"]
				api.Timeout = 300 * time.Millisecond
				f.DownstreamAPIs["todo"] = api
			})
			row.change(w)
			r := w.call("GET", "/api/todo/items", w.alice(), "")
			if r.StatusCode != row.status || r.kind() != row.kind {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			checkProblem(t, w, r, "/api/todo/items")
			if got := w.exchanges(); got != row.calls {
				t.Errorf("got %d exchanges, want %d", got, row.calls)
			}
		})
	}
}

// If the API refuses a token, it is dropped, and the call is repeated once with a
// new one.
func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	w := newWorld(t)
	refused := ""
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if refused == "" {
			refused = token
		}
		if token == refused {
			rw.WriteHeader(401)
		}
	})
	alice := w.alice()
	for range 2 {
		if r := w.call("POST", "/api/todo/items", alice, `{"title":"x"}`); r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	if got := w.exchanges(); got != 2 {
		t.Errorf("got %d exchanges, want 2: the first token and the fresh one", got)
	}
	if got := len(w.api.seen()); got != 3 {
		t.Errorf("the API got %d requests, want 3", got)
	}
}

// An API that refuses every token costs two exchanges, and then none for a while.
func TestAPIThatRefusesEveryTokenCostsFewExchanges(t *testing.T) {
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		rw.WriteHeader(401)
	})
	for _, row := range []struct{ path, token string }{{"/api/todo/items", w.alice()}, {"/app/todo/items", w.daemon()}} {
		before, begin := w.exchanges(), time.Now()
		for range 20 {
			if r := w.call("GET", row.path, row.token, ""); r.StatusCode != 502 || r.kind() != "downstream-rejected-token" {
				t.Fatalf("%s: got %d %s, want 502 downstream-rejected-token", row.path, r.StatusCode, r.body)
			}
		}
		pauses := int(time.Since(begin) / (30 * time.Second))
		if got := w.exchanges() - before; got > 3+pauses {
			t.Errorf("%s: %d exchanges for 20 calls, want 2 or 3", row.path, got)
		}
	}
}

// A token that the API accepted for a time is replaced when it is refused, each
// time.
func TestTokenThatWasAcceptedIsReplacedAtOnce(t *testing.T) {
	w := newWorld(t)
	var refused sync.Map
	var last atomic.Value
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		last.Store(r.Header.Get("Authorization"))
		if _, ok := refused.Load(r.Header.Get("Authorization")); ok {
			rw.WriteHeader(401)
		}
	})
	alice := w.alice()
	for i := range 5 {
		for range 2 {
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Fatalf("round %d: got %d %s, want 200", i, r.StatusCode, r.body)
			}
		}
		refused.Store(last.Load(), true)
	}
	if got := w.exchanges(); got != 5 {
		t.Errorf("got %d exchanges, want 5", got)
	}
}

// A 401 that requests a key or proof of possession is not about our token.
func TestAPIThatAsksForAnotherCredential(t *testing.T) {
	const detail = "The downstream API asks for another kind of credential than a bearer token, such as a key."
	for challenge, schemes := range map[string]string{
		`AzureApiManagementKey realm="https://contoso.azure-api.net/todo",name="Ocp-Apim-Subscription-Key",type="header"`: "AzureApiManagementKey",
		`DPoP algs="ES256"`: "DPoP",
		`NTLM TlRMTVNTUAAC`: "NTLM",
	} {
		w := newWorld(t)
		w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", challenge)
			rw.WriteHeader(401)
		})
		r := w.call("GET", "/api/todo/items", w.alice(), "")
		if r.StatusCode != 502 || r.kind() != "downstream-rejected-token" || r.problem.Detail != detail {
			t.Errorf("%s: got %d %s, want 502 downstream-rejected-token, %s", challenge, r.StatusCode, r.body, detail)
		}
		if got := len(w.api.seen()); got != 1 || w.exchanges() != 1 {
			t.Errorf("%s: %d calls of the API and %d exchanges, want one of each", challenge, got, w.exchanges())
		}
		if log := w.log.String(); !strings.Contains(log, "another scheme than Bearer: "+schemes+`"`) {
			t.Errorf("the log does not say %s:\n%s", schemes, log)
		}
	}
}

// Claims challenges of Azure Resource Manager and of others that differ in form from
// Microsoft's page.
func TestClaimsChallengeOfAnAPIInEverySpelling(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	encoded := base64.StdEncoding.EncodeToString([]byte(claims))
	for _, challenge := range []string{
		`Bearer authorization_uri="https://login.example/", error="invalid_token", error_description="User session has been revoked", claims="` + encoded + `"`,
		`bearer error="Insufficient_Claims", claims="` + strings.TrimRight(encoded, "=") + `"`,
		`PoP nonce="x", Bearer claims="` + strings.ReplaceAll(claims, `"`, `\"`) + `"`,
		`Bearer claims="` + url.QueryEscape(claims) + `"`,
	} {
		w := newWorld(t)
		w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", challenge)
			rw.WriteHeader(401)
		})
		alice := w.alice()
		w.wantChallenge(w.call("GET", "/api/todo/items", alice, ""), claims)
		seen := w.idp.Requests()
		if got := seen[len(seen)-1].Form.Get("claims"); !strings.Contains(got, `"1700000000"`) {
			t.Errorf("%s: the exchange asked for %s, want the API's claims", challenge, got)
		}
	}
}

// A call that fails once with 503 is retried if its method is idempotent.
func TestFailedCallIsRetried(t *testing.T) {
	for _, row := range []struct {
		method                  string
		attempts, status, asked int
	}{
		{"GET", 2, 200, 2}, // the default
		{"DELETE", 2, 200, 2},
		{"POST", 2, 503, 1},
		{"GET", 1, 503, 1},
	} {
		w := newWorld(t, func(f *file) {
			api := f.DownstreamAPIs["todo"]
			if api.Retry.Attempts != 2 {
				t.Errorf("retry.attempts is %d by default, want 2", api.Retry.Attempts)
			}
			api.Retry.Attempts = row.attempts
			f.DownstreamAPIs["todo"] = api
		})
		failing := true
		w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
			if failing {
				rw.WriteHeader(503)
			}
			failing = false
		})
		r := w.call(row.method, "/api/todo/items", w.alice(), "")
		if got := len(w.api.seen()); r.StatusCode != row.status || got != row.asked {
			t.Errorf("%s with %d attempts: got %d after %d requests, want %d after %d",
				row.method, row.attempts, r.StatusCode, got, row.status, row.asked)
		}
		if got := w.exchanges(); got != 1 {
			t.Errorf("%s: %d exchanges, want 1", row.method, got)
		}
	}
}
