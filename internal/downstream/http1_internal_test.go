package downstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/testkit/certtest"
)

// http1API is an API whose responses are bytes. It gives each connection to handle, with a
// reader of its requests, and closes it afterwards.
type http1API struct {
	t         *testing.T
	transport *Transport
	pool      *http1Pool
	url       string
	opened    atomic.Int64 // connections
	group     sync.WaitGroup
}

// startHTTP1API starts an http1API without TLS. It ends with the test.
func startHTTP1API(t *testing.T, handle func(number int, conn *http1Peer)) *http1API {
	t.Helper()
	return startHTTP1APIOver(t, "http", handle)
}

// startHTTP1APIOver starts an http1API with the scheme http or https. With TLS, it is known to use
// HTTP/1.1. It ends with the test.
func startHTTP1APIOver(t *testing.T, scheme string, handle func(number int, conn *http1Peer)) *http1API {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &http1API{t: t, transport: NewTransport(), url: "http://" + listener.Addr().String()}
	a.transport.Proxy = nil
	a.pool = &a.transport.http1
	if scheme == "https" {
		certificate := certtest.Loopback()
		a.withTLS(certificate.Pool())
		listener = tls.NewListener(listener, &tls.Config{Certificates: certificate.TLS(), NextProtos: []string{"http/1.1"}})
	}
	a.group.Go(func() {
		for number := 1; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return // at the end of the test
			}
			a.opened.Add(1)
			a.group.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // the test would hang otherwise
				handle(number, &http1Peer{Conn: conn, in: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		a.transport.CloseIdleConnections()
		a.group.Wait()
	})
	return a
}

// http1Peer is the API's side of a connection.
type http1Peer struct {
	net.Conn
	in *bufio.Reader
}

// next reads a request, and reports whether there was one.
func (p *http1Peer) next() bool {
	r, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// say writes bytes; one that fails shows at the other side.
func (p *http1Peer) say(text string) { _, _ = io.WriteString(p, text) }

// wantEnd waits until the other side closes the connection.
func (p *http1Peer) wantEnd(t *testing.T) {
	var timeout net.Error
	if _, err := p.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection: got %v, want its end", err)
	}
}

// request returns a request that t accepts.
func (a *http1API) request(ctx context.Context, method, body string) *http.Request {
	a.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, a.url+"/items", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Host = ""
	r.Header.Set("User-Agent", "test")
	if a.transport.poolFor(r) != a.pool {
		a.t.Fatal("the request is not sent through the pool")
	}
	return r
}

// get sends a request and returns what send does, or the error's text.
func (a *http1API) get(method, body string) string {
	a.t.Helper()
	answer, err := a.send(a.request(a.t.Context(), method, body))
	if err != nil {
		return "error: " + err.Error()
	}
	return answer
}

// send sends a request and returns the status and body of the response, or the error.
func (a *http1API) send(r *http.Request) (string, error) {
	resp, err := a.transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var text strings.Builder
	_, err = io.CopyBuffer(struct{ io.Writer }{&text}, resp.Body, make([]byte, 64<<10)) // as responseWriter reads
	return fmt.Sprint(resp.StatusCode, " ", text.String()), err
}

// idle waits until the pool has n idle connections, all of which have something to read if
// readable is set.
func (a *http1API) idle(n int, readable bool) {
	a.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		a.pool.mu.Lock()
		found := len(a.pool.idle) == n
		for _, conn := range a.pool.idle {
			found = found && (!readable || conn.readable.now())
		}
		a.pool.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("the pool does not have %d such connections", n)
		}
		time.Sleep(time.Millisecond)
	}
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// A connection is used again only after a whole response that lets it be, and only if nothing
// more has come on it. What has come may be the answer to nobody's request.
func TestHTTP1ConnectionIsUsedAgain(t *testing.T) {
	for _, row := range []struct {
		name, response string
		later          string // sent when the connection is idle
		closes         bool   // the API closes it then
		want           string // the first answer
		connections    int
	}{
		{name: "with a length", response: ok("one"), want: "200 one", connections: 1},
		{name: "chunked", response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n", want: "200 one", connections: 1},
		{name: "without a body", response: "HTTP/1.1 204 No Content\r\n\r\n", want: "204 ", connections: 1},
		{name: "of length 0", response: ok(""), want: "200 ", connections: 1},
		{name: "Connection: close", response: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\none", want: "200 one", connections: 2},
		{name: "Connection: close without a body", response: "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", want: "204 ", connections: 2},
		{name: "HTTP/1.0", response: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none", want: "200 one", connections: 2},
		{name: "a second response", response: ok("one") + ok("two"), want: "200 one", connections: 2},
		{name: "a second response without bodies", response: ok("") + ok("two"), want: "200 ", connections: 2},
		{name: "a second response later", response: ok("one"), later: ok("two"), want: "200 one", connections: 2},
		{name: "408 later, as servers say that they close", response: ok("one"), later: "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", closes: true, want: "200 one", connections: 2},
		{name: "closed later", response: ok("one"), closes: true, want: "200 one", connections: 2},
		{name: "another protocol, which nobody asked for", response: "HTTP/1.1 101 Switching Protocols\r\n\r\n", want: "101 ", connections: 2},
		{name: "informational first", response: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok("one"), want: "200 one", connections: 1},
	} {
		for _, kind := range []string{"http GET", "http POST", "https GET", "https POST"} {
			scheme, method, _ := strings.Cut(kind, " ")
			t.Run(row.name+" "+kind, func(t *testing.T) {
				first := make(chan struct{})
				a := startHTTP1APIOver(t, scheme, func(number int, conn *http1Peer) {
					if number > 1 {
						for conn.next() {
							conn.say(ok("last"))
						}
						return
					}
					conn.next()
					conn.say(row.response)
					<-first
					conn.say(row.later)
					if row.closes {
						return
					}
					for conn.next() {
						conn.say(ok("last"))
					}
				})
				if got := a.get(method, "body"); got != row.want {
					t.Fatalf("the first answer: got %q, want %q", got, row.want)
				}
				close(first)
				if row.later != "" || row.closes {
					a.idle(1, true)
				} else if row.connections == 1 {
					a.idle(1, false)
				} else {
					a.idle(0, false)
				}
				if got := a.get(method, "body"); got != "200 last" {
					t.Fatalf("the second answer: got %q", got)
				}
				if opened := int(a.opened.Load()); opened != row.connections {
					t.Errorf("%d connections, want %d", opened, row.connections)
				}
			})
		}
	}
}

// A response that is not read to its end ends its connection, and other calls go on.
func TestHTTP1BodyThatIsNotRead(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) { testHTTP1BodyThatIsNotRead(t, scheme) })
	}
}

