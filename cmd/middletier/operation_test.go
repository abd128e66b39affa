package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
)

func TestKnownUsersGoOnWhileTheProviderIsDown(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.alice(), w.bob()
	w.call("GET", "/api/todo/items", alice, "")
	w.idp.Stop()
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
		t.Errorf("known user: got %d %s, want 200", r.StatusCode, r.body)
	}
	r := w.call("GET", "/api/todo/items", bob, "")
	if r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || r.Header.Get("Retry-After") == "" {
		t.Errorf("new user: got %d %s, Retry-After %q, want 503 identity-provider-unavailable with a time",
			r.StatusCode, r.body, r.Header.Get("Retry-After"))
	}
	if r := w.call("GET", "/readyz", "", ""); r.StatusCode != 200 {
		t.Errorf("readyz: got %d %s, want 200: what is known is served", r.StatusCode, r.body)
	}
	if err := w.idp.Restart(); err != nil {
		t.Fatal(err)
	}
	if r := w.call("GET", "/api/todo/items", bob, ""); r.StatusCode != 200 {
		t.Errorf("new user after its return: got %d %s, want 200", r.StatusCode, r.body)
	}
}

func TestSecretFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a-wrong-secret")
	w := newWorld(t, func(f *file) {
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: path}}
	})
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 500 || r.kind() != "misconfigured" {
		t.Fatalf("with a wrong secret: got %d %s, want 500 misconfigured", r.StatusCode, r.body)
	}
	write(testSecret)
	// The refusal has brought about a reload: for 10 s only the watch does.
	deadline := time.Now().Add(8 * time.Second)
	for w.call("GET", "/api/todo/items", w.alice(), "").StatusCode != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the new secret is not used")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if log := w.log.String(); strings.Contains(log, testSecret) || strings.Contains(log, "a-wrong-secret") {
		t.Errorf("a secret is logged: %s", log)
	}
}

func TestStartedWithTheProviderDown(t *testing.T) {
	w := newStoppedWorld(t)
	alice := w.alice()
	w.idp.Stop()
	p := w.start()
	r := w.call("GET", "/readyz", "", "")
	var health struct{ Reasons []string }
	if err := json.Unmarshal([]byte(r.body), &health); r.StatusCode != 503 || err != nil || len(health.Reasons) != 1 {
		t.Errorf("readyz: got %d %s, want 503 with the reason", r.StatusCode, r.body)
	}
	if r := w.call("GET", "/healthz", "", ""); r.StatusCode != 200 {
		t.Errorf("healthz: got %d, want 200", r.StatusCode)
	}
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" ||
		r.Header.Get("Retry-After") == "" {
		t.Errorf("call: got %d %s, want 503 identity-provider-unavailable with Retry-After", r.StatusCode, r.body)
	}
	if err := w.idp.Restart(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the promise
	defer cancel()
	if err := p.validator.AwaitKeys(ctx); err != nil {
		t.Fatal("not ready within 10 s of the provider's return")
	}
	if r := w.call("GET", "/readyz", "", ""); r.StatusCode != 200 {
		t.Errorf("readyz: got %d %s, want 200", r.StatusCode, r.body)
	}
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
		t.Errorf("call: got %d %s, want 200", r.StatusCode, r.body)
	}
}

// A caller that leaves in the middle of an answer is not the API's fault.
func TestClientThatLeavesTheAnswerIsLoggedAsSuch(t *testing.T) {
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = rw.Write([]byte("data: 1\n\n"))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/todo/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	leave()
	eventually(t, func() bool { return len(w.log.lines(t)) == 1 }, func() string { return "no log line" })
	line := w.log.lines(t)[0]
	if got := line["error"]; got != "the caller left before the end of the answer" || line["level"] != "INFO" {
		t.Errorf("got %v %v, want the caller's leaving at INFO", line["level"], got)
	}
}

