package main

import (
	"bufio"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A client can name headers in Connection, and so have them removed. Headers that
// the service sets are set nevertheless, and hop-by-hop headers are not forwarded.
func TestHeadersOfOneHop(t *testing.T) {
	w := newWorld(t)
	resp := rawRequest(t, w, "POST /api/todo/items HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer "+w.alice()+"\r\n"+
		"Connection: close, authorization, x-forwarded-for, Forwarded, x-request-id, x-mine\r\nConnection: TE, Host, Content-Length, traceparent\r\n"+
		"X-Mine: 1\r\nX-Other: 1\r\nX_Other: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nProxy-Foo: 1\r\n"+
		"TE: trailers, deflate\r\nTrailer: X-Mine\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"+
		"Cookie: a=b\r\ncookie: c=d\r\nX-Http-Method-Override: DELETE\r\nX-Request-ID: mine-1\r\nContent-Length: 2\r\n\r\nhi")
	if resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	got := w.api.last(t)
	if got.Method != "POST" || got.ContentLength != 2 || "http://"+got.Host != w.api.URL {
		t.Errorf("the API got %s %s of length %d", got.Method, got.Host, got.ContentLength)
	}
	for name, want := range map[string][]string{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"middle.example"}, "X-Forwarded-Proto": {"http"},
		"Forwarded": {`for=127.0.0.1;host="middle.example";proto=http`}, "X-Request-Id": {"mine-1"},
		"X-Other": {"1"}, "X_other": {"1"}, "X-Http-Method-Override": {"DELETE"}, "Te": {"trailers"},
	} {
		if !slices.Equal(got.Header[name], want) {
			t.Errorf("%s: got %q, want %q", name, got.Header[name], want)
		}
	}
	if claims := claimsOf(t, got); claims["name"] != "alice" || claims["azp"] != demoMiddleTier {
		t.Errorf("the token is of %v for %v", claims["name"], claims["azp"])
	}
	for _, name := range []string{
		"X-Mine", "Connection", "Keep-Alive", "Proxy-Connection",
		"Proxy-Authorization", "Proxy-Foo", "Trailer", "Upgrade", "Cookie", "Traceparent",
	} {
		if values, ok := got.Header[name]; ok {
			t.Errorf("%s reached the API: %q", name, values)
		}
	}
}

// The same for an answer: the service's own headers stay.
func TestHeadersOfAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nConnection: x-request-id, X-Theirs\r\nX-Theirs: 1\r\nX-Request-Id: theirs\r\nKeep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\n" +
			"Upgrade: h2c\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nAccess-Control-Allow-Origin: *\r\naccess-control-allow-credentials: true\r\nX-Kept: 1\r\nX-Kept: 2\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n"))
	})
	r := w.call("GET", "/api/todo/items", w.alice(), "")
	if ids := r.Header["X-Request-Id"]; r.StatusCode != 200 || len(ids) != 1 || ids[0] == "theirs" {
		t.Errorf("got %d with request ids %q, want 200 and ours", r.StatusCode, ids)
	}
	if got := r.Header["X-Kept"]; !slices.Equal(got, []string{"1", "2"}) || r.Header.Get("Cache-Control") != "max-age=60" {
		t.Errorf("got %v, want what the API says of it", r.Header)
	}
	for name := range r.Header {
		if slices.Contains([]string{"X-Theirs", "Connection", "Keep-Alive", "Proxy-Authenticate", "Upgrade", "Set-Cookie"}, name) ||
			strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %q reached the caller", name, r.Header[name])
		}
	}
}

// A client's request ID is used if it is harmless in a log.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	for id, taken := range map[string]bool{
		"a": true, "0af7651916cd43dd8448eb211c80319c": true, "A-b_c.9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a/b": false, "a\"b": false, "ä": false, "<x>": false, "a,b": false, "${jndi:x}": false,
	} {
		r := w.say("/api/todo/items", alice, "X-Request-ID: "+id)
		got := r.Header.Get("X-Request-Id")
		if (got == id) != taken || got == "" || w.api.last(t).Header.Get("X-Request-Id") != got {
			t.Errorf("%q: answered %q, the API got %q", id, got, w.api.last(t).Header["X-Request-Id"])
		}
	}
	if got := w.say("/api/todo/items", alice, "X-Request-ID: one", "X-Request-ID: two").Header["X-Request-Id"]; len(got) != 1 ||
		got[0] == "one" || got[0] == "two" {
		t.Errorf("two ids: answered %q, want one of ours", got)
	}
}

// Servers that map header names to variables treat an underscore as a dash. So a
// header that is dropped or set is matched in both spellings, in trailers too.
func TestConfiguredHeadersHaveOneNameInEverySpelling(t *testing.T) {
	w := newWorld(t, func(f *file) {
		api := f.DownstreamAPIs["todo"]
		api.RequestHeaders.Drop = []string{"X-Forwarded-User", "remote_user"}
		api.RequestHeaders.Set = map[string]string{"X-Api-Key": "ours"}
		api.ResponseHeaders.Drop = []string{"X-Powered-By"}
		f.DownstreamAPIs["todo"] = api
	})
	var trailer http.Header
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailer = r.Trailer
		h := rw.Header()
		h.Set("Trailer", "X_Powered_By, X-Sum")
		h["X_Powered_By"], h["X-powered_by"], h["X_other"] = []string{"them"}, []string{"them"}, []string{"1"}
		_, _ = io.WriteString(rw, "hello")
		h.Set("X_Powered_By", "them")
		h.Set("X-Sum", "1")
	})
	spellings := []string{
		"X_Forwarded_User", "x_forwarded-user", "X-Forwarded_USER", "X-FORWARDED-USER",
		"Remote-User", "REMOTE_USER", "X_Api_Key", "x-api_key", "X-API-KEY",
	}
	request := "POST /api/todo/items HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer " + w.alice() +
		"\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n" +
		"X_Other: 1\r\nTrailer: X-Sum, " + strings.Join(spellings, ", ") + "\r\n"
	lines := strings.Join(spellings, ": theirs\r\n") + ": theirs\r\n\r\n"
	conn := w.dial(t, 15*time.Second)
	defer conn.Close()
	if _, err := io.WriteString(conn, request+lines+"2\r\nhi\r\n0\r\nX-Sum: 1\r\n"+lines); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %d, %v", resp.StatusCode, err)
	}
	got := w.api.last(t)
	for name, values := range got.Header {
		if slices.Contains(values, "theirs") {
			t.Errorf("%s: %q reached the API", name, values)
		}
	}
	if key := got.Header["X-Api-Key"]; !slices.Equal(key, []string{"ours"}) || got.Header.Get("X_Other") != "1" {
		t.Errorf("the API got %v, want our X-Api-Key and the caller's X_Other", got.Header)
	}
	if want := (http.Header{"X-Sum": {"1"}}); !reflect.DeepEqual(trailer, want) {
		t.Errorf("the API got trailers %v, want %v", trailer, want)
	}
	for name := range resp.Header {
		if strings.Contains(strings.ToLower(name), "powered") {
			t.Errorf("%s reached the caller", name)
		}
	}
	if want := (http.Header{"X-Sum": {"1"}}); !reflect.DeepEqual(resp.Trailer, want) || resp.Header.Get("X_other") != "1" {
		t.Errorf("the caller got %v and trailers %v, want X_other and %v", resp.Header, resp.Trailer, want)
	}
}
