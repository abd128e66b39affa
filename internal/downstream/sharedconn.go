package downstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
)

var (
	errSendAgain      = errors.New("the API ended the shared connection; the request may be sent again on another")
	errMaybeProcessed = errors.New("the API reset the request and may have processed it")
)

// attempt is one attempt to send a request on a shared connection.
type attempt struct {
	risky        bool // the request may use HTTP/1.1 only
	refusedCache bool // a risky request has been refused a cached HTTP/2 connection
	started      bool // a connection was found

	// The counters of the pool when the attempt started:
	goAways, protocolResets, lostConns uint64
}

// sharedConns gives requests the HTTP/2 connections that they share. The HTTP/2 client
// asks for another connection to send a request again in two cases: the API did not
// process it, or reset it with PROTOCOL_ERROR (then it may have processed it). sharedConns
// refuses both, and risky requests too. It costs other requests nothing.
//
// From Go 1.27 on, net/http owns these connections and has no such hook.
type sharedConns struct {
	http2.ClientConnPool
	pool *connPool
}

// GetClientConn returns a connection for r, on which r is written next. The error is
// errSendAgain or errMaybeProcessed if r must not be sent on a shared connection again.
//
//lint:ignore SA1019 as above
func (s sharedConns) GetClientConn(r *http.Request, address string) (*http2.ClientConn, error) {
	c := findCall(r)
	if c == nil {
		return s.ClientConnPool.GetClientConn(r, address)
	}
	a, goAways, resets := &c.attempt, s.pool.goAways.Load(), s.pool.protocolResets.Load()
	switch {
	case a.risky && !a.refusedCache: // net/http then uses or dials a connection of HTTP/1.1
		a.refusedCache = true
		return nil, http2.ErrNoCachedConn
	case a.risky: // the new connection is one of HTTP/2
		return nil, errSendAgain
	case !a.started:
		a.goAways, a.protocolResets = goAways, resets
	case resets != a.protocolResets && !isIdempotent(r.Method):
		return nil, errMaybeProcessed
	case resets != a.protocolResets, goAways != a.goAways:
		return nil, errSendAgain
	}
	conn, err := s.ClientConnPool.GetClientConn(r, address)
	a.started = a.started || err == nil
	return conn, err
}

// isLost reports whether r may be sent again after err because its HTTP/2 connection
// ended, perhaps because of another request. After a stream reset it may not.
func (p *connPool) isLost(r *http.Request, a *attempt, err error) bool {
	var reset http2.StreamError
	var ours *Error
	//lint:ignore SA1019 net/http does not export its own
	var goAway http2.GoAwayError
	switch {
	case !isIdempotent(r.Method), r.Context().Err() != nil, errors.As(err, &reset),
		errors.Is(err, ErrBody), errors.Is(err, ErrHeader), errors.As(err, &ours): // not the connection's fault
		return false
	case errors.As(err, &goAway), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return p.lostConns.Load() != a.lostConns
}

// goAwayError begins the error of net/http for the first request of a connection that the
// server ended. net/http does not export its type, and does not send that request again.
const goAwayError = "http2: Transport received GOAWAY from server ErrCode:"

// onShared sends r on a shared connection. The error is errSendAgain if r may be sent
// again on a dedicated one. A risky request is sent over HTTP/1.1 only. c is nil for a
// request that is not a caller's.
func (p *connPool) onShared(r *http.Request, c *call, risky bool) (*http.Response, error) {
	if c != nil {
		c.attempt = attempt{risky: risky, lostConns: p.lostConns.Load()}
	}
	resp, err := p.send(r)
	switch {
	case err == nil:
		return resp, nil
	case strings.HasPrefix(err.Error(), goAwayError),
		c != nil && !p.http1.Load() && p.isLost(r, &c.attempt, err):
		return nil, fmt.Errorf("%w: %w", errSendAgain, err)
	}
	return nil, err
}

// send sends r. For a request without a body http.Transport would only check the headers, and
// call its client of HTTP/2 if that has a connection. That client checks them too.
func (p *connPool) send(r *http.Request) (*http.Response, error) {
	t := p.transportFor(r)
	if r.URL.Scheme == "https" && r.Body == nil && !p.http1.Load() {
		resp, err := t.http2.RoundTrip(r)
		if !errors.Is(err, http2.ErrNoCachedConn) {
			return resp, err
		}
	}
	return t.RoundTrip(r)
}
