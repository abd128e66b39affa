package downstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// schemeH2C is the scheme of base URLs for HTTP/2 without TLS, with prior knowledge
// (RFC 9113, section 3.3).
const schemeH2C = "h2c"

const (
	// pingAfter and pingTimeout detect a dead HTTP/2 connection. It is replaced after
	// their sum, which must stay below 20 s.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second

	// userTimeout detects a dead connection that is not pinged, such as one of HTTP/1.1:
	// TCP gives it up when sent data, which includes the probes of keepAlive, is not
	// acknowledged for so long. It is less than the time after which a dead connection to
	// the provider is replaced: where those to an API died with it, they are closed by
	// then, and no request waits for both.
	userTimeout = pingAfter

	// uploadThreshold is how much is sent without a response before it counts as an
	// upload. Every server's TCP stack accepts as much while the server does not read.
	uploadThreshold = 16 << 10
)

// keepAlive detects a dead connection on which nothing is sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: pingAfter, Interval: 2 * time.Second, Count: 4}

// FindDeadConnections makes t detect connections that a load balancer or NAT has
// dropped silently.
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
		setUserTimeout(tcp, userTimeout)
		return &tcpConn{Conn: tcp, tcp: tcp}, nil
	}
}

// Transport sends requests to an API, and keeps enough idle connections that busy APIs
// are not dialled anew. It sends a request again over HTTP/2 if the API did not process
// it; for that it records the beginning of a body (see record). It sends no request again
// that the API may have processed, unless the method is idempotent or the request has an
// Idempotency-Key.
//
// All callers share an HTTP/2 connection. If the API rejects one request by ending the
// connection, it ends for all of them. So a risky request, whose headers some servers
// reject in that way, gets a dedicated connection. So does each request that was not
// processed when the API ended a connection with an error, because the rejected request
// is one of those.
//
// Pings detect dead connections, but gRPC servers count them as abuse: they allow one in
// 5 minutes while they send nothing, and end the connection after the third one too many
// (gRPC proposal A8; grpc-go, keepalive.EnforcementPolicy). A silent stream would be
// lost after 40 s. So gRPC requests have connections without pings, where TCP detects
// that a connection is dead. So have all requests to an API that once ended a connection
// with ENHANCE_YOUR_CALM. TCP does not detect a proxy that acknowledges data and discards
// it; therefore other requests keep the pings.
type Transport struct {
	*http.Transport              // settings, which must not change after the first request; sends handshakes of WebSockets
	Log             *slog.Logger // nil: no logs
	http1, http1TLS http1Pool
	plain           plainTransport
	https, h2c      connPool
	lastClosed      atomic.Int64 // when closeIdleAfterTimeout closed connections, in Unix nanoseconds
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

// closeIdleAfterTimeout closes the idle connections after a request has timed out: if its
// connection was dead, the others may be too, and HTTP/1.1 has no pings to find out. It
// does so at most once in pingAfter, since an API may be slow for other reasons.
func (t *Transport) closeIdleAfterTimeout() {
	now := time.Now().UnixNano()
	if last := t.lastClosed.Load(); now-last > int64(pingAfter) && t.lastClosed.CompareAndSwap(last, now) {
		t.CloseIdleConnections()
	}
}

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.plain.closeIdle()
	t.http1.closeIdle()
	t.http1TLS.closeIdle()
	t.https.closeIdle()
	t.h2c.closeIdle()
}

// RoundTrip sends r. Its error may be an *Error.
func (t *Transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if pool := t.poolFor(r); pool != nil {
		resp, err, ok := pool.roundTrip(t, r)
		switch {
		case errors.Is(err, errNotHTTP1):
			t.https.http1.Store(false)
			if r, err = withNewBody(r); err != nil {
				return nil, err
			}
		case ok:
			return t.received(r, resp, err)
		}
	}
	if t.canUpload(r) {
		if resp, err, ok := t.http1.upload(t, r); ok {
			return t.received(r, resp, err)
		}
	}
	sent := r
	switch c := findCall(r); {
	case r.Body != nil && r.Body != http.NoBody && r.GetBody == nil:
		var watch *uploadWatch
		sent, watch = watchUpload(r, c)
		defer func() {
			watch.rec.finish(err != nil)
			watch.stop()
		}()
	case c != nil && (c.trace.Got1xxResponse != nil || c.trace.GotConn != nil):
		sent = r.WithContext(httptrace.WithClientTrace(r.Context(), &c.trace))
	}
	switch {
	case isUpgrade(r.Header): // HTTP/1.1 also over TLS, and a connection of its own
		resp, err = t.Transport.RoundTrip(sent)
	case r.URL.Scheme == "https":
		resp, err = t.https.roundTrip(sent, t, nil)
	case r.URL.Scheme == schemeH2C:
		sent = sent.WithContext(sent.Context()) // a shallow copy
		u := *sent.URL
		u.Scheme, sent.URL = "http", &u
		var only http.Protocols
		only.SetUnencryptedHTTP2(true)
		resp, err = t.h2c.roundTrip(sent, t, &only)
	default:
		resp, err = t.plain.of(t).RoundTrip(sent)
	}
	return t.received(r, resp, err)
}

// plainTransport is http.Transport, on drainingConns, for what an http1Pool does not send over HTTP/1.1
// without TLS.
type plainTransport struct {
	once  sync.Once
	inner atomic.Pointer[http.Transport]
}

// of returns the transport, with the settings of t.
func (p *plainTransport) of(t *Transport) *http.Transport {
	p.once.Do(func() {
		made := t.Clone()
		dial := made.DialContext
		if dial == nil {
			dial = new(net.Dialer).DialContext
		}
		made.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &drainingConn{Conn: conn, readEnded: make(chan struct{})}, nil
		}
		p.inner.Store(made)
	})
	return p.inner.Load()
}

func (p *plainTransport) closeIdle() {
	if t := p.inner.Load(); t != nil {
		t.CloseIdleConnections()
	}
}

// received returns the response to r, or the error.
func (t *Transport) received(r *http.Request, resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		if c := findCall(r); c != nil && errors.Is(c.cause(), errTimeout) {
			t.closeIdleAfterTimeout()
		}
		return nil, err
	}
	resp.Request = r
	return resp, nil
}
