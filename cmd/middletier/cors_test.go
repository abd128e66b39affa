package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/validate"
)

const (
	spa      = "https://spa.contoso.example" // its pages may call
	stranger = "https://evil.example"        // its may not
)

func allowSPA(f *file) {
	f.Server.CORS.AllowedOrigins = []string{"http://localhost:3000", spa}
	f.Server.CORS.AllowedHeaders = []string{"If-Match"}
	f.Server.CORS.ExposedHeaders = []string{"ETag"}
}

// from makes a request of a page of origin.
func (w *world) from(origin, method, path string, headers ...string) *reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Origin", origin)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.do(req)
}

// granted returns the CORS headers of an answer, but for Vary.
func granted(r *reply) map[string]string {
	got := map[string]string{}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			got[strings.TrimPrefix(name, "Access-Control-")] = strings.Join(values, " | ")
		}
	}
	return got
}

// A browser's preflight request has no token and needs none.
func TestPreflightIsAnsweredBeforeAuthentication(t *testing.T) {
	w := newWorld(t, allowSPA, func(f *file) { f.Server.BasePath = "/middle" })
	for path, methods := range map[string]string{
		"/middle/api/todo/items?x=1": "DELETE, GET, HEAD, POST",
		"/middle/app/todo":           "DELETE, GET, HEAD, POST",
		"/middle/signout":            "OPTIONS, POST",
		"/middle/problems/internal":  "OPTIONS, GET, HEAD",
		"/middle/api/nothing/items":  "", // so the page can see the 404 of a GET
		"/nothing":                   "",
	} {
		r := w.from(spa, "OPTIONS", path, "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization,x-other")
		got := granted(r)
		if r.StatusCode != 204 || r.body != "" || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: got %d %q, want 204", path, r.StatusCode, r.body)
		}
		if got["Allow-Origin"] != spa || got["Allow-Methods"] != methods || got["Max-Age"] != "600" ||
			got["Allow-Headers"] != "Authorization, Content-Type, Traceparent, Tracestate, X-Request-ID, If-Match" {
			t.Errorf("%s: got %v, want methods %q", path, got, methods)
		}
		if vary := r.Header.Get("Vary"); vary != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
			t.Errorf("%s: Vary is %q", path, vary)
		}
		if r := w.from(stranger, "OPTIONS", path, "Access-Control-Request-Method", "GET"); r.StatusCode != 204 ||
			len(granted(r)) > 0 || !strings.HasPrefix(r.Header.Get("Vary"), "Origin, ") {
			t.Errorf("%s for an origin that is not listed: got %d %v", path, r.StatusCode, r.Header)
		}
	}
	if len(w.api.seen()) > 0 || w.exchanges() > 0 {
		t.Error("a preflight went further than this service")
	}
}

