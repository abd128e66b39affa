package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// called is what the API saw of a call.
type called struct {
	Method, Target, Host string
	Header               http.Header
	Body                 []byte
}

// answersWhatItSaw is an API that answers with the call, as JSON.
func answersWhatItSaw(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(called{r.Method, r.RequestURI, r.Host, r.Header, body})
}

// callAnswer is an answer of the DownstreamApi routes.
type callAnswer struct {
	StatusCode int
	Headers    http.Header
	Content    *string
}

// called returns what the API saw, which it answered.
func (a callAnswer) called(t *testing.T) called {
	t.Helper()
	var seen called
	if a.StatusCode != 200 || a.Content == nil {
		t.Fatalf("the API answered %d %v, want what it saw", a.StatusCode, a.Content)
	}
	if err := json.Unmarshal([]byte(*a.Content), &seen); err != nil {
		t.Fatalf("%v in %s", err, *a.Content)
	}
	return seen
}

// newCaller starts a world whose sidecar listener calls an API that answers what it saw.
func newCaller(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newSidecar(t, change...)
	w.api.handle(answersWhatItSaw)
	return w
}

// postBeside posts a body to the sidecar listener; header lines are "Name: value".
func (w *world) postBeside(path, token string, body io.Reader, lines ...string) *reply {
	w.t.Helper()
	return w.send("POST", w.side+path, token, body, lines...)
}

// calls has alice call the API todo, which must succeed.
func (w *world) calls(query, body string, lines ...string) callAnswer {
	w.t.Helper()
	return answerOf(w.t, w.postBeside("/DownstreamApi/todo?"+query, w.alice(), strings.NewReader(body), lines...))
}

func answerOf(t *testing.T, r *reply) callAnswer {
	t.Helper()
	var answer callAnswer
	if r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return answer
}

// Nothing of the caller's request reaches the API but what is meant for it.
func TestSidecarCallSendsNoOtherHeader(t *testing.T) {
	w := newCaller(t)
	for _, lines := range [][]string{
		nil,
		{
			"Cookie: a=b", "User-Agent: the-caller/1", "Accept: text/html", "Accept-Language: de", "Accept-Encoding: gzip", "X-Custom: 1",
			"Referer: http://localhost/", "If-None-Match: x", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "Range: bytes=0-1",
			"X-MS-CLIENT-PRINCIPAL: x", "Cache-Control: no-cache", "Prefer: respond-async",
		},
	} {
		seen := w.calls("", "", lines...).called(t)
		if names := slices.Sorted(maps.Keys(seen.Header)); !slices.Equal(names, []string{"Accept", "Authorization", "X-Request-Id"}) {
			t.Errorf("with %q the API saw %q", lines, seen.Header)
		}
		if seen.Method != "GET" || seen.Target != "/" || seen.Header.Get("Accept") != "application/json" || len(seen.Body) > 0 {
			t.Errorf("got %s %s %v with %d bytes, want GET / for application/json", seen.Method, seen.Target, seen.Header, len(seen.Body))
		}
		if token := apiToken(t, seen.Header); token["oid"] != aliceID || token["aud"] != demoToDo {
			t.Errorf("the API got a token for %v of %v, want alice's for itself", token["aud"], token["oid"])
		}
	}
}

// apiToken returns the claims of the token that an API got.
func apiToken(t *testing.T, h http.Header) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(strings.TrimPrefix(h.Get("Authorization"), "Bearer "), claims); err != nil {
		t.Fatalf("%q: %v", h.Get("Authorization"), err)
	}
	return claims
}

