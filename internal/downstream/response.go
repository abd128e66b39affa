package downstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// modifyResponse takes out of an API's answer what is not for the caller, and
// lets streams run on. Where it returns an error, ReverseProxy closes the answer.
func (c *Client) modifyResponse(resp *http.Response) error {
	if err := checkStatus(resp); err != nil {
		return err
	}
	x := exchangeOf(resp.Request)
	c.stripResponse(resp.Header)
	c.rewriteLinks(x, resp.Header)
	c.stripTrailer(resp.Trailer) // what is announced
	resp.Body = &notedBody{resp.Body, x, c, resp}
	x.answer.accept() // first: until then an informational answer may use the caller's headers, as closeIfIncomplete does
	x.deadline.responded(x.streams || isStream(resp))
	if x.upload != nil {
		x.upload.closeIfIncomplete()
	}
	return nil
}

// checkStatus refuses an answer that HTTP does not allow: no status is below 100 or
// above 999, and nobody asked for another protocol (RFC 9110, sections 15 and 7.8).
// net/http's server would panic over it, with the API's headers already set.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode >= http.StatusOK && resp.StatusCode <= 999 {
		return nil
	}
	return &Error{Kind: InvalidResponse, Err: fmt.Errorf("answered with status %03d", resp.StatusCode)}
}

// stripResponse takes out of an answer's headers or trailers what is not for the
// caller.
func (c *Client) stripResponse(h http.Header) {
	for name := range h {
		if folded := fold(name); strings.HasPrefix(folded, "Access-Control-") || folded == "Timing-Allow-Origin" || c.dropResponse.has(folded) {
			delete(h, name)
		}
	}
}

// stripTrailer does the same for trailers, where less is allowed (RFC 9110,
// section 6.5.1).
func (c *Client) stripTrailer(h http.Header) {
	c.stripResponse(h)
	for name := range h {
		if !httpguts.ValidTrailerHeader(name) {
			delete(h, name)
		}
	}
}

// notedBody is an API's answer that tells when it breaks off. One that ends
// because the caller left did not break. At its end all trailers have come.
type notedBody struct {
	io.ReadCloser
	call   *exchange
	client *Client
	answer *http.Response
}

func (b *notedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.client.stripTrailer(b.answer.Trailer)
	case err != nil && b.call.Broken != nil:
		if cause := context.Cause(b.call); cause == nil || errors.Is(cause, errTimeout) {
			b.call.Broken(err)
		}
	}
	return n, err
}

// buffers are shared by all copies of bodies.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }
