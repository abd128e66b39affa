package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

// theirs are headers that an API may send with anything. None of them may stand in
// a problem document of ours.
const theirs = "Server: theirs\r\nLink: <theirs>\r\nX-Theirs: theirs\r\nServer-Timing: theirs;dur=1\r\nWWW-Authenticate: Theirs\r\nRetry-After: 0\r\n" +
	"Content-Language: theirs\r\nContent-Encoding: theirs\r\nETag: \"theirs\"\r\nLocation: /theirs\r\nTrailer: X-Theirs\r\nVary: theirs\r\nCache-Control: max-age=60\r\n"

// answerInTurn lets the API answer the request with each text in turn, byte for byte,
// and with the last ever after. Then it waits until the service hangs up, and says so
// in closed.
func (w *world) answerInTurn(texts ...string) (closed <-chan struct{}) {
	left := make(chan struct{}, 16)
	var turn atomic.Int32
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			w.t.Error(err)
			return
		}
		defer conn.Close()
		text := texts[min(int(turn.Add(1)), len(texts))-1]
		_, _ = io.WriteString(conn, strings.TrimSuffix(text, "BREAK"))
		if strings.HasSuffix(text, "BREAK") {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
		if _, err := io.Copy(io.Discard, buffered); err == nil {
			left <- struct{}{}
		}
	})
	return left
}

// If a call fails after the API has sent something, the problem document is complete
// and contains nothing of it.
func TestProblemHoldsNothingOfTheAPI(t *testing.T) {
	t.Parallel()
	const invalid = "downstream-invalid-response"
	hints := "HTTP/1.1 103 Early Hints\r\n" + theirs + "\r\n"
	unauthorized := "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n" + theirs + "Content-Length: 6\r\n\r\ntheirs"
	busy := "HTTP/1.1 503 Service Unavailable\r\n" + theirs + "Content-Length: 6\r\n\r\ntheirs"
	switching := "HTTP/1.1 101 Switching Protocols\r\n" + theirs
	for _, row := range []struct {
		name, method string
		answers      []string
		fault        *mockidp.Fault // of the second exchange
		status       int
		kind         string
	}{
		{"status 099", "GET", []string{"HTTP/1.1 099 X\r\n" + theirs + "Content-Length: 2\r\n\r\nok"}, nil, 502, invalid},
		{"status 000", "GET", []string{"HTTP/1.1 000 X\r\n" + theirs + "Content-Length: 2\r\n\r\nok"}, nil, 502, invalid},
		{"another protocol", "GET", []string{switching + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes"}, nil, 502, invalid},
		{"another protocol without a name", "GET", []string{switching + "Content-Length: 2\r\n\r\nok"}, nil, 502, invalid},
		{"hints, then 099", "GET", []string{hints + hints + "HTTP/1.1 099 X\r\n" + theirs + "Content-Length: 2\r\n\r\nok"}, nil, 502, invalid},
		{"hints, then the end", "GET", []string{hints + "BREAK"}, nil, 502, "downstream-unreachable"},
		{"hints, then nothing", "GET", []string{hints}, nil, 504, "downstream-timeout"},
		{"half a head", "POST", []string{"HTTP/1.1 200 OK\r\n" + theirs + "BREAK"}, nil, 502, "downstream-unreachable"},
		{"a malformed head", "POST", []string{"HTTP/1.1 200 OK\r\n" + theirs + "no header\r\n\r\n"}, nil, 502, "downstream-unreachable"},
		{"two 401", "GET", []string{unauthorized}, nil, 502, "downstream-rejected-token"},
		{"401, then 099", "GET", []string{unauthorized, "HTTP/1.1 099 X\r\n" + theirs + "Content-Length: 2\r\n\r\nok"}, nil, 502, invalid},
		{"401, then no token", "GET", []string{hints + unauthorized}, &mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{65001}}, 403, "consent-required"},
		{"503, then the end", "GET", []string{busy, "BREAK"}, nil, 502, "downstream-unreachable"},
		{"503, then another protocol", "GET", []string{busy, switching + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes"}, nil, 502, invalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(f *file) {
				f.Server.ServerTiming, f.Server.CORS.AllowedOrigins = true, []string{"https://app.example"}
				api := f.DownstreamAPIs["todo"]
				api.Timeout = 3 * time.Second
				f.DownstreamAPIs["todo"] = api
			})
			alice := w.alice()
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 { // so that there is a token
				t.Fatalf("got %d %s", r.StatusCode, r.body)
			}
			if row.fault != nil {
				w.idp.AddFault(*row.fault)
			}
			closed := w.answerInTurn(row.answers...)
			req, err := http.NewRequest(row.method, w.url+"/api/todo/items", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+alice)
			req.Header.Set("Origin", "https://app.example")
			r := w.do(req)
			if r.StatusCode != row.status || row.kind != "" && (r.problem.Type == "" || r.kind() != row.kind) {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			checkHeadersOfAProblem(t, r)
			if row.kind != "" {
				checkProblem(t, w, r, "/api/todo/items")
			}
			if row.kind == invalid {
				select {
				case <-closed:
				case <-time.After(15 * time.Second):
					t.Error("the connection to the API is still open")
				}
			}
		})
	}
}