func TestSidecarCallOptions(t *testing.T) {
	w := newCaller(t, func(f *file) {
		todo := f.DownstreamAPIs["todo"]
		todo.BaseURL += "/v1/"
		f.DownstreamAPIs["todo"] = todo
	})
	extra := func(kind, name, value string) string { return option("Extra"+kind+"Parameters."+name, value) }
	for _, row := range []struct {
		query        string
		method, path string      // "" for GET and /v1/
		header       http.Header // some of those that arrive; nil: the header does not
	}{
		{query: option("RelativePath", "lists"), path: "/v1/lists"},
		{query: option("RelativePath", "/lists/1/"), path: "/v1/lists/1/"},
		{query: option("RelativePath", "lists?a=b&A=%20#c"), path: "/v1/lists?a=b&A=%20"},
		{query: option("RelativePath", "?a=b"), path: "/v1/?a=b"},
		{query: option("RelativePath", "//evil.example/x"), path: "/v1/evil.example/x"},
		{query: option("RelativePath", "users('ü b')?$filter=x eq 'y'"), path: "/v1/users('%C3%BC%20b')?$filter=x%20eq%20'y'"},
		{query: "optionsoverride.relativepath=a&OPTIONSOVERRIDE.RELATIVEPATH=b", path: "/v1/b"},
		{query: option("HttpMethod", "pOsT"), method: "POST"},
		{query: option("HttpMethod", "delete"), method: "DELETE"},
		{query: option("HttpMethod", "OPTIONS"), method: "OPTIONS"},
		{query: option("HttpMethod", "purge"), method: "PURGE"},
		{query: option("AcceptHeader", "text/html, text/*;q=0.5"), header: http.Header{"Accept": {"text/html, text/*;q=0.5"}}},
		{query: option("ContentType", "text/csv"), header: http.Header{"Content-Type": {"text/csv"}}},
		{
			query:  extra("Header", "x-a", "1") + "&" + extra("Header", "If-Match", "*"),
			header: http.Header{"X-A": {"1"}, "If-Match": {"*"}, "Accept": {"application/json"}},
		},
		{query: extra("Header", "User-Agent", "mine"), header: http.Header{"User-Agent": {"mine"}}},
		{query: extra("Query", "A", "x y&z=ü") + "&" + extra("Query", "a", "2"), path: "/v1/?A=x%20y%26z%3D%C3%BC&a=2"},
		{query: option("RelativePath", "lists?a=1") + "&" + extra("Query", "a", "2"), path: "/v1/lists?a=1&a=2"},
		{query: option("BaseUrl", "http://evil.example/")},
		{query: option("RelativePath", "") + "&" + option("HttpMethod", " ") + "&" + option("AcceptHeader", "")},
	} {
		seen := w.calls(row.query, "").called(t)
		if row.method == "" {
			row.method = "GET"
		}
		if row.path == "" {
			row.path = "/v1/"
		}
		if seen.Method != row.method || seen.Target != row.path || seen.Host != strings.TrimPrefix(w.api.URL, "http://") {
			t.Errorf("%s: the API at %s saw %s %s, want %s %s", row.query, seen.Host, seen.Method, seen.Target, row.method, row.path)
		}
		for name, want := range row.header {
			if !slices.Equal(seen.Header[name], want) {
				t.Errorf("%s: the API saw %s: %q, want %q", row.query, name, seen.Header[name], want)
			}
		}
		if !strings.HasPrefix(seen.Header.Get("Authorization"), "Bearer ey") {
			t.Errorf("%s: the API saw Authorization: %s", row.query, seen.Header.Get("Authorization"))
		}
	}
}

// Headers that this service sets, or that APIs believe of proxies, are not the
// application's to send.
func TestSidecarCallDropsHeaders(t *testing.T) {
	w := newCaller(t)
	var query []string
	for _, name := range []string{
		"Authorization", "Cookie", "Host", "Accept", "Connection", "TE", "Upgrade", "Proxy-Authorization", "Forwarded", "X-Forwarded-For",
		"X_Forwarded_Host", "X-Forwarded-Anything", "X-Original-URL", "X-MS-CLIENT-PRINCIPAL", "X_MS_CLIENT_PRINCIPAL_ID", "X-MS-TOKEN-AAD-ID-TOKEN",
	} {
		query = append(query, option("ExtraHeaderParameters."+name, "the application's"))
	}
	seen := w.calls(strings.Join(query, "&"), "").called(t)
	for name, values := range seen.Header {
		if slices.Contains(values, "the application's") {
			t.Errorf("the API got %s", name)
		}
	}
	if strings.Contains(seen.Host, "application") {
		t.Errorf("the API got the host %q", seen.Host)
	}
}

