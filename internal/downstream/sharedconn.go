package downstream

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
)

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
