package downstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// startHTTP2 returns an env in front of a wiretest.Server.
func startHTTP2(t *testing.T, server *wiretest.Server) *env {
	return start(t, server.URL, func(c *downstream.Config) {
		transport := downstream.NewTransport()
		transport.Proxy = nil
		transport.TLSClientConfig = &tls.Config{RootCAs: server.Roots}
		t.Cleanup(transport.CloseIdleConnections)
		c.Transport = transport
	})
}

// callersOf returns a request of each kind of body to the env: of known length and
// not, small and large, with trailers and without a body.
func (e *env) callersOf(method string) map[string]func() *http.Request {
	request := func(size int, known bool) func() *http.Request {
		return func() *http.Request {
			body := io.Reader(strings.NewReader(strings.Repeat("x", size)))
			if !known {
				body = io.MultiReader(body)
			}
			r, err := http.NewRequest(method, e.front.URL+"/x", body)
			if err != nil {
				e.t.Fatal(err)
			}
			return r
		}
	}
	return map[string]func() *http.Request{
		"no body": request(0, true), "small": request(10, true), "small, chunked": request(10, false),
		"large": request(100_000, true), "large, chunked": request(100_000, false),
		"trailers": func() *http.Request {
			r := request(100_000, false)()
			r.Trailer = http.Header{"X-Trailer": {"the end"}}
			return r
		},
	}
}

// A request that the API says it did not process is sent again, whatever its body.
func TestUnprocessedRequestIsSentAgain(t *testing.T) {
	for name, refuse := range map[string]func(c *wiretest.Conn, s *wiretest.Stream){
		"GOAWAY":         func(c *wiretest.Conn, _ *wiretest.Stream) { _ = c.WriteGoAway(1, http2.ErrCodeNo, nil) },
		"GOAWAY, error":  func(c *wiretest.Conn, _ *wiretest.Stream) { _ = c.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, nil) },
		"REFUSED_STREAM": func(c *wiretest.Conn, s *wiretest.Stream) { _ = c.WriteRSTStream(s.ID, http2.ErrCodeRefusedStream) },
		"GOAWAY of all":  func(c *wiretest.Conn, _ *wiretest.Stream) { _ = c.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"GOAWAY and more": func(c *wiretest.Conn, _ *wiretest.Stream) {
			_ = c.WriteGoAway(1, http2.ErrCodeNo, nil)
			_ = c.WriteGoAway(1, http2.ErrCodeNo, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			// The first call opens the connection whose second request is refused.
			for body := range (&env{}).callersOf("POST") {
				t.Run(body, func(t *testing.T) {
					var refused uint32 // the stream that was
					server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
						switch {
						case c.Number == 1 && s.ID > 1 && (len(s.Body) > 20_000 || s.Ended) && refused == 0:
							refused = s.ID
							refuse(c, s)
							return true
						case c.Number == 1 && s.ID == refused:
							return true // more of its body
						case s.Ended:
							c.Reply(s)
						}
						return true
					})
					e := startHTTP2(t, server)
					if got := e.do("GET", "/first", ""); got.status != 200 {
						t.Fatalf("the first call: got %d %s", got.status, got.body)
					}
					r := e.callersOf("POST")[body]()
					want := `0 bytes, trailer ""`
					switch {
					case body == "trailers":
						want = `100000 bytes, trailer "the end"`
					case strings.HasPrefix(body, "large"):
						want = `100000 bytes, trailer ""`
					case strings.HasPrefix(body, "small"):
						want = `10 bytes, trailer ""`
					}
					if got := e.send(r); got.status != 200 || got.body != want {
						t.Errorf("got %d %s, want 200 %s", got.status, got.body, want)
					}
					if n := server.Count("POST /x"); n != 2 {
						t.Errorf("the API got it %d times, want 2: %q", n, server.Requests())
					}
				})
			}
		})
	}
}