// A page of a listed origin can read every answer, errors included.
func TestEveryAnswerCanBeReadByListedOrigins(t *testing.T) {
	w := newWorld(t, allowSPA, func(f *file) {
		f.Server.MaxBodySize = 10
		down := f.DownstreamAPIs["todo"]
		down.BaseURL, down.Access = "http://127.0.0.1:1", []validate.Rule{{Scopes: []string{"ToDoList.Read"}}}
		f.DownstreamAPIs["down"] = down
	})
	for _, row := range []struct {
		method, path, token string
		status              int
		headers             []string
	}{
		{"GET", "/api/todo/items", w.alice(), 200, nil},
		{"GET", "/readyz", "", 200, nil},
		{"POST", "/signout", w.alice(), 204, nil},
		{"GET", "/api/todo/%2e%2e/x", w.alice(), 400, nil},
		{"GET", "/api/todo/items", "", 401, nil},
		{"GET", "/api/todo/items", "nonsense", 401, nil},
		{"GET", "/app/todo/items", w.alice(), 403, nil},
		{"GET", "/nothing", "", 404, nil},
		{"GET", "/api/nothing", w.alice(), 404, nil},
		{"PUT", "/api/todo/items", w.alice(), 405, nil},
		{"PUT", "/signout", w.alice(), 405, nil},
		{"GET", "/readyz", "", 431, []string{"X-Filler", strings.Repeat("x", 65<<10)}},
		{"GET", "/readyz", "", 501, []string{"Connection", "Upgrade", "Upgrade", "websocket"}},
		{"GET", "/api/down/items", w.bob(), 502, nil},
	} {
		headers := row.headers
		if row.token != "" {
			headers = append(headers, "Authorization", "Bearer "+row.token)
		}
		r := w.from(spa, row.method, row.path, headers...)
		got := granted(r)
		if r.StatusCode != row.status || len(got) != 2 || got["Allow-Origin"] != spa ||
			got["Expose-Headers"] != "WWW-Authenticate, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy, ETag" {
			t.Errorf("%s %s: got %d %v, want %d", row.method, row.path, r.StatusCode, got, row.status)
		}
		for _, origin := range []string{
			stranger, "null", strings.ToUpper(spa), spa + ":443", spa + ".evil.example", "http://spa.contoso.example",
		} {
			r := w.from(origin, row.method, row.path, headers...)
			if r.StatusCode != row.status || len(granted(r)) > 0 || r.Header.Get("Vary") != "Origin" {
				t.Errorf("%s %s from %s: got %d %v", row.method, row.path, origin, r.StatusCode, r.Header)
			}
		}
	}
	req, err := http.NewRequest("POST", w.url+"/api/todo/items", strings.NewReader("more than ten bytes"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", spa)
	if r := w.do(req); r.StatusCode != 413 || granted(r)["Allow-Origin"] != spa {
		t.Errorf("a large body: got %d %v", r.StatusCode, granted(r))
	}
}

// An API's CORS headers are not forwarded; its Vary is.
func TestAPIsOwnVaryIsKept(t *testing.T) {
	w := newWorld(t, allowSPA)
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Access-Control-Allow-Origin", "*")
		rw.Header().Set("Access-Control-Allow-Credentials", "true")
		rw.Header().Set("Vary", "Accept-Encoding")
		_, _ = io.WriteString(rw, "ok")
	})
	alice := w.alice()
	for range 2 { // what one answer adds is not in the next
		r := w.from(spa, "GET", "/api/todo/items", "Authorization", "Bearer "+alice)
		got := granted(r)
		if len(got) != 2 || got["Allow-Origin"] != spa || !slices.Equal(r.Header["Vary"], []string{"Origin", "Accept-Encoding"}) {
			t.Errorf("got %v, Vary %q", got, r.Header["Vary"])
		}
	}
}

// OPTIONS that is no preflight request is treated like any other method.
func TestOptionsWithoutPreflightIsForwarded(t *testing.T) {
	w := newWorld(t, allowSPA, func(f *file) {
		todo := f.DownstreamAPIs["todo"]
		todo.Access = append(todo.Access, validate.Rule{Methods: []string{"OPTIONS"}, Scopes: []string{"ToDoList.Read"}})
		f.DownstreamAPIs["todo"] = todo
	})
	if r := w.from(spa, "OPTIONS", "/api/todo/items"); r.kind() != "missing-token" {
		t.Errorf("without a token: got %d %s", r.StatusCode, r.body)
	}
	if r := w.from(spa, "OPTIONS", "/api/todo/items", "Authorization", "Bearer "+w.bob()); r.StatusCode != 200 ||
		w.api.last(t).Method != "OPTIONS" {
		t.Errorf("with one: got %d %s", r.StatusCode, r.body)
	}
}

func TestWithoutOriginsNothingIsSaidOfCORS(t *testing.T) {
	w := newWorld(t)
	for _, r := range []*reply{
		w.from(spa, "OPTIONS", "/api/todo/items", "Access-Control-Request-Method", "GET"),
		w.from(spa, "GET", "/api/todo/items", "Authorization", "Bearer "+w.alice()),
	} {
		if len(granted(r)) > 0 || r.Header.Get("Vary") != "" {
			t.Errorf("%d: got %v", r.StatusCode, r.Header)
		}
	}
}

func TestInsecureOriginIsAnnounced(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{
			spa, "http://localhost:3000", "http://127.0.0.1:3000",
			"http://[::1]:1", "http://spa.contoso.example", "capacitor://localhost",
		}
	})
	var warned []string
	w.file.warn(func(key, _ string) { warned = append(warned, key) })
	if want := []string{"server.cors.allowedOrigins[4]"}; !slices.Equal(warned, want) {
		t.Errorf("got %q, want %q", warned, want)
	}
}

