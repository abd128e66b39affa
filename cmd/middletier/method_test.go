package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"middletier/internal/testkit/wiretest"
	"middletier/internal/validate"
)

// readersAndWriters has a rule for methods that write, and one for all others.
func readersAndWriters(f *file) {
	f.Server.H2C = true
	api := f.DownstreamAPIs["todo"]
	api.Access = []validate.Rule{
		{Methods: []string{"POST", "PUT", "PATCH", "DELETE"}, Scopes: []string{"ToDoList.ReadWrite"}, AppPermissions: []string{"ToDoList.ReadWrite.All"}},
		{Scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"}, AppPermissions: []string{"ToDoList.Read.All"}},
	}
	f.DownstreamAPIs["todo"] = api
}

// foldMethods makes an API of w that writes methods in upper case, as most
// frameworks do, obeys X-HTTP-Method-Override and its kin, and says what it did.
func foldMethods(w *world) (deleted func() bool) {
	done := make(chan struct{}, 1000)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		method := r.Method
		for name, values := range r.Header {
			if name := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.HasPrefix(name, "x-http-method") || name == "x-method-override" {
				first, _, _ := strings.Cut(values[0], ",")
				method = strings.TrimSpace(first)
			}
		}
		if strings.ToUpper(method) == "DELETE" {
			done <- struct{}{}
		}
	})
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// requestOverHTTP2 sends a request with any method, and returns the status.
func (w *world) requestOverHTTP2(t *testing.T, method, path, token string) string {
	t.Helper()
	conn := w.dial(t, 15*time.Second)
	defer conn.Close()
	fields := [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "middle.example"}, {":path", path}}
	if method == "CONNECT" { // has no scheme and path (RFC 9113, section 8.5)
		fields = append(fields[:1], fields[2])
	}
	fields = append(fields, [2]string{"authorization", "Bearer " + token})
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: wiretest.HeaderBlock(fields), EndStream: true, EndHeaders: true,
	}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return frame.ErrCode.String()
		}
	}
}

// No spelling of a method bypasses the rule for it, whatever the API makes of that
// spelling.
func TestSpellingOfTheMethodDoesNotLeadRoundItsRule(t *testing.T) {
	w := newWorld(t, readersAndWriters)
	deleted := foldMethods(w)
	tokens := map[string]string{"/api/todo/items/1": w.bob(), "/app/todo/items/1": w.daemon()}
	for _, row := range []struct {
		method     string
		one, two   string // the status over HTTP/1.1 and HTTP/2
		everywhere bool   // also where no access rule is asked
	}{
		{"GET", "200", "200", false},
		{"DELETE", "403", "403", false},
		{"delete", "400", "400", true},
		{"Delete", "400", "400", true},
		{"DELETe", "400", "400", true},
		{"get", "400", "400", true},
		{"post", "400", "400", true},
		{"trace", "400", "400", true},
		{"TRACE", "405", "405", false},
		{"TRACK", "405", "405", false},
		{"track", "400", "400", true},
		{"CONNECT", "405", "404", false}, // over HTTP/2 it has no path
		{"DELETE,GET", "400", "400", true},
		{"DEL\x00ETE", "400", "PROTOCOL_ERROR", true},
		{"DELETE ", "400", "400", true}, // over HTTP/1.1 an empty target
		{"ＤELETE", "400", "400", true},
		{"PURGE", "200", "200", false}, // for all methods there is a rule
	} {
		paths := tokens
		if row.everywhere {
			paths = map[string]string{"/signout": w.bob(), "/healthz": "", "/problems/invalid-token": "", "/nothing": ""}
			for path, token := range tokens {
				paths[path] = token
			}
		}
		for path, token := range paths {
			r := rawRequest(t, w, row.method+" "+path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nConnection: close\r\n\r\n")
			if got := r.Status[:3]; got != row.one {
				t.Errorf("%q %s over HTTP/1.1: got %s, want %s", row.method, path, got, row.one)
			}
			if r.StatusCode == 405 && r.Header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" {
				t.Errorf("%q %s: Allow is %q", row.method, path, r.Header.Get("Allow"))
			}
			if got := w.requestOverHTTP2(t, row.method, path, token); got != row.two {
				t.Errorf("%q %s over HTTP/2: got %s, want %s", row.method, path, got, row.two)
			}
			if deleted() {
				t.Errorf("%q %s: the API deleted", row.method, path)
			}
		}
	}
	r := w.call("delete", "/api/todo/items/1", w.alice(), "")
	if r.StatusCode != 400 || r.kind() != "invalid-request" || r.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
	checkProblem(t, w, r, "/api/todo/items/1")
}

// If a header names another method, which some frameworks obey, the access rules
// must allow that method too.
func TestMethodInAHeaderIsHeldToItsRule(t *testing.T) {
	w := newWorld(t, readersAndWriters)
	deleted := foldMethods(w)
	for _, row := range []struct {
		name, value string
		status      int // for a caller who may only read
	}{
		{"X-HTTP-Method-Override", "DELETE", 403},
		{"X-HTTP-Method-Override", "delete", 403},
		{"X-HTTP-Method-Override", " Delete ", 403},
		{"X-HTTP-Method-Override", "DELETE, GET", 403},
		{"X-HTTP-Method-Override", "GET, DELETE", 403},
		{"X-HTTP-Method-Override", "trace", 405},
		{"X-HTTP-Method", "DELETE", 403},
		{"X-Method-Override", "DELETE", 403},
		{"X_HTTP_Method_Override", "DELETE", 403},
		{"x-http_method-override", "DELETE", 403},
		{"X-HTTP-Method-Override", "GET", 200},
		{"X-HTTP-Method-Override", "", 200},
		{"X-HTTP-Method-Overrides", "DELETE", 200},
	} {
		for who, token := range map[string]string{"reader": w.bob(), "writer": w.alice()} {
			req, err := http.NewRequest("GET", w.url+"/api/todo/items/1", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header[row.name] = []string{row.value}
			req.Header.Set("Authorization", "Bearer "+token)
			want := row.status
			if who == "writer" && want == 403 {
				want = 200
			}
			if r := w.do(req); r.StatusCode != want {
				t.Errorf("%s: %q of a %s: got %d %s, want %d", row.name, row.value, who, r.StatusCode, r.body, want)
			}
			if deleted() && who == "reader" && row.name != "X-HTTP-Method-Overrides" {
				t.Errorf("%s: %q: the API deleted", row.name, row.value)
			}
		}
	}
}
