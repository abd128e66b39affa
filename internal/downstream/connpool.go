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

// transportFor returns the transport for r.
func (l *lane) transportFor(r *http.Request) *laneTransport {
	if l.calm.Load() || isGRPC(r.Header.Get("Content-Type")) {
		return l.quiet.Load()
	}
	return l.pinged.Load()
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
