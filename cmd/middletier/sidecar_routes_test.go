package main

import (
	"slices"
	"strings"
	"testing"
)

// Paths and names of APIs are in any case; a slash at the end makes no difference.
func TestSidecarPaths(t *testing.T) {
	w := newSidecar(t, withOpenGates)
	for _, row := range []struct {
		path   string
		status int
	}{
		{"/AuthorizationHeader/todo", 200},
		{"/authorizationheader/todo", 200},
		{"/AUTHORIZATIONHEADER/TODO/", 200},
		{"/AuthorizationHeader/t%6Fdo", 200},
		{"/x/../AuthorizationHeader/./todo", 200},
		{"/AuthorizationHeader/other/../todo", 200},
		{"/Validate", 200},
		{"/validate/", 200},
		{"/AuthorizationHeaderUnauthenticated/Todo", 200},
		{"/healthz", 200},
		{"/HealthZ/", 200},

		{"/", 404},
		{"/AuthorizationHeader", 404},
		{"/AuthorizationHeader/", 404},
		{"//Validate", 404},
		{"/Validate//", 404},
		{"/AuthorizationHeader//todo", 404},
		{"/AuthorizationHeader/todo/x", 404},
		{"/AuthorizationHeader/to%2Fdo", 404},
		{"/AuthorizationHeader/..%2FValidate", 404},
		{"/AuthorizationHeader/nope", 404},
		{"/api/todo/items", 404},
		{"/signout", 404},
		{"/health", 404},
		{"/readyz", 404},
	} {
		r := w.beside("GET", row.path, w.alice())
		if r.StatusCode != row.status {
			t.Errorf("GET %s: got %d %s, want %d", row.path, r.StatusCode, r.body, row.status)
		}
		if row.status == 404 && r.kind() != "not-found" && r.kind() != "unknown-api" {
			t.Errorf("GET %s: got %s", row.path, r.body)
		}
	}
}

func TestSidecarMethods(t *testing.T) {
	w := newSidecar(t)
	for _, row := range []struct{ path, allow string }{
		{"/Validate", "GET"},
		{"/validate/", "GET"},
		{"/AuthorizationHeader/todo", "GET"},
		{"/AuthorizationHeaderUnauthenticated/nope", "GET"},
		{"/downstreamapi/todo", "POST"},
		{"/DownstreamApiUnauthenticated/nope/", "POST"},
		{"/healthz", "GET, HEAD"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			if slices.Contains(strings.Split(row.allow, ", "), method) {
				continue
			}
			r := &reply{}
			if method == "HEAD" {
				r.Response = w.rawBeside(t, "HEAD "+row.path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			} else {
				r = w.beside(method, row.path, "")
			}
			if r.StatusCode != 405 || r.Header.Get("Allow") != row.allow {
				t.Errorf("%s %s: got %d, Allow %q, want 405, %q", method, row.path, r.StatusCode, r.Header.Get("Allow"), row.allow)
			}
			if method != "HEAD" && r.kind() != "method-not-allowed" {
				t.Errorf("%s %s: got %s", method, row.path, r.body)
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: the answer has %s", method, row.path, name)
				}
			}
		}
	}
}

func TestSidecarHealth(t *testing.T) {
	w := newSidecar(t, func(f *file) { f.Sidecar.AllowedCallers = nil })
	r := w.beside("GET", "/healthz", "", "Origin: https://evil.example")
	if r.StatusCode != 200 || r.body != "Healthy" || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("got %d %q, want 200 Healthy", r.StatusCode, r.body)
	}
	if r := w.beside("HEAD", "/healthz", ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: got %d %q, want 200 without a body", r.StatusCode, r.body)
	}
	if lines := w.log.lines(t); len(lines) != 0 {
		t.Errorf("probes are logged: %v", lines)
	}
	for _, path := range []string{"/healthz/x", "/Validate", "/nothing"} {
		if r := w.beside("GET", path, ""); r.StatusCode != 403 {
			t.Errorf("%s: got %d, want 403", path, r.StatusCode)
		}
	}
}