func TestSidecarCallRefusesOptions(t *testing.T) {
	w := newCaller(t)
	alice := w.alice()
	for _, query := range []string{
		option("RelativePath", "../x"), option("RelativePath", "a/../../x"), option("RelativePath", "%2e%2e/x"),
		option("RelativePath", "a%2f..%2fx"),
		option("RelativePath", `..\x`), option("RelativePath", "a/..;/x"), option("RelativePath", "https://evil.example/"),
		option("RelativePath", "a\r\nX: y"),
		option("RelativePath", "a?b\nc"), option("RelativePath", "a\x00"),
		option("HttpMethod", "TRACE"), option("HttpMethod", "connect"), option("HttpMethod", "GE T"), option("HttpMethod",
			"GET / HTTP/1.1\r\nX: y"),
		option("AcceptHeader", "a/b\r\nX: y"), option("AcceptHeader", "nonsense"),
		option("ContentType", "a/b\r\nX: y"), option("ContentType", "nonsense"),
		option("ExtraHeaderParameters.X", "y\r\nX-Injected: 1"), option("ExtraHeaderParameters.X", "y\nX-Injected: 1"),
		option("ExtraHeaderParameters.X%20Y", "1"),
		option("ExtraHeaderParameters.X%0d%0aX-Injected:", "1"), option("ExtraHeaderParameters.X", "ü"),
		option("ExtraHeaderParameters.Content-Type", "text/plain"),
		option("ExtraHeaderParameters.Transfer-Encoding", "chunked"), option("ExtraHeaderParameters.Content-Length", "1"),
		option("ExtraQueryParameters.a", "b\r\nc"), option("ExtraQueryParameters.a%0ab", "c"),
		option("NoSuchOption", "1"),
	} {
		r := w.postBeside("/DownstreamApi/todo?"+query, alice, nil)
		if r.StatusCode != 400 || r.kind() != "invalid-request" {
			t.Errorf("%s: got %d %s, want 400 invalid-request", query, r.StatusCode, r.body)
		}
	}
	if seen := w.api.seen(); len(seen) > 0 {
		t.Errorf("the API got %d calls, want none: %s", len(seen), seen[0].RequestURI)
	}
}

// The settings of an API hold for a call that says nothing else.
func TestSidecarCallDefaults(t *testing.T) {
	w := newCaller(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.RelativePath, d.HTTPMethod, d.AcceptHeader, d.ContentType = "lists?x=1", "Patch", "text/html", "text/csv"
		d.ExtraHeader, d.ExtraQuery = map[string]string{"X-A": "1", "X-B": "1"}, map[string]string{"a": "1", "b": "1"}
		f.DownstreamAPIs["todo"] = d
	})
	check := func(query string, lines []string, method, target string, header map[string]string) {
		t.Helper()
		seen := w.calls(query, "x", lines...).called(t)
		if seen.Method != method || seen.Target != target {
			t.Errorf("%s: got %s %s, want %s %s", query, seen.Method, seen.Target, method, target)
		}
		for name, want := range header {
			if got := seen.Header[name]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s: got %q, want %q", query, name, got, want)
			}
		}
	}
	check("", nil, "PATCH", "/lists?x=1&a=1&b=1", map[string]string{
		"Accept": "text/html", "Content-Type": "text/csv",
		"X-A": "1", "X-B": "1",
	})
	check("", []string{"Content-Type: text/plain"}, "PATCH", "/lists?x=1&a=1&b=1", map[string]string{"Content-Type": "text/plain"})
	check(option("ExtraHeaderParameters.x-b", "2")+"&"+option("ExtraQueryParameters.b", "2")+"&"+option("ContentType",
		"text/xml"), []string{"Content-Type: text/plain"},
		"PATCH", "/lists?x=1&a=1&b=2", map[string]string{"Accept": "text/html", "Content-Type": "text/xml", "X-A": "1", "X-B": "2"})
	check(option("HttpMethod", "PUT"), nil, "PUT", "/lists?x=1&a=1&b=1", map[string]string{"Accept": "text/html"})
	check(option("RelativePath", "y"), nil, "PATCH", "/y?a=1&b=1", nil)
	check("", nil, "PATCH", "/lists?x=1&a=1&b=1", map[string]string{"X-A": "1", "X-B": "1"}) // nothing has changed
}