func TestClientThatLeavesEndsTheCall(t *testing.T) {
	w := newWorld(t)
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	go func() {
		<-arrived
		leave()
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Fatalf("got %d, want the client to have left", resp.StatusCode)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the API's request goes on after the client left")
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	req.Header.Set("X-Request-ID", "given-by-the-gateway")
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if r := w.do(req); r.Header.Get("X-Request-Id") != "given-by-the-gateway" {
		t.Errorf("X-Request-Id: got %q, want it echoed", r.Header.Get("X-Request-Id"))
	}
	w.do(req)
	lines := w.log.lines(t)
	if len(lines) != 2 {
		t.Fatalf("got %d lines for 2 requests: %v", len(lines), lines)
	}
	for name, want := range map[string]any{
		"method": "GET", "route": "/api/{name}/{path…}", "status": 200.0, "api": "todo", "tokenSource": "identity_provider",
		"requestId": "given-by-the-gateway", "traceId": "0af7651916cd43dd8448eb211c80319c", "tenant": demoTenant,
		"client": "44444444-4444-4444-8444-444444444444", "oid": "aaaaaaaa-0000-4000-8000-000000000001",
	} {
		if got := lines[0][name]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if got := lines[1]["tokenSource"]; got != "memory" {
		t.Errorf("tokenSource of the second: got %v, want memory", got)
	}
	req.Header.Set("X-Request-ID", "not well\tformed")
	if r := w.do(req); r.Header.Get("X-Request-Id") == "" || strings.Contains(r.Header.Get("X-Request-Id"), "formed") {
		t.Errorf("X-Request-Id: got %q, want a new one", r.Header.Get("X-Request-Id"))
	}
}

func TestProtectedResourceMetadata(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.PublicURL = "https://api.contoso.example/middle/" })
	r := w.call("GET", "/.well-known/oauth-protected-resource", "", "")
	var got struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
		Scopes               []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Resource != "https://api.contoso.example/middle" || len(got.AuthorizationServers) != 1 ||
		got.AuthorizationServers[0] != w.idp.URL()+"/"+demoTenant+"/v2.0" ||
		strings.Join(got.Scopes, " ") != "api://"+demoMiddleTier+"/ToDoList.Read api://"+demoMiddleTier+"/ToDoList.ReadWrite" {
		t.Errorf("got %s", r.body)
	}
	if r := w.call("GET", "/api/todo/items", "", ""); !strings.Contains(r.Header.Get("WWW-Authenticate"),
		`resource_metadata="https://api.contoso.example/.well-known/oauth-protected-resource/middle/api/todo"`) {
		t.Errorf("WWW-Authenticate: got %s", r.Header.Get("WWW-Authenticate"))
	}
	// Where clients look that know the public URL only.
	if derived := w.call("GET", "/.well-known/oauth-protected-resource/middle", "", ""); derived.body != r.body ||
		r.Header.Get("Cache-Control") != "public, max-age=300" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v %s, want %s", r.Header, derived.body, r.body)
	}
}

func TestProtectedResourceMetadataBelowAPrefix(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.BasePath = "/middle" })
	if r := w.call("GET", "/middle/.well-known/oauth-protected-resource", "", ""); r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("what depends on the request's Host may be kept: %q", r.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"/middle/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/middle"} {
		if r := w.call("GET", path, "", ""); !strings.Contains(r.body, `"resource":"`+w.url+`/middle"`) {
			t.Errorf("%s: got %d %s", path, r.StatusCode, r.body)
		}
	}
	if r := w.call("GET", "/.well-known/oauth-protected-resource", "", ""); r.StatusCode != 404 {
		t.Errorf("metadata of another resource: got %d", r.StatusCode)
	}
}

// A caller that closes its side has left. If it still reads, it must not receive
// anything like an answer.
func TestCallerThatHalfClosesGetsNoAnswer(t *testing.T) {
	w := newWorld(t)
	called, leave := make(chan struct{}), make(chan struct{})
	w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		close(called)
		<-r.Context().Done()
		close(leave)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", w.alice()); err != nil {
		t.Fatal(err)
	}
	<-called
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-leave
	if answer, _ := io.ReadAll(conn); len(answer) > 0 { // a reset is as good as an end
		t.Errorf("got %q, want nothing", answer)
	}
}