func TestUnsafeCORSIsRefusedAtStart(t *testing.T) {
	for _, row := range []struct {
		change func(*cors)
		key    string
	}{
		{func(c *cors) { c.AllowedOrigins = []string{spa, "*"} }, "server.cors.allowedOrigins[1]"},
		{func(c *cors) { c.AllowedOrigins = []string{"null"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{"https://*.contoso.example"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{spa + "/"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{spa + "/app"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{spa + ":443"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{"http://localhost:80"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{"HTTPS://spa.contoso.example"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{"https://user@spa.contoso.example"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{"spa.contoso.example"} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedOrigins = []string{""} }, "server.cors.allowedOrigins[0]"},
		{func(c *cors) { c.AllowedHeaders = []string{"*"} }, "server.cors.allowedHeaders[0]"},
		{func(c *cors) { c.ExposedHeaders = []string{"a, b"} }, "server.cors.exposedHeaders[0]"},
		{func(c *cors) { c.MaxAge = -1 }, "server.cors.maxAge"},
		{func(c *cors) { c.MaxAge = 25 * time.Hour }, "server.cors.maxAge"},
	} {
		f := demoConfig("https://login.example", "http://todo.example", testSecret)
		row.change(&f.Server.CORS)
		var keys []string
		f.check(func(key, _ string) { keys = append(keys, key) })
		if !slices.Equal(keys, []string{row.key}) {
			t.Errorf("%+v: got mistakes at %q, want %s", f.Server.CORS, keys, row.key)
		}
	}
}

// A page can read that it exceeds the rate limit. Preflight requests do not count.
func TestRateLimitCanBeReadByListedOrigins(t *testing.T) {
	w := newWorld(t, allowSPA, func(f *file) { f.Server.RateLimit = rateLimit{RequestsPerSecond: 0.01, Burst: 1} })
	alice := w.alice()
	for _, want := range []int{200, 429} {
		for range 3 {
			w.from(spa, "OPTIONS", "/api/todo/items", "Access-Control-Request-Method", "GET")
		}
		r := w.from(spa, "GET", "/api/todo/items", "Authorization", "Bearer "+alice)
		if r.StatusCode != want || granted(r)["Allow-Origin"] != spa || r.Header.Get("RateLimit") == "" ||
			r.Header.Get("RateLimit-Policy") == "" || (r.Header.Get("Retry-After") != "") != (want == 429) {
			t.Errorf("got %d %v, want %d", r.StatusCode, r.Header, want)
		}
	}
}

// A page of another origin sees Server-Timing only if its origin is listed.
func TestTimingIsShownToListedOrigins(t *testing.T) {
	w := newWorld(t, allowSPA, func(f *file) { f.Server.ServerTiming = true })
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Timing-Allow-Origin", "*") })
	for _, path := range []string{"/api/todo/items", "/nothing"} {
		for origin, want := range map[string][]string{spa: {spa}, stranger: nil} {
			if got := w.from(origin, "GET", path, "Authorization", "Bearer "+w.alice()).Header["Timing-Allow-Origin"]; !slices.Equal(got, want) {
				t.Errorf("%s of %s: got %q, want %q", path, origin, got, want)
			}
		}
	}
	off := newWorld(t, allowSPA)
	if got := off.from(spa, "GET", "/api/todo/items").Header["Timing-Allow-Origin"]; got != nil {
		t.Errorf("without serverTiming: got %q", got)
	}
}

// A refused origin is logged once, however many requests it makes, so that operators
// know what to configure.
func TestRefusedOriginIsNamedInTheLog(t *testing.T) {
	for name, change := range map[string]func(*file){"some are listed": allowSPA, "none is": func(*file) {}} {
		w := newWorld(t, change)
		for range 3 {
			w.from(stranger, "OPTIONS", "/api/todo/items", "Access-Control-Request-Method", "GET")
			w.from(stranger, "GET", "/api/todo/items")
		}
		if name == "some are listed" {
			w.from(spa, "GET", "/api/todo/items")
		}
		w.from(w.url, "GET", "/api/todo/items") // a page of ours
		w.from("https://gateway.example", "GET", "/api/todo/items", "Sec-Fetch-Site", "same-origin")
		w.from("null", "GET", "/docs")
		w.from("https://"+strings.Repeat("x", 2000), "GET", "/docs")
		w.from("ä<\"\x80", "GET", "/docs")
		var named []string
		for line := range strings.Lines(w.log.String()) {
			var fields struct{ Level, Msg, Origin string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if fields.Origin != "" {
				named = append(named, fields.Origin)
				if fields.Level != "WARN" || !strings.Contains(fields.Msg, "allowedOrigins") {
					t.Errorf("%s: got %s", name, line)
				}
			}
		}
		if want := []string{stranger, "null", "https://" + strings.Repeat("x", 272), "????"}; !slices.Equal(named, want) {
			t.Errorf("%s: got %q, want %q", name, named, want)
		}
	}
}