// A call over HTTP/2 ends when its time is over or the caller leaves, whatever the API does. One
// that the API refuses waits for a second at least before it is sent for the third time.
func TestCallOverHTTP2Ends(t *testing.T) {
	for api, answer := range map[string]func(c *wiretest.Conn, s *wiretest.Stream){
		"is silent": func(*wiretest.Conn, *wiretest.Stream) {},
		"refuses":   func(c *wiretest.Conn, s *wiretest.Stream) { c.Reset(s, http2.ErrCodeRefusedStream) },
		"stops":     func(c *wiretest.Conn, s *wiretest.Stream) { c.Open(s, "content-length", "10") },
	} {
		for name, leaves := range map[string]bool{"its time is over": false, "the caller leaves": true} {
			t.Run(api+"/"+name, func(t *testing.T) {
				t.Parallel()
				asked := make(chan struct{}, 10)
				e := startHTTP2(t, wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
					if s.ID == 1 { // opens the connection
						c.Reply(s)
						return true
					}
					answer(c, s)
					asked <- struct{}{}
					return true
				}))
				if got := e.do("GET", "/first", ""); got.status != 200 {
					t.Fatalf("the first call: got %d %s", got.status, got.body)
				}
				const soon = 300 * time.Millisecond
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if !leaves {
					e.config.RequestTimeout = soon
				}
				client, err := downstream.New(*e.config)
				if err != nil {
					t.Fatal(err)
				}
				var truncated error
				ended := make(chan error, 1)
				begun := time.Now()
				go func() {
					defer func() {
						if recover() != nil {
							ended <- abortedError{}
						}
					}()
					r := httptest.NewRequestWithContext(ctx, "GET", "/x", nil)
					ended <- client.Forward(httptest.NewRecorder(), r, downstream.Call{Token: e.token, Truncated: &truncated})
				}()
				wait(t, "the call", asked)
				if leaves {
					time.AfterFunc(soon, leave)
				}
				select {
				case err = <-ended:
				case <-time.After(patience):
					t.Fatal("the call does not end")
				}
				if took := time.Since(begun); took < soon || took > 3*soon {
					t.Errorf("it ended after %v, want %v", took, soon)
				}
				var failed *downstream.Error
				switch {
				case api == "stops":
					if !errors.Is(err, abortedError{}) || !leaves && truncated != context.DeadlineExceeded || leaves && truncated != nil {
						t.Errorf("got %v, truncated by %v", err, truncated)
					}
				case leaves && !errors.Is(err, context.Canceled), !leaves && (!errors.As(err, &failed) || failed.Kind != downstream.Timeout):
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// A request that the API may have processed is not sent again.
func TestRequestThatMayBeProcessedIsSentOnce(t *testing.T) {
	for name, end := range map[string]func(c *wiretest.Conn, s *wiretest.Stream) (goesOn bool){
		"closed": func(*wiretest.Conn, *wiretest.Stream) bool { return false },
		"GOAWAY": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteGoAway(s.ID, http2.ErrCodeNo, nil)
			return false
		},
		"GOAWAY, error": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteGoAway(s.ID, http2.ErrCodeProtocol, nil)
			return false
		},
		"PROTOCOL_ERROR": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteRSTStream(s.ID, http2.ErrCodeProtocol)
			return true
		},
		"INTERNAL_ERROR": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteRSTStream(s.ID, http2.ErrCodeInternal)
			return true
		},
		"CANCEL": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteRSTStream(s.ID, http2.ErrCodeCancel)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			for body := range (&env{}).callersOf("POST") {
				t.Run(body, func(t *testing.T) {
					server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
						if s.What() == "GET /first" {
							c.Reply(s)
							return true
						}
						if s.Ended {
							return end(c, s)
						}
						return true
					})
					e := startHTTP2(t, server)
					e.do("GET", "/first", "")
					e.result()
					if got := e.send(e.callersOf("POST")[body]()); got.status != 599 {
						t.Errorf("got %d %s, want an error", got.status, got.body)
					}
					e.wantKind(downstream.Unreachable)
					if n := server.Count("POST /x"); n != 1 {
						t.Errorf("the API got it %d times: %q", n, server.Requests())
					}
				})
			}
		})
	}
}