func TestSidecarCallContinuesTheTrace(t *testing.T) {
	w := newCaller(t)
	parent := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	seen := w.calls("", "", "traceparent: "+parent, "tracestate: a=1", "tracestate: b=2", "baggage: k=v").called(t)
	for name, want := range map[string][]string{"Traceparent": {parent}, "Tracestate": {"a=1", "b=2"}, "Baggage": {"k=v"}} {
		if got := seen.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A body reaches the API as it is, with any method.
func TestSidecarCallSendsTheBody(t *testing.T) {
	w := newCaller(t, func(f *file) { f.Server.MaxBodySize = 1 << 20 })
	alice := w.alice()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, body := range [][]byte{{}, []byte("{}"), all, bytes.Repeat(all, 4096)} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT"} {
			for _, known := range []bool{true, false} {
				reader := io.Reader(bytes.NewReader(body))
				if !known {
					reader = io.MultiReader(reader)
				}
				r := w.postBeside("/DownstreamApi/todo?"+option("HttpMethod", method), alice, reader,
					"Content-Type: application/x-any", "Content-Encoding: x-any")
				if len(body) > 256 { // base64 in JSON in JSON
					if r.StatusCode != 200 {
						t.Errorf("%s with %d bytes: got %d %s", method, len(body), r.StatusCode, r.body)
					}
				}
				seen := answerOf(t, r).called(t)
				if seen.Method != method || !bytes.Equal(seen.Body, body) || seen.Header.Get("Content-Type") != "application/x-any" ||
					len(body) > 0 && seen.Header.Get("Content-Encoding") != "x-any" {
					t.Errorf("%s with %d bytes, of known length: %v: the API saw %s with %d bytes and %v", method, len(body), known,
						seen.Method, len(seen.Body), seen.Header)
				}
			}
		}
	}
	for _, known := range []bool{true, false} {
		reader := io.Reader(strings.NewReader(strings.Repeat("x", 1<<20+1)))
		if !known {
			reader = io.MultiReader(reader)
		}
		if r := w.postBeside("/DownstreamApi/todo", alice, reader); r.StatusCode != 413 || r.kind() != "body-too-large" {
			t.Errorf("a body beyond the limit, of known length: %v: got %d %s, want 413", known, r.StatusCode, r.body)
		}
	}
}

// Whatever the API answers is a success of this service.
func TestSidecarCallReturnsTheAnswer(t *testing.T) {
	w := newCaller(t)
	for _, status := range []int{200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 504, 599} {
		w.api.handle(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/plain")
			h.Set("Location", "/elsewhere")
			h.Set("Retry-After", "7")
			h.Set("WWW-Authenticate", `Basic realm="the API's"`)
			h.Set("ETag", `"1"`)
			h.Add("X-A", "1")
			h.Add("X-A", "\xfc")
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Set-Cookie", "a=b")
			h.Set("Connection", "X-Hop")
			h.Set("X-Hop", "1")
			h.Set("Keep-Alive", "timeout=1")
			h.Set("Proxy-Authenticate", "x")
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				_, _ = io.WriteString(w, "the API's words")
			}
		})
		r := w.postBeside("/DownstreamApi/todo?"+option("HttpMethod", "POST"), w.alice(), strings.NewReader("x"))
		got := answerOf(t, r)
		switch {
		case got.StatusCode != status:
			t.Errorf("got %d, want %d", got.StatusCode, status)
		case status == 204 || status == 304:
			if got.Content != nil || !strings.Contains(r.body, `"content":null`) {
				t.Errorf("%d: got %s, want null for no content", status, r.body)
			}
		case got.Content == nil || *got.Content != "the API's words":
			t.Errorf("%d: got %s", status, r.body)
		}
		for name, want := range map[string][]string{
			"Location": {"/elsewhere"}, "Retry-After": {"7"}, "Www-Authenticate": {`Basic realm="the API's"`}, "Etag": {`"1"`}, "X-A": {"1", "ü"},
			"Access-Control-Allow-Origin": {"*"}, "Set-Cookie": nil, "X-Hop": nil, "Keep-Alive": nil, "Proxy-Authenticate": nil, "Connection": nil,
		} {
			if !slices.Equal(got.Headers[name], want) {
				t.Errorf("%d: %s: got %q, want %q", status, name, got.Headers[name], want)
			}
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-cache, no-store, must-revalidate",
			"Pragma":        "no-cache", "Expires": "0", "Set-Cookie": "",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s of our answer: got %q, want %q", name, got, want)
			}
		}
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

