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

	// maxAtOnce bounds how many connections and streams are read from. Beyond it they
	// end at once.
	maxAtOnce = 512
)

var atOnce = make(chan struct{}, maxAtOnce)

// discard reads until the sender ends, one of the bounds is reached, or ctx has ended
// at the next read. It returns the error of the last read, nil for none: there was no
// room to read at all, or maxSize was read. setDeadline bounds a read.
func discard(ctx context.Context, from io.Reader, silence time.Duration, setDeadline func(time.Time) error) error {
	select {
	case atOnce <- struct{}{}:
		defer func() { <-atOnce }()
	default:
		return nil
	}
	end := time.Now().Add(maxTime)
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
func Stream(ctx context.Context, answer http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(answer)
	if control.Flush() != nil {
		return // the caller has left
	}
	begun := time.Now()
	if !errors.Is(discard(ctx, body, streamSilence, control.SetReadDeadline), os.ErrDeadlineExceeded) {
		return
	}
	// Where an earlier deadline has ended the body, net/http throws away what arrives,
	// up to the window that the caller has.
	if rest := streamSilence - time.Since(begun); rest > 0 {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
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
		_ = discard(c.service, c.Conn, connSilence, c.SetReadDeadline) // whatever ended it
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
