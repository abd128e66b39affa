package downstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// http1Pool sends small requests and uploads over HTTP/1.1, and keeps the connections. Those with TLS
// are in a pool of their own, which is used once the API has responded over HTTP/1.1.
//
// http.Transport passes each request and each response through two goroutines of the
// connection, because a response may come while its request is still being sent. A request
// that fits into the API's socket buffer needs none: it is written, and then its response is
// read. An upload has one, which sends the body (see sender). net/http still parses the responses,
// and the cases in which a request is sent again are those of http.Transport (see
// retryTransport.send).
type http1Pool struct {
	mu    sync.Mutex
	idle  []*http1Conn // the last one was used last
	reaps bool         // closeUnusable will run
}

// reapInterval is how often idle connections are closed that the API has closed, or that have
// been idle for too long.
const reapInterval = 5 * time.Second

// http1Conn is a connection of an http1Pool. One request uses it at a time.
type http1Conn struct {
	net.Conn
	pool     *http1Pool
	tls      *tlsRecords // below Conn; nil: without TLS
	address  string
	in       *bufio.Reader // reads the connection through limitHead
	head     int64         // how much of the response's headers may still be read
	abort    func()        // closes the connection
	readable readable
	since    time.Time   // when it became idle
	reused   bool        // a request was sent before
	received atomic.Bool // the headers of the response have been read
}

// limitHead reads a connection, but not more of a response's headers than is allowed.
type limitHead struct{ *http1Conn }

func (c limitHead) Read(p []byte) (int, error) {
	if c.head <= 0 {
		return 0, errHeadTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.head)])
	c.head -= int64(n)
	return n, err
}

var (
	errHeadTooLarge = errors.New("the response headers exceeded the limit") // known to package failure
	errNotSent      = errors.New("nothing of the request was sent")
	errNoResponse   = errors.New("the connection ended before the response")
	errNotHTTP1     = errors.New("the API has chosen HTTP/2")
)

// poolFor returns the pool through which r is sent; nil: through another transport. An API with
// TLS must have responded over HTTP/1.1, since it may prefer HTTP/2.
func (t *Transport) poolFor(r *http.Request) *http1Pool {
	switch {
	case r.URL.Scheme == "http" && t.accepts(r):
		return &t.http1
	case r.URL.Scheme == "https" && t.https.http1.Load() && t.accepts(r):
		return &t.http1TLS
	}
	return nil
}

// accepts reports whether r may be sent through an http1Pool: it has no body or a small one
// in memory, and needs nothing that only http.Transport has.
func (t *Transport) accepts(r *http.Request) bool {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		if r.ContentLength != 0 {
			return false
		}
	case r.GetBody == nil, r.ContentLength <= 0, r.ContentLength > uploadThreshold, r.Header["Expect"] != nil:
		return false
	}
	return t.canPool(r)
}

// canPool reports whether r, apart from its body, needs nothing that only http.Transport has.
func (t *Transport) canPool(r *http.Request) bool {
	switch {
	case !canPoll, t.DialContext == nil, t.DialTLSContext != nil, t.DisableKeepAlives, !t.DisableCompression, t.Protocols != nil,
		r.Close, len(r.Trailer) > 0, len(r.TransferEncoding) > 0, r.Header["Connection"] != nil:
		return false
	}
	if t.Proxy == nil {
		return true
	}
	proxy, err := t.Proxy(r)
	return proxy == nil && err == nil
}

// roundTrip sends r, which t accepts. ok is false if only http.Transport can send it; nothing
// has been read or sent then. The error is errNotHTTP1 if the API has chosen HTTP/2: nothing has
// been sent, but the body has been read.
func (p *http1Pool) roundTrip(t *Transport, r *http.Request) (resp *http.Response, err error, ok bool) {
	buffer := requestBuffers.Get().(*[]byte)
	defer requestBuffers.Put(buffer)
	request, ok := appendRequest((*buffer)[:0], r)
	if !ok || len(request)+int(r.ContentLength) > uploadThreshold {
		return nil, nil, false
	}
	request, err = appendBody(request, r)
	*buffer = request
	if err == nil {
		resp, err = p.send(t, r, request, nil)
	}
	return resp, causeOr(r, err), true
}