func TestSidecarCallReturnsText(t *testing.T) {
	w := newCaller(t, func(f *file) { f.Server.MaxBodySize = 1 << 20 })
	for _, row := range []struct{ kind, coding, body, want string }{
		{"application/json; charset=utf-8", "", `{"a":"ü"}`, `{"a":"ü"}`},
		{"text/plain; charset=iso-8859-1", "", "\xfc", "ü"},
		{"text/plain; charset=utf-16", "", "\xff\xfe\xfc\x00", "ü"},
		{"application/json", "gzip", gzipped(`{"a":"ü"}`), `{"a":"ü"}`},
		{"text/plain; charset=windows-1252", "gzip", gzipped("\x80"), "€"},
		{"image/png", "", "\x89PNG\r\n\x1a\n", "not text"},
		{"application/octet-stream", "", "\x00\x01", "not text"},
		{"text/plain; charset=no-such", "", "x", "unknown charset"},
		{"application/json", "", "\xfc", "not valid in its charset"},
		{"text/plain", "br", "x", "Content-Encoding"},
		{"text/plain", "gzip", "no gzip", "Content-Encoding"},
		{"text/plain", "gzip, br", gzipped("x"), "Content-Encoding"},
		{"text/plain", "gzip", gzipped(strings.Repeat("\x00", 40<<20)), "larger"},
		{"text/plain", "", strings.Repeat("x", 33<<20), "larger"},
		{"image/png", "", "", ""},
	} {
		w.api.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", row.kind)
			w.Header().Set("X-A", "the API's")
			if row.coding != "" {
				w.Header().Set("Content-Encoding", row.coding)
			}
			_, _ = io.WriteString(w, row.body)
		})
		r := w.postBeside("/DownstreamApi/todo", w.alice(), nil)
		if r.StatusCode == 502 {
			if r.kind() != "downstream-invalid-response" || !strings.Contains(r.problem.Detail, row.want) || strings.Contains(row.want, "ü") {
				t.Errorf("%s %s: got %s, want %q", row.kind, row.coding, r.body, row.want)
			}
			if r.Header.Get("X-A") != "" {
				t.Errorf("%s: the problem has a header of the API's", row.kind)
			}
			continue
		}
		got := answerOf(t, r)
		text := ""
		if got.Content != nil {
			text = *got.Content
		}
		if text != row.want || got.Headers.Get("Content-Encoding") != "" || got.Headers.Get("X-A") != "the API's" {
			t.Errorf("%s %s: got %.80q with %v, want %q", row.kind, row.coding, text, got.Headers, row.want)
		}
	}
}