func testHTTP1BodyThatIsNotRead(t *testing.T, scheme string) {
	ended := make(chan struct{})
	a := startHTTP1APIOver(t, scheme, func(number int, conn *http1Peer) {
		conn.next()
		if number == 1 {
			conn.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\none")
			conn.wantEnd(t)
			close(ended)
			return
		}
		conn.say(ok("two"))
	})
	resp, err := a.transport.RoundTrip(a.request(t.Context(), "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	<-ended
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("Read after Close: got %v", err)
	}
	if got := a.get("GET", ""); got != "200 two" {
		t.Errorf("the next call: got %q", got)
	}
}

// The body of a response stays at its end, whoever uses the connection then.
func TestHTTP1BodyAfterItsEnd(t *testing.T) {
	a := startHTTP1API(t, func(_ int, conn *http1Peer) {
		for conn.next() {
			conn.say(ok("body"))
		}
	})
	first, err := a.transport.RoundTrip(a.request(t.Context(), "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(first.Body); err != nil {
		t.Fatal(err)
	}
	second, err := a.transport.RoundTrip(a.request(t.Context(), "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Body.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read after the end: got %d bytes, %v", n, err)
	}
	_ = first.Body.Close()
	if got, err := io.ReadAll(second.Body); string(got) != "body" || err != nil {
		t.Errorf("the second body: got %q, %v", got, err)
	}
	_ = second.Body.Close()
}

// The end of a request's context ends its connection and its waiting, with the context's
// cause: before the response, and within its body.
func TestHTTP1Canceled(t *testing.T) {
	cause := errors.New("the caller left")
	for name, response := range map[string]string{
		"http, before the response": "", "http, within its body": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\none",
		"https, before the response": "", "https, within its body": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\none",
	} {
		t.Run(name, func(t *testing.T) {
			scheme, _, _ := strings.Cut(name, ",")
			arrived, ended := make(chan struct{}), make(chan struct{})
			a := startHTTP1APIOver(t, scheme, func(_ int, conn *http1Peer) {
				conn.next()
				conn.say(response)
				close(arrived)
				conn.wantEnd(t)
				close(ended)
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			r := a.request(ctx, "GET", "")
			go func() {
				<-arrived
				cancel(cause)
			}()
			resp, err := a.transport.RoundTrip(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			if !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
			<-ended
			a.idle(0, false)
		})
	}
}

// A request whose context ends is not sent again on another idle connection, which would end too.
func TestHTTP1CanceledOnAUsedConnection(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			const conns = 3
			together, last := make(chan struct{}), make(chan struct{}, conns)
			var first sync.WaitGroup
			first.Add(conns)
			a := startHTTP1APIOver(t, scheme, func(_ int, conn *http1Peer) {
				if conn.next() {
					first.Done()
					<-together
					conn.say(ok("answer"))
				}
				if conn.next() {
					last <- struct{}{}
					conn.wantEnd(t)
				}
			})
			var calls sync.WaitGroup
			for range conns {
				calls.Go(func() { a.get("GET", "") })
			}
			first.Wait()
			close(together)
			calls.Wait()
			a.idle(conns, false)
			ctx, cancel := context.WithCancelCause(t.Context())
			r := a.request(ctx, "GET", "")
			cause := errors.New("the caller left")
			go func() {
				<-last
				cancel(cause)
			}()
			if _, err := a.transport.RoundTrip(r); !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
			a.idle(conns-1, false)
			if n := len(last); n > 0 {
				t.Errorf("the request was sent %d times more", n)
			}
		})
	}
}

// A request whose context has ended is not sent, neither on a new connection nor on an idle one.
func TestHTTP1CanceledBefore(t *testing.T) {
	for _, length := range []int{0, 100, 30_000} {
		var posts atomic.Int64
		a := startHTTP1API(t, func(_ int, conn *http1Peer) {
			for {
				r, err := http.ReadRequest(conn.in)
				if err != nil {
					return
				}
				if r.Method == "POST" {
					posts.Add(1)
				}
				conn.say(ok(lengthOf(r)))
			}
		})
		cause := errors.New("the caller left")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		for idle := range 2 {
			for range 20 { // a request that is sent may lose a race against the end of its connection
				r := a.request(ctx, "POST", "")
				if length > 0 {
					r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, length))), int64(length)
				}
				if _, err := a.transport.RoundTrip(r); !errors.Is(err, cause) {
					t.Errorf("got %v, want the cause", err)
				}
			}
			a.idle(idle, false)
			a.get("GET", "") // leaves a connection
		}
		a.idle(1, false)
		if n := posts.Load(); n > 0 {
			t.Errorf("length %d: the API got %d requests", length, n)
		}
	}
}

