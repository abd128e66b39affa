package downstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// connPool holds the connections to an API by one scheme, https or h2c, and what its
// responses have shown about the API.
type connPool struct {
	once             sync.Once // sets pinged, unpinged and dedicatedSlots
	pinged, unpinged atomic.Pointer[poolTransport]
	dedicatedSlots   chan struct{} // holds one value for each risky request in progress

	noPings        atomic.Bool   // all requests use unpinged
	http1          atomic.Bool   // the API uses HTTP/1.1, whose connections are not shared: the last response came over it
	acceptedToken  atomic.Int64  // size of the largest Authorization field that the API accepted over HTTP/2
	goAways        atomic.Uint64 // how many connections the API ended with an error
	lostConns      atomic.Uint64 // how many HTTP/2 connections the API or the network ended
	protocolResets atomic.Uint64 // how many streams the API reset with PROTOCOL_ERROR
}

// encoderTable is the size of the table in which HTTP/2 keeps the headers of the last requests
// on a connection (RFC 7541, section 2.3.2), in bytes. Nothing fits into it: headers of different
// users should not share the state of a compression (section 7.1.3), and most requests have new
// ones, such as X-Request-Id, which would push the others out. 0 would be the usual size.
const encoderTable = 1

// poolTransport is one of the two transports of a connPool.
type poolTransport struct {
	*http.Transport
	http2          http.RoundTripper // its client of HTTP/2, which dials no connection
	closeIdleHTTP2 func()            // net/http does not find connections below sharedConns
}

// CloseIdleConnections closes the connections that are not in use.
func (t *poolTransport) CloseIdleConnections() {
	t.Transport.CloseIdleConnections()
	t.closeIdleHTTP2()
}

// start makes the transports of p, with the settings of t. only is the protocol to use;
// nil: TLS negotiates it.
func (p *connPool) start(t *Transport, only *http.Protocols) {
	p.dedicatedSlots = make(chan struct{}, maxDedicated)
	p.pinged.Store(p.newTransport(t, only, true))
	p.unpinged.Store(p.newTransport(t, only, false))
}

// newTransport returns a transport with the settings of t. It uses x/net/http2, because
// the HTTP/2 client in net/http does not report why a connection ended:
// HTTP2Config.CountError is not called for clients in Go 1.26.
func (p *connPool) newTransport(t *Transport, only *http.Protocols, pings bool) *poolTransport {
	made := t.Clone()
	if only != nil {
		made.Protocols = only
		made.Proxy = nil // a proxy accepts HTTP/1.1 only
	}
	if !pings && made.HTTP2 != nil {
		made.HTTP2.SendPingTimeout = 0 // Clone has copied the struct
	}
	dial := made.DialContext
	made.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*tcpConn); ok && !pings {
			conn = tcp.tcp // the user timeout applies to uploads too: HTTP/2 servers always read
		}
		draining := &drainingConn{Conn: conn, lostConns: &p.lostConns, readEnded: make(chan struct{})}
		draining.http2.Store(only != nil || ctx.Value(dedicatedKey{}) != nil) // over TLS it is not known yet
		return draining, nil
	}
	//lint:ignore SA1019 until net/http calls CountError, and lets sharedConns refuse to send again
	h2, err := http2.ConfigureTransports(made)
	if err != nil { // HTTP/2 is configured already
		panic(err)
	}
	upgrade := made.TLSNextProto[http2.NextProtoTLS]
	made.TLSNextProto[http2.NextProtoTLS] = func(authority string, conn *tls.Conn) http.RoundTripper {
		if draining, ok := unwrapTLS(conn).(*drainingConn); ok {
			draining.http2.Store(true)
		}
		return upgrade(authority, conn)
	}
	//lint:ignore SA1019 as above
	h2.MaxEncoderHeaderTableSize = encoderTable
	//lint:ignore SA1019 as above
	h2.CountError = func(kind string) { p.countError(kind, t) }
	//lint:ignore SA1019 as above
	inner := h2.ConnPool
	//lint:ignore SA1019 as above
	idle := &http2.Transport{ConnPool: inner}
	//lint:ignore SA1019 as above
	h2.ConnPool = sharedConns{inner, p}
	//lint:ignore SA1019 as above
	return &poolTransport{made, h2, idle.CloseIdleConnections}
}

// countError is called with each error of an HTTP/2 connection, by its kind.
func (p *connPool) countError(kind string, t *Transport) {
	kind = strings.ToLower(kind)
	switch {
	case strings.HasPrefix(kind, "recv_goaway_"): // not called for NO_ERROR
		p.goAways.Add(1)
		p.acceptedToken.Store(0) // the API may have ended it because of the token's size
	case kind == "recv_rststream_protocol_error":
		p.protocolResets.Add(1)
	}
	if kind == "recv_goaway_enhance_your_calm" && !p.noPings.Swap(true) && t.Log != nil {
		t.Log.Warn("HTTP/2 pings to the API are switched off: it ended a connection with ENHANCE_YOUR_CALM")
	}
}

// transportFor returns the transport for r.
func (p *connPool) transportFor(r *http.Request) *poolTransport {
	if p.noPings.Load() || isGRPC(r.Header.Get("Content-Type")) {
		return p.unpinged.Load()
	}
	return p.pinged.Load()
}

func (p *connPool) closeIdle() {
	if t := p.unpinged.Load(); t != nil { // set last
		t.CloseIdleConnections()
		p.pinged.Load().CloseIdleConnections()
	}
}

// roundTrip sends r on a shared connection, and if the API did not process it again on a
// dedicated one. A risky request gets a dedicated connection at once.
func (p *connPool) roundTrip(r *http.Request, t *Transport, only *http.Protocols) (*http.Response, error) {
	p.once.Do(func() { p.start(t, only) })
	c := findCall(r)
	risky := c != nil && c.headers.risky(int(p.acceptedToken.Load()))
	if c == nil || !c.dedicated && (!risky || p.http1.Load()) {
		resp, err := p.onShared(r, c, risky)
		if !errors.Is(err, errSendAgain) {
			p.learn(c, resp)
			return resp, c.explain(err)
		}
		again, bodyErr := withNewBody(r)
		if bodyErr != nil {
			return nil, c.explain(err)
		}
		r = again
		if c != nil {
			c.dedicated = true // for all later attempts
		}
	}
	resp, err := p.onDedicated(r, risky)
	p.learn(c, resp)
	return resp, c.explain(err)
}

// withNewBody returns r to be sent again, with its body from the beginning if it is in memory.
func withNewBody(r *http.Request) (*http.Request, error) {
	if r.GetBody == nil {
		return r, nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	again := r.WithContext(r.Context()) // a shallow copy
	again.Body = body
	return again, nil
}

// learn records what a response shows about the API. c is nil for a request that is not
// a caller's, resp for a failed one.
func (p *connPool) learn(c *call, resp *http.Response) {
	if resp == nil {
		return
	}
	if http1 := resp.ProtoMajor == 1; http1 != p.http1.Load() {
		p.http1.Store(http1)
	}
	if resp.ProtoMajor == 1 || c == nil || c.headers.token <= commonMaxField ||
		resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return
	}
	for size := int64(c.headers.token); ; {
		if accepted := p.acceptedToken.Load(); size <= accepted || p.acceptedToken.CompareAndSwap(accepted, size) {
			return
		}
	}
}
