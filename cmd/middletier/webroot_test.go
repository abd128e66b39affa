package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	appPage    = "<!doctype html><title>the application</title>"
	fromWindow = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
)

// writeSite writes an application as a bundler does, and files that nobody may see.
func writeSite(t *testing.T) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "dist")
	for name, content := range map[string]string{
		"index.html": appPage, "assets/index-BxY12abc.js": "script", "help/index.html": "help", "healthz": "a file", "docs/guide.html": "guide",
		".env": "HIDDEN", "../outside.txt": "HIDDEN", "api/todo/items": "HIDDEN",
	} {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func withSite(folder string) func(*file) { return func(f *file) { f.Server.WebRoot = folder } }

func TestWebRootIsServedBesideTheRoutes(t *testing.T) {
	folder := writeSite(t)
	for _, base := range []string{"", "/middle"} {
		w := newWorld(t, withSite(folder), func(f *file) { f.Server.BasePath = base })
		for _, row := range []struct {
			method, path, line string
			status             int
			body               string // or the kind of the problem
			allow              string
		}{
			{"GET", "/", "Accept: */*", 200, appPage, ""},
			{"HEAD", "/", "Accept: */*", 200, "", ""},
			{"GET", "/users/7", fromWindow, 200, appPage, ""},
			{"GET", "/users/7", "Accept: */*", 404, "not-found", ""},
			{"GET", "/assets/index-BxY12abc.js", "Accept: */*", 200, "script", ""},
			{"GET", "/assets/gone.js", fromWindow, 404, "not-found", ""},
			{"GET", "/.env", fromWindow, 404, "not-found", ""},
			{"GET", "/help/", "Accept: */*", 200, "help", ""},
			{"GET", "/docs/guide.html", "Accept: */*", 200, "guide", ""},
			{"GET", "/signout", fromWindow, 200, appPage, ""}, // only POST is ours
			{"POST", "/signout", fromWindow, 401, "missing-token", ""},
			{"POST", "/users/7", "Accept: */*", 405, "method-not-allowed", "OPTIONS, GET, HEAD"},
			{"DELETE", "/assets/index-BxY12abc.js", fromWindow, 405, "method-not-allowed", "OPTIONS, GET, HEAD"},
			{"PURGE", "/", "Accept: */*", 405, "method-not-allowed", "OPTIONS, GET, HEAD"},

			{"GET", "/api/todo/items", fromWindow, 401, "missing-token", ""},
			{"GET", "/app/todo/items", fromWindow, 401, "missing-token", ""},
			{"GET", "/api", fromWindow, 404, "not-found", ""},
			{"GET", "/app", fromWindow, 404, "not-found", ""},
			{"GET", "/bff", fromWindow, 404, "not-found", ""},
			{"GET", "/bff/nothing", fromWindow, 404, "not-found", ""},
			{"GET", "/mcp/todo", fromWindow, 404, "not-found", ""},
			{"GET", "/problems/nothing", fromWindow, 404, "not-found", ""},
			{"GET", "/docs/nothing", fromWindow, 404, "not-found", ""},
			{"GET", "/.well-known/nothing", fromWindow, 404, "not-found", ""},
			{"GET", "/signin-oidc", fromWindow, 404, "not-found", ""},
			{"GET", "/signin-oidc/x", fromWindow, 404, "not-found", ""},
			{"GET", "/signout-callback-oidc", fromWindow, 404, "not-found", ""},
			{"GET", "/signout-oidc", fromWindow, 404, "not-found", ""},
		} {
			r := w.send(row.method, w.url+base+row.path, "", nil, row.line)
			got := r.body
			if r.problem.Type != "" {
				got = r.kind()
			}
			if r.StatusCode != row.status || got != row.body || row.allow != "" && r.Header.Get("Allow") != row.allow {
				t.Errorf("%s %s%s (%s): got %d %q, Allow %q; want %d %q",
					row.method, base, row.path, row.line, r.StatusCode, got, r.Header.Get("Allow"), row.status, row.body)
			}
		}
		for path, want := range map[string]string{
			base + "/docs": "text/html", base + "/openapi.json": "application/json", base + "/problems/internal": "application/json",
			"/healthz": "application/json", base + "/.well-known/oauth-protected-resource": "application/json",
		} {
			r := w.call("GET", path, "", "")
			if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), want) || r.body == "a file" {
				t.Errorf("GET %s: got %d %s", path, r.StatusCode, r.Header.Get("Content-Type"))
			}
		}
		if r := w.call("GET", base+"/api/todo/items", w.alice(), ""); r.StatusCode != 200 || r.body != `{"ok":true}` {
			t.Errorf("GET /api/todo/items: got %d %s", r.StatusCode, r.body)
		}
		for path, want := range map[string]string{"/help": "./help/", "/help?a=b": "./help/?a=b"} {
			if r := w.call("GET", base+path, "", ""); r.StatusCode != 302 || r.Header.Get("Location") != want {
				t.Errorf("GET %s: got %d to %q, want %q", path, r.StatusCode, r.Header.Get("Location"), want)
			}
		}
	}
}

