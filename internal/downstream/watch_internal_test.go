package downstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
)

// watched returns the record of a body, and its watch.
func watched(t *testing.T) (*record, *uploadWatch) {
	r := (&http.Request{Body: io.NopCloser(bytes.NewReader([]byte("body")))}).WithContext(t.Context())
	rec := recordBody(r, recordLimit)
	return rec, &uploadWatch{rec: rec}
}

// net/http puts a connection back before it returns a response without a body: then the
// next request may use it before the watch of the last one has stopped.
func TestStoppedWatchLeavesTheNextRequestAlone(t *testing.T) {
	conn := &tcpConn{}
	_, first := watched(t)
	next, second := watched(t)
	first.gotConn(httptrace.GotConnInfo{Conn: conn})
	second.gotConn(httptrace.GotConnInfo{Conn: conn})
	first.stop()
	if conn.body.Load() != next.newest {
		t.Error("the watch of the next request is gone")
	}
}

// net/http sends a request again with the same body if it has not read it.
func TestBodyOfAnEndedConnectionIsUsedAgain(t *testing.T) {
	rec, watch := watched(t)
	body := rec.newest
	ended, next := &tcpConn{}, &tcpConn{}
	ended.readEnded.Store(true)
	watch.gotConn(httptrace.GotConnInfo{Conn: ended})
	if _, err := body.Read(make([]byte, 4)); !errors.Is(err, errReplayClosed) {
		t.Errorf("on the ended connection: got %v", err)
	}
	watch.gotConn(httptrace.GotConnInfo{Conn: next})
	if got, err := io.ReadAll(body); string(got) != "body" || err != nil {
		t.Errorf("on the next one: got %q, %v", got, err)
	}
	rec.finish(true)
}

// A request is not sent again because of its own body, whatever else has ended.
func TestFailedBodyIsNoLostConnection(t *testing.T) {
	pool := &connPool{}
	pool.lostConns.Store(1) // since the attempt began
	put := (&http.Request{Method: "PUT"}).WithContext(t.Context())
	for err, want := range map[error]bool{
		fmt.Errorf("%w: %w", ErrBody, io.ErrUnexpectedEOF): false,
		fmt.Errorf("wrapped: %w", ErrHeader):               false,
		&Error{Kind: HeadersTooLarge}:                      false,
		net.ErrClosed:                                      true,
	} {
		if got := pool.isLost(put, &attempt{}, err); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if pool.isLost(put.WithContext(ctx), &attempt{}, net.ErrClosed) {
		t.Error("a request whose caller has left is sent again")
	}
}
