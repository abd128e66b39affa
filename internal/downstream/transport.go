package downstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// schemeH2C is the scheme of base URLs for HTTP/2 without TLS, with prior knowledge
// (RFC 9113, section 3.3).
const schemeH2C = "h2c"

const (
	// pingAfter and pingTimeout find an HTTP/2 connection that has died without a
	// word: it is replaced after their sum, which must stay below 20 s.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second

	// unacknowledgedFor finds one that carries no pings, HTTP/1.1 included: TCP gives it
	// up when what was sent, probes of keepAlive included, is not acknowledged for so long.
	unacknowledgedFor = pingAfter + pingTimeout

	// uploadFrom is how much is sent without an answer before it is taken for the body of
	// an upload. Every server's TCP takes so much while the server does not read.
	uploadFrom = 16 << 10
)

// keepAlive finds the same while nothing is sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: pingAfter, Interval: 2 * time.Second, Count: 4}

// FindDeadConnections lets t find connections that have died without a word: a load
// balancer or NAT has forgotten them.
func FindDeadConnections(t *http.Transport) {
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAliveConfig: keepAlive}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		giveUpUnacknowledged(tcp, unacknowledgedFor)
		return &tcpConn{Conn: tcp, tcp: tcp}, nil
	}
}

// tcpConn ends when what was sent is not acknowledged for unacknowledgedFor. It does
// not during an upload: an HTTP/1.1 server that does not read for a while has not died,
// but Linux would give that up as well (TCP_USER_TIMEOUT, tcp(7)). Then the timeouts of
// the request are left.
type tcpConn struct {
	net.Conn   // is tcp, without its ReadFrom, which would pass Write by
	tcp        *net.TCPConn
	unanswered atomic.Int64 // bytes that were written since the last read

	mu        sync.Mutex // held while the option of the socket is changed
	uploading atomic.Bool

	upload atomic.Pointer[replay] // the body that is sent over HTTP/1.1; nil: none
	ended  atomic.Bool            // nothing more can be read
}

func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	if n > 0 {
		c.unanswered.Store(0)
		c.setUploading(false)
	}
	return n, err
}

func (c *tcpConn) Write(p []byte) (int, error) {
	if c.unanswered.Add(int64(len(p))) > uploadFrom {
		c.setUploading(true)
	}
	return c.Conn.Write(p)
}

// Close closes the connection. TLS may have ended it before TCP did.
func (c *tcpConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// end lets go of a body that is sent: no answer will come.
func (c *tcpConn) end() {
	c.ended.Store(true)
	if b := c.upload.Load(); b != nil {
		b.giveUp()
	}
}

// uploadConn ties the body of a request to the HTTP/1.1 connection that it is sent on.
// When that ends, net/http waits until it has read of the body what it is about to
// send, which may never come.
type uploadConn struct {
	rec  *record
	conn *tcpConn // nil for HTTP/2, where net/http closes the body
}

// got is called with the connection of each attempt before the request is written.
func (u *uploadConn) got(info httptrace.GotConnInfo) {
	u.leave()
	conn := innermostConn(info.Conn)
	if heard, ok := conn.(*heardConn); ok && !heard.http2.Load() {
		conn = heard.Conn
	}
	if tcp, ok := conn.(*tcpConn); ok {
		u.conn = tcp
		b := u.rec.attempt()
		tcp.upload.Store(b)
		if tcp.ended.Load() {
			b.giveUp()
		}
	}
}

// leave ends the tie.
func (u *uploadConn) leave() {
	if u.conn != nil {
		u.conn.upload.Store(nil)
		u.conn = nil
	}
}

func (c *tcpConn) setUploading(uploading bool) {
	if c.uploading.Load() == uploading {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uploading.Swap(uploading) == uploading {
		return
	}
	if uploading {
		giveUpUnacknowledged(c.tcp, 0)
	} else {
		giveUpUnacknowledged(c.tcp, unacknowledgedFor)
	}
}

// Transport sends requests to an API, and keeps enough connections open that busy APIs
// are not dialled anew. Over HTTP/2 a request that the API did not process is sent
// again; for that it records the beginning of a body (see record). No request is sent
// again that the API may have processed, unless its method is idempotent or it has an
// Idempotency-Key.
//
// Requests of all callers share an HTTP/2 connection, which ends for all of them
// when the API takes offence at one. So a request that is likely to offend gets a
// connection of its own where HTTP/2 is spoken, and so does each one that the API had not processed when it
// ended a connection with an error: the offender is among those.
//
// Pings find dead connections, but gRPC servers take offence at them: they allow one in
// 5 minutes while they send nothing, and end the connection after the third beyond
// (gRPC proposal A8; grpc-go, keepalive.EnforcementPolicy). A silent stream would be
// lost after 40 s. So gRPC requests have connections without pings, where TCP finds
// out; and so have all requests to an API that once ended a connection with
// ENHANCE_YOUR_CALM. What TCP does not find is a proxy that acknowledges what it throws
// away. Other requests keep the pings for that.
type Transport struct {
	*http.Transport              // settings, which must not change after the first request
	Log             *slog.Logger // nil for none
	https, h2c      lane
	closed          atomic.Int64 // when closeSilent did so last
}

// NewTransport returns a Transport. Each API has its own.
func NewTransport() *Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 256 << 10
	t.DisableCompression = true // the caller says what it accepts, and decodes it
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = 256
	FindDeadConnections(t)
	return &Transport{Transport: t}
}

// closeSilent closes the connections that are not in use, after one did not answer in
// time: what silenced it has perhaps silenced all. HTTP/1.1 has no pings. It does so
// only now and then, since an API may be slow for other reasons.
func (t *Transport) closeSilent() {
	now := time.Now().UnixNano()
	if last := t.closed.Load(); now-last > int64(pingAfter) && t.closed.CompareAndSwap(last, now) {
		t.CloseIdleConnections()
	}
}

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.https.closeIdle()
	t.h2c.closeIdle()
}

