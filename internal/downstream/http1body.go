package downstream

import (
	"io"
	"math"
	"net/http"
	"sync/atomic"
)

// http1Body is the body of a response. At its end the connection is idle.
type http1Body struct {
	io.ReadCloser
	conn      *http1Conn
	transport *Transport // whose settings the pool of conn follows
	request   *http.Request
	sender    *sender     // sends the request's body; nil: it was sent before
	stop      func() bool // the closing of the connection when the request's context ends
	keep      bool        // the connection may be used again
	ended     bool        // Read has returned io.EOF
	finished  atomic.Bool
}

// receive reads the headers of the response, whose body is b. It is the last one of its connection
// if last is true. After an error the connection is closed.
func (b *http1Body) receive(last bool) (*http.Response, error) {
	c := b.conn
	resp, err := c.readResponse(b.request, b.transport.MaxResponseHeaderBytes)
	if err != nil {
		b.finish(false)
		return nil, err
	}
	c.head = math.MaxInt64 // it is the body from now on
	c.received.Store(true)
	if last || b.sender != nil {
		c.awaitRest()
	}
	if c.tls != nil {
		resp.TLS = &c.tls.state
	}
	resp.Close = resp.Close || last
	b.ReadCloser, b.keep = resp.Body, !resp.Close
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols: // nobody asked for it
		b.keep = false
	case resp.Body == http.NoBody:
		b.finish(true)
		return resp, nil
	}
	resp.Body = b
	return resp, nil
}

func (b *http1Body) Read(p []byte) (int, error) {
	switch {
	case b.ended:
		return 0, io.EOF
	case b.finished.Load():
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.ended = true
		b.finish(true)
	case err != nil:
		b.finish(false)
		err = causeOr(b.request, err)
	}
	return n, err
}

// Close closes the connection, unless the body was read to its end. It ends a Read that waits.
func (b *http1Body) Close() error {
	b.finish(false)
	return nil
}

// finish ends the use of the connection, which is kept if the response has been read to its
// end and nothing more has come.
func (b *http1Body) finish(complete bool) {
	if b.finished.Swap(true) {
		return
	}
	running := b.stop()
	if complete && b.keep && running && (b.sender == nil || b.sender.isComplete()) && b.conn.isEmpty() {
		b.conn.pool.put(b.transport, b.conn)
		return
	}
	_ = b.conn.Close() // it may be closed already
}

// isEmpty reports whether nothing more has come than was read.
func (c *http1Conn) isEmpty() bool {
	return c.in.Buffered() == 0 && (c.tls == nil || c.tls.isEmpty())
}
