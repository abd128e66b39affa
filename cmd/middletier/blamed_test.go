package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An API may end an HTTP/2 connection over the headers of one caller: the streams of 20
// others run on.
func TestBlamedCallerHarmsNoStream(t *testing.T) {
	const others = 20
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeCompression} {
		t.Run(code.String(), func(t *testing.T) {
			end := make(chan struct{}) // of the streams
			var writers sync.WaitGroup
			api := newFrameAPI(t, func(c *frameConn, f *http2.MetaHeadersFrame) bool {
				if f.PseudoValue("path") == "/blamed" {
					_ = c.WriteGoAway(f.StreamID, code, nil)
					return false
				}
				var block bytes.Buffer
				encoder := hpack.NewEncoder(&block)
				_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
				_ = encoder.WriteField(hpack.HeaderField{Name: "content-type", Value: "text/event-stream"})
				_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
				_ = c.WriteData(f.StreamID, false, []byte("data: first\n\n"))
				writers.Go(func() {
					<-end
					c.mu.Lock()
					defer c.mu.Unlock()
					_ = c.WriteData(f.StreamID, true, []byte("data: last\n\n"))
				})
				return true
			})
			finish := sync.OnceFunc(func() { close(end); writers.Wait() })
			t.Cleanup(finish)
			w := newWorld(t, slowlyBehind(api.url))
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
