package downstream

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// tcpConn ends when sent data is not acknowledged for userTimeout. It does not during an
// upload: an HTTP/1.1 server that does not read for a while is not dead, but Linux would
// give that connection up as well (TCP_USER_TIMEOUT, tcp(7)). During an upload only the
// timeouts of the request apply.
type tcpConn struct {
	net.Conn             // is tcp, without what would bypass Read and Write
	tcp                  *net.TCPConn
	writtenSinceLastRead atomic.Int64 // bytes
	writes               atomic.Int64 // in progress

	mu        sync.Mutex // held while the socket option is changed
	uploading atomic.Bool

	body      atomic.Pointer[replay] // the body that is sent over HTTP/1.1; nil: none
	readEnded atomic.Bool            // a read returned an error, or the connection is closed
}

func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.endRead()
	}
	if n > 0 && (!c.uploading.Load() || c.isSent()) {
		c.endUpload()
	}
	return n, err
}

// endUpload notes that nothing is on its way to the server.
func (c *tcpConn) endUpload() {
	c.writtenSinceLastRead.Store(0)
	c.setUploading(false)
}

// isSent reports whether everything is sent and acknowledged. A server may answer, or send
// an informational response, while it does not read.
func (c *tcpConn) isSent() bool { return c.writes.Load() == 0 && isQueueEmpty(c.tcp) }

func (c *tcpConn) Write(p []byte) (int, error) {
	c.writes.Add(1) // before uploading is set, which Read may see
	defer c.writes.Add(-1)
	if c.writtenSinceLastRead.Add(int64(len(p))) > uploadThreshold {
		c.setUploading(true)
	}
	return c.Conn.Write(p)
}

// Close closes the connection.
func (c *tcpConn) Close() error {
	c.endRead() // TLS may close the connection without a failed Read
	return c.Conn.Close()
}

// endRead closes the body that is being sent: no response will come.
func (c *tcpConn) endRead() {
	c.readEnded.Store(true)
	if b := c.body.Load(); b != nil {
		b.abandon()
	}
}

// setUploading switches the user timeout off for an upload, and on again after it.
func (c *tcpConn) setUploading(uploading bool) {
	if c.uploading.Load() == uploading {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uploading.Swap(uploading) == uploading {
		return
	}
	if uploading {
		setUserTimeout(c.tcp, 0)
	} else {
		setUserTimeout(c.tcp, userTimeout)
	}
}

// uploadWatch closes the body of an attempt when the HTTP/1.1 connection of that attempt
// ends. net/http would wait until it has read the next part of the body, which the caller
// may never send.
type uploadWatch struct {
	rec  *record
	conn *tcpConn // nil for HTTP/2, where net/http closes the body
	body *replay  // that conn sends

	trace httptrace.ClientTrace // calls gotConn, and what the call's own trace does
}

// watchUpload returns a copy of r, a request with a body, that is recorded and watched. c is
// the call of r; nil: none. There is one trace only, because combining two takes long; a
// handshake, whose call notes its connection too, has no body.
func watchUpload(r *http.Request, c *call) (*http.Request, *uploadWatch) {
	limit := recordLimit
	if r.URL.Scheme == "http" {
		limit = recordLimitHTTP1
	}
	watch := &uploadWatch{}
	if c != nil {
		watch.trace.Got1xxResponse = c.trace.Got1xxResponse
	}
	watch.trace.GotConn = watch.gotConn
	sent := r.WithContext(httptrace.WithClientTrace(r.Context(), &watch.trace))
	watch.rec = recordBody(sent, limit)
	return sent, watch
}

// gotConn is called with the connection of each attempt before the request is written.
func (u *uploadWatch) gotConn(info httptrace.GotConnInfo) {
	u.stop()
	conn := unwrapTLS(info.Conn)
	if draining, ok := conn.(*drainingConn); ok && !draining.http2.Load() {
		conn = draining.Conn
	}
	if tcp, ok := conn.(*tcpConn); ok {
		// net/http may use a body again that it has not read.
		u.conn, u.body = tcp, u.rec.resume()
		tcp.body.Store(u.body)
		if tcp.readEnded.Load() {
			u.body.abandon()
		}
	}
}

// stop ends the watch. Another request may use the connection already.
func (u *uploadWatch) stop() {
	if u.conn != nil {
		u.conn.body.CompareAndSwap(u.body, nil)
		u.conn = nil
	}
}

// drainingConn is read to its end after a write has failed. Over HTTP/1.1 an API may respond to a
// part of a body and close the connection, and net/http would return the failed write. A server
// that ends an HTTP/2 connection first says in GOAWAY which requests it has not processed, and
// x/net/http2 discards what it has not read yet when a write fails.
type drainingConn struct {
	net.Conn
	http2       atomic.Bool    // it is one of HTTP/2, or a dedicated one
	writeFailed atomic.Bool    // nothing more can be written
	lostConns   *atomic.Uint64 // counts the connection when the server or the network ends it
	once        sync.Once      // closes readEnded
	readEnded   chan struct{}  // closed when nothing more can be read
}

const (
	// drainTimeoutHTTP1 bounds how long a failed write waits until the response is read,
	// which has arrived already.
	drainTimeoutHTTP1 = time.Second

	// drainTimeoutHTTP2 bounds how long a connection is read after a failed write. Most
	// end at once; after some errors no end arrives.
	drainTimeoutHTTP2 = 10 * time.Second
)

func (c *drainingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		if c.http2.Load() && !errors.Is(err, net.ErrClosed) { // not closed by us
			c.lostConns.Add(1)
		}
		c.endRead()
	}
	return n, err
}

func (c *drainingConn) endRead() { c.once.Do(func() { close(c.readEnded) }) }

// Write returns an error only after everything has been read. Over HTTP/2 it cannot wait
// for that, because the goroutine that reads also writes, and waits while others write.
// So there it discards data and reports success while there may be something to read.
func (c *drainingConn) Write(p []byte) (n int, err error) {
	if c.writeFailed.Load() { // nothing may follow a gap
		err = net.ErrClosed
	} else {
		n, err = c.Conn.Write(p)
	}
	switch {
	case err == nil:
		return n, nil
	case !c.http2.Load():
		select {
		case <-c.readEnded:
		case <-time.After(drainTimeoutHTTP1):
		}
		return n, err
	case !c.writeFailed.Swap(true):
		_ = c.Conn.SetReadDeadline(time.Now().Add(drainTimeoutHTTP2))
	}
	select {
	case <-c.readEnded:
		return n, err
	default:
		return len(p), nil
	}
}

// Close closes the connection without reading more.
func (c *drainingConn) Close() error {
	c.endRead()
	return c.Conn.Close()
}

// unwrapTLS returns the connection below TLS, and below a proxy's TLS.
func unwrapTLS(conn net.Conn) net.Conn {
	for outer, ok := conn.(*tls.Conn); ok; outer, ok = conn.(*tls.Conn) {
		conn = outer.NetConn()
	}
	return conn
}
