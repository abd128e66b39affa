// Package forwarded reads and writes what proxies say about the client of a
// request: X-Forwarded-For, -Host, -Proto and -Prefix, and Forwarded (RFC 7239).
//
// Headers of trusted proxies are read and continued. Those of anybody else are
// ignored and replaced.
package forwarded

import (
	"net/http"
	"net/netip"
)

// Client is what trusted proxies say about the client of a request. An empty field
// was not said: the request itself shows it.
type Client struct {
	For         []netip.Addr // the client, then proxies; without the request's own peer
	Host, Proto string       // as the client called
	Prefix      string       // that a proxy removed from the path; without a slash at its end
}

// Complete returns c with what r itself shows in the empty fields. Host stays empty
// if r has none (HTTP/1.0, or an empty Host).
func (c Client) Complete(r *http.Request) Client {
	if c.Host == "" {
		c.Host = r.Host
	}
	switch {
	case c.Proto != "":
	case r.TLS != nil:
		c.Proto = "https"
	default:
		c.Proto = "http"
	}
	return c
}
