package downstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Outgoing is a call that this service makes for the application itself, instead of
// passing on a caller's request.
type Outgoing struct {
	Method    string
	Path      Path
	Query     string // that of the URL, encoded
	Header    http.Header
	Body      []byte // nil: none
	Token     TokenFunc
	RequestID string    // "": none
	MaxAnswer int64     // the size of the largest body that is read
	Begin     time.Time // when RequestTimeout began; zero: now
}

// Answer is an API's response, read to its end.
type Answer struct {
	Status int
	Header http.Header // without hop-by-hop headers, Set-Cookie, and those to be dropped
	Body   []byte
}

// Send makes the call and reads the response. It follows no redirect, and remembers no
// cookie. Tokens, retries, deadlines and errors are those of Forward, with two
// differences: a response is never a stream, so RequestTimeout bounds every call; and a
// last 401 is an Answer like any other, since the application may know what to do. A body
// larger than MaxAnswer is an *Error of kind ResponseTooLarge.
func (c *Client) Send(ctx context.Context, o Outgoing) (*Answer, error) {
	call := &call{
		Call:    Call{Path: o.Path, Token: o.Token, RequestID: o.RequestID},
		retries: c.config.Attempts - 1, keep401: true,
	}
	call.begin(ctx)
	defer call.end(context.Canceled)
	remaining := c.config.RequestTimeout
	if !o.Begin.IsZero() {
		remaining = time.Until(c.Deadline(o.Begin))
	}
	call.deadline.start(remaining, c.config.Timeout, call.wake)
	defer call.deadline.stop()

	var err error
	if call.token, err = o.Token(call, Rejection{}); err != nil {
		return nil, call.classify(callerError{err})
	}
	call.deadline.awaitResponse(false)
	resp, err := c.transport.RoundTrip(c.request(call, o))
	if err != nil {
		return nil, call.classify(err)
	}
	defer resp.Body.Close()
	call.deadline.responded(false)
	answer, err := c.read(resp, o.MaxAnswer)
	return answer, call.classify(err)
}

// Deadline returns the end of a request that began at begin.
func (c *Client) Deadline(begin time.Time) time.Time { return begin.Add(c.config.RequestTimeout) }

// request returns the request of an outgoing call. The names of its headers are in
// canonical form.
func (c *Client) request(call *call, o Outgoing) *http.Request {
	h := make(http.Header, len(o.Header)+len(c.config.SetRequest)+3)
	for name, values := range o.Header {
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], values...)
	}
	stripHopByHop(h)
	c.stripRequest(h)
	for name, value := range c.config.SetRequest {
		h.Set(name, value)
	}
	call.set(h, "Authorization", "Bearer "+call.token)
	if o.RequestID != "" {
		call.set(h, "X-Request-Id", o.RequestID)
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // otherwise net/http sends its own
	}
	call.headers, call.headerErr = measure(h)

	r := &http.Request{
		Method: o.Method, URL: c.URL(o.Path, o.Query), Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if len(o.Body) > 0 {
		r.ContentLength = int64(len(o.Body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(o.Body)), nil }
		r.Body, _ = r.GetBody()
	}
	return r.WithContext(call)
}

// read reads a response to its end.
func (c *Client) read(resp *http.Response, limit int64) (*Answer, error) {
	if err := checkStatus(resp); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the response ended early: %w", err)
	case int64(len(body)) > limit:
		return nil, &Error{Kind: ResponseTooLarge, Err: fmt.Errorf("answered with more than %d bytes", limit)}
	}
	h := resp.Header
	stripHopByHop(h)
	for name := range h {
		if folded := fold(name); folded == "Set-Cookie" || c.dropResponse.has(folded) {
			delete(h, name)
		}
	}
	return &Answer{Status: resp.StatusCode, Header: h, Body: body}, nil
}