// Headers of a response are bounded; those after informational ones, which are bounded each,
// and the body are not.
func TestHTTP1HeadersAreBounded(t *testing.T) {
	large := "X-Large: " + strings.Repeat("x", 150<<10) + "\r\n"
	for name, row := range map[string]struct{ response, want string }{
		"one":                 {"HTTP/1.1 200 OK\r\n" + large + "Content-Length: 0\r\n\r\n", "200 "},
		"two":                 {"HTTP/1.1 200 OK\r\n" + large + large + "Content-Length: 0\r\n\r\n", "error"},
		"informational first": {"HTTP/1.1 103 Early Hints\r\n" + large + "\r\nHTTP/1.1 200 OK\r\n" + large + "Content-Length: 0\r\n\r\n", "200 "},
		"a large body":        {ok(strings.Repeat("x", 1<<20)), "200 x"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				conn.next()
				conn.say(row.response)
			})
			seen := 0
			of := &call{}
			of.begin(t.Context())
			of.trace.Got1xxResponse = func(int, textproto.MIMEHeader) error {
				seen++
				return nil
			}
			r := a.request(of, "GET", "")
			resp, err := a.transport.RoundTrip(r)
			got := "error"
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				got = fmt.Sprint(resp.StatusCode, " ", string(body[:min(1, len(body))]))
			} else if !errors.Is(err, errHeadTooLarge) {
				t.Errorf("got %v", err)
			}
			if got != row.want || (seen == 1) != strings.Contains(row.response, "103") {
				t.Errorf("got %q and %d informational responses, want %q", got, seen, row.want)
			}
		})
	}
}

