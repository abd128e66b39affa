package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"middletier/internal/api"
	"middletier/internal/linger"
)

// listen opens the public listener.
func (p *program) listen(s server, log *slog.Logger) (net.Listener, error) {
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return nil, err
	}
	if s.MaxConnections > 0 {
		listener = newLimited(listener, s.MaxConnections)
	}
	listener = patient{listener, log}
	if p.certificate != nil {
		listener = tls.NewListener(listener, p.certificate.config())
	}
	return listener, nil
}

// limited is a listener with so many connections at once. One that lingers counts
// until it is closed. The connections of netutil.LimitListener would hide CloseWrite.
type limited struct {
	net.Listener
	slots  chan struct{} // each holds a value of an open connection
	closed chan struct{}
	once   sync.Once // closes closed
}

func newLimited(listener net.Listener, connections int) *limited {
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

// patient is a listener that tells the log why it does not accept connections
// (net/http goes on trying), and whose connections wait so long for a reader and
// no longer.
type patient struct {
	net.Listener
	log *slog.Logger
}

func (l patient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			l.log.Error("a connection cannot be accepted", "error", err)
		}
		return nil, err
	}
	return patientConn{linger.NewConn(conn)}, nil
}

type patientConn struct{ *linger.Conn }

// Unwrap lets package linger find its own.
func (c patientConn) Unwrap() net.Conn { return c.Conn }

func (c patientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(api.StallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

const (
	// readHeaderTimeout ends connections that never finish their first lines, and
	// TLS handshakes.
	readHeaderTimeout = 10 * time.Second

	// idleTimeout is longer than that of usual load balancers, so that they
	// close first and no request meets a closing connection.
	idleTimeout = 90 * time.Second

	// maxStreams is how many requests may run on one HTTP/2 connection: the least
	// that RFC 9113, section 6.5.2, recommends. It also bounds how many handlers
	// run for streams that were reset already.
	maxStreams = 100

	// pingAfter is how long an HTTP/2 connection is silent until it is asked
	// whether it still lives: a stream to a caller that is gone would stay.
	pingAfter = 30 * time.Second

	// maxReadFrame is the largest frame that callers may send: the least that
	// RFC 9113, section 4.2, allows. Each connection may have to hold one.
	maxReadFrame = 16 << 10
)

// newServer returns what answers on a listener.
func newServer(s server, handler http.Handler, log *slog.Logger) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.H2C)
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		// Beyond this net/http answers 431 by itself, in plain text. Package api
		// answers first, as the contract says.
		MaxHeaderBytes: max(2*int(s.MaxHeaderSize), http.DefaultMaxHeaderBytes),
		Protocols:      protocols,
		ConnContext:    linger.Context,
		ConnState:      linger.Track,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, MaxReadFrameSize: maxReadFrame},
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