// The links of the page are relative, so its URL must end with a slash.
func TestWebRootBelowABasePathHasASlash(t *testing.T) {
	w := newWorld(t, withSite(writeSite(t)), func(f *file) { f.Server.BasePath = "/middle" })
	if r := w.call("GET", "/middle?a=b", "", ""); r.StatusCode != 302 || r.Header.Get("Location") != "./middle/?a=b" {
		t.Errorf("got %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	for _, path := range []string{"/", "/index.html", "/other", "/middleman"} {
		if r := w.send("GET", w.url+path, "", nil, fromWindow); r.StatusCode != 404 || r.kind() != "not-found" {
			t.Errorf("GET %s: got %d %s", path, r.StatusCode, r.body)
		}
	}
}

func TestWebRootHeaders(t *testing.T) {
	folder := writeSite(t)
	w := newWorld(t, withSite(folder), allowSPA)
	page := w.call("GET", "/", "", "")
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'self'; " +
			"form-action 'self'; frame-ancestors 'self'",
	} {
		if got := page.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if page.Header.Get("X-Request-Id") == "" || page.Header.Get("ETag") == "" {
		t.Errorf("got %v", page.Header)
	}
	r := w.send("GET", w.url+"/", "", nil, "If-None-Match: "+page.Header.Get("ETag"))
	if r.StatusCode != 304 || r.Header.Get("Content-Type") != "" {
		t.Errorf("the same page: got %d %v", r.StatusCode, r.Header)
	}
	script := w.send("GET", w.url+"/assets/index-BxY12abc.js", "", nil, "Range: bytes=1-3", "Origin: "+spa)
	if script.StatusCode != 206 || script.body != "cri" || script.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" ||
		script.Header.Get("Access-Control-Allow-Origin") != spa {
		t.Errorf("a part of the script: got %d %q %v", script.StatusCode, script.body, script.Header)
	}
	if r := w.send("GET", w.url+"/users", "", nil, fromWindow); strings.Join(r.Header["Vary"], ", ") != "Origin, Accept" {
		t.Errorf("a route: got Vary %q", r.Header["Vary"])
	}
	r = w.send("GET", w.url+"/", "", nil, "Range: bytes=1000-")
	if r.StatusCode != 416 || r.body != "" || r.Header.Get("Content-Range") == "" {
		t.Errorf("a range behind the end: got %d %q %v", r.StatusCode, r.body, r.Header)
	}
	r = w.call("GET", "/nothing.js", "", "")
	if r.Header.Get("Content-Security-Policy") != "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("an error: got %v", r.Header)
	}

	const policy = "default-src 'self' https://cdn.contoso.example; frame-ancestors 'none'"
	w = newWorld(t, withSite(folder), func(f *file) { f.Server.ContentPolicy = policy })
	if h := w.call("GET", "/", "", "").Header; h.Get("Content-Security-Policy") != policy || h.Get("X-Frame-Options") != "DENY" {
		t.Errorf("with a policy: got %v", h)
	}
}

// A silent sign-in visits the provider in a hidden frame.
func TestPolicyLetsAFrameVisitTheProviderWithSessions(t *testing.T) {
	f := file{AzureAd: azureAd{Instance: "https://login.microsoftonline.com/"}, Server: server{WebRoot: "dist"}}
	if got := f.effective().Server.ContentPolicy; got == "" || strings.Contains(got, "frame-src") {
		t.Errorf("without sessions: got %q", got)
	}
	f.Session.Enabled = true
	if got := f.effective().Server.ContentPolicy; !strings.HasSuffix(got, "; frame-src 'self' https://login.microsoftonline.com") {
		t.Errorf("with sessions: got %q", got)
	}
	f.Server.WebRoot = ""
	if got := f.effective().Server.ContentPolicy; got != "" {
		t.Errorf("without a web root: got %q", got)
	}
}

