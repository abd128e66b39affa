package downstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
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