// RoundTrip sends r. Its error may be an *Error.
func (t *Transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	sent := r
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		limit := recordLimit
		if r.URL.Scheme == "http" {
			limit = recordLimitHTTP1
		}
		var rec *record
		sent, rec = recordBody(r, limit)
		on := &uploadConn{rec: rec}
		sent = sent.WithContext(httptrace.WithClientTrace(sent.Context(), &httptrace.ClientTrace{GotConn: on.got}))
		defer func() {
			rec.settle(err != nil)
			on.leave()
		}()
	}
	switch r.URL.Scheme {
	case "https":
		resp, err = t.https.roundTrip(sent, t, nil)
	case schemeH2C:
		sent = sent.WithContext(sent.Context()) // a shallow copy
		u := *sent.URL
		u.Scheme, sent.URL = "http", &u
		var only http.Protocols
		only.SetUnencryptedHTTP2(true)
		resp, err = t.h2c.roundTrip(sent, t, &only)
	default:
		resp, err = t.Transport.RoundTrip(sent)
	}
	if err != nil {
		if errors.Is(context.Cause(r.Context()), errTimeout) {
			t.closeSilent()
		}
		return nil, err
	}
	resp.Request = r
	return resp, nil
}

// lane is the way to an API over TLS, or by HTTP/2 without.
type lane struct {
	once          sync.Once // makes what follows
	pinged, quiet atomic.Pointer[laneTransport]

	calm  atomic.Bool   // all requests use quiet
	http1 atomic.Bool   // the last answer came over HTTP/1.1, whose connections are not shared
	taken atomic.Int64  // the size of the largest token field that was answered over HTTP/2
	own   chan struct{} // holds one for each connection of a request that is likely to offend
	ended atomic.Uint64 // connections that the API ended with an error
	lost  atomic.Uint64 // HTTP/2 connections that ended by the API or the network
	reset atomic.Uint64 // streams that the API reset with PROTOCOL_ERROR
}

// laneTransport is one of a lane's transports.
type laneTransport struct {
	*http.Transport
	closeIdleHTTP2 func() // net/http does not find them behind sharedConns
}

// CloseIdleConnections closes the connections that are not in use.
func (t *laneTransport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.closeIdleHTTP2()
}

// start makes the lane's transports.
func (l *lane) start(t *Transport, only *http.Protocols) {
	l.own = make(chan struct{}, maxOwn)
	l.pinged.Store(l.transport(t, only, true))
	l.quiet.Store(l.transport(t, only, false))
}