// The targets are sent as they are: clients would change them.
func TestAttacksOnTheWebRoot(t *testing.T) {
	w := newWorld(t, withSite(writeSite(t)))
	for _, target := range []string{
		"/../outside.txt", "/assets/../../outside.txt", "/./.env", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/%2e%2e%2foutside.txt",
		"/..%5coutside.txt", `/..\outside.txt`, "/%252e%252e/outside.txt", "//outside.txt", "//evil.example/", "/%2f%2fevil.example/", "///",
		"/.env", "/%2eenv", "/.env/", "/x/.env",
		"/index.html%00", "/index.html%00.js", "/index.html::$DATA", "/index.html.", "/index.html%20",
		"/%c0%ae%c0%ae/outside.txt", "/%ff", "/api/../index.html", "/api/..%2findex.html", "/bff/..;/index.html", "/%2e%2e/api/todo/items",
		"http://x/../outside.txt", "http://x//outside.txt",
		"/" + strings.Repeat("../", 1000) + "etc/passwd", "/" + strings.Repeat("a", 30_000) + ".js",
	} {
		conn := w.dial(t, 15*time.Second)
		request := "GET " + target + " HTTP/1.1\r\nHost: x\r\n" + fromWindow + "\r\nConnection: close\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("GET %.60q: %v", target, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = conn.Close() // read to its end
		leaks := bytes.Contains(body, []byte("HIDDEN")) || bytes.Contains(body, []byte("root:"))
		if err != nil || leaks || resp.Header.Get("Location") != "" {
			t.Errorf("GET %.60q: got %d %q, %v", target, resp.StatusCode, body, err)
		}
		isProblem := resp.StatusCode >= 400 && resp.StatusCode < 500
		if isDoubled := strings.Contains(target, "%25"); isDoubled {
			isProblem = resp.StatusCode == 404 || string(body) == appPage // a name with percent signs is a route's
		}
		if !isProblem {
			t.Errorf("GET %.60q: got %d %q, want a refusal", target, resp.StatusCode, body)
		}
	}
}

// All files have one route, and paths are in no label.
func TestWebRootIsOneRouteInLogAndMetrics(t *testing.T) {
	w := newStoppedWorld(t, withSite(writeSite(t)), func(f *file) { f.Server.BasePath = "/middle" })
	p := w.startReady()
	for _, path := range []string{"/middle/", "/middle", "/middle/assets/index-BxY12abc.js", "/middle/gone.js", "/middle/users"} {
		w.send("GET", w.url+path, "", nil, fromWindow)
	}
	w.send("POST", w.url+"/middle/users", "", nil)
	lines := w.log.lines(t)
	if len(lines) != 6 {
		t.Fatalf("got %d lines", len(lines))
	}
	for _, line := range lines {
		if line["route"] != "/middle/{path…}" || line["problem"] == "internal" {
			t.Errorf("got %v", line)
		}
	}
	got := p.scrape(t)
	if !strings.Contains(got, `http_route="/middle/{path…}"`) ||
		strings.Contains(got, "index-BxY12abc") || strings.Contains(got, `/middle/"`) {
		t.Errorf("metrics: got %s", got)
	}
}

// A file that is written to while it is sent must not end as if it were whole.
func TestWebRootFileThatShrinksBreaksTheConnection(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			folder := writeSite(t)
			path := filepath.Join(folder, "large.bin")
			const size = 100 << 20
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil { // without blocks on the disk
				t.Fatal(err)
			}
			w := newWorld(t, withSite(folder), func(f *file) { f.Server.H2C = true })
			protocols := &http.Protocols{}
			protocols.SetHTTP1(version == "HTTP/1.1")
			protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
			transport := &http.Transport{Protocols: protocols}
			t.Cleanup(transport.CloseIdleConnections)
			resp, err := (&http.Client{Transport: transport}).Get(w.url + "/large.bin")
			if err != nil || resp.StatusCode != 200 || resp.Proto != version {
				t.Fatalf("got %v, %v", resp, err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size/2); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err == nil || n > size-1<<20 {
				t.Errorf("got %d bytes more, and %v; want a broken connection", n, err)
			}
			var lines []map[string]any
			eventually(t, func() bool {
				lines = w.log.lines(t)
				return len(lines) > 0
			}, func() string { return "no log line" })
			if got := lines[0]["error"]; got != "the file changed while it was sent" {
				t.Errorf("log: got %v", lines[0])
			}
		})
	}
}

