package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// post begins a request with a body that may still be written.
func (w *world) post(body io.Reader) *http.Response {
	w.t.Helper()
	req, err := http.NewRequest("POST", w.url+"/api/todo/items", body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	resp, err := noRedirects.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// Neither upload nor answer is buffered: the client receives an event for each chunk
// before it sends the next.
func TestUploadAndEventsStreamAtOnce(t *testing.T) {
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		stream := http.NewResponseController(rw)
		if err := stream.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		_ = stream.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			_, _ = fmt.Fprintf(rw, "data: %s\n\n", lines.Text())
			_ = stream.Flush()
		}
	})
	in, out := io.Pipe()
	defer out.Close()
	resp := w.post(in)
	events := bufio.NewReader(resp.Body)
	for i := range 20 {
		if _, err := fmt.Fprintf(out, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
		event, err := events.ReadString('\n')
		if _, blank := events.ReadString('\n'); err != nil || blank != nil || event != fmt.Sprintf("data: line %d\n", i) {
			t.Fatalf("event %d: got %q %v", i, event, err)
		}
	}
	_ = out.Close()
	if rest, err := io.ReadAll(events); err != nil || len(rest) != 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
}

func TestBinaryBodiesAreUntouched(t *testing.T) {
	w := newWorld(t)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = rw.Write(body)
	})
	random := make([]byte, 3<<20)
	_, _ = rand.Read(random)
	for _, size := range []int{0, 1, 1000, 64 << 10, 64<<10 + 1, len(random)} {
		for name, body := range map[string]io.Reader{
			"of known length": bytes.NewReader(random[:size]),
			"chunked":         struct{ io.Reader }{bytes.NewReader(random[:size])},
		} {
			got, err := io.ReadAll(w.post(body).Body)
			if err != nil || !bytes.Equal(got, random[:size]) {
				t.Errorf("%d bytes %s: got %d, %v", size, name, len(got), err)
			}
		}
	}
}

// zeros gives n bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A caller may pause its upload for longer than an unread body is waited for, and
// for longer than the API's timeout.
func TestPausingUploadIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.Timeout = time.Second
		f.DownstreamAPIs["todo"] = d
	})
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintln(rw, n, err)
	})
	for name, size := range map[string]int{"kept": 1000, "streamed": 100_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := fmt.Sprintf(
				"POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
				w.alice(), size)
			conn := w.dial(t, 15*time.Second)
			defer conn.Close()
			if _, err := io.WriteString(conn, head+strings.Repeat("x", size/2)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2500 * time.Millisecond) // beyond both: 2 s, and the API's 1
			if _, err := io.WriteString(conn, strings.Repeat("x", size-size/2)); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if want := fmt.Sprintln(size, error(nil)); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") ||
				!strings.HasSuffix(string(answer), want) {
				t.Errorf("got %s, %v; want 200 and %s", answer, err, want)
			}
		})
	}
}

// If a client does not read, the API cannot send: only the sockets' buffers are
// between them.
func TestReaderThatTakesNothingPressesBack(t *testing.T) {
	t.Parallel()
	const size = 128 << 20
	w := newWorld(t)
	var written atomic.Int64
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 64<<10)
		for written.Load() < size {
			n, err := rw.Write(block)
			if err != nil {
				return
			}
			written.Add(int64(n))
		}
	})
	resp := w.post(nil)
	for last := int64(-1); last != written.Load(); time.Sleep(300 * time.Millisecond) { // until nothing moves
		last = written.Load()
	}
	if got := written.Load(); got > 64<<20 {
		t.Errorf("the API has sent %d MB that nobody reads", got>>20)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, size)
	}
}

// A client that sends Expect: 100-continue gets 100 only when its token and its request
// have been checked, and the API reads the body.
func TestContinueIsSaidWhenTheBodyIsWanted(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.MaxBodySize = 1 << 20 })
	alice, bob := w.alice(), w.bob()
	for _, row := range []struct {
		name, path, token string
		length, status    int
		goOn              bool
	}{
		{"small", "/api/todo/items", alice, 10, 200, true},
		{"large", "/api/todo/items", alice, 1 << 20, 200, true},
		{"too large", "/api/todo/items", alice, 1<<20 + 1, 413, false},
		{"no token", "/api/todo/items", "", 10, 401, false},
		{"bad token", "/api/todo/items", alice[:len(alice)-8], 10, 401, false},
		{"no scope", "/api/todo/items", bob, 10, 403, false},
		{"no such API", "/api/nothing/items", alice, 10, 404, false},
		{"bad path", "/api/todo/%2e%2e", alice, 10, 400, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn := w.dial(t, 15*time.Second)
			defer conn.Close()
			before := len(w.api.seen())
			authorization := ""
			if row.token != "" {
				authorization = "Authorization: Bearer " + row.token + "\r\n"
			}
			_, _ = fmt.Fprintf(conn,
				"POST %s HTTP/1.1\r\nHost: x\r\n%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
				row.path, authorization, row.length)
			reader := bufio.NewReader(conn)
			line, err := reader.ReadString('\n')
			if goOn := line == "HTTP/1.1 100 Continue\r\n"; err != nil || goOn != row.goOn {
				t.Fatalf("got %q %v, want to go on: %v", line, err, row.goOn)
			}
			rest := io.Reader(reader)
			if row.goOn {
				_, _ = reader.ReadString('\n')
				_, _ = io.Copy(conn, zeros(int64(row.length)))
			} else {
				rest = io.MultiReader(strings.NewReader(line), reader)
			}
			resp, err := http.ReadResponse(bufio.NewReader(rest), nil)
			if err != nil || resp.StatusCode != row.status {
				t.Fatalf("got %v %v, want %d", resp, err, row.status)
			}
			_ = resp.Body.Close()
			if got := len(w.api.seen()) - before; (got == 1) != row.goOn {
				t.Errorf("the API got %d requests", got)
			}
		})
	}
}

// A client can always tell that an answer is incomplete, and the log says so.
func TestAnswerThatBreaksOffIsSeenAsBroken(t *testing.T) {
	w := newStoppedWorld(t)
	p := w.start()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	overTLS := httptest.NewUnstartedServer(p.api)
	overTLS.EnableHTTP2 = true
	overTLS.StartTLS()
	t.Cleanup(overTLS.Close)
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": noRedirects, "HTTP/2.0": overTLS.Client()} {
		base := w.url
		if protocol == "HTTP/2.0" {
			base = overTLS.URL
		}
		for name, length := range map[string]string{"chunked": "", "of known length": "1000"} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
					if length != "" {
						rw.Header().Set("Content-Length", length)
					}
					_, _ = io.WriteString(rw, "a part")
					_ = http.NewResponseController(rw).Flush()
					panic(http.ErrAbortHandler) // the connection breaks
				})
				req, err := http.NewRequest("GET", base+"/api/todo/items", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+w.alice())
				if resp, err := client.Do(req); err == nil { // else broken even before the headers had come
					defer resp.Body.Close()
					if body, err := io.ReadAll(resp.Body); err == nil || resp.Proto != protocol || !strings.HasPrefix("a part", string(body)) {
						t.Errorf("got %s %q %v, want an error", resp.Proto, body, err)
					}
				}
				lines := w.log.lines(t)
				if last := lines[len(lines)-1]; !strings.Contains(last["error"].(string), "cut short: unexpected EOF") || last["level"] != "WARN" {
					t.Errorf("log: %v, want a warning that says it", last)
				}
			})
		}
	}
}
