package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/wiretest"

	"golang.org/x/net/http2"
)

// slowlyBehind lets the service call the API at url, with time for slow answers.
func slowlyBehind(url string) func(*file) {
	return func(f *file) {
		f.Server.H2C, f.Server.RequestTimeout = true, time.Minute
		d := f.DownstreamAPIs["todo"]
		d.BaseURL, d.Timeout = url+"/", time.Minute
		f.DownstreamAPIs["todo"] = d
	}
}

// If an HTTP/2 API resets a request whose body is open and idle, before it has
// answered, the caller gets the answer at once, not at the end of the request's
// timeout.
func TestAPIThatGivesUpAnIdleUploadIsNotAwaited(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(c *wiretest.Conn, s *wiretest.Stream) bool{
		"INTERNAL_ERROR": func(c *wiretest.Conn, s *wiretest.Stream) bool { c.Reset(s, http2.ErrCodeInternal); return true },
		"REFUSED_STREAM": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			code := http2.ErrCodeRefusedStream
			if s.ID%4 == 3 { // it was sent again
				code = http2.ErrCodeInternal
			}
			c.Reset(s, code)
			return true
		},
		"GOAWAY": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteGoAway(s.ID, http2.ErrCodeInternal, nil)
			return false
		},
		"GOAWAY of all": func(c *wiretest.Conn, _ *wiretest.Stream) bool {
			_ = c.WriteGoAway(0, http2.ErrCodeInternal, nil)
			return false
		},
		"closed": func(*wiretest.Conn, *wiretest.Stream) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			api := wiretest.ServeFrames(t, answer)
			w := newWorld(t, slowlyBehind(api.URL))
			w.wantIdleUploadsRefused()
		})
	}
}

// The same for an HTTP/1.1 API that closes the connection.
func TestHTTP1APIThatGivesUpAnIdleUploadIsNotAwaited(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){"clear": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack() // net/http would wait for the body
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.Close()
			}))
			start(api)
			t.Cleanup(api.Close)
			w := newWorld(t, slowlyBehind(api.URL))
			w.wantIdleUploadsRefused()
		})
	}
}

// wantIdleUploadsRefused begins 20 uploads by each protocol, and wants 502 soon.
func (w *world) wantIdleUploadsRefused() {
	w.t.Helper()
	alice := w.alice()
	for protocol, client := range protocolClients(w.t) {
		for i := range 20 {
			status, err := idleUpload(client, w.url+"/api/todo/items", alice)
			if err != nil || status != 502 {
				w.t.Fatalf("%s, call %d: got %d, %v, want 502 soon", protocol, i+1, status, err)
			}
		}
		client.CloseIdleConnections()
	}
	eventually(w.t, func() bool { return !strings.Contains(stacks(), "downstream.(*record).read") }, stacks) // nobody reads on
}

// stacks returns what all goroutines do.
func stacks() string {
	buffer := make([]byte, 16<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}

// idleUpload begins an upload that does not end, and returns the status of the answer.
func idleUpload(client *http.Client, url, token string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	body, sender := io.Pipe()
	defer sender.Close()
	req, err := http.NewRequestWithContext(ctx, "POST", url, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	go func() { _, _ = io.WriteString(sender, "first") }()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
