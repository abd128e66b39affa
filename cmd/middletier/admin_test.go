package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"middletier/internal/testkit/redistest"
)

// admin starts the service and an admin listener, whose URL it returns.
func (w *world) admin(t *testing.T) string {
	t.Helper()
	listener := httptest.NewServer(w.startReady().api.Admin(new(slog.LevelVar)))
	t.Cleanup(listener.Close)
	return listener.URL
}

// ask makes a request of an operator's.
func (w *world) ask(method, url string, headers ...string) *reply {
	w.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	return w.do(req)
}

func TestAdminListenerForgetsTokens(t *testing.T) {
	w := newStoppedWorld(t)
	admin := w.admin(t)
	alice, bob := w.alice(), w.bob()
	call := func() {
		w.call("GET", "/api/todo/items", alice, "")
		w.call("GET", "/api/todo/items", bob, "")
		w.call("GET", "/app/todo/items", w.daemon(), "")
	}
	call()
	if r := w.ask("DELETE", admin+"/cache/users/"+strings.ToUpper(demoTenant)+"/AAAAAAAA-0000-4000-8000-000000000001"); r.StatusCode != 204 {
		t.Errorf("Alice: got %d %s, want 204", r.StatusCode, r.body)
	}
	call()
	if got := w.exchanges(); got != 4 {
		t.Errorf("after Alice was forgotten: %d exchanges, want one more than 3", got)
	}
	if r := w.ask("DELETE", admin+"/cache/users/"+demoTenant+"/ffffffff-0000-4000-8000-000000000001"); r.StatusCode != 204 {
		t.Errorf("nobody: got %d %s, want 204", r.StatusCode, r.body)
	}
	if r := w.ask("DELETE", admin+"/cache"); r.StatusCode != 204 {
		t.Errorf("all: got %d %s, want 204", r.StatusCode, r.body)
	}
	call()
	if got := w.exchanges(); got != 7 {
		t.Errorf("after everything was forgotten: %d exchanges, want 3 more than 4", got)
	}
	for _, path := range []string{demoTenant + "/alice", "contoso.example/aaaaaaaa-0000-4000-8000-000000000001", "x/y", demoTenant + "/%20"} {
		if r := w.ask("DELETE", admin+"/cache/users/"+path); r.StatusCode != 400 || r.kind() != "invalid-request" {
			t.Errorf("%s: got %d %s, want 400 invalid-request", path, r.StatusCode, r.body)
		}
	}
	if lines := w.log.lines(t); lines[3]["tenant"] != strings.ToUpper(demoTenant) ||
		lines[3]["oid"] != "AAAAAAAA-0000-4000-8000-000000000001" {
		t.Errorf("got %v, want whose tokens are dropped", lines[3])
	}
	if lines := w.log.lines(t); lines[3]["route"] != "/cache/users/{tid}/{oid}" {
		t.Errorf("route in the log: got %v", lines[3]["route"])
	}
}

func TestForgettingWithoutRedisIsSaid(t *testing.T) {
	redis := redistest.Start(t)
	w := newStoppedWorld(t, withRedis(redis))
	admin := w.admin(t)
	redis.Kill()
	for _, path := range []string{"/cache", "/cache/users/" + demoTenant + "/aaaaaaaa-0000-4000-8000-000000000001"} {
		if r := w.ask("DELETE", admin+path); r.StatusCode != 503 || r.kind() != "shared-cache-unavailable" {
			t.Errorf("%s: got %d %s, want 503 shared-cache-unavailable", path, r.StatusCode, r.body)
		}
	}
}

