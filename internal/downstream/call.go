package downstream

import (
	"context"
	"net/http"

	"middletier/internal/forwarded"
)

// TokenFunc returns the access token for a call. What an API had against the
// last one is passed as refused, whose zero value is for the first.
type TokenFunc func(ctx context.Context, refused Refused) (string, error)

// Refused is a token that an API answered with 401. A TokenFunc that gives the same
// one again has no other.
type Refused struct {
	Token  string
	Claims string // what the API asks for instead, as JSON; "" for nothing
}

// Call is one request to forward.
type Call struct {
	Path      Path
	Token     TokenFunc
	RequestID string
	Forwarded forwarded.Client // what proxies say about the caller
	// Prefix is the path before the API's own, as the service is asked.
	Prefix string
	// OwnURL returns the URL by which the caller of r reaches the API's base URL,
	// nil: links of the API's stay as they are. OwnURLVaries says that it depends on
	// r.
	OwnURL       func(r *http.Request) string
	OwnURLVaries bool
	// Broken is told what ended an answer before its end.
	Broken func(error)
}

// exchange is the state of one call. It is the request's context itself, so that
// it is found without a search and costs no allocation of its own.
type exchange struct {
	context.Context // of the request
	Call
	in       *http.Request // the caller's
	answer   answerWriter
	upload   *Upload // nil: no body
	deadline deadline
	cancel   context.CancelCauseFunc
	token    string
	retries  int  // that are left
	streams  bool // a stream is asked for
	err      error

	unsendable error // why the request cannot be sent; nil where it can
	headers    headerSize
	alone      bool // the request gets a connection of its own, since an API ended a shared one
	attempt    attempt

	values [7]string // of the headers that rewrite sets
	count  int       // of values
}

type exchangeKey struct{}

// prefix is the path before the API's own as the caller sees it, as far as trusted
// proxies say.
func (x *exchange) prefix() string { return x.Forwarded.Prefix + x.Prefix }

// Value returns the exchange for its own key, and else what the caller's context
// has.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

// expire ends the call if its deadline has passed, and the reading of its body, for
// which the transport waits. The context ends first, because its cause is the reason.
func (x *exchange) expire() {
	x.deadline.ifPassed(func(cause error) {
		x.cancel(cause)
		if x.upload != nil {
			x.upload.cutOff()
		}
	})
}

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// Forward makes the call and streams the answer to w. Where it returns an error
// nothing has been written: an *Error, ErrBody, ErrHeader, an error of call.Token, an
// *http.MaxBytesError for a body beyond the limit set on it, or context.Canceled
// when the caller left. It panics with http.ErrAbortHandler when the answer
// breaks off, so that the caller's connection breaks too.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, call Call) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{Context: ctx, Call: call, in: r, cancel: cancel, retries: c.config.Attempts - 1}
	x.answer = answerWriter{ResponseWriter: w, call: x, client: c}
	if r.ContentLength != 0 {
		var ok bool
		if x.upload, ok = r.Body.(*Upload); !ok {
			x.upload = NewUpload(w, r, 0)
		}
		x.upload.forward(&x.deadline)
	}
	x.deadline.start(c.config.RequestTimeout, c.config.Timeout, x.expire)
	defer x.deadline.stop()

	var err error
	if x.token, err = call.Token(ctx, Refused{}); err != nil {
		if x.upload != nil {
			x.upload.PrepareEarlyReply()
		}
		return classify(ctx, tokenError{err})
	}
	r = r.WithContext(x)
	w.Header()["Content-Type"] = nil // else net/http would guess one where the API sends none
	if x.upload != nil {
		// Else net/http would read the rest of the body before it lets an answer
		// begin. Where the writer cannot, HTTP/2 can anyway.
		_ = http.NewResponseController(w).EnableFullDuplex()
		defer x.upload.finish()
		if err := x.upload.prefetch(r); err != nil {
			return classify(ctx, err)
		}
	}
	x.streams = asksForStream(r.Header)
	x.deadline.awaitResponse(x.streams)
	c.proxy.ServeHTTP(&x.answer, r)
	x.answer.settle()
	return classify(ctx, x.err)
}
