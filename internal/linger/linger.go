// Package linger reads what callers still send when their answer is complete, so that
// they come to read it.
//
// A connection of HTTP/1.1 that is closed over unread data is reset, and the reset
// overtakes the answer (RFC 9112, section 9.6). On HTTP/2 the rest of a body meets a
// stream that is gone, and some clients report that instead of the answer. So the
// rest is read and thrown away for a while; nginx calls it a lingering close.
package linger

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// maxTime and maxSize bound what is read of one caller.
	maxTime = 5 * time.Second
	maxSize = 64 << 20

	// connSilence is how long a connection may be silent until it is closed.
	// streamSilence is shorter: before it, the answer on a stream has no end.
	connSilence   = 2 * time.Second
	streamSilence = 250 * time.Millisecond

	// windowTime, of maxTime, is how long a stream that is not silent is not read at
	// the end: its sender uses up its window, which is 1 MiB, and then has to wait.
	windowTime = time.Second

	// maxAtOnce bounds how many connections and streams are read from. Beyond it they
	// end at once.
	maxAtOnce = 512
)

var atOnce = make(chan struct{}, maxAtOnce)

// errNoRoom says that others are read from already, as many as may be.
var errNoRoom = errors.New("nothing is read")

// discard reads until the sender ends or is silent, one of the bounds is reached, or ctx
// has ended at the next read. It returns the error of the last read, nil for none:
// maxSize was read. setDeadline bounds a read.
func discard(ctx context.Context, from io.Reader, total, silence time.Duration, setDeadline func(time.Time) error) error {
	select {
	case atOnce <- struct{}{}:
		defer func() { <-atOnce }()
	default:
		return errNoRoom
	}
	end := time.Now().Add(total)
	bounded := readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		deadline := time.Now().Add(silence)
		if deadline.After(end) {
			deadline = end
		}
		if err := setDeadline(deadline); err != nil {
			return 0, err
		}
		return from.Read(p)
	})
	_, err := io.CopyN(io.Discard, bounded, maxSize)
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Stream sends what is written of an HTTP/2 answer, and then reads the rest of the
// request's body, until ctx ends. The answer's end is sent when its handler returns.
//
// net/http then resets the stream: with NO_ERROR (RFC 9113, section 8.1), and with
// STREAM_CLOSED for what is still on its way, which some clients report instead of the
// answer. So the sender of a body that goes on beyond the bounds first has to stop.
func Stream(ctx context.Context, answer http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(answer)
	if control.Flush() != nil {
		return // the caller has left
	}
	heard := time.Now()
	noted := readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		if n > 0 {
			heard = time.Now()
		}
		return n, err
	})
	err := discard(ctx, noted, maxTime-windowTime, streamSilence, control.SetReadDeadline)
	switch {
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return // the body came to its end, or nothing is read of it
	case time.Since(heard) >= streamSilence:
		return
	}
	// Or an earlier deadline has ended the body. What comes now net/http throws away, and
	// does not open the window for more.
	_ = control.SetReadDeadline(time.Now())
	select {
	case <-time.After(windowTime):
	case <-ctx.Done():
	}
}

// Conn is a connection that lingers when it is closed, if it was told to.
type Conn struct {
	net.Conn
	service context.Context // ends all lingering
	unread  atomic.Bool     // a body was not read to its end
}

// NewConn returns conn as one that can linger.
func NewConn(conn net.Conn) *Conn { return &Conn{Conn: conn, service: context.Background()} }

// CloseWrite lets net/http say that an answer is complete before it breaks off a
// body that it does not read. It does nothing where the connection below cannot.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection. Where a body was not read to its end, it first says
// that nothing more comes, and reads what the caller still sends. A second Close ends
// that.
func (c *Conn) Close() error {
	if c.unread.Swap(false) && c.service.Err() == nil && c.CloseWrite() == nil {
		stop := context.AfterFunc(c.service, func() { _ = c.Conn.Close() })
		defer stop()
		_ = discard(c.service, c.Conn, maxTime, connSilence, c.SetReadDeadline) // whatever ended it
	}
	return c.Conn.Close()
}

type connKey struct{}

// Context returns the context for requests on conn, below which AtClose works. ctx
// ends with the service.
func Context(ctx context.Context, conn net.Conn) context.Context {
	c := of(conn)
	if c == nil {
		return ctx
	}
	c.service = ctx
	return context.WithValue(ctx, connKey{}, c)
}

// Track follows the state of conn: one that is used again has no body left.
func Track(conn net.Conn, state http.ConnState) {
	if c := of(conn); c != nil && state == http.StateIdle {
		c.unread.Store(false)
	}
}

// AtClose makes the connection of a request linger if it is closed after the answer.
func AtClose(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*Conn); ok {
		c.unread.Store(true)
	}
}

// of returns the Conn that is beneath conn, nil for none.
func of(conn net.Conn) *Conn {
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