// A response that comes before the request has been read is the response, and the last one of
// its connection.
func TestHTTP1ResponseToAPartOfTheRequest(t *testing.T) {
	conns := 0
	var mu sync.Mutex
	a := startHTTP1API(t, nil)
	a.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		conns++
		return &unreadConn{in: strings.NewReader(ok("early"))}, nil
	}
	for range 2 {
		if got := a.get("POST", "body"); got != "200 early" {
			t.Fatalf("got %q", got)
		}
	}
	if conns != 2 {
		t.Errorf("%d connections for two failed writes, want 2", conns)
	}
}

// unreadConn is a connection that ends while a request is written, after its response.
type unreadConn struct {
	net.Conn
	in io.Reader
}

func (c *unreadConn) Read(p []byte) (int, error)      { return c.in.Read(p) }
func (c *unreadConn) Write(p []byte) (int, error)     { return len(p) / 2, io.ErrClosedPipe }
func (c *unreadConn) SetReadDeadline(time.Time) error { return nil }
func (c *unreadConn) Close() error                    { return nil }

// A request goes again to another connection if the first was used before and nothing was
// sent; not if the connection is new.
func TestHTTP1RequestThatWasNotSent(t *testing.T) {
	for _, used := range []bool{true, false} {
		t.Run(fmt.Sprint("used=", used), func(t *testing.T) {
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				for conn.next() {
					conn.say(ok("answer"))
				}
			})
			broken := newEndedConn(t, "", 0, 0)
			a.use(broken, used)
			got := a.get("POST", "body")
			if used && got != "200 answer" || !used && !strings.HasPrefix(got, "error: ") {
				t.Errorf("got %q", got)
			}
			if broken.failed != 1 {
				t.Errorf("%d writes on the broken connection, want 1", broken.failed)
			}
		})
	}
}

// A request that ends each connection on which it comes is sent twice, not on all idle ones.
func TestHTTP1RequestThatEndsItsConnection(t *testing.T) {
	const conns = 3
	var deadly atomic.Int64
	var first sync.WaitGroup
	first.Add(conns)
	a := startHTTP1API(t, func(number int, conn *http1Peer) {
		if number <= conns && conn.next() {
			first.Done()
			first.Wait() // so that each has a connection
			conn.say(ok("answer"))
		}
		if conn.next() {
			deadly.Add(1)
		}
	})
	var calls sync.WaitGroup
	for range conns {
		calls.Go(func() { a.get("GET", "") })
	}
	calls.Wait()
	a.idle(conns, false)
	if got := a.get("GET", ""); !strings.HasPrefix(got, "error: ") {
		t.Errorf("got %q", got)
	}
	if n := deadly.Load(); n != 2 {
		t.Errorf("the request was sent %d times, want 2", n)
	}
	a.idle(conns-1, false)
}

