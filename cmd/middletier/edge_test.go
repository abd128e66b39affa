package main

import (
	"bufio"
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

// Whatever an API sends before its call fails, the problem document is whole and
// holds nothing of it.
func TestProblemHoldsNothingOfTheAPI(t *testing.T) {
	const invalid = "downstream-invalid-response"
	hints := "HTTP/1.1 103 Early Hints\r\n" + theirs + "\r\n"
	unauthorized := "HTTP/1.1 401 Unauthorized\r\n" + theirs + "Content-Length: 6\r\n\r\ntheirs"
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

// An API's hints reach the caller before its answer, with headers that may pass.
func TestEarlyHintsReachTheCaller(t *testing.T) {
	w := newWorld(t)
	w.answerInTurn("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	conn := w.dial(t, 15*time.Second)
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/todo/items HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer "+w.alice()+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	var statuses []int
	for range 2 {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if statuses = append(statuses, resp.StatusCode); resp.StatusCode == 103 && (resp.Header.Get("Link") == "" || resp.Header["Set-Cookie"] != nil) {
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