// transport returns a transport with the settings of t. net/http's own HTTP/2 does not
// tell why a connection ended: HTTP2Config.CountError is not called for clients in
// Go 1.26.
func (l *lane) transport(t *Transport, only *http.Protocols, pings bool) *laneTransport {
	made := t.Clone()
	if only != nil {
		made.Protocols = only
		made.Proxy = nil // a proxy takes HTTP/1.1 only
	}
	if !pings && made.HTTP2 != nil {
		made.HTTP2.SendPingTimeout = 0 // of a copy
	}
	dial := made.DialContext
	made.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*tcpConn); ok && !pings {
			conn = tcp.tcp // in uploads as well: HTTP/2 servers always read
		}
		heard := &heardConn{Conn: conn, lost: &l.lost, ended: make(chan struct{})}
		heard.http2.Store(only != nil || ctx.Value(ownKey{}) != nil) // over TLS it is not known yet
		return heard, nil
	}
	//lint:ignore SA1019 until net/http calls CountError, and lets sharedConns refuse to send again
	h2, err := http2.ConfigureTransports(made)
	if err != nil { // where HTTP/2 is configured already
		panic(err)
	}
	upgrade := made.TLSNextProto[http2.NextProtoTLS]
	made.TLSNextProto[http2.NextProtoTLS] = func(authority string, conn *tls.Conn) http.RoundTripper {
		if heard, ok := innermostConn(conn).(*heardConn); ok {
			heard.http2.Store(true)
		}
		return upgrade(authority, conn)
	}
	//lint:ignore SA1019 as above
	h2.CountError = func(kind string) {
		kind = strings.ToLower(kind)
		switch {
		case strings.HasPrefix(kind, "recv_goaway_"): // not for NO_ERROR
			l.ended.Add(1)
			l.taken.Store(0) // what it took before may be what it takes offence at now
		case kind == "recv_rststream_protocol_error":
			l.reset.Add(1)
		}
		if kind == "recv_goaway_enhance_your_calm" && !l.calm.Swap(true) && t.Log != nil {
			t.Log.Warn("the API ended a connection with ENHANCE_YOUR_CALM: no HTTP/2 pings are sent to it any more")
		}
	}
	//lint:ignore SA1019 as above
	pool := h2.ConnPool
	//lint:ignore SA1019 as above
	idle := &http2.Transport{ConnPool: pool}
	//lint:ignore SA1019 as above
	h2.ConnPool = sharedConns{pool, l}
	//lint:ignore SA1019 as above
	return &laneTransport{made, idle.CloseIdleConnections}
}

// innermostConn returns what is below TLS, of a proxy's as well.
func innermostConn(conn net.Conn) net.Conn {
	for outer, ok := conn.(*tls.Conn); ok; outer, ok = conn.(*tls.Conn) {
		conn = outer.NetConn()
	}
	return conn
}

// transportFor returns the transport for r.
func (l *lane) transportFor(r *http.Request) *laneTransport {
	if l.calm.Load() || isGRPC(r.Header.Get("Content-Type")) {
		return l.quiet.Load()
	}
	return l.pinged.Load()
}

// heardConn lets all be read that a server said before it closed the connection. A
// server that ends an HTTP/2 connection says before which requests it has not
// processed, and x/net/http2 forgets what it has not read yet when a write fails.
type heardConn struct {
	net.Conn
	http2  atomic.Bool    // or the one request on it is not sent again
	failed atomic.Bool    // nothing more can be written
	lost   *atomic.Uint64 // counts it when the server has closed it, or the network
	once   sync.Once      // closes what follows
	ended  chan struct{}  // when nothing more can be read
}

// hearing bounds the wait for what a server said last. It has arrived already.
const hearing = time.Second

// unread bounds how long an HTTP/2 connection that cannot be written is read. It ends by
// itself, but for errors that no end follows.
const unread = 10 * time.Second

// Read reads on for a while after a write that failed.
func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		if c.http2.Load() && !errors.Is(err, net.ErrClosed) { // by us
			c.lost.Add(1)
		}
		c.end()
	}
	return n, err
}

func (c *heardConn) end() { c.once.Do(func() { close(c.ended) }) }

