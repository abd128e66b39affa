// Package listener accepts callers' connections: it limits how many there are, ends those
// that stop reading or sending, and serves a certificate that may change.
package listener

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"middletier/internal/linger"
)

// limited is a listener with a limit of open connections. One that lingers counts
// until it is closed. The connections of netutil.LimitListener would hide CloseWrite.
type limited struct {
	net.Listener
	slots  chan struct{} // each holds a value of an open connection
	closed chan struct{}
	once   sync.Once // closes closed
}

// Limit returns a listener that accepts so many connections at once. More wait in the
// kernel's queue.
func Limit(listener net.Listener, connections int) net.Listener {
	return &limited{Listener: listener, slots: make(chan struct{}, connections), closed: make(chan struct{})}
}

// Accept waits for a free slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func() // the slot
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets the connection linger.
func (c *limitedConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return errors.ErrUnsupported
}

// timed is a listener that logs why it does not accept connections (net/http tries
// again), and whose connections have a deadline for every write.
type timed struct {
	net.Listener
	writeTimeout time.Duration
	log          *slog.Logger
}

// WithWriteTimeout returns a listener whose connections end when a write takes longer
// than timeout. It logs why connections are not accepted.
func WithWriteTimeout(listener net.Listener, timeout time.Duration, log *slog.Logger) net.Listener {
	return timed{listener, timeout, log}
}

func (l timed) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			l.log.Error("a connection cannot be accepted", "error", err)
		}
		return nil, err
	}
	return newTimedConn(conn, l.writeTimeout), nil
}

func newTimedConn(conn net.Conn, writeTimeout time.Duration) *timedConn {
	reads := &lateReads{Conn: conn}
	return &timedConn{Conn: linger.NewConn(reads), reads: reads, writeTimeout: writeTimeout}
}

// timedConn has a deadline for every write. Its read deadlines are set late, also those that package
// linger sets.
type timedConn struct {
	*linger.Conn
	reads        *lateReads // what is below Conn
	writeTimeout time.Duration
	deadline     atomic.Int64 // of writes, in Unix nanoseconds; 0: not set by Write
}

// deadlineSlack is how much sooner than after its timeout a write may end: busy connections
// keep a deadline for so long, because setting it costs as much as forming a short answer.
const deadlineSlack = time.Second

// Unwrap lets package linger find its connection.
func (c *timedConn) Unwrap() net.Conn { return c.Conn }

func (c *timedConn) Write(p []byte) (int, error) {
	deadline := time.Now().Add(c.writeTimeout)
	if deadline.UnixNano()-c.deadline.Load() > int64(deadlineSlack) {
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		c.deadline.Store(deadline.UnixNano())
	}
	return c.Conn.Write(p)
}

// SetDeadline sets both deadlines. The next Write sets its own.
func (c *timedConn) SetDeadline(t time.Time) error {
	c.deadline.Store(0)
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline is called by net/http, which removes the deadline after a TLS handshake and
// after every answer. One that Write has set stays: the next Write would set it again.
func (c *timedConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && c.deadline.Load() != 0 {
		return nil
	}
	c.deadline.Store(0)
	return c.Conn.SetWriteDeadline(t)
}