// When the API ends a connection with an error, each request that it has not processed
// gets a dedicated connection, so that the blamed one harms no other. If the API blames a
// request again, no other request was on that connection.
func TestBlamedRequestHarmsNoOther(t *testing.T) {
	const others = 8
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeCompression, http2.ErrCodeEnhanceYourCalm} {
		for last := range uint32(2) { // the highest stream that the API says it has processed
			t.Run(fmt.Sprintf("%s after %d", code, last), func(t *testing.T) {
				server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
					switch {
					case s.What() == "GET /first":
						c.Reply(s)
					case c.Number == 1:
						if len(c.Streams) == others+1 { // all have arrived
							_ = c.WriteGoAway(last, code, nil)
							return false
						}
					case s.What() == "POST /blamed":
						_ = c.WriteGoAway(0, code, nil)
						return false
					case s.Ended:
						c.Reply(s)
					}
					return true
				})
				e := startHTTP2(t, server)
				e.do("GET", "/first", "") // opens the connection that all share
				var group sync.WaitGroup
				group.Go(func() {
					if got := e.do("POST", "/blamed", "body"); got.status != 599 {
						t.Errorf("the blamed one: got %d %s, want an error", got.status, got.body)
					}
				})
				for i := range others {
					group.Go(func() {
						method := []string{"GET", "POST"}[i%2]
						if got := e.do(method, fmt.Sprintf("/other/%d", i), "body"); got.status != 200 {
							t.Errorf("%s: got %d %s", method, got.status, got.body)
						}
					})
				}
				group.Wait()
				requests := server.Requests()
				for _, seen := range requests[1:] {
					if len(seen) > 1 {
						t.Errorf("after the error a connection is shared: %q", seen)
					}
				}
				if n := server.Count("POST /blamed"); n != 2 {
					t.Errorf("the blamed one came %d times, want 2: %q", n, requests)
				}
			})
		}
	}
}

// A risky request is sent on a dedicated connection from the start: the streams of other
// callers are not interrupted.
func TestRiskyHeadersHarmNoOther(t *testing.T) {
	const others = 5
	server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
		switch {
		case s.What() == "GET /stream":
			c.Open(s)
		case s.What() == "GET /end":
			for id, stream := range c.Streams {
				if stream.What() == "GET /stream" {
					_ = c.WriteData(id, true, []byte("all of it"))
				}
			}
			c.Reply(s)
		case len(s.Fields["x-large"]) > 8<<10:
			_ = c.WriteGoAway(s.ID, http2.ErrCodeCompression, nil)
			return false
		case s.Fields["x-name"] == "Jürgen", s.Fields["x-100"] != "":
			_ = c.WriteGoAway(s.ID, http2.ErrCodeProtocol, nil)
			return false
		case s.Ended:
			c.Reply(s)
		}
		return true
	})
	e := startHTTP2(t, server)
	e.do("GET", "/first", "") // opens the connection that all share
	var group sync.WaitGroup
	for range others {
		group.Go(func() {
			if got := e.do("GET", "/stream", ""); got.status != 200 || got.body != "all of it" || got.err != nil {
				t.Errorf("a stream: got %d %q %v", got.status, got.body, got.err)
			}
		})
	}
	for deadline := time.Now().Add(patience); server.Count("GET /stream") < others; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the streams did not begin")
		}
	}
	var hundred []string
	for i := range 100 {
		hundred = append(hundred, fmt.Sprintf("X-%d", i+1), "x")
	}
	var tooLarge *downstream.Error
	for _, row := range []struct {
		name   string
		header []string
		want   func(error) bool
	}{
		{"a large field", []string{"X-Large", strings.Repeat("x", 20<<10)}, func(err error) bool {
			return errors.As(err, &tooLarge) && tooLarge.Kind == downstream.HeadersTooLarge
		}},
		{"many fields", hundred, func(err error) bool { return errors.As(err, &tooLarge) && tooLarge.Kind == downstream.HeadersTooLarge }},
		{"UTF-8", []string{"X-Name", "Jürgen"}, func(err error) bool {
			return errors.As(err, &tooLarge) && tooLarge.Kind == downstream.Unreachable
		}},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://middle.example/x", nil)
		for i := 0; i < len(row.header); i += 2 {
			r.Header.Add(row.header[i], row.header[i+1])
		}
		if err := e.client.Forward(w, r, downstream.Call{Token: e.token, RequestID: "request-1"}); !row.want(err) {
			t.Errorf("%s: Forward returned %v", row.name, err)
		}
	}
	e.do("GET", "/end", "")
	group.Wait()
}