// Each call stands for itself: no cookie of an API's is sent to it again, for anybody.
func TestSidecarCallKeepsNoCookies(t *testing.T) {
	w := newCaller(t)
	var mu sync.Mutex
	var cookies []string
	w.api.handle(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		cookies = append(cookies, r.Header["Cookie"]...)
		w.Header().Add("Set-Cookie", "session=alice; Path=/")
		w.Header().Add("Set-Cookie", "more=1")
	})
	for _, token := range []string{w.alice(), w.bob(), w.alice()} {
		r := w.postBeside("/DownstreamApi/todo", token, nil, "Cookie: session=mine")
		if got := answerOf(t, r); got.Headers["Set-Cookie"] != nil || r.Header["Set-Cookie"] != nil {
			t.Errorf("got a cookie: %v %v", got.Headers, r.Header)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(cookies) > 0 {
		t.Errorf("the API got the cookies %q", cookies)
	}
}

// Callers at the same time never get anything of another's: token, options, body, answer.
func TestSidecarCallsNeverMix(t *testing.T) {
	w := newCaller(t, withOpenGates)
	tokens := map[string]string{aliceID: w.alice(), bobID: w.bob(), usID: ""}
	ids := slices.Sorted(maps.Keys(tokens))
	const calls, atOnce = 1000, 50
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i := range calls {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			id := ids[i%len(ids)]
			own := fmt.Sprintf("own-%d", i)
			query := strings.Join([]string{
				option("RelativePath", own), option("ExtraHeaderParameters.X-Own", own), option("ExtraQueryParameters."+own, own),
				option("AcceptHeader", "text/"+own), option("HttpMethod", []string{"POST", "PUT", "GET"}[i/3%3]),
			}, "&")
			seen := answerOf(t, w.postBeside("/DownstreamApiUnauthenticated/todo?"+query, tokens[id], strings.NewReader(own),
				"Content-Type: text/"+own)).called(t)
			want := called{
				[]string{"POST", "PUT", "GET"}[i/3%3], "/" + own + "?" + own + "=" + own, seen.Host, http.Header{
					"Accept": {"text/" + own}, "X-Own": {own}, "Content-Type": {"text/" + own}, "Content-Length": {fmt.Sprint(len(own))},
					"Authorization": seen.Header["Authorization"], "X-Request-Id": seen.Header["X-Request-Id"],
				}, []byte(own),
			}
			if got := fmt.Sprint(seen); got != fmt.Sprint(want) {
				t.Errorf("got %s, want %v", got, want)
			}
			if got := apiToken(t, seen.Header)["oid"]; got != id {
				t.Errorf("call %d: the API got a token of %v, want %s", i, got, id)
			}
		})
	}
	group.Wait()
}

const bobID = "bbbbbbbb-0000-4000-8000-000000000002"

// A token that the API rejects is replaced once. Then the application gets the 401.
func TestSidecarCallWithARejectedToken(t *testing.T) {
	w := newCaller(t)
	var mu sync.Mutex
	rejected := map[string]bool{}
	reject := 1
	w.api.handle(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token := r.Header.Get("Authorization")
		if rejected[token] || len(rejected) < reject {
			rejected[token] = true
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(401)
			return
		}
		answersWhatItSaw(w, r)
	})
	if seen := w.calls(option("HttpMethod", "POST"), "the body").called(t); string(seen.Body) != "the body" {
		t.Errorf("got the body %q", seen.Body)
	}
	if n := w.exchanges(); n != 2 {
		t.Errorf("%d exchanges, want 2: the second for the token that was rejected", n)
	}
	mu.Lock()
	rejected, reject = map[string]bool{}, 100
	mu.Unlock()
	alice := w.alice()
	for range 3 {
		got := answerOf(t, w.postBeside("/DownstreamApi/todo", alice, nil))
		if got.StatusCode != 401 || got.Headers.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
			t.Errorf("got %d %v, want the API's 401", got.StatusCode, got.Headers)
		}
	}
	if n := w.exchanges(); n > 4 {
		t.Errorf("%d exchanges, want a pause after two rejected tokens in a row", n)
	}
}

// A claims challenge of the API that the provider cannot answer without the user goes to
// the application.
func TestSidecarCallWithAClaimsChallenge(t *testing.T) {
	w := newCaller(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	w.api.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(claims))+`"`)
		w.WriteHeader(401)
	})
	r := w.postBeside("/DownstreamApi/todo", w.alice(), nil)
	var doc struct{ Claims string }
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 401 || !strings.Contains(r.Header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(doc.Claims, `"acrs"`) {
		t.Errorf("got %d %v %s, want 401 with the claims", r.StatusCode, r.Header["Www-Authenticate"], r.body)
	}
}

