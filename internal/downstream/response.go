package downstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// modifyResponse removes from an API's response what is not for the caller.
func (c *Client) modifyResponse(call *call, resp *http.Response) error {
	if err := checkStatus(resp); err != nil {
		return err
	}
	c.stripResponse(resp.Header)
	c.rewriteLinks(call, resp.Header)
	if call.Private {
		makePrivate(resp.Header)
	}
	c.stripTrailer(resp.Trailer) // the announced names
	call.body = responseBody{resp.Body, call, c, resp}
	resp.Body = &call.body
	call.deadline.responded(call.stream || isStream(resp))
	if call.upload != nil {
		call.upload.closeIfIncomplete()
	}
	return nil
}

// checkStatus returns an error for a response that violates HTTP: a status below 100 or
// above 999, or a switch to another protocol, for which no request asks (RFC 9110,
// sections 15 and 7.8). net/http's server would panic on it, with the API's headers
// already set.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode >= http.StatusOK && resp.StatusCode <= 999 {
		return nil
	}
	return &Error{Kind: InvalidResponse, Err: fmt.Errorf("answered with status %03d", resp.StatusCode)}
}

// stripResponse removes from a response's headers or trailers what is not for the caller.
func (c *Client) stripResponse(h http.Header) {
	for name := range h {
		folded := fold(name)
		switch {
		case strings.HasPrefix(folded, "Access-Control-"), folded == "Timing-Allow-Origin",
			folded == "X-Request-Id", // this service sets its own
			folded == "Set-Cookie" && !c.config.KeepCookies,
			c.config.IsOwnCookie != nil && isForOrigin(folded),
			c.dropResponse.has(folded):
			delete(h, name)
		case folded == "Set-Cookie" && c.config.IsOwnCookie != nil:
			if h[name] = slices.DeleteFunc(h[name], c.setsOwnCookie); len(h[name]) == 0 {
				delete(h, name)
			}
		}
	}
}

// isForOrigin reports whether a browser applies a header to all of our origin: it would clear
// our cookies, or report the URLs of our requests, those of sign-ins too, to whom the API names
// (Network Error Logging, section 4).
func isForOrigin(folded string) bool {
	return folded == "Clear-Site-Data" || folded == "Nel" || folded == "Report-To"
}

// setsOwnCookie reports whether the value of a Set-Cookie header may set a cookie of this
// service. Browsers store a cookie without a name, and send its value where the name would
// be (RFC 6265bis, section 5.6): "=a=b" and "a=b" look the same in a request.
func (c *Client) setsOwnCookie(value string) bool {
	pair, _, _ := strings.Cut(value, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t="), "=")
	return c.config.IsOwnCookie(strings.TrimRight(name, " \t"))
}

// stripTrailer does the same for trailers, where fewer names are allowed (RFC 9110,
// section 6.5.1).
func (c *Client) stripTrailer(h http.Header) {
	c.stripResponse(h)
	for name := range h {
		if !httpguts.ValidTrailerHeader(name) {
			delete(h, name)
		}
	}
}

// responseBody is the body of an API's response. It reports when the body is truncated,
// unless the caller left. At its end all trailers have arrived.
type responseBody struct {
	io.ReadCloser
	call     *call
	client   *Client
	response *http.Response
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.client.stripTrailer(b.response.Trailer)
	case err != nil && b.call.Truncated != nil:
		if cause := b.call.cause(); cause == nil || errors.Is(cause, errTimeout) {
			*b.call.Truncated = err
		}
	}
	return n, err
}