// send sends a request, and the body that rec records; nil: none. If an idle connection turns out to
// be closed, other than by the end of r's context, send takes another one. It takes a new one if the
// API may have got the request: that may be why the API closed the connection.
func (p *http1Pool) send(t *Transport, r *http.Request, request []byte, rec *record) (*http.Response, error) {
	for connect := p.connect; ; {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		conn, err := connect(t, r)
		if err != nil {
			return nil, err
		}
		resp, err := conn.roundTrip(t, r, request, rec)
		if err == nil || !conn.allowsRetry(r, err) {
			return resp, err
		}
		if errors.Is(err, errNoResponse) {
			connect = p.dial
		}
		if rec != nil {
			if _, lost := rec.rewind(); lost != nil {
				return nil, err
			}
		}
	}
}

// causeOr returns why r's context has ended in place of err, unless that is nil.
func causeOr(r *http.Request, err error) error {
	if err != nil && r.Context().Err() != nil {
		return context.Cause(r.Context())
	}
	return err
}

// requestBuffers hold requests while they are sent.
var requestBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// isReplayable reports whether net/http would send r again if a connection ended before the
// response.
func isReplayable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// allowsRetry reports whether the API may have closed c before r was sent, which failed with
// err, and r can be sent again.
func (c *http1Conn) allowsRetry(r *http.Request, err error) bool {
	return c.reused && (errors.Is(err, errNotSent) || errors.Is(err, errNoResponse) && isReplayable(r))
}

// connect returns an idle connection, or else a new one.
func (p *http1Pool) connect(t *Transport, r *http.Request) (*http1Conn, error) {
	address := addressOf(r.URL)
	for conn := p.take(address); conn != nil; conn = p.take(address) {
		// What can be read is the end of the connection, or a response that nobody asked for.
		if !conn.readable.now() {
			return conn, nil
		}
		_ = conn.Close() // the API has closed it
	}
	return p.dial(t, r)
}

// dial returns a new connection.
func (p *http1Pool) dial(t *Transport, r *http.Request) (*http1Conn, error) {
	address := addressOf(r.URL)
	tcp, err := t.DialContext(r.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := &http1Conn{Conn: tcp, pool: p, address: address}
	if r.URL.Scheme == "https" {
		if err := conn.startTLS(r, t); err != nil {
			_ = tcp.Close() // err says more
			return nil, err
		}
	}
	conn.in = bufio.NewReader(limitHead{conn})
	conn.abort = func() { _ = conn.Close() } // it may be closed already
	conn.readable.of(tcp)
	return conn, nil
}

// take takes the idle connection to address that was used last out of p; nil: there is none.
func (p *http1Pool) take(address string) *http1Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, conn := range slices.Backward(p.idle) {
		if conn.address == address {
			p.idle = slices.Delete(p.idle, i, i+1)
			return conn
		}
	}
	return nil
}

// put keeps a connection whose response has been read.
func (p *http1Pool) put(t *Transport, conn *http1Conn) {
	conn.reused, conn.since = true, time.Now()
	if tcp, ok := conn.Conn.(*tcpConn); ok {
		tcp.endUpload()
	}
	if !p.keep(t, conn) {
		_ = conn.Close() // the API may have closed it
	}
}

// keep keeps a connection, and reports whether there was room for it.
func (p *http1Pool) keep(t *Transport, conn *http1Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= t.MaxIdleConnsPerHost {
		return false
	}
	if p.idle = append(p.idle, conn); !p.reaps {
		p.reapLater(t)
	}
	return true
}

