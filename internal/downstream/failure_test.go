package downstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// wantKind checks that Forward returned an *Error of the kind.
func (e *env) wantKind(kind downstream.Kind) {
	e.t.Helper()
	err := e.result()
	var failure *downstream.Error
	if !errors.As(err, &failure) || failure.Kind != kind {
		e.t.Errorf("Forward returned %v, want %v", err, kind)
	} else if strings.Contains(err.Error(), "token-") {
		e.t.Errorf("error %q holds a token", err)
	}
}

// wantCallersFault checks an error that is not the API's.
func wantCallersFault(t *testing.T, err error) {
	t.Helper()
	var failure *downstream.Error
	if errors.As(err, &failure) {
		t.Errorf("Forward returned %v, which blames the API", err)
	}
}

func TestLeavingCallerCancelsTheCall(t *testing.T) {
	for name, begin := range map[string]func(w http.ResponseWriter){
		"before the headers": func(http.ResponseWriter) {},
		"within a stream":    func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"within a body": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			arrived, cancelled := make(chan struct{}), make(chan struct{})
			e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				close(arrived)
				select {
				case <-r.Context().Done():
					close(cancelled)
				case <-time.After(patience):
				}
			}))
			conn := e.dial("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
			wait(t, "the call", arrived)
			_ = conn.Close()
			wait(t, "the end of the API's request", cancelled)
			if err := e.result(); name == "before the headers" && !errors.Is(err, context.Canceled) || err == nil {
				t.Errorf("Forward returned %v", err)
			}
		})
	}
}

func TestLeavingCallerCancelsTheToken(t *testing.T) {
	e := startWith(t, http.NotFoundHandler())
	asked := make(chan struct{})
	e.token = func(ctx context.Context, _ downstream.Rejection) (string, error) {
		close(asked)
		<-ctx.Done()
		return "", ctx.Err()
	}
	conn := e.dial("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
	wait(t, "the wait for a token", asked)
	_ = conn.Close()
	if err := e.result(); !errors.Is(err, context.Canceled) {
		t.Errorf("Forward returned %v, want context.Canceled", err)
	}
}

func TestNoResponseInTime(t *testing.T) {
	hang := &recorder{next: func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(patience):
		}
	}}
	const limit = 500 * time.Millisecond // for the upload too, on a busy machine
	for name, change := range map[string]func(*downstream.Config){
		"Timeout":        func(c *downstream.Config) { c.Timeout = limit },
		"RequestTimeout": func(c *downstream.Config) { c.RequestTimeout = limit },
	} {
		for _, body := range []string{"", "body", strings.Repeat("x", 100<<10)} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, len(body)), func(t *testing.T) {
				t.Parallel()
				e := start(t, serve(t, hang), change)
				begin := time.Now()
				if got := e.do("POST", "/x", body); got.status != 599 {
					t.Errorf("got %d", got.status)
				}
				e.wantKind(downstream.Timeout)
				if took := time.Since(begin); took > patience/2 {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

func TestNoTokenInTime(t *testing.T) {
	e := start(t, serve(t, http.NotFoundHandler()), func(c *downstream.Config) { c.RequestTimeout = 50 * time.Millisecond })
	e.token = func(ctx context.Context, _ downstream.Rejection) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	e.do("GET", "/x", "")
	e.wantKind(downstream.Timeout)
}

func TestStalledBodyIsNotWaitedForLong(t *testing.T) {
	const head = "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
	for _, row := range []struct{ name, text string }{
		{"small", head + "Content-Length: 10\r\n\r\nabc"}, // read before the API is called
		{"large", head + "Content-Length: 100000\r\n\r\nabc"},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, serve(t, &recorder{}), func(c *downstream.Config) {
				c.Timeout = 100 * time.Millisecond
				c.RequestTimeout = 200 * time.Millisecond
			})
			begin := time.Now()
			got := e.raw(row.text)
			if got.status != 599 {
				t.Errorf("got %d %s", got.status, got.body)
			}
			err := e.result()
			if !errors.Is(err, downstream.ErrBody) {
				t.Errorf("Forward returned %v, want ErrBody", err)
			}
			wantCallersFault(t, err)
			if took := time.Since(begin); took > patience/2 {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestUnreachableAPI(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	answer := func(text string) string {
		return wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) })
	}
	for name, url := range map[string]string{
		"nobody listens":    "http://" + closed.Addr().String(),
		"unknown host":      "http://api.invalid",
		"no answer":         answer(""),
		"half a head":       answer("HTTP/1.1 200 OK\r\nContent-Le"),
		"not HTTP":          answer("220 mail.example ESMTP\r\n"),
		"two lengths":       answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
		"TLS where none is": strings.Replace(answer("HTTP/1.1 400 Bad Request\r\n\r\n"), "http://", "https://", 1),
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, url, nil)
			if got := e.do("POST", "/x", "body"); got.status != 599 || got.header.Get("Content-Type") != "text/plain" {
				t.Errorf("got %d %v, want nothing written by Forward", got.status, got.header)
			}
			e.wantKind(downstream.Unreachable)
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		limit   int64
		length  int
		chunked bool
	}{
		"small":          {10, 11, false},
		"small, chunked": {10, 11, true},
		"large":          {100 << 10, 200 << 10, false},
		"large, chunked": {100 << 10, 200 << 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // net/http waits before it closes such a connection
			e := startWith(t, &recorder{})
			e.maxBody = c.limit
			r, err := http.NewRequest("POST", e.front.URL+"/x", strings.NewReader(strings.Repeat("x", c.length)))
			if err != nil {
				t.Fatal(err)
			}
			if c.chunked {
				r.ContentLength = -1
			}
			if got := e.send(r); got.status != 599 {
				t.Errorf("got %d", got.status)
			}
			var tooLarge *http.MaxBytesError
			err = e.result()
			if !errors.As(err, &tooLarge) {
				t.Errorf("Forward returned %v, want *http.MaxBytesError", err)
			}
			wantCallersFault(t, err)
		})
	}
}