func TestWebRootIsChecked(t *testing.T) {
	folder := writeSite(t)
	empty := t.TempDir()
	secret := filepath.Join(folder, "client-secret.txt")
	inside := filepath.Join(folder, "config.yaml")
	for _, row := range []struct {
		name, server, secret, at string // at: where the file is; "": elsewhere
		code                     int
		stderr                   string
	}{
		{"a folder", "webRoot: " + folder, "", "", 0, ""},
		{"off", "webRoot: off", "", "", 0, ""},
		{"no folder", "webRoot: " + folder + "/gone", "", "", 1, "config.yaml:2: server.webRoot: stat "},
		{"a file", "webRoot: " + folder + "/index.html", "", "", 1, "config.yaml:2: server.webRoot: " + folder + "/index.html is not a folder"},
		{"no page", "webRoot: " + empty, "", "", 0, "config.yaml:2: server.webRoot: warning: there is no page for the folder itself"},
		{
			"a policy of several lines", `contentSecurityPolicy: "default-src 'self';\n  object-src 'none'"`, "", "", 1,
			"config.yaml:2: server.contentSecurityPolicy: must be one line of printable ASCII",
		},
		{
			"a policy alone", `contentSecurityPolicy: default-src 'self'`, "", "", 0,
			"server.contentSecurityPolicy: warning: has no effect without webRoot",
		},
		{
			"a folded policy", "webRoot: " + folder + "\n  contentSecurityPolicy: >-\n    default-src 'self';\n    object-src 'none'",
			"", "", 0, "",
		},
		{
			"a secret inside", "webRoot: " + folder, secret, "", 1,
			"azureAd.clientCredentials[0].clientSecretFile: is in server.webRoot, so everybody could read it",
		},
		{"the configuration inside", "webRoot: " + folder, "", inside, 1, "server.webRoot: holds the configuration file "},
		{
			"no public listener", "webRoot: " + folder + "\n  address: off\n  sidecarAddress: auto", "", "", 0,
			"server.webRoot: warning: has no effect, since server.address is off",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := "server:\n  " + row.server + goodConfig
			if row.secret != "" {
				if err := os.WriteFile(row.secret, []byte("s3cret-value"), 0o600); err != nil {
					t.Fatal(err)
				}
				text = strings.Replace(text, "clientSecret: s3cret-value", "clientSecretFile: "+row.secret, 1)
			}
			path := writeConfig(t, text)
			if row.at != "" {
				if err := os.Rename(path, row.at); err != nil {
					t.Fatal(err)
				}
				path = row.at
			}
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr})
			if code != row.code || !strings.Contains(stderr.String(), row.stderr) || row.stderr == "" && stderr.Len() > 0 {
				t.Errorf("got %d %q; want %d %q", code, stderr.String(), row.code, row.stderr)
			}
			if row.code == 0 {
				return
			}
			stderr.Reset()
			code = run(t.Context(), []string{"serve", "--config", path}, streams{nil, io.Discard, &stderr})
			if code != 1 || !strings.Contains(stderr.String(), row.stderr) {
				t.Errorf("serve: got %d %q", code, stderr.String())
			}
		})
	}
}

// The routes of sessions are not the application's, and the policy lets their hidden frame
// visit the provider.
func TestWebRootLeavesTheRoutesOfSessions(t *testing.T) {
	w := newWorld(t, withSite(writeSite(t)), withSessions)
	for path, want := range map[string]int{
		"/bff/login": 302, "/bff/user": 403, "/bff/logout": 302, "/bff/silent-login": 302, "/bff/silent-login-callback": 200,
		"/signin-oidc": 400, "/signout-callback-oidc": 302, "/signout-oidc": 200, "/bff/api/todo/items": 403, "/bff/nothing": 404, "/bff/": 404,
		"/users": 200,
	} {
		r := w.send("GET", w.url+path, "", nil, fromWindow)
		if isPage := r.body == appPage; r.StatusCode != want || isPage != (path == "/users") {
			t.Errorf("GET %s: got %d %.100s, want %d", path, r.StatusCode, r.body, want)
		}
	}
	if got := w.call("GET", "/", "", "").Header.Get("Content-Security-Policy"); !strings.HasSuffix(got, "; frame-src 'self' "+w.idp.URL()) {
		t.Errorf("got the policy %q, want the provider in frames", got)
	}
}
