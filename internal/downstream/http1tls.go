package downstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"os"
)

// tlsRecords is a connection below TLS. It follows the records that TLS reads from it: another
// request may use the connection only if TLS holds no part of another response, which would be
// taken for the response to that request.
type tlsRecords struct {
	net.Conn
	above *tls.Conn
	state tls.ConnectionState

	header  [5]byte // of the record that is read (RFC 8446, section 5.1); its length is at the end
	known   int     // bytes of header
	rest    int     // bytes of the record after its header
	probing bool    // nothing is read from Conn
	probe   [1]byte
}

// startTLS adds TLS to c, a connection for r. It fails with errNotHTTP1 if the API chooses HTTP/2,
// which is offered as http.Transport does.
func (c *http1Conn) startTLS(r *http.Request, t *Transport) error {
	config := &tls.Config{}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = r.URL.Hostname()
	}
	config.NextProtos = []string{"h2", "http/1.1"}
	config.DynamicRecordSizingDisabled = true // a small request is one record
	ctx := r.Context()
	if t.TLSHandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.TLSHandshakeTimeout)
		defer cancel()
	}
	records := &tlsRecords{Conn: c.Conn}
	records.above = tls.Client(records, config)
	if err := records.above.HandshakeContext(ctx); err != nil {
		return err
	}
	if records.state = records.above.ConnectionState(); records.state.NegotiatedProtocol == "h2" {
		return errNotHTTP1
	}
	c.Conn, c.tls = records.above, records
	return nil
}

func (c *tlsRecords) Read(p []byte) (int, error) {
	if c.probing {
		return 0, os.ErrDeadlineExceeded // which does not end TLS
	}
	n, err := c.Conn.Read(p)
	c.follow(p[:n])
	return n, err
}

// follow follows what TLS has read.
func (c *tlsRecords) follow(p []byte) {
	for len(p) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(p))
			c.rest, p = c.rest-n, p[n:]
			continue
		}
		n := copy(c.header[c.known:], p)
		c.known, p = c.known+n, p[n:]
		if c.known == len(c.header) {
			c.known, c.rest = 0, int(binary.BigEndian.Uint16(c.header[3:]))
		}
	}
}

// isEmpty reports whether TLS holds nothing: no data, no end, and no part of a record. It does not
// look at the socket, which readable does before the next request.
func (c *tlsRecords) isEmpty() bool {
	c.probing = true
	_, err := c.above.Read(c.probe[:])
	c.probing = false
	return errors.Is(err, os.ErrDeadlineExceeded) && c.known == 0 && c.rest == 0
}