func TestSidecarCallThatFails(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	w := newCaller(t, func(f *file) {
		like := f.DownstreamAPIs["todo"]
		for name, change := range map[string]func(d *downstreamAPI){
			"nobase": func(d *downstreamAPI) { d.BaseURL = "" },
			"gone":   func(d *downstreamAPI) { d.BaseURL = gone.URL },
			"slow":   func(d *downstreamAPI) { d.Timeout = 50 * time.Millisecond },
		} {
			d := like
			change(&d)
			f.DownstreamAPIs[name] = d
		}
	})
	w.api.handle(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // otherwise net/http does not see the client leave
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
		case "/truncated":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		default:
			panic(http.ErrAbortHandler)
		}
	})
	for _, row := range []struct {
		path   string
		status int
		kind   string
	}{
		{"/DownstreamApi/gone", 502, "downstream-unreachable"},
		{"/DownstreamApi/todo", 502, "downstream-unreachable"},
		{"/DownstreamApi/todo?" + option("RelativePath", "truncated"), 502, "downstream-unreachable"},
		{"/DownstreamApi/slow?" + option("RelativePath", "hang"), 504, "downstream-timeout"},
		{"/DownstreamApi/nobase", 500, "misconfigured"},
		{"/DownstreamApi/nope", 404, "unknown-api"},
		{"/DownstreamApi/nope?" + option("Scopes", "api://todo/.default"), 404, "unknown-api"},
		{"/DownstreamApi/nope/", 404, "unknown-api"},
		{"/DownstreamApi/", 404, "not-found"},
		{"/DownstreamApi/todo/x", 404, "not-found"},
	} {
		r := w.postBeside(row.path, w.alice(), strings.NewReader("x"))
		if r.StatusCode != row.status || r.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", row.path, r.StatusCode, r.body, row.status, row.kind)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
		if r := w.beside(method, "/DownstreamApi/todo", w.alice()); r.StatusCode != 405 || r.Header.Get("Allow") != "POST" {
			t.Errorf("%s: got %d, Allow: %q, want 405 and POST", method, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	if r := w.postBeside("/DownstreamApi/todo", "", nil); r.StatusCode != 401 || r.kind() != "missing-token" {
		t.Errorf("without a token: got %d %s, want 401", r.StatusCode, r.body)
	}
}

// The API's call ends with the application's request.
func TestSidecarCallEndsWithItsCaller(t *testing.T) {
	w := newCaller(t)
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.side+"/DownstreamApi/todo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Errorf("got %d, want the request to be canceled", resp.StatusCode)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the API's request did not end")
	}
}

// The body may take as long as the request, not only as long as one that nobody reads.
func TestSidecarCallAwaitsASlowBody(t *testing.T) {
	w := newCaller(t)
	body, writer := io.Pipe()
	go func() {
		_, _ = io.WriteString(writer, "slow")
		time.Sleep(2500 * time.Millisecond) // longer than unread bodies get
		_, _ = io.WriteString(writer, "ly")
		_ = writer.Close()
	}()
	if seen := answerOf(t, w.postBeside("/DownstreamApi/todo", w.alice(), body)).called(t); string(seen.Body) != "slowly" {
		t.Errorf("got %q, want the whole body", seen.Body)
	}
}

// One log line says what happened, without a token, a body, or a value of the query.
func TestSidecarCallIsLogged(t *testing.T) {
	w := newCaller(t)
	alice := w.alice()
	w.postBeside("/DownstreamApi/todo?"+option("ExtraHeaderParameters.X-Key", "a-secret-value"), alice, strings.NewReader("a-secret-body"))
	lines := w.log.lines(t)
	if len(lines) != 1 || lines[0]["route"] != "/DownstreamApi/{apiName}" || lines[0]["api"] != "todo" || lines[0]["oid"] != aliceID ||
		lines[0]["tokenSource"] != "identity_provider" {
		t.Errorf("got %v", lines)
	}
	for _, secret := range []string{"a-secret", alice[:40]} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}
