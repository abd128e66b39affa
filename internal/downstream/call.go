package downstream

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"

	"middletier/internal/forwarded"
)

// TokenFunc returns the access token for a call. If the API rejected the last one, that
// is passed as rejected; the zero value asks for the first token.
type TokenFunc func(ctx context.Context, rejected Rejection) (string, error)

// Rejection is a token that an API answered with 401. A TokenFunc that returns the same
// token again has no other.
type Rejection struct {
	Token  string
	Claims string // the claims challenge, as JSON; "" for none
}

// Call is one request to forward.
type Call struct {
	Path      Path
	Token     TokenFunc
	RequestID string
	Forwarded forwarded.Client // what trusted proxies say about the caller
	// Prefix is the part of this service's path before the API's own path.
	Prefix string
	// PublicURL returns the URL by which the caller of r reaches the API's base URL.
	// With nil, links in responses are not rewritten. PublicURLVaries says that the
	// result depends on r.
	PublicURL       func(r *http.Request) string
	PublicURLVaries bool
	// Private says that a cookie brought the caller's token: no shared cache may keep the
	// answer.
	Private bool
	// Truncated is set to the error that ended a response early; nil: it is not.
	Truncated *error
	// WebSocket makes the call a handshake; nil: it is none.
	WebSocket *WebSocket
	// Inspect decides on the request's body before the token is fetched; nil: the body is not
	// inspected. The body is read whole then, and not larger than InspectLimit.
	Inspect func(body []byte) error
}

// call is one forwarded call in progress. It is the context of its request, so that it
// is found without a search and needs no allocation of its own.
type call struct {
	lifetime
	Call
	in       *http.Request // from the caller
	response responseWriter
	body     responseBody
	upload   *Upload // nil: no body
	deadline deadline
	token    string
	retries  int                   // how many are left
	stream   bool                  // the request is for a stream
	keep401  bool                  // a last 401 is a response like any other
	trace    httptrace.ClientTrace // of the API's responses; see Transport.RoundTrip

	headers   headerSize
	headerErr error // why the headers cannot be sent; nil: they can
	dedicated bool  // the request needs a dedicated connection, since the API ended a shared one
	attempt   attempt

	conn     net.Conn // of a handshake, to the API
	upgraded bool     // the API has accepted it

	values [9]string // of the headers that rewrite sets
	count  int       // of values
}

type callKey struct{}

// Value returns the call for its own key. For others it asks the request's context.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.lifetime.Value(key)
}

// callOf returns the call that r belongs to.
func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// findCall returns the call that r belongs to, or nil for another request, such as a
// health check.
func findCall(r *http.Request) *call {
	c, _ := r.Context().Value(callKey{}).(*call)
	return c
}

// publicPrefix is the path before the API's own as the caller sees it, as far as trusted
// proxies say.
func (c *call) publicPrefix() string { return c.Forwarded.Prefix + c.Prefix }

// wake is called by the deadline's timer. It ends the call if its deadline has passed, and
// the reading of its body, for which the transport waits. The context ends first, because
// its cause is the reason. Otherwise a part of the response may have waited long enough.
func (c *call) wake() {
	c.deadline.ifPassed(func(cause error) {
		c.end(cause)
		if c.upload != nil {
			c.upload.cutOff()
		}
	})
	c.response.flushLate()
}

// Forward makes the call and streams the response to w. If it returns an error, nothing
// has been written. The error is an *Error, ErrBody, ErrHeader, an error of
// params.Token or params.Inspect, an *http.MaxBytesError for a body that is too large, or
// context.Canceled when the caller left. Forward panics with http.ErrAbortHandler when the response is
// truncated, so that the caller's connection breaks too. After a WebSocket, the error is why
// it ended otherwise than by its two sides.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, params Call) error {
	call := &call{Call: params, in: r, retries: c.config.Attempts - 1}
	call.begin(r.Context())
	defer call.end(context.Canceled)
	call.response = responseWriter{ResponseWriter: w, call: call, client: c}
	call.trace.Got1xxResponse = call.response.passInformational
	if params.WebSocket != nil {
		call.trace.GotConn = call.noteConn
	}
	if r.ContentLength != 0 {
		var ok bool
		if call.upload, ok = r.Body.(*Upload); !ok {
			call.upload = NewUpload(w, r, 0)
		}
		call.upload.forward(&call.deadline)
	}
	call.deadline.start(c.config.RequestTimeout, c.config.Timeout, call.wake)
	defer call.deadline.stop()

	out := r.WithContext(call)
	if err := call.prepare(out); err != nil {
		if call.upload != nil {
			call.upload.PrepareEarlyReply()
		}
		return call.classify(err)
	}
	w.Header()["Content-Type"] = nil // otherwise net/http guesses one if the API sends none
	if call.upload != nil {
		// Otherwise net/http reads the rest of the body before the response begins. A
		// writer that returns an error is one of HTTP/2, which does not need this.
		_ = http.NewResponseController(w).EnableFullDuplex()
		defer call.upload.finish()
		if err := call.upload.prefetch(out); err != nil {
			return call.classify(err)
		}
	}
	call.stream = wantsStream(r.Header)
	call.deadline.awaitResponse(call.stream)
	err := c.forward(call, out)
	if call.upgraded {
		return err
	}
	return call.classify(err)
}

// prepare does what comes before out is sent: a decision on its body, if Inspect makes
// one, and the token.
func (c *call) prepare(out *http.Request) (err error) {
	if c.Inspect != nil {
		var body []byte
		if c.upload != nil {
			if body, err = c.upload.readWhole(out, InspectLimit); err != nil {
				return err
			}
		}
		if err := c.Inspect(body); err != nil {
			return callerError{err}
		}
	}
	if c.token, err = c.Token(c, Rejection{}); err != nil {
		return callerError{err}
	}
	return nil
}

// forward sends a request to the API, and its response to the caller.
func (c *Client) forward(call *call, out *http.Request) error {
	c.rewrite(call, out)
	resp, err := c.transport.RoundTrip(out)
	call.response.endInformational()
	if err != nil {
		return err
	}
	if call.isAccepted(resp) {
		return c.startRelay(call, resp)
	}
	stripHopByHop(resp.Header)
	if err := c.modifyResponse(call, resp); err != nil {
		_ = resp.Body.Close()
		return err
	}
	call.response.send(resp)
	return nil
}
