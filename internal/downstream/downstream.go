// Package downstream forwards calls to the APIs behind this service.
//
// Client.Forward makes one call: it gets a token, and reads a small body in advance. The
// request goes through Client.rewrite, retryTransport, uploadTransport and Transport; the
// response through Client.modifyResponse and responseWriter. A body goes through an
// Upload. Client.Send makes a call of the application's own, from memory and into memory,
// through the same transports. If the API switches to a WebSocket that the call asks for,
// Forward takes both connections and relays between them (see relay).
//
// httputil.ReverseProxy is not used. It copies request and headers more than once, and
// starts a timer for each response: a fifth of the allocations of a call.
//
// Three layers may send a request again, from memory (Upload.prefetch, record):
//   - retryTransport, with a new token after a 401; and an idempotent request, while
//     attempts are left, after a failed dial or a 502, 503 or 504: the API may recover.
//   - connPool, on a dedicated connection, if the API ended a shared HTTP/2 connection
//     before it processed the request, or the request is idempotent.
//   - net/http or http1Pool, if an idle connection turns out to be closed. See
//     retryTransport.send.
//
// Connections: one of HTTP/1.1 serves one request at a time. An http1Pool has those for small
// requests, over TLS once the API has responded over HTTP/1.1, and without TLS for uploads: bodies of
// known length that are read meanwhile. http.Transport has those for the rest. Those of HTTP/2 are
// shared by all callers, and pinged except for gRPC; a risky request has a dedicated one. A WebSocket
// has one of HTTP/1.1 to itself, also over TLS.
//
// Goroutines: a call runs in its handler's. deadline owns a timer until Forward returns.
// The transport reads the body; over HTTP/1.1 Upload.finish waits for the last read.
// record starts one for each read before the response, which ends with that read. An upload through
// an http1Pool has one in their place, which reads and sends (sender); it ends with the body or the
// connection, but not before a read that waits.
// responseWriter starts one for informational responses, which ends when none waits;
// endInformational waits for it. net/http owns those of connections; a connection of
// http1Pool has none.
// A relay has one for each direction, one of which is the handler's, and a third one while
// this service closes the WebSocket.
//
// Locks, in order: Upload.reading, deadline.mu, Upload.mu; deadline.mu, lifetime.mu. Others are
// held alone. flow.mu is held while a side of a WebSocket is written to, which closing the connection ends.
package downstream

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client forwards calls to one API.
type Client struct {
	config Config
	base   *url.URL
	prefix string // the escaped path of the base URL, without a slash at its end

	transport http.RoundTripper // sends the requests of calls

	dropRequest, dropResponse names // headers to remove, in addition to the fixed rules
}

// New returns a Client for c, whose Check must have passed.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("baseUrl: %w", err)
	}
	client := &Client{
		config: c, base: base, prefix: strings.TrimSuffix(base.EscapedPath(), "/"),
		transport:   retryTransport{uploadTransport{c.Transport}},
		dropRequest: names{}, dropResponse: names{},
	}
	for _, name := range c.DropRequest {
		client.dropRequest.add(name)
	}
	for name := range c.SetRequest {
		client.dropRequest.add(name)
	}
	for _, name := range c.DropResponse {
		client.dropResponse.add(name)
	}
	return client, nil
}

const (
	// maxAttempts keeps a mistyped number from flooding an API that is in trouble.
	maxAttempts = 10

	// streamThreshold is the length from which a response counts as a stream, which may
	// take as long as its reader needs. One of unknown length is a stream too.
	streamThreshold = 1 << 20

	// flushInterval is how long the headers or a part of a response of known length may
	// wait for the rest, so that short responses are sent in one piece. Others do not wait.
	flushInterval = 10 * time.Millisecond
)