// If nobody reads a body that does not arrive, it delays nothing: the answer is
// sent, and the connection ends.
func TestStalledBodyOfARefusedRequestIsNotAwaited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, request := range []string{
		"POST /api/todo/items HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"POST /api/todo/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		t.Run(request[:20], func(t *testing.T) {
			t.Parallel()
			if r := rawRequest(t, w, request); r.StatusCode != 401 && r.StatusCode != 200 {
				t.Errorf("got %d", r.StatusCode)
			}
		})
	}
}

// An offer to switch protocols may be ignored; Java's client sends one with every
// request.
func TestUpgradeToOtherProtocolsIsIgnored(t *testing.T) {
	w := newWorld(t)
	r := rawRequest(t, w, "GET /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.alice()+
		"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
	if r.StatusCode != 200 {
		t.Errorf("got %d, want 200", r.StatusCode)
	}
	if got := w.api.last(t).Header; got.Get("Upgrade") != "" || got.Get("HTTP2-Settings") != "" {
		t.Errorf("the API got %v", got)
	}
}

func TestHeadIsAnsweredWhereGetIs(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/healthz", "/readyz", "/.well-known/oauth-protected-resource", "/problems/internal", "/openapi.json", "/docs",
	} {
		if r := w.call("HEAD", path, "", ""); r.StatusCode != 200 || r.body != "" {
			t.Errorf("HEAD %s: got %d %q", path, r.StatusCode, r.body)
		}
		if r := w.call("POST", path, "", ""); r.StatusCode != 405 || !strings.Contains(r.Header.Get("Allow"), "GET, HEAD") {
			t.Errorf("POST %s: got %d, Allow %q", path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
}

// onlyStyled is the policy of a page that loads nothing and has a style in it.
var onlyStyled = regexp.MustCompile(
	`^default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-[^' ]+'$`)

// Browsers must not guess the type of the service's own answers (nosniff), and its pages
// load nothing and run in no frame.
func TestOwnAnswersCannotBeMisunderstood(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/healthz", "/readyz", "/.well-known/oauth-protected-resource", "/openapi.json",
		"/problems/internal", "/api/todo/items", "/nothing",
	} {
		r := w.from(spa, "GET", path, "Accept", "text/html")
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: got %v", path, r.Header)
		}
		policy := r.Header.Get("Content-Security-Policy")
		if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") != (path == "/problems/internal") {
			t.Errorf("%s: Content-Type is %q", path, r.Header.Get("Content-Type"))
		} else if path == "/problems/internal" && (!onlyStyled.MatchString(policy) || r.Header.Get("Referrer-Policy") != "no-referrer") {
			t.Errorf("%s: got policy %q, referrer policy %q", path, policy, r.Header.Get("Referrer-Policy"))
		}
	}
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.Header.Get("X-Content-Type-Options") != "" {
		t.Error("an API's answer got a header of ours")
	}
}

// A problem's type is the address of its explanation: HTML for browsers, JSON
// otherwise.
func TestProblemTypeIsExplainedWhereItPoints(t *testing.T) {
	w := newWorld(t)
	at := strings.TrimPrefix(w.call("GET", "/api/todo/items", "", "").problem.Type, w.url)
	page := w.from(spa, "GET", at, "Accept", "text/html,*/*;q=0.8")
	if page.StatusCode != 200 || !strings.Contains(page.body, "<h2>Who must act</h2>") ||
		!strings.Contains(page.body, "WWW-Authenticate: Bearer realm=") {
		t.Errorf("for a browser: got %d %s", page.StatusCode, page.body)
	}
	r := w.call("GET", at, "", "")
	var got struct {
		Type, Meaning, Action string
		Example               struct{ Document struct{ Type string } }
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != w.url+at || got.Meaning == "" || got.Action == "" || got.Example.Document.Type != got.Type ||
		r.Header.Get("Vary") != "Accept" {
		t.Errorf("else: got %v %s", r.Header, r.body)
	}
	if r := w.call("GET", "/problems/nothing", "", ""); r.StatusCode != 404 || r.kind() != "not-found" {
		t.Errorf("an unknown type: got %d %s", r.StatusCode, r.body)
	}
}