// checkHeadersOfAProblem checks that an answer with a problem has headers of ours
// alone.
func checkHeadersOfAProblem(t *testing.T, r *reply) {
	t.Helper()
	ours := map[string]bool{
		"Access-Control-Allow-Origin": true, "Access-Control-Expose-Headers": true, "Vary": true, "X-Request-Id": true, "Server-Timing": true,
		"Cache-Control": true, "Content-Type": true, "Content-Length": true, "Date": true, "X-Content-Type-Options": true, "Timing-Allow-Origin": true,
	}
	for name, values := range r.Header {
		if !ours[name] || strings.Contains(strings.Join(values, " "), "theirs") {
			t.Errorf("%s: %q is in a problem of ours", name, values)
		}
	}
	if got := r.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" || len(r.Trailer) != 0 {
		t.Errorf("got Cache-Control %q and trailers %v", got, r.Trailer)
	}
	if r.Request.Method == http.MethodHead {
		return
	}
	if r.ContentLength != int64(len(r.body)) || !strings.HasSuffix(r.body, "}\n") {
		t.Errorf("got %d bytes of %d: %q", len(r.body), r.ContentLength, r.body)
	}
}

// An API's early hints reach the caller before its answer, without headers that are
// not forwarded.
func TestEarlyHintsReachTheCaller(t *testing.T) {
	w := newWorld(t)
	w.answerInTurn("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	conn := w.dial(t, 15*time.Second)
	defer conn.Close()
	if _, err := io.WriteString(conn,
		"GET /api/todo/items HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer "+w.alice()+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	var statuses []int
	for range 2 {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if statuses = append(statuses, resp.StatusCode); resp.StatusCode == 103 && (resp.Header.Get("Link") == "" ||
			resp.Header["Set-Cookie"] != nil) {
			t.Errorf("103 has %v", resp.Header)
		}
		if resp.StatusCode == 204 && (resp.Header.Get("X-Request-Id") == "" || resp.Header["Link"] != nil) {
			t.Errorf("204 has %v", resp.Header)
		}
	}
	if statuses[0] != 103 || statuses[1] != 204 {
		t.Errorf("got %v, want 103 and 204", statuses)
	}
	if lines := w.log.lines(t); len(lines) > 0 && lines[len(lines)-1]["status"] != 204.0 {
		t.Errorf("the log line says %v, want 204", lines[len(lines)-1]["status"])
	}
}

// A query over HTTP/2 can contain bytes that would end the request line of HTTP/1.1.
func TestQueryWithBytesThatMustBeEncodedIsRefused(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.H2C = true })
	alice := w.alice()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	for _, query := range []string{"a HTTP/1.0", "a b", "\x7f", "a=\x01", "a=\t", "a=ä", "\xff", "\x80"} {
		if resp := rawRequest(t, w, "GET /api/todo/items?"+query+
			" HTTP/1.1\r\nHost: middle.example\r\nConnection: close\r\nAuthorization: Bearer "+alice+"\r\n\r\n"); resp.StatusCode != 400 {
			t.Errorf("HTTP/1.1, %q: got %d, want 400", query, resp.StatusCode)
		}
		if strings.ContainsAny(query, "\x01\t\x7f") {
			continue // net/http's HTTP/2 refuses these by itself
		}
		req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.RawQuery = query
		req.Header.Set("Authorization", "Bearer "+alice)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("HTTP/2, %q: %v", query, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 400 || !strings.Contains(string(body), "/problems/invalid-request") {
			t.Errorf("HTTP/2, %q: got %d %s, %v", query, resp.StatusCode, body, err)
		}
	}
	if seen := w.api.seen(); len(seen) != 0 {
		t.Errorf("the API got %s", seen[0].RequestURI)
	}
}

// The method counts towards the limit of headers, and no caller can make a log line
// long.
func TestLongMethodIsRefusedAndLoggedInPart(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("M", 100<<10)
	for _, authorization := range []string{"", "Authorization: Bearer " + w.alice() + "\r\n"} {
		if resp := rawRequest(t, w, long+
			" /api/todo/items HTTP/1.1\r\nHost: middle.example\r\nConnection: close\r\n"+authorization+"\r\n"); resp.StatusCode != 431 {
			t.Errorf("got %d, want 431", resp.StatusCode)
		}
	}
	within := long[:50<<10] + " /" + long[:10<<10] + "?" + long[:2<<10] + " HTTP/1.1\r\nHost: " + long[:200] +
		"\r\nConnection: close\r\nX-Request-ID: " + long[:200] + "\r\n\r\n"
	if resp := rawRequest(t, w, within); resp.StatusCode != 404 {
		t.Errorf("within the limit: got %d, want 404", resp.StatusCode)
	}
	lines := 0
	for line := range strings.Lines(w.log.String()) {
		if lines++; len(line) > 1<<10 {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
		}
	}
	if got := len(w.log.lines(t)); got != 3 {
		t.Errorf("got %d lines of requests, want 3", got)
	}
}

// Without publicUrl, pages depend on Host, so caches must not store them. With
// publicUrl they may.
func TestCachesKeepNothingThatDependsOnHost(t *testing.T) {
	paths := []string{
		"/problems/internal", "/problems/", "/.well-known/oauth-protected-resource", "/openapi.json", "/docs",
		"/nothing", "/api/todo/items", "/healthz", "/readyz", "/",
	}
	w := newWorld(t)
	for _, path := range paths {
		for _, accept := range []string{"", "text/html"} {
			if r := w.say(path, "", "Accept: "+accept); r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, Accept %q: got %d with Cache-Control %q, want no-store", path, accept, r.StatusCode, r.Header.Get("Cache-Control"))
			}
		}
	}
	w = newWorld(t, func(f *file) { f.Server.PublicURL = "https://public.example" })
	for _, path := range paths[:5] {
		if r := w.say(path, ""); r.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s with publicUrl: got %q", path, r.Header.Get("Cache-Control"))
		}
	}
}

