// Package downstream forwards calls to the APIs behind us.
package downstream

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// Client forwards calls to one API.
type Client struct {
	config Config
	base   *url.URL
	prefix string // the base URL's path without a slash at its end, as it is sent
	proxy  *httputil.ReverseProxy

	dropRequest, dropResponse names // what does not pass, beyond the fixed rules
}

// New returns a Client for c, whose Check must have passed.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("baseUrl: %w", err)
	}
	client := &Client{
		config: c, base: base, prefix: strings.TrimSuffix(base.EscapedPath(), "/"),
		dropRequest: names{}, dropResponse: names{"X-Request-Id": {}}, // ours is set
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
	if !c.KeepCookies {
		client.dropResponse.add("Set-Cookie")
	}
	client.proxy = &httputil.ReverseProxy{
		Rewrite:        client.rewrite,
		Transport:      sending{uploadTransport{c.Transport}},
		ModifyResponse: client.modifyResponse,
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { exchangeOf(r).err = err },
		BufferPool:     buffers{},
		FlushInterval:  flushAfter,
		ErrorLog:       log.New(io.Discard, "", 0), // what matters comes back from Forward
	}
	return client, nil
}

const (
	// maxAttempts keeps a mistyped number from multiplying an API's troubles.
	maxAttempts = 10

	// streamFrom is the length from which an answer is a stream: how long it
	// takes is up to its reader. So is one of unknown length.
	streamFrom = 1 << 20

	// flushAfter is how long a part of an answer of known length may wait for the
	// rest, so that quick answers leave in one piece. Others do not wait.
	flushAfter = 10 * time.Millisecond
)
