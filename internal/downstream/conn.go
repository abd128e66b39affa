package downstream

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// tcpConn ends when what was sent is not acknowledged for unacknowledgedFor. It does
// not during an upload: an HTTP/1.1 server that does not read for a while has not died,
// but Linux would give that up as well (TCP_USER_TIMEOUT, tcp(7)). Then the timeouts of
// the request are left.
type tcpConn struct {
	net.Conn   // is tcp, without its ReadFrom, which would pass Write by
	tcp        *net.TCPConn
	unanswered atomic.Int64 // bytes that were written since the last read

	mu        sync.Mutex // held while the option of the socket is changed
	uploading atomic.Bool

	upload atomic.Pointer[replay] // the body that is sent over HTTP/1.1; nil: none
	ended  atomic.Bool            // nothing more can be read
}

func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	if n > 0 {
		c.unanswered.Store(0)
		c.setUploading(false)
	}
	return n, err
}

func (c *tcpConn) Write(p []byte) (int, error) {
	if c.unanswered.Add(int64(len(p))) > uploadFrom {
		c.setUploading(true)
	}
	return c.Conn.Write(p)
}

// Close closes the connection. TLS may have ended it before TCP did.
func (c *tcpConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// end lets go of a body that is sent: no answer will come.
func (c *tcpConn) end() {
	c.ended.Store(true)
	if b := c.upload.Load(); b != nil {
		b.giveUp()
	}
}

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
		giveUpUnacknowledged(c.tcp, 0)
	} else {
		giveUpUnacknowledged(c.tcp, unacknowledgedFor)
	}
}

// uploadConn ties the body of a request to the HTTP/1.1 connection that it is sent on.
// When that ends, net/http waits until it has read of the body what it is about to
// send, which may never come.
type uploadConn struct {
	rec  *record
	conn *tcpConn // nil for HTTP/2, where net/http closes the body
}

// got is called with the connection of each attempt before the request is written.
func (u *uploadConn) got(info httptrace.GotConnInfo) {
	u.leave()
	conn := innermostConn(info.Conn)
	if heard, ok := conn.(*heardConn); ok && !heard.http2.Load() {
		conn = heard.Conn
	}
	if tcp, ok := conn.(*tcpConn); ok {
		u.conn = tcp
		b := u.rec.attempt()
		tcp.upload.Store(b)
		if tcp.ended.Load() {
			b.giveUp()
		}
	}
}

// leave ends the tie.
func (u *uploadConn) leave() {
	if u.conn != nil {
		u.conn.upload.Store(nil)
		u.conn = nil
	}
}

// heardConn lets all be read that a server said before it closed the connection. A
// server that ends an HTTP/2 connection says before which requests it has not
// processed, and x/net/http2 forgets what it has not read yet when a write fails.
type heardConn struct {
	net.Conn
	http2  atomic.Bool    // or the one request on it is not sent again
	failed atomic.Bool    // nothing more can be written
	lost   *atomic.Uint64 // counts it when the server has closed it, or the network
	once   sync.Once      // closes what follows
	ended  chan struct{}  // when nothing more can be read
}

// hearing bounds the wait for what a server said last. It has arrived already.
const hearing = time.Second

// unread bounds how long an HTTP/2 connection that cannot be written is read. It ends by
// itself, but for errors that no end follows.
const unread = 10 * time.Second

// Read reads on for a while after a write that failed.
func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		if c.http2.Load() && !errors.Is(err, net.ErrClosed) { // by us
			c.lost.Add(1)
		}
		c.end()
	}
	return n, err
}

func (c *heardConn) end() { c.once.Do(func() { close(c.ended) }) }

// Write reports an error when all has been read. Over HTTP/2 it cannot wait for that:
// the one that reads writes as well, and waits while others do. So there what cannot be
// written is thrown away while there may be something to read.
func (c *heardConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	switch {
	case err == nil:
		return n, nil
	case !c.http2.Load():
		select {
		case <-c.ended:
		case <-time.After(hearing):
		}
		return n, err
	case !c.failed.Swap(true):
		_ = c.Conn.SetReadDeadline(time.Now().Add(unread))
	}
	select {
	case <-c.ended:
		return n, err
	default:
		return len(p), nil
	}
}

// Close closes the connection. Nothing more is read.
func (c *heardConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// innermostConn returns what is below TLS, of a proxy's as well.
func innermostConn(conn net.Conn) net.Conn {
	for outer, ok := conn.(*tls.Conn); ok; outer, ok = conn.(*tls.Conn) {
		conn = outer.NetConn()
	}
	return conn
}