// A new connection that ends before the response is the API's answer, also to a request that
// may be sent twice.
func TestHTTP1NewConnectionWithoutAResponse(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			a := startHTTP1APIOver(t, scheme, func(_ int, conn *http1Peer) { conn.next() })
			if got := a.get("GET", ""); !strings.HasPrefix(got, "error: ") {
				t.Errorf("got %q", got)
			}
			if opened := a.opened.Load(); opened != 1 {
				t.Errorf("%d connections, want 1", opened)
			}
		})
	}
}

// Connections that the API has closed, or that have been idle for too long, are closed while
// no call needs one; and not more are kept than allowed.
func TestHTTP1IdleConnections(t *testing.T) {
	t.Run("too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			transport := NewTransport()
			transport.IdleConnTimeout = time.Minute
			ours, theirs := net.Pipe()
			transport.http1.put(transport, &http1Conn{Conn: ours})
			kept := func() (conns int, reaps bool) {
				transport.http1.mu.Lock()
				defer transport.http1.mu.Unlock()
				return len(transport.http1.idle), transport.http1.reaps
			}
			time.Sleep(time.Minute - time.Second)
			synctest.Wait()
			if conns, _ := kept(); conns != 1 {
				t.Error("closed early")
			}
			time.Sleep(reapInterval)
			synctest.Wait()
			if conns, reaps := kept(); conns != 0 || reaps {
				t.Errorf("%d connections are kept, looked at again: %t", conns, reaps)
			}
			if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the other side reads %v, want the end", err)
			}
		})
	})
	t.Run("closed by the API", func(t *testing.T) {
		a := startHTTP1API(t, func(_ int, conn *http1Peer) {
			conn.next()
			conn.say(ok("one"))
		})
		if got := a.get("GET", ""); got != "200 one" {
			t.Fatalf("got %q", got)
		}
		a.idle(1, true)
		a.transport.http1.idle[0].since = time.Now().Add(-reapInterval)
		a.transport.http1.closeUnusable(a.transport)
		a.idle(0, false)
	})
	t.Run("too many", func(t *testing.T) {
		transport := NewTransport()
		transport.MaxIdleConnsPerHost = 1
		for range 2 {
			transport.http1.put(transport, &http1Conn{Conn: &unreadConn{}})
		}
		if got := len(transport.http1.idle); got != 1 {
			t.Errorf("%d connections are kept, want 1", got)
		}
	})
	t.Run("of another API", func(t *testing.T) {
		var pool http1Pool
		pool.put(NewTransport(), &http1Conn{Conn: &unreadConn{}, address: "a:80"})
		if pool.take("b:80") != nil || pool.take("a:80") == nil || pool.take("a:80") != nil {
			t.Error("the connection was not found, or by another address")
		}
	})
}