func TestBrokenBody(t *testing.T) {
	const head = "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"malformed chunk": {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", downstream.ErrBody},
		"chunk too long":  {"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", downstream.ErrBody},
		// net/http treats a connection that ends within a body as a caller that left.
		"short of its length": {"Content-Length: 10\r\n\r\nabc", context.Canceled},
		"none of its length":  {"Content-Length: 10\r\n\r\n", context.Canceled},
		"large":               {"Content-Length: 100000\r\n\r\nabc", context.Canceled},
		"chunks without end":  {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", context.Canceled},
		"within a chunk":      {"Transfer-Encoding: chunked\r\n\r\n64\r\nabc", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // net/http lingers before it closes such a connection
			e := start(t, serve(t, &recorder{}), nil)
			conn := e.dial(head + c.text)
			if c.want == context.Canceled {
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			got := e.read(conn, "POST")
			err := e.result()
			if !errors.Is(err, c.want) {
				t.Errorf("Forward returned %v after %d, want %v", err, got.status, c.want)
			}
			wantCallersFault(t, err)
		})
	}
}

// brokenBody is a truncated body whose connection stays open, as in HTTP/2.
type brokenBody struct{ err error }

func (b brokenBody) Read(p []byte) (int, error) { return copy(p, "abc"), b.err }

func (brokenBody) Close() error { return nil }

func TestBrokenBodyOfALivingConnection(t *testing.T) {
	for _, length := range []int64{-1, 10, 100 << 10} {
		e := start(t, serve(t, &recorder{}), nil)
		r := httptest.NewRequest("POST", "http://middle.example/x", brokenBody{errors.New("stream error")})
		r.ContentLength = length
		err := e.client.Forward(httptest.NewRecorder(), r, downstream.Call{Token: e.token})
		if !errors.Is(err, downstream.ErrBody) {
			t.Errorf("length %d: Forward returned %v, want ErrBody", length, err)
		}
		wantCallersFault(t, err)
	}
}