// GET /config shows the configuration in force, with its files and without its secrets.
func TestAdminListenerShowsTheConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(`
azureAd:
  tenantId: `+demoTenant+`
  clientId: `+demoMiddleTier+`
  clientCredentials:
    - {sourceType: ClientSecret, clientSecret: canary-in-the-file}
    - {sourceType: Path, certificateDiskPath: /run/secrets/client.pfx, certificatePassword: canary-of-the-pfx}
downstreamApis:
  todo:
    baseUrl: https://todo.example/
    scopes: [api://todo/.default]
    requestHeaders: {set: {X-Api-Key: canary-header}}
tokenCache: {redis: {url: "redis://:canary-of-redis@cache:6379", passwordFile: /run/secrets/redis, encryptionKeys: [Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MTI=]}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := load(path, []string{"AzureAd__ClientCredentials__0__ClientSecret=canary-in-the-environment", "Server__RequestTimeout=31s"})
	if err != nil {
		t.Fatal(err)
	}
	w := newStoppedWorld(t, func(f *file) {
		f.Server.RequestTimeout = loaded.Server.RequestTimeout
		f.DownstreamAPIs["other"] = loaded.DownstreamAPIs["todo"]
		f.AzureAd.ClientCredentials = append(loaded.AzureAd.ClientCredentials[:1:1], secretCredential("canary-unused")...)
		f.TokenCache.Redis = loaded.TokenCache.Redis
		f.TokenCache.Redis.URL, f.TokenCache.Redis.PasswordFile = "redis://:canary-of-redis@127.0.0.1:1", ""
	})
	r := w.ask("GET", w.admin(t)+"/config")
	var shown struct {
		Server  struct{ RequestTimeout, Address string }
		AzureAd struct {
			ClientCredentials []struct{ SourceType, ClientSecret string }
		}
		DownstreamApis map[string]struct {
			RequestHeaders struct{ Set map[string]string }
		}
		TokenCache struct {
			Redis struct {
				URL            string
				EncryptionKeys []string
			}
		}
	}
	if err := json.Unmarshal([]byte(r.body), &shown); err != nil || r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v %s", r.StatusCode, err, r.body)
	}
	want := `{Server:{RequestTimeout:31s Address:127.0.0.1:0} AzureAd:{ClientCredentials:[{SourceType:ClientSecret ClientSecret:***} {SourceType:ClientSecret ClientSecret:***}]} ` +
		`DownstreamApis:map[other:{RequestHeaders:{Set:map[X-Api-Key:***]}} todo:{RequestHeaders:{Set:map[]}}] TokenCache:{Redis:{URL:*** EncryptionKeys:[***]}}}`
	if got := fmt.Sprintf("%+v", shown); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Contains(r.body, "canary") || strings.Contains(r.body, "Y2FuYXJ5") {
		t.Errorf("a secret is shown: %s", r.body)
	}
}

// A web page in an operator's browser cannot use the operator's admin listener.
func TestAdminListenerRefusesWebPages(t *testing.T) {
	w := newStoppedWorld(t)
	admin := w.admin(t)
	port := admin[strings.LastIndex(admin, ":"):]
	for _, row := range []struct {
		name    string
		headers []string
		allowed bool
	}{
		{"curl", nil, true},
		{"by its name", []string{"Host", "localhost" + port}, true},
		{"IPv6", []string{"Host", "[::1]" + port}, true},
		{"address bar", []string{"Sec-Fetch-Site", "none"}, true},
		{"link on a page of ours", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"another site", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"a script of another site", []string{"Origin", "https://evil.example"}, false},
		{"an opaque origin", []string{"Origin", "null"}, false},
		{"a name made to lead here", []string{"Host", "evil.example" + port}, false},
		{"a name that begins like an address", []string{"Host", "127.0.0.1.evil.example" + port}, false},
	} {
		for path, method := range map[string]string{"/config": "GET", "/loglevel": "GET", "/cache": "DELETE"} {
			r := w.ask(method, admin+path, row.headers...)
			if allowed := r.StatusCode < 300; allowed != row.allowed || !allowed && r.kind() != "invalid-request" {
				t.Errorf("%s, %s %s: got %d %s, want allowed: %v", row.name, method, path, r.StatusCode, r.body, row.allowed)
			}
		}
	}
}

// A page that has made its own name lead to the admin listener (DNS rebinding) could
// read its answers, so a foreign name is refused on every route. Probes and scrapes
// use an address, localhost or no name, and may come from anywhere.
func TestAdminListenerRefusesForeignNamesOnEveryRoute(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) { f.Server.AdminProfiling = true })
	admin := w.admin(t)
	port := admin[strings.LastIndex(admin, ":"):]
	for _, path := range []string{
		"/metrics", "/healthz", "/readyz", "/config", "/loglevel",
		"/debug/pprof/", "/problems/", "/problems/internal", "/",
	} {
		r := w.ask("GET", admin+path, "Host", "evil.example"+port)
		if r.StatusCode != 400 || r.kind() != "invalid-request" {
			t.Errorf("%s: got %d %s, want 400", path, r.StatusCode, r.body)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		for _, headers := range [][]string{
			nil,
			{"Host", "10.1.2.3" + port},
			{"Host", "[fd00::1]" + port},
			{"Host", "10.1.2.3"},
			{"Host", "LOCALHOST" + port},
			{"Origin", "https://evil.example"},
			{"Sec-Fetch-Site", "cross-site"},
		} {
			if r := w.ask("GET", admin+path, headers...); r.StatusCode != 200 {
				t.Errorf("%s with %q: got %d, want 200", path, headers, r.StatusCode)
			}
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200 ") {
		t.Errorf("a probe without Host: got %q, %v", answer, err)
	}
}

// The type of an admin listener's problem leads to a page that exists.
func TestTypesOfAdminProblemsExist(t *testing.T) {
	for name, change := range map[string]func(*file){
		"alone": func(*file) {}, "below a base path": func(f *file) { f.Server.BasePath = "/middle" },
	} {
		w := newStoppedWorld(t, change)
		admin := w.admin(t)
		r := w.ask("GET", admin+"/nothing")
		if r.StatusCode != 404 || !strings.HasPrefix(r.problem.Type, admin) {
			t.Fatalf("%s: got %d %s", name, r.StatusCode, r.body)
		}
		if page := w.ask("GET", r.problem.Type); page.StatusCode != 200 || !strings.Contains(page.body, `"action":"`) {
			t.Errorf("%s: %s leads to %d %s", name, r.problem.Type, page.StatusCode, page.body)
		}
	}
	w := newStoppedWorld(t, func(f *file) { f.Server.PublicURL = "https://public.example" })
	if r := w.ask("GET", w.admin(t)+"/nothing"); r.problem.Type != "https://public.example/problems/not-found" {
		t.Errorf("with publicUrl: got %s", r.body)
	}
}

