package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"middletier/internal/testkit/wiretest"

	"golang.org/x/net/http2"
)

// If an API ends an HTTP/2 connection because of one caller's headers, the streams
// of 20 other callers continue.
func TestBlamedCallerHarmsNoStream(t *testing.T) {
	const others = 20
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeCompression} {
		t.Run(code.String(), func(t *testing.T) {
			end := make(chan struct{}) // of the streams
			var writers sync.WaitGroup
			api := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
				if s.Fields[":path"] == "/blamed" {
					_ = c.WriteGoAway(s.ID, code, nil)
					return false
				}
				c.Open(s, "content-type", "text/event-stream")
				_ = c.WriteData(s.ID, false, []byte("data: first\n\n"))
				writers.Go(func() {
					<-end
					c.Busy.Lock()
					defer c.Busy.Unlock()
					_ = c.WriteData(s.ID, true, []byte("data: last\n\n"))
					c.Flush()
				})
				return true
			})
			finish := sync.OnceFunc(func() { close(end); writers.Wait() })
			t.Cleanup(finish)
			w := newWorld(t, slowlyBehind(api.URL))
			alice := w.alice()
			client := protocolClients(t)["HTTP/2.0"]
			request := func(path string) *http.Request {
				r, err := http.NewRequest("GET", w.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+alice)
				r.Header.Set("Accept", "text/event-stream")
				return r
			}
			const first = "data: first\n\n"
			streams := make([]io.ReadCloser, others)
			for i := range streams {
				resp, err := client.Do(request("/api/todo/stream"))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				event := make([]byte, len(first))
				if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != first {
					t.Fatalf("stream %d began with %q, %v", i, event, err)
				}
				streams[i] = resp.Body
			}
			for name, value := range map[string]string{"X-Large": strings.Repeat("x", 20<<10), "X-Name": "Jürgen"} {
				r := request("/api/todo/blamed")
				r.Header.Set(name, value)
				if got := w.do(r); got.StatusCode < 400 {
					t.Errorf("the blamed one: got %d %s", got.StatusCode, got.body)
				}
			}
			finish()
			for i, stream := range streams {
				if rest, err := io.ReadAll(stream); err != nil || string(rest) != "data: last\n\n" {
					t.Errorf("stream %d ended with %q, %v", i, rest, err)
				}
			}
		})
	}
}