// Links of an API below its base URL become URLs of this service.
func TestLinksOfAnAPIAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*file)
		lines  []string
		own    string // without {url}
	}{
		{"as the request came", func(*file) {}, nil, "{url}/api/todo"},
		{"a base path", func(f *file) { f.Server.BasePath = "/middle" }, nil, "{url}/middle/api/todo"},
		{"publicUrl", func(f *file) { f.Server.PublicURL = "https://public.example/mt" }, nil, "https://public.example/mt/api/todo"},
		{"publicUrl and a base path", func(f *file) { f.Server.PublicURL, f.Server.BasePath = "https://public.example", "/middle" }, nil, "https://public.example/middle/api/todo"},
		{"a trusted proxy", func(f *file) { f.Server.TrustedProxies = []string{"127.0.0.0/8"} }, []string{
			"X-Forwarded-Host: gateway.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /mt/",
		}, "https://gateway.example/mt/api/todo"},
		{"an untrusted proxy", func(*file) {}, []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil"}, "{url}/api/todo"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.change, func(f *file) {
				api := f.DownstreamAPIs["todo"]
				api.BaseURL += "/v1/"
				f.DownstreamAPIs["todo"] = api
			})
			link := "/v1/items/7"
			w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Location", link)
				rw.Header().Set("Content-Location", w.api.URL+link)
				rw.Header().Set("Cache-Control", "max-age=60")
				rw.WriteHeader(http.StatusMovedPermanently)
			})
			path := w.file.Server.BasePath + "/api/todo/items/6"
			r := w.say(path, w.alice(), row.lines...)
			own := strings.ReplaceAll(row.own, "{url}", w.url)
			if r.StatusCode != 301 || r.Header.Get("Location") != own+"/items/7" || r.Header.Get("Content-Location") != own+"/items/7" {
				t.Errorf("got %d %q and %q, want %s/items/7", r.StatusCode, r.Header["Location"], r.Header["Content-Location"], own)
			}
			if private := strings.Contains(strings.Join(r.Header["Cache-Control"], ", "), "private"); private != (w.file.Server.PublicURL == "") {
				t.Errorf("got Cache-Control %q", r.Header["Cache-Control"])
			}
			if link = "/v2/items/7"; w.say(path, w.alice(), row.lines...).Header.Get("Location") != link {
				t.Errorf("a link beside the base URL did not stay")
			}
		})
	}
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Location", "/items/7") })
	if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.Header.Get("Location") != w.url+"/app/todo/items/7" {
		t.Errorf("on /app: got %q", r.Header["Location"])
	}
}

