package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frameAPI is an API that speaks HTTP/2 over TLS frame by frame: answer is called for
// each request's headers, and reports whether the connection goes on.
type frameAPI struct {
	url   string
	group sync.WaitGroup
}

// frameConn is a connection to a frameAPI. Only one at a time writes to it.
type frameConn struct {
	*http2.Framer
	mu sync.Mutex
}

// newFrameAPI starts a frameAPI.
func newFrameAPI(t *testing.T, answer func(c *frameConn, f *http2.MetaHeadersFrame) bool) *frameAPI {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of a certificate
	lender.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &frameAPI{url: "https://" + listener.Addr().String()}
	a.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = conn.Close() })
			a.group.Go(func() {
				defer stop()
				defer conn.Close()
				serveFrames(conn, answer)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		a.group.Wait()
	})
	return a
}

// serveFrames reads frames until the connection ends.
func serveFrames(conn net.Conn, answer func(c *frameConn, f *http2.MetaHeadersFrame) bool) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	c := &frameConn{Framer: http2.NewFramer(conn, conn)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = c.WriteSettings()
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		c.mu.Lock()
		goesOn := true
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			goesOn = answer(c, f)
		}
		c.mu.Unlock()
		if !goesOn {
			return
		}
	}
}

// slowlyBehind lets the service call the API at url, with time for slow answers.
func slowlyBehind(url string) func(*file) {
	return func(f *file) {
		f.Server.H2C, f.Server.RequestTimeout = true, time.Minute
		d := f.DownstreamAPIs["todo"]
		d.BaseURL, d.Timeout = url+"/", time.Minute
		f.DownstreamAPIs["todo"] = d
	}
}

// An HTTP/2 API may give up a request whose body is open and idle, before it has answered:
// the caller learns it at once, not when the time for the request is over.
func TestAPIThatGivesUpAnIdleUploadIsNotAwaited(t *testing.T) {
	for name, answer := range map[string]func(c *frameConn, id uint32) bool{
		"INTERNAL_ERROR": func(c *frameConn, id uint32) bool { _ = c.WriteRSTStream(id, http2.ErrCodeInternal); return true },
		"REFUSED_STREAM": func(c *frameConn, id uint32) bool {
			code := http2.ErrCodeRefusedStream
			if id%4 == 3 { // it was sent again
				code = http2.ErrCodeInternal
			}
			_ = c.WriteRSTStream(id, code)
			return true
		},
		"GOAWAY":        func(c *frameConn, id uint32) bool { _ = c.WriteGoAway(id, http2.ErrCodeInternal, nil); return false },
		"GOAWAY of all": func(c *frameConn, _ uint32) bool { _ = c.WriteGoAway(0, http2.ErrCodeInternal, nil); return false },
		"closed":        func(*frameConn, uint32) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			api := newFrameAPI(t, func(c *frameConn, f *http2.MetaHeadersFrame) bool { return answer(c, f.StreamID) })
			w := newWorld(t, slowlyBehind(api.url))
			w.wantIdleUploadsRefused()
		})
	}
}

// The same of an HTTP/1.1 API that closes the connection.
func TestHTTP1APIThatGivesUpAnIdleUploadIsNotAwaited(t *testing.T) {
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