// reapLater has closeUnusable run, while there are idle connections. p.mu is held.
func (p *http1Pool) reapLater(t *Transport) {
	if p.reaps = len(p.idle) > 0; p.reaps {
		time.AfterFunc(reapInterval, func() { p.closeUnusable(t) })
	}
}

// closeUnusable closes the idle connections that the API has closed, or that have been idle
// for too long, and runs again while there are others.
func (p *http1Pool) closeUnusable(t *Transport) {
	closeHTTP1Conns(p.takeAll(func(conn *http1Conn) bool {
		idle := time.Since(conn.since)
		return idle >= t.IdleConnTimeout && t.IdleConnTimeout > 0 || idle >= reapInterval && conn.readable.now()
	}))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reapLater(t)
}

// closeIdle closes the connections that are not in use.
func (p *http1Pool) closeIdle() {
	closeHTTP1Conns(p.takeAll(func(*http1Conn) bool { return true }))
}

// takeAll takes the idle connections out of p that are unwanted.
func (p *http1Pool) takeAll(unwanted func(*http1Conn) bool) []*http1Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken []*http1Conn
	p.idle = slices.DeleteFunc(p.idle, func(conn *http1Conn) bool {
		take := unwanted(conn)
		if take {
			taken = append(taken, conn)
		}
		return take
	})
	return taken
}

// closeHTTP1Conns closes connections of a pool whose lock is not held: TLS says that it ends, and
// waits up to 5 s for an API that reads nothing.
func closeHTTP1Conns(conns []*http1Conn) {
	for _, conn := range conns {
		_ = conn.Close() // the API may have closed it
	}
}

// roundTrip sends a request, and the body that rec records, and reads the headers of the response. The
// connection is closed if it fails, or r's context ends before the response's body does.
func (c *http1Conn) roundTrip(t *Transport, r *http.Request, request []byte, rec *record) (*http.Response, error) {
	b := c.begin(t, r)
	n, err := c.Write(request)
	switch {
	case err != nil && n == 0 && c.reused:
		b.finish(false)
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	case err != nil:
		c.awaitLastResponse()
	case rec != nil:
		b.sender = &sender{conn: c, body: rec.newest, ended: make(chan struct{})}
		go b.sender.send(r.ContentLength)
	}
	resp, noResponse := b.receive(err != nil)
	switch {
	case noResponse == nil:
		return resp, nil
	case b.sender != nil:
		return nil, b.sender.explain(noResponse)
	}
	return nil, errors.Join(noResponse, err)
}

// begin begins a request. c is closed if r's context ends before the body that begin returns is
// finished.
func (c *http1Conn) begin(t *Transport, r *http.Request) *http1Body {
	c.head = t.MaxResponseHeaderBytes
	c.received.Store(false)
	body := &http1Body{conn: c, transport: t, request: r}
	if call := findCall(r); call != nil {
		body.stop = call.AfterFunc(c.abort)
	} else {
		body.stop = context.AfterFunc(r.Context(), c.abort)
	}
	return body
}

// awaitLastResponse bounds the wait for the headers of a response after a write has failed: an API may
// respond to a part of a request, and close the connection.
func (c *http1Conn) awaitLastResponse() {
	_ = c.SetReadDeadline(time.Now().Add(drainTimeoutHTTP1)) // on a closed connection Read fails
	if c.received.Load() {
		c.awaitRest()
	}
}

// awaitRest leaves reading without a bound, except for the time of the call.
func (c *http1Conn) awaitRest() { _ = c.SetReadDeadline(time.Time{}) } // as above

// readResponse reads the headers of the final response.
func (c *http1Conn) readResponse(r *http.Request, limit int64) (*http.Response, error) {
	if _, err := c.in.Peek(1); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoResponse, err)
	}
	for {
		resp, err := http.ReadResponse(c.in, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode < 100 || resp.StatusCode >= http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		if call := findCall(r); call != nil && call.trace.Got1xxResponse != nil {
			if err := call.trace.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, err
			}
			c.head = limit // as net/http has it: the time of the call bounds how many there are
		}
	}
}
