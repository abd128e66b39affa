// Package linger reads what callers still send after their response is complete, so that
// they receive the response.
//
// An HTTP/1.1 connection that is closed with unread data is reset, and the client may see
// the reset before the response (RFC 9112, section 9.6). Over HTTP/2 the rest of a body
// arrives on a closed stream, and some clients report that error instead of the response.
// So the rest is read and discarded for a while; nginx calls it a lingering close.
package linger

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxTime and maxSize bound how much is read from one caller.
	maxTime = 5 * time.Second
	maxSize = 64 << 20

	// connIdle is how long a connection may be idle before it is closed. streamIdle is
	// shorter, because the end of a stream's response is sent after it.
	connIdle   = 2 * time.Second
	streamIdle = 250 * time.Millisecond

	// idleChecks is how many checks in a row must find no new data until a stream counts
	// as idle. A single long pause may only mean that this machine is busy.
	idleChecks = 10

	// windowTime, at the end of maxTime, is how long a stream that is not idle is not
	// read: its sender uses up its flow-control window of 1 MiB and then has to stop.
	windowTime = time.Second

	// maxConcurrent bounds how many connections and streams linger. Further ones are
	// closed at once.
	maxConcurrent = 512
)

// slots holds one value for each connection and stream that lingers.
var slots = make(chan struct{}, maxConcurrent)

// acquire takes a slot, and reports whether one was free.
func acquire() bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func release() { <-slots }

// Stream flushes an HTTP/2 response, and then reads the rest of the request's body until
// ctx ends. The end of the response is sent when its handler returns.
//
// net/http then resets the stream: with NO_ERROR (RFC 9113, section 8.1), and with
// STREAM_CLOSED for data that arrives later, which some clients report instead of the
// response. So if the sender goes on beyond the bounds, Stream first makes it stop.
func Stream(ctx context.Context, w http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Time{}) != nil || control.Flush() != nil {
		return // the caller has left
	}
	if !acquire() {
		return
	}
	defer release()
	d := &drain{body: body, ended: make(chan error, 1)}
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		_, err := io.CopyN(io.Discard, d, maxSize)
		d.ended <- err
	})
	continues := d.watch(ctx)
	// This ends the reading. net/http discards later data without enlarging the window.
	if err := control.SetReadDeadline(time.Now()); err != nil || !continues {
		return
	}
	select {
	case <-time.After(windowTime):
	case <-ctx.Done():
	}
}

// drain counts what is read of a body. Stream reads it in a goroutine of its own, which
// ends at the read deadline of the body.
type drain struct {
	body  io.Reader
	count atomic.Int64 // bytes read
	ended chan error   // receives the error of the last read; nil: maxSize was read
}

func (d *drain) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	d.count.Add(int64(n))
	return n, err
}

// watch waits until the sender ends or is idle, or a bound is reached, and reports
// whether more data may arrive. A deadline for each read would not do: if this process
// is not scheduled for a while, it passes although data has arrived.
func (d *drain) watch(ctx context.Context) (continues bool) {
	end := time.Now().Add(maxTime - windowTime)
	check := time.NewTicker(streamIdle / idleChecks)
	defer check.Stop()
	var seen int64
	for idle := 0; idle < idleChecks; {
		select {
		case err := <-d.ended:
			return err == nil || errors.Is(err, os.ErrDeadlineExceeded) // an earlier deadline
		case <-ctx.Done():
			return false
		case <-check.C:
		}
		if !time.Now().Before(end) {
			return true
		}
		if count := d.count.Load(); count > seen {
			seen, idle = count, 0
		} else {
			idle++
		}
	}
	return false
}

// Conn is a connection that lingers when it is closed, if AtClose was called for it.
type Conn struct {
	net.Conn
	service context.Context // ends all lingering
	unread  atomic.Bool     // some body was not read to its end
}

// NewConn returns conn as one that can linger.
func NewConn(conn net.Conn) *Conn { return &Conn{Conn: conn, service: context.Background()} }

// CloseWrite lets net/http signal the end of a response before it stops reading the
// body. It does nothing if the connection below has no such method.
func (c *Conn) CloseWrite() error { return CloseWrite(c.Conn) }

// CloseWrite closes the sending side of conn. It does nothing if conn has no such method.
func CloseWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection. If a body was not read to its end, it first closes the
// sending side and reads what the caller still sends. A second Close ends that.
func (c *Conn) Close() error {
	if c.unread.Swap(false) && c.service.Err() == nil && c.CloseWrite() == nil {
		stop := context.AfterFunc(c.service, func() { _ = c.Conn.Close() })
		defer stop()
		c.discard()
	}
	return c.Conn.Close()
}

// discard reads until the sender ends or is idle, a bound is reached, or the service has
// ended at the next read.
func (c *Conn) discard() {
	if !acquire() {
		return
	}
	defer release()
	end := time.Now().Add(maxTime)
	bounded := readerFunc(func(p []byte) (int, error) {
		if c.service.Err() != nil {
			return 0, c.service.Err()
		}
		deadline := time.Now().Add(connIdle)
		if deadline.After(end) {
			deadline = end
		}
		if err := c.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		return c.Conn.Read(p)
	})
	_, _ = io.CopyN(io.Discard, bounded, maxSize) // any error ends it
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type connKey struct{}

// Context returns the context for requests on conn, with which AtClose finds conn. ctx
// ends with the service.
func Context(ctx context.Context, conn net.Conn) context.Context {
	c := connOf(conn)
	if c == nil {
		return ctx
	}
	c.service = ctx
	return context.WithValue(ctx, connKey{}, c)
}

// Track is called with each state of conn. An idle connection has no unread body.
func Track(conn net.Conn, state http.ConnState) {
	if state != http.StateIdle { // first, as busy connections change often
		return
	}
	if c := connOf(conn); c != nil && c.unread.Load() {
		c.unread.Store(false)
	}
}

// AtClose makes the connection of a request linger if it is closed after the response.
func AtClose(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*Conn); ok {
		c.unread.Store(true)
	}
}

// connOf returns the Conn below conn, or nil.
func connOf(conn net.Conn) *Conn {
	for {
		switch inner := conn.(type) {
		case *Conn:
			return inner
		case *tls.Conn:
			conn = inner.NetConn()
		case interface{ Unwrap() net.Conn }:
			conn = inner.Unwrap()
		default:
			return nil
		}
	}
}