// What only http.Transport can send goes there.
func TestHTTP1IsForSmallRequests(t *testing.T) {
	for name, change := range map[string]func(t *Transport, r *http.Request){
		"a streamed body":   func(_ *Transport, r *http.Request) { r.GetBody = nil },
		"a large body":      func(_ *Transport, r *http.Request) { r.ContentLength = uploadThreshold + 1 },
		"an unknown length": func(_ *Transport, r *http.Request) { r.ContentLength = -1 },
		"Expect":            func(_ *Transport, r *http.Request) { r.Header.Set("Expect", "100-continue") },
		"a trailer":         func(_ *Transport, r *http.Request) { r.Trailer = http.Header{"X-End": nil} },
		"chunked":           func(_ *Transport, r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"Connection":        func(_ *Transport, r *http.Request) { r.Header.Set("Connection", "x") },
		"close":             func(_ *Transport, r *http.Request) { r.Close = true },
		"a proxy": func(t *Transport, _ *http.Request) {
			t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example"})
		},
		"another TLS": func(t *Transport, _ *http.Request) {
			t.DialTLSContext = func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }
		},
		"a proxy that is wrong": func(t *Transport, _ *http.Request) {
			t.Proxy = func(*http.Request) (*url.URL, error) { return nil, io.EOF }
		},
		"no body with a length": func(_ *Transport, r *http.Request) { r.Body, r.GetBody, r.ContentLength = nil, nil, -1 },
	} {
		transport := NewTransport()
		transport.Proxy = nil
		r, err := http.NewRequest("POST", "http://127.0.0.1/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if !transport.accepts(r) {
			t.Fatal("the request is not accepted as it is")
		}
		if change(transport, r); transport.accepts(r) {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A request is what net/http would send.
func FuzzHTTP1Request(f *testing.F) {
	f.Add("GET", "/items", "a=b", "X-Name", "value", "other", "", false)
	f.Add("POST", "/items", "", "Content-Length", "7", " padded\t", "body", true)
	f.Add("PUT", "", "", "Host", "other.example", "", "", false)
	f.Add("DELETE", "//items", "%zz", "Transfer-Encoding", "chunked", "\x00", "", false)
	f.Add("PATCH", "/a%2Fb", "é", "User-Agent", "", "agent", "", false)
	f.Add("GET", "/items", "", "TrAnSfer-EnCoding", "0", "0", "", false) // a name that no server gives us
	f.Add("GET", "/it ems", "", "Bad Name", "v", "v\r\nX-Injected: 1", "", false)
	f.Fuzz(func(t *testing.T, method, path, query, name, value, second, body string, force bool) {
		r := &http.Request{
			Method: method, Header: http.Header{name: {value, second}, "Accept": {"*/*"}}, ProtoMajor: 1, ProtoMinor: 1,
			URL: &url.URL{Scheme: "http", Host: "api.example:81", Path: path, RawQuery: query, ForceQuery: force},
		}
		if r.Header["User-Agent"] == nil {
			r.Header["User-Agent"] = []string{""}
		}
		if body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		ours, ok := appendRequest(nil, r)
		if !ok {
			return // net/http sends or refuses it
		}
		ours, err := appendBody(ours, r)
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Body = io.NopCloser(strings.NewReader(body))
		}
		var theirs bytes.Buffer
		if err := r.Write(&theirs); err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		want, rest, refused := parseRequest(theirs.Bytes())
		got, ourRest, err := parseRequest(ours)
		if refused != nil || err != nil {
			if refused == nil || err == nil {
				t.Errorf("got %q, which servers take for %v\nwant %q, %v", ours, err, theirs.Bytes(), refused)
			}
			return
		}
		if got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host ||
			got.ContentLength != want.ContentLength || !reflect.DeepEqual(got.Header, want.Header) || rest != ourRest {
			t.Errorf("got %q\nwant %q", ours, theirs.Bytes())
		}
	})
}

// parseRequest returns a request as a server reads it, and its body with what follows.
func parseRequest(b []byte) (r *http.Request, rest string, err error) {
	in := bufio.NewReader(bytes.NewReader(b))
	if r, err = http.ReadRequest(in); err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, "", err
	}
	after, err := io.ReadAll(in)
	return r, string(body) + "|" + string(after), err
}

// Values are inspected as net/http does it.
func FuzzInspectValue(f *testing.F) {
	for _, c := range []byte{0, '\t', 0x1f, ' ', 0x7e, 0x7f, 0x80, 0xff} {
		for _, length := range []int{0, 3, 7, 8, 13} {
			f.Add(strings.Repeat("a", length) + string([]byte{c}) + strings.Repeat("z", 16-length))
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid, ascii := inspectValue(s)
		wantASCII := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if want := httpguts.ValidHeaderFieldValue(s); valid != want || valid && ascii != wantASCII {
			t.Errorf("%q: got %t, %t, want %t, %t", s, valid, ascii, want, wantASCII)
		}
	})
}