// Headers that would end an HTTP/2 connection, or are too large for any server, are
// refused before they are sent.
func TestHeadersThatAreRefused(t *testing.T) {
	api := &recorder{}
	e := startWith(t, api)
	forward := func(change func(r *http.Request)) error {
		r := httptest.NewRequest("POST", "http://middle.example/x", strings.NewReader("body"))
		r.ContentLength = -1
		change(r)
		return e.client.Forward(httptest.NewRecorder(), r, downstream.Call{Token: e.token, RequestID: "request-1"})
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, change := range map[string]func(*http.Request){
		"Latin-1":             header("X-Name", "J\xfcrgen"),
		"half a character":    header("X-Name", "J\xc3"),
		"a surrogate":         header("X-Name", "\xed\xa0\x80"),
		"a control character": header("X-Name", "a\x01b"),
		"a line break":        header("X-Name", "a\r\nb"),
	} {
		if err := forward(change); !errors.Is(err, downstream.ErrHeader) {
			t.Errorf("%s: Forward returned %v, want ErrHeader", name, err)
		}
		trailer := func(r *http.Request) {
			change(r)
			sent := r.Header
			r.Header, r.Trailer = http.Header{}, http.Header{"X-Name": nil}
			r.Body = io.NopCloser(io.MultiReader(r.Body, readerFunc(func([]byte) (int, error) {
				r.Trailer["X-Name"] = sent["X-Name"]
				return 0, io.EOF
			})))
		}
		if err := forward(trailer); !errors.Is(err, downstream.ErrBody) {
			t.Errorf("%s in a trailer: Forward returned %v, want ErrBody", name, err)
		}
	}
	var failure *downstream.Error
	err := forward(header("X-Large", strings.Repeat("x", 40_000)))
	if !errors.As(err, &failure) || failure.Kind != downstream.HeadersTooLarge {
		t.Errorf("a field of 40,000 bytes: Forward returned %v, want HeadersTooLarge", err)
	}
	if n := len(api.all()); n > 5 { // requests with trailers had begun
		t.Errorf("%d requests arrived", n)
	}
	for name, change := range map[string]func(*http.Request){
		"a large cookie":    header("Cookie", strings.Repeat("x", 40_000)), // is removed
		"a field of 30 KiB": header("X-Large", strings.Repeat("x", 30<<10)),
		"UTF-8":             header("X-Name", "Jürgen"),
		"white space":       header("X-Name", " a\t"),
	} {
		if err := forward(change); err != nil {
			t.Errorf("%s: Forward returned %v", name, err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Headers above the limit that the API announces are the caller's fault.
func TestHeadersLargerThanTheAPIAccepts(t *testing.T) {
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	api.Config.MaxHeaderBytes = 1 << 10 // Go adds 4 KiB over HTTP/2
	api.EnableHTTP2 = true
	api.StartTLS()
	t.Cleanup(api.Close)
	e := start(t, api.URL, func(c *downstream.Config) {
		transport := downstream.NewTransport()
		transport.TLSClientConfig = api.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		t.Cleanup(transport.CloseIdleConnections)
		c.Transport = transport
	})
	if got := e.do("GET", "/x", ""); got.status != 200 { // the API's limit is known now
		t.Fatalf("got %d %s", got.status, got.body)
	}
	e.result()
	e.do("GET", "/x", "", "X-Large", strings.Repeat("x", 7<<10))
	e.wantKind(downstream.HeadersTooLarge)
}

// A request is understood by an API that remembers nothing of the one before, which had the same
// headers: no header of a user enters the state of the compression.
func TestHeadersAreNotRemembered(t *testing.T) {
	server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
		c.Reply(s)
		c.ReadMetaHeaders = hpack.NewDecoder(1, nil) // the table of the next request
		return true
	})
	e := startHTTP2(t, server)
	for range 3 {
		if got := e.do("GET", "/x", "", "X-Name", "Value"); got.status != 200 {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	if got := server.Requests(); len(got) != 1 {
		t.Errorf("got %d connections, want 1: %q", len(got), got)
	}
}

// HTTP/2 without TLS, trailers in both directions included.
func TestHTTP2WithoutTLS(t *testing.T) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = fmt.Fprintf(w, "%s %s %s, trailer %q", r.Proto, r.URL.Path, body, r.Trailer.Get("X-Trailer"))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("Grpc-Status", "0")
	}))
	api.Config.Protocols = &protocols
	api.Start()
	t.Cleanup(api.Close)
	e := start(t, "h2c"+strings.TrimPrefix(api.URL, "http")+"/base/", nil)
	r, err := http.NewRequest("POST", e.front.URL+"/x", io.MultiReader(strings.NewReader("the body")))
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"X-Trailer": {"the end"}}
	got := e.send(r)
	if want := `HTTP/2.0 /base/x the body, trailer "the end"`; got.status != 200 || got.body != want || got.trailer.Get("Grpc-Status") != "0" {
		t.Errorf("got %d %s %v, want %s", got.status, got.body, got.trailer, want)
	}
	if got := e.do("GET", "/x", "", "X-Name", "Jürgen"); got.status != 200 || !strings.HasPrefix(got.body, "HTTP/2.0") {
		t.Errorf("on a connection of its own: got %d %s", got.status, got.body)
	}
}
