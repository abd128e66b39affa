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
	"sync"
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

	// silentLooks is how often in a row nothing must have come to a stream until it
	// counts as silent. A busy machine, which lets everybody wait, is no silence.
	silentLooks = 10

	// windowTime, of maxTime, is how long a stream that is not silent is not read at
	// the end: its sender uses up its window, which is 1 MiB, and then has to wait.
	windowTime = time.Second

	// maxAtOnce bounds how many connections and streams are read from. Beyond it they
	// end at once.
	maxAtOnce = 512
)

var atOnce = make(chan struct{}, maxAtOnce)

// enter reports whether one more may be read from, and leave ends that.
func enter() bool {
	select {
	case atOnce <- struct{}{}:
		return true
	default:
		return false
	}
}

func leave() { <-atOnce }

// Stream sends what is written of an HTTP/2 answer, and then reads the rest of the
// request's body, until ctx ends. The answer's end is sent when its handler returns.
//
// net/http then resets the stream: with NO_ERROR (RFC 9113, section 8.1), and with
// STREAM_CLOSED for what is still on its way, which some clients report instead of the
// answer. So the sender of a body that goes on beyond the bounds first has to stop.
func Stream(ctx context.Context, answer http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(answer)
	if control.SetReadDeadline(time.Time{}) != nil || control.Flush() != nil {
		return // the caller has left
	}
	if !enter() {
		return
	}
	defer leave()
	r := &reading{body: body, ended: make(chan error, 1)}
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		_, err := io.CopyN(io.Discard, r, maxSize)
		r.ended <- err
	})
	goesOn := r.watch(ctx)
	// Reading ends. What comes now net/http throws away, and does not open the window.
	if err := control.SetReadDeadline(time.Now()); err != nil || !goesOn {
		return
	}
	select {
	case <-time.After(windowTime):
	case <-ctx.Done():
	}
}

// reading reads the rest of a body in a goroutine of its own, which ends with the
// body's deadline.
type reading struct {
	body  io.Reader
	count atomic.Int64 // of bytes
	ended chan error   // gets the error of the last read; nil: maxSize was read
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.count.Add(int64(n))
	return n, err
}

// watch waits until the sender ends or is silent, or one of the bounds is reached, and
// reports whether more may come all the same. Deadlines for each read would not do:
// where the process itself gets no time for a while, they pass with data waiting.
func (r *reading) watch(ctx context.Context) (goesOn bool) {
	end := time.Now().Add(maxTime - windowTime)
	look := time.NewTicker(streamSilence / silentLooks)
	defer look.Stop()
	var seen int64
	for silent := 0; silent < silentLooks; {
		select {
		case err := <-r.ended:
			return err == nil || errors.Is(err, os.ErrDeadlineExceeded) // an earlier one
		case <-ctx.Done():
			return false
		case <-look.C:
		}
		if !time.Now().Before(end) {
			return true
		}
		if count := r.count.Load(); count > seen {
			seen, silent = count, 0
		} else {
			silent++
		}
	}
	return false
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
		c.discard()
	}
	return c.Conn.Close()
}

// discard reads until the sender ends or is silent, one of the bounds is reached, or the
// service has ended at the next read.
func (c *Conn) discard() {
	if !enter() {
		return
	}
	defer leave()
	end := time.Now().Add(maxTime)
	bounded := readerFunc(func(p []byte) (int, error) {
		if c.service.Err() != nil {
			return 0, c.service.Err()
		}
		deadline := time.Now().Add(connSilence)
		if deadline.After(end) {
			deadline = end
		}
		if err := c.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		return c.Conn.Read(p)
	})
	_, _ = io.CopyN(io.Discard, bounded, maxSize) // whatever ended it
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

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