// Write reports an error when all has been read. Over HTTP/2 it cannot wait for that:
// the one that reads writes as well, and waits while others do. So there what cannot be
// written is thrown away while there may be something to read.
func (c *heardConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	switch {
	case err == nil:
		return n, nil
	case !c.http2.Load():
		select {
		case <-c.ended:
		case <-time.After(hearing):
		}
		return n, err
	case !c.failed.Swap(true):
		_ = c.Conn.SetReadDeadline(time.Now().Add(unread))
	}
	select {
	case <-c.ended:
		return n, err
	default:
		return len(p), nil
	}
}

// Close closes the connection. Nothing more is read.
func (c *heardConn) Close() error {
	c.end()
	return c.Conn.Close()
}

func (l *lane) closeIdle() {
	if t := l.quiet.Load(); t != nil { // made last
		t.CloseIdleConnections()
		l.pinged.Load().CloseIdleConnections()
	}
}

// roundTrip sends r on a shared connection, or on one of its own, and again where
// the API has not processed it.
func (l *lane) roundTrip(r *http.Request, t *Transport, only *http.Protocols) (*http.Response, error) {
	l.once.Do(func() { l.start(t, only) })
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	offends := x != nil && x.headers.offends(int(l.taken.Load()))
	if x == nil || !x.alone && (!offends || l.http1.Load()) {
		resp, err := l.onShared(r, x, offends)
		if !errors.Is(err, errNotProcessed) {
			l.learn(x, resp)
			return resp, x.explain(err)
		}
		if r.GetBody != nil {
			var bodyErr error
			again := r.WithContext(r.Context()) // a shallow copy
			if again.Body, bodyErr = r.GetBody(); bodyErr != nil {
				return nil, err
			}
			r = again
		}
		if x != nil {
			x.alone = true // from now on
		}
	}
	resp, err := l.onOwn(r, offends)
	l.learn(x, resp)
	return resp, x.explain(err)
}

// learn notes what an answer says of the API. resp is nil for none.
func (l *lane) learn(x *exchange, resp *http.Response) {
	if resp == nil {
		return
	}
	if http1 := resp.ProtoMajor == 1; http1 != l.http1.Load() {
		l.http1.Store(http1)
	}
	if resp.ProtoMajor == 1 || x == nil || x.headers.token <= usualField ||
		resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return
	}
	for size := int64(x.headers.token); ; {
		if taken := l.taken.Load(); size <= taken || l.taken.CompareAndSwap(taken, size) {
			return
		}
	}
}

var (
	errNotProcessed = errors.New("the API ended the connection and did not process the request, or may do so twice")
	errMayBeDone    = errors.New("the API reset the request and may have processed it")
)

// attempt is one try to send a request on a shared connection.
type attempt struct {
	offends      bool   // it is not for an HTTP/2 connection
	asked        bool   // for one, once
	begun        bool   // it has had a connection
	ended, reset uint64 // of the lane, when it began
	lost         uint64 // likewise
}

// sharedConns gives requests the HTTP/2 connections that they share. The HTTP/2 client
// asks for another one in order to send a request again by itself. It does that where
// the API has not processed the request, but on a shared connection; and where the API
// reset the request with PROTOCOL_ERROR, after which it may well have processed it. Both
// are refused here, which costs a request nothing that is not refused; and so are
// requests that are likely to offend.
//
// From Go 1.27 on, net/http keeps these connections, and asks nobody.
type sharedConns struct {
	http2.ClientConnPool
	lane *lane
}

// GetClientConn returns a connection for r, on which r is written next. The error is
// errNotProcessed or errMayBeDone where r is not to be sent on one again.
//
//lint:ignore SA1019 as above
func (p sharedConns) GetClientConn(r *http.Request, address string) (*http2.ClientConn, error) {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		return p.ClientConnPool.GetClientConn(r, address)
	}
	a, ended, reset := &x.attempt, p.lane.ended.Load(), p.lane.reset.Load()
	switch {
	case a.offends && !a.asked: // before a connection of HTTP/1.1 is used, or dialled
		a.asked = true
		return nil, http2.ErrNoCachedConn
	case a.offends: // and the one that was dialled is none
		return nil, errNotProcessed
	case !a.begun:
		a.ended, a.reset = ended, reset
	case reset != a.reset && !isIdempotent(r.Method):
		return nil, errMayBeDone
	case reset != a.reset, ended != a.ended:
		return nil, errNotProcessed
	}
	conn, err := p.ClientConnPool.GetClientConn(r, address)
	a.begun = a.begun || err == nil
	return conn, err
}