// Tokens are kept out of caches.
func TestSidecarAnswersAreNotCached(t *testing.T) {
	w := newSidecar(t)
	for _, path := range []string{"/Validate", headerPath("todo")} {
		h := w.beside("GET", path, w.alice()).Header
		for name, want := range map[string]string{
			"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0",
			"Content-Type": "application/json", "X-Content-Type-Options": "nosniff",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
	}
	if got := w.beside("GET", "/Validate", "").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("an error: got Cache-Control %q, want no-store", got)
	}
}

// The log line says as much as that of a call to /api, and labels are bounded.
func TestSidecarLogsRequests(t *testing.T) {
	w := newSidecar(t, withOpenGates)
	w.beside("GET", "/AUTHORIZATIONHEADER/TODO/?"+option("AcquireTokenOptions.Tenant", demoTenant), w.alice())
	w.beside("GET", headerPathFree("nope", option("Scopes", "api://notes/.default"), option("RequestAppToken", "true"),
		"AgentIdentity="+agentOne), "")
	w.beside("GET", "/anything/else", "")
	w.beside("GET", "/AuthorizationHeader/Todo", w.alice())
	lines := w.log.lines(t)
	if len(lines) != 4 {
		t.Fatalf("got %d lines, want 4", len(lines))
	}
	for i, want := range []map[string]any{
		{
			"method": "GET", "route": "/AuthorizationHeader/{apiName}", "api": "todo", "status": 200.0, "tokenSource": "identity_provider",
			"tenant": demoTenant, "client": demoApp, "oid": "aaaaaaaa-0000-4000-8000-000000000001",
		},
		{"route": "/AuthorizationHeaderUnauthenticated/{apiName}", "api": nil, "status": 200.0, "agent": agentOne},
		{"route": "none", "status": 404.0, "problem": "not-found"},
		{"route": "/AuthorizationHeader/{apiName}", "api": "todo", "status": 200.0}, // without a query
	} {
		for name, value := range want {
			if lines[i][name] != value {
				t.Errorf("line %d: %s: got %v, want %v", i, name, lines[i][name], value)
			}
		}
	}
}

// A problem's title is safe to log, and its type is explained by the public listener.
func TestSidecarProblems(t *testing.T) {
	w := newSidecar(t)
	r := w.beside("GET", headerPath("nope"), w.alice())
	if r.StatusCode != 404 || r.problem.Title != "Unknown API" || r.problem.Instance != "/AuthorizationHeader/nope" ||
		!strings.HasPrefix(r.problem.Type, "http://localhost:") || r.problem.RequestID == "" {
		t.Errorf("got %s", r.body)
	}
}

// The labels of metrics are the routes of the table, however a path is written.
func TestSidecarMetrics(t *testing.T) {
	w := newStoppedWorldOf(t, agentDirectory(), withSidecar, withOpenGates)
	p := w.startReady()
	w.beside("GET", "/AUTHORIZATIONHEADER/todo/", w.alice())
	w.beside("GET", headerPathFree("nope-of-mine", option("Scopes", toNotes), "AgentIdentity="+agentOne, "AgentUsername="+robotOneAs), "")
	w.beside("GET", "/validate", w.alice())
	w.beside("GET", "/nothing-of-mine", "")
	scraped := p.scrape(t)
	for _, want := range []string{
		`http_route="/AuthorizationHeader/{apiName}"`, `http_route="/AuthorizationHeaderUnauthenticated/{apiName}"`,
		`http_route="/Validate"`, `http_route="none"`, `flow="agent_user"`, `flow="on_behalf_of"`,
	} {
		if !strings.Contains(scraped, want) {
			t.Errorf("no metric has %s", want)
		}
	}
	for _, text := range []string{"of-mine", "robot", agentOne, "AUTHORIZATION"} {
		if strings.Contains(scraped, text) {
			t.Errorf("a metric has %q", text)
		}
	}
}
