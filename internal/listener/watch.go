package listener

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"middletier/internal/linger"
)

// watchAfter is how long a request takes until its caller is watched: more than this, and at most
// twice as long, because one timer serves all requests of a connection. One that came together with
// the request before it may be watched sooner.
const watchAfter = 100 * time.Millisecond

// watch notices that the caller of a request over HTTP/1.1 without TLS has left. net/http notices it
// with a read of one byte, which it begins with each request in a goroutine and ends after the
// answer: some 6 % of what a forwarded call costs. Here that read ends at once, without a byte and
// without an error, which net/http takes for a read that saw nothing. Only a request that takes
// longer than watchAfter has a read that waits for its caller. CloseNotify, which is deprecated, does
// not learn of it.
//
// It is a part of lateReads, whose mutex guards it.
type watch struct {
	cancel   context.CancelFunc // ends the requests of the connection
	hijacked bool               // its handler has taken it over, and watches it itself

	cleared bool // SetReadDeadline was called last, with no deadline, as before net/http watches
	pending bool // a request is to be watched, until something else is read
	old     bool // the timer has fired since it began

	timer *time.Timer // nil before the first request
	armed bool        // it runs

	ended    chan struct{} // closed when the read in progress has ended; nil: there is none
	early    [1]byte       // what it has read: the beginning of the next request
	hasEarly bool
}

type watchKey struct{}

// connContext returns the context for requests on conn. Without TLS it ends when the caller has left.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	ctx = linger.Context(ctx, conn)
	c, ok := conn.(*timedConn)
	if !ok { // net/http watches connections with TLS
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	c.reads.watch = &watch{cancel: cancel}
	return context.WithValue(ctx, watchKey{}, c.reads.watch)
}

// connState is called with each state of conn. A connection is not watched once its handler has
// taken it over.
func connState(conn net.Conn, state http.ConnState) {
	linger.Track(conn, state)
	if state != http.StateHijacked {
		return
	}
	if c, ok := conn.(*timedConn); ok && c.reads.watch != nil {
		c.reads.hijack()
	}
}

// hijack ends all watching of the caller.
func (c *lateReads) hijack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch.hijacked, c.watch.pending = true, false
	c.awaitWatch()
}

// handled is called when a handler has returned that may have taken its connection over: the
// context must outlast such a connection, as its handler goes on after it has closed it. Only
// requests with an Upgrade header may do so, in the goroutine of their handler.
func handled(ctx context.Context) {
	if w, ok := ctx.Value(watchKey{}).(*watch); ok && w.hijacked {
		w.cancel()
	}
}

// Close is that of net.Conn.
func (c *lateReads) Close() error {
	c.mu.Lock()
	cancels := c.watch != nil && !c.watch.hijacked
	c.mu.Unlock()
	if cancels {
		c.watch.cancel()
	}
	return c.Conn.Close()
}

// isWatch reports whether a read of size bytes is one by which net/http watches the caller, and
// if so has the request watched later. A wrong guess costs net/http nothing: if it gets no byte it
// reads again. c.mu is held, as by the functions below.
func (c *lateReads) isWatch(size int) bool {
	w := c.watch
	w.pending = size == 1 && w.cleared && !w.hijacked
	w.cleared, w.old = false, false
	if !w.pending || w.armed { // for an earlier request, which is over
		return w.pending
	}
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, c.watchCaller)
	} else {
		w.timer.Reset(watchAfter)
	}
	return true
}

// endWatch ends the read that watches the caller, and copies what it has read to p.
func (c *lateReads) endWatch(p []byte) (n int) {
	c.awaitWatch()
	if w := c.watch; w.hasEarly {
		n = copy(p, w.early[:])
		w.hasEarly = n == 0
	}
	return n
}

// awaitWatch ends the read that watches the caller. While it waits for the end, c.mu is not held.
func (c *lateReads) awaitWatch() {
	for c.watch.ended != nil {
		ended := c.watch.ended
		_ = c.setTo(time.Unix(1, 0)) // on a connection that has ended the read fails
		c.mu.Unlock()
		<-ended
		c.mu.Lock()
	}
}

// watchCaller is called by the timer. If a request still runs that ran when it was called before,
// it reads until the caller sends something or leaves, or until something else is read.
func (c *lateReads) watchCaller() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watch
	if w.pending && !w.old {
		w.old = true
		w.timer.Reset(watchAfter)
		return
	}
	w.armed = false
	if !w.pending || w.hasEarly || w.ended != nil { // the last two: since an earlier request
		return
	}
	if !c.set.IsZero() { // deadlines are for other reads
		_ = c.setTo(time.Time{}) // as in awaitWatch
	}
	ended := make(chan struct{})
	w.ended = ended
	c.mu.Unlock()
	n, err := c.Conn.Read(w.early[:])
	c.mu.Lock()
	w.hasEarly = n > 0
	w.ended = nil
	close(ended)
	c.passed = errors.Is(err, os.ErrDeadlineExceeded)
	if err != nil && !c.passed {
		w.cancel()
	}
}