// isLost reports whether r may be sent again after err, because its HTTP/2 connection
// ended: over another request, perhaps. A stream that was reset is not lost.
func (l *lane) isLost(r *http.Request, a *attempt, err error) bool {
	var reset http2.StreamError
	//lint:ignore SA1019 net/http does not export its own
	var goAway http2.GoAwayError
	switch {
	case !isIdempotent(r.Method), r.Context().Err() != nil, errors.As(err, &reset):
		return false
	case errors.As(err, &goAway), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return l.lost.Load() != a.lost
}

// onShared sends r on a connection that other requests share. The error is
// errNotProcessed where r may be sent again, on no shared connection. One that offends
// is sent over HTTP/1.1 only. x is nil for a request that is not a caller's.
func (l *lane) onShared(r *http.Request, x *exchange, offends bool) (*http.Response, error) {
	if x != nil {
		x.attempt = attempt{offends: offends, lost: l.lost.Load()}
	}
	resp, err := l.transportFor(r).RoundTrip(r)
	switch {
	case err == nil:
		return resp, nil
	case strings.HasPrefix(err.Error(), "http2: Transport received GOAWAY from server ErrCode:"):
		return nil, errNotProcessed // the first of its connection, which net/http does not send again
	case x != nil && !l.http1.Load() && l.isLost(r, &x.attempt, err):
		return nil, errNotProcessed
	}
	return nil, err
}

// maxOwn bounds the connections of requests that are likely to offend: callers choose
// how many those are. Others wait.
const maxOwn = 32

// ownKey marks the context of a dial for onOwn.
type ownKey struct{}

// onOwn sends r once, on a connection that nobody else uses.
func (l *lane) onOwn(r *http.Request, offends bool) (resp *http.Response, err error) {
	release := func() {}
	if offends {
		select {
		case l.own <- struct{}{}:
			release = sync.OnceFunc(func() { <-l.own })
		case <-r.Context().Done():
			if r.Body != nil {
				_ = r.Body.Close() // of one attempt
			}
			return nil, r.Context().Err()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	address := net.JoinHostPort(r.URL.Hostname(), portOf(r.URL))
	conn, err := l.transportFor(r).NewClientConn(context.WithValue(r.Context(), ownKey{}, true), r.URL.Scheme, address)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // of one attempt
		}
		return nil, err
	}
	resp, err = conn.RoundTrip(r)
	if err != nil {
		_ = conn.Close() // err says more
		return nil, err
	}
	resp.Body = &ownBody{resp.Body, conn, release}
	return resp, nil
}

// ownBody is an answer on a connection of its own, which ends with it.
type ownBody struct {
	io.ReadCloser
	conn    *http.ClientConn
	release func()
}

func (b *ownBody) Close() error {
	defer b.release()
	return errors.Join(b.ReadCloser.Close(), b.conn.Close())
}

// explain says so where an API did not take the headers of a request. x is nil for a
// request that is not a caller's.
func (x *exchange) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "request header list larger than peer's advertised limit"),
		x != nil && x.headers.large() && isOffence(err):
		return &Error{Kind: HeadersTooLarge, Err: err}
	}
	return err
}

// isOffence reports whether an API ended a request with an error that servers use
// for headers that they do not take.
func isOffence(err error) bool {
	var stream http2.StreamError
	//lint:ignore SA1019 net/http does not export its own
	var goAway http2.GoAwayError
	code := http2.ErrCodeNo
	switch {
	case errors.As(err, &stream):
		code = stream.Code
	case errors.As(err, &goAway):
		code = goAway.ErrCode
	default:
		_, name, _ := strings.Cut(err.Error(), "http2: Transport received GOAWAY from server ErrCode:")
		return name == "PROTOCOL_ERROR" || name == "COMPRESSION_ERROR" || name == "ENHANCE_YOUR_CALM"
	}
	return code == http2.ErrCodeProtocol || code == http2.ErrCodeCompression || code == http2.ErrCodeEnhanceYourCalm
}