func TestProfilingIsAskedFor(t *testing.T) {
	paths := []string{
		"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline",
		"/debug/pprof/symbol", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.1",
	}
	on := newStoppedWorld(t, func(f *file) { f.Server.AdminProfiling = true })
	admin := on.admin(t)
	for _, path := range paths {
		if r := on.ask("GET", admin+path); r.StatusCode != 200 || r.body == "" {
			t.Errorf("%s: got %d %s", path, r.StatusCode, r.body)
		}
		if r := on.call("GET", path, "", ""); r.StatusCode != 404 {
			t.Errorf("%s of the public listener: got %d, want 404", path, r.StatusCode)
		}
	}
	off := newStoppedWorld(t)
	admin = off.admin(t)
	for _, path := range paths {
		if r := off.ask("GET", admin+path); r.StatusCode != 404 {
			t.Errorf("%s when off: got %d, want 404", path, r.StatusCode)
		}
	}
}

// Routes for operators are on the admin listener only, which is on loopback by
// default.
func TestAdminRoutesAreNotPublic(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.BasePath = "/middle" })
	for path, method := range map[string]string{
		"/metrics": "GET", "/config": "GET", "/loglevel": "PUT", "/cache": "DELETE", "/cache/users/a/b": "DELETE", "/debug/pprof/": "GET",
	} {
		for _, base := range []string{"", "/middle"} {
			if r := w.call(method, base+path, w.alice(), ""); r.StatusCode != 404 {
				t.Errorf("%s %s%s: got %d, want 404", method, base, path, r.StatusCode)
			}
		}
	}
	host, _, err := net.SplitHostPort(defaults().Server.AdminAddress)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("server.adminAddress is %q by default", defaults().Server.AdminAddress)
	}
}