// APIs that build links receive the prefix of their own path.
func TestForwardedPrefixIsWrittenAfresh(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		trusted []string
		base    string
		lines   []string
		want    string
	}{
		{"nothing", nil, "", nil, "/api/todo"},
		{"a base path", nil, "/middle", nil, "/middle/api/todo"},
		{"nobody is trusted", nil, "", []string{"X-Forwarded-Prefix: /evil", "X_Forwarded_Prefix: /evil"}, "/api/todo"},
		{"a trusted proxy", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: /mt"}, "/mt/api/todo"},
		{"a trusted proxy and a base path", []string{"127.0.0.0/8"}, "/middle", []string{"X-Forwarded-Prefix: /mt/"}, "/mt/middle/api/todo"},
		{"the last counts", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: /evil, /a", "X-Forwarded-Prefix: /b"}, "/b/api/todo"},
		{"beside Forwarded", []string{"127.0.0.0/8"}, "", []string{"Forwarded: for=203.0.113.7", "X-Forwarded-Prefix: /mt"}, "/mt/api/todo"},
		{"no path", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: evil"}, "/api/todo"},
		{"a host", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: //evil.example"}, "/api/todo"},
		{"dots", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: /a/../b"}, "/api/todo"},
		{"a slash", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: /"}, "/api/todo"},
		{"too long", []string{"127.0.0.0/8"}, "", []string{"X-Forwarded-Prefix: /" + strings.Repeat("x", 300)}, "/api/todo"},
	} {
		w := withProxies(t, row.trusted, func(f *file) { f.Server.BasePath = row.base })
		w.say(row.base+"/api/todo/items", w.alice(), row.lines...)
		got := w.api.last(t).Header
		if values := got["X-Forwarded-Prefix"]; len(values) != 1 || values[0] != row.want || got["X_forwarded_prefix"] != nil {
			t.Errorf("%s: the API got %q, want %q", row.name, values, row.want)
		}
	}
	w := newWorld(t)
	w.say("/app/todo/items", w.daemon())
	if got := w.api.last(t).Header.Get("X-Forwarded-Prefix"); got != "/app/todo" {
		t.Errorf("on /app: got %q", got)
	}
}

// A browser that requests / is redirected to the page about the service.
func TestBrowsersAreLedToTheDocumentation(t *testing.T) {
	const browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
	for _, row := range []struct {
		name, path, location string
		change               func(*file)
		lines                []string
	}{
		{"a browser", "/", "/docs", func(*file) {}, []string{browser}},
		{"below a base path", "/middle/", "/middle/docs", func(f *file) { f.Server.BasePath = "/middle" }, []string{browser}},
		{"the base path itself", "/middle", "/middle/docs", func(f *file) { f.Server.BasePath = "/middle" }, []string{browser}},
		{"publicUrl", "/", "/mt/docs", func(f *file) { f.Server.PublicURL = "https://public.example/mt" }, []string{browser}},
		{"a trusted proxy", "/", "/mt/docs", func(f *file) { f.Server.TrustedProxies = []string{"127.0.0.0/8"} }, []string{browser, "X-Forwarded-Prefix: /mt"}},
		{"another client", "/", "", func(*file) {}, []string{"Accept: */*"}},
		{"a client that says nothing", "/", "", func(*file) {}, nil},
	} {
		w := newWorld(t, row.change)
		r := w.say(row.path, "", row.lines...)
		if row.location == "" {
			if r.StatusCode != 404 || r.kind() != "not-found" {
				t.Errorf("%s: got %d %s, want 404", row.name, r.StatusCode, r.body)
			}
			continue
		}
		if r.StatusCode != 302 || r.Header.Get("Location") != row.location || !strings.Contains(strings.Join(r.Header["Vary"], ","), "Accept") {
			t.Errorf("%s: got %d to %q, Vary %q, want 302 to %s", row.name, r.StatusCode, r.Header["Location"], r.Header["Vary"], row.location)
		}
	}
	w := newWorld(t)
	if r := w.call("POST", "/", "", "x"); r.StatusCode != 404 {
		t.Errorf("POST /: got %d, want 404", r.StatusCode)
	}
}

// All problem types are listed, and each one's page leads to the list.
func TestProblemTypesAreListed(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/problems/", "/problems"} {
		r := w.say(path, "")
		var list struct {
			Problems []struct {
				Type, Title, Meaning, Action string
				Status                       int
			}
		}
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.StatusCode != 200 || len(list.Problems) < 20 {
			t.Fatalf("%s: got %d %s, %v", path, r.StatusCode, r.body, err)
		}
		page := w.say(path, "", "Accept: text/html")
		if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: a browser got %s", path, page.Header.Get("Content-Type"))
		}
		for _, p := range list.Problems {
			if !strings.HasPrefix(p.Type, w.url+"/problems/") || p.Title == "" || p.Meaning == "" || p.Action == "" || p.Status == 0 {
				t.Errorf("%s: got %+v", path, p)
			}
			if !strings.Contains(page.body, `href="`+p.Type+`"`) {
				t.Errorf("%s: the page does not lead to %s", path, p.Type)
			}
		}
	}
	if r := w.say("/problems/internal", "", "Accept: text/html"); !strings.Contains(r.body, `<a href="./">`) {
		t.Errorf("the page of a type does not lead to the list: %s", r.body)
	}
}
