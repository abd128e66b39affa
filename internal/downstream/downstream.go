// Package downstream forwards calls to the APIs behind us.
package downstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/failure"
	"middletier/internal/forwarded"
)

// Config describes one API. The keys in its errors are those of an entry of the
// downstreamApis section.
type Config struct {
	// BaseURL is what paths are joined under. Its scheme is http, https, or h2c for
	// HTTP/2 without TLS.
	BaseURL string
	// Timeout is how long the API may take until its response headers are here, or
	// until it takes more of a body that is sent as it comes. It does not bound a
	// request for a stream.
	Timeout time.Duration
	// Attempts is how often a call is sent at most, 1 for no retries. Once more
	// with a new token is another matter.
	Attempts int
	// RequestTimeout bounds the whole request, unless it is for a stream or its answer
	// is one.
	RequestTimeout time.Duration
	// KeepCookies lets Set-Cookie of the API through to callers.
	KeepCookies bool
	// DropRequest and DropResponse are headers to leave out, beyond the rules. An
	// underscore in a header's name is a dash.
	DropRequest, DropResponse []string
	// SetRequest are headers to set on every request to the API, in place of the
	// caller's.
	SetRequest map[string]string
	// Transport sends the requests. See Transport.
	Transport http.RoundTripper
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		report("baseUrl", "must be set: the URL that paths are joined under")
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", schemeH2C}, u.Scheme):
		report("baseUrl", "must be an http or https URL, or h2c for HTTP/2 without TLS")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		report("baseUrl", "must have no query, fragment or user")
	default:
		if _, err := ParsePath(u.EscapedPath()); err != nil {
			report("baseUrl", "must have a plain path: no dot segments, encoded slashes or empty segments")
		}
	}
	if c.Timeout <= 0 {
		report("timeout", "must be positive")
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		report("retry.attempts", fmt.Sprintf("must be between 1, for no retries, and %d", maxAttempts))
	}
	for name, value := range c.SetRequest {
		switch {
		case isOurs(fold(http.CanonicalHeaderKey(name))):
			report("requestHeaders.set", fmt.Sprintf("%q is set by the service itself", name))
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			report("requestHeaders.set", fmt.Sprintf("%q is not a header that can be sent", name))
		}
	}
}

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

// Kind is what happened to a call that the API did not answer usefully.
type Kind int

// The kinds of Error.
const (
	Unreachable Kind = iota
	Timeout
	RejectedToken
	InvalidResponse // HTTP does not allow it
	HeadersTooLarge // for the API; it has not processed the request
)

func (k Kind) String() string {
	return [...]string{"unreachable", "timeout", "rejected token", "invalid response", "headers too large"}[k]
}

// Error is a call that failed on the way to the API.
type Error struct {
	Kind   Kind
	Claims string // with RejectedToken: what the API asks for, as JSON
	// Schemes are, with RejectedToken, the authentication schemes that the API asks
	// for where a bearer token is none of them; "" else.
	Schemes string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("downstream: %s: %v", e.Kind, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

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
		Transport:      sending{uploads{c.Transport}},
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

// exchange is the state of one call. It is the request's context itself, so that
// it is found without a search and costs no allocation of its own.
type exchange struct {
	context.Context // of the request
	Call
	in      *http.Request // the caller's
	answer  answerWriter
	limit   limit
	token   string
	retries int  // that are left
	streams bool // a stream is asked for
	err     error

	unsendable error // why the request cannot be sent; nil where it can
	headers    headerSize
	alone      bool // the request gets a connection of its own, since an API ended a shared one
	attempt    attempt

	values [7]string // of the headers that rewrite sets
	count  int       // of values

	trailer http.Header // of the request to the API; its values come with the body's end
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

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// Forward makes the call and streams the answer to w. Where it returns an error
// nothing has been written: an *Error, ErrBody, ErrHeader, an error of call.Token, an
// *http.MaxBytesError for a body beyond the limit set on it, or context.Canceled
// when the caller left. It panics with http.ErrAbortHandler when the answer
// breaks off, so that the caller's connection breaks too.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, call Call) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{Context: ctx, Call: call, in: r, retries: c.config.Attempts - 1}
	x.answer = answerWriter{ResponseWriter: w, call: x, client: c}
	if r.ContentLength != 0 {
		body, ok := r.Body.(*Upload)
		if !ok {
			body = NewUpload(w, r, 0)
		}
		body.call, x.limit.body = x, body
	}
	x.limit.start(c.config.RequestTimeout, c.config.Timeout, cancel)
	defer x.limit.stop()

	var err error
	if x.token, err = call.Token(ctx, Refused{}); err != nil {
		Refuse(w, r)
		return classify(ctx, tokenError{err})
	}
	r = r.WithContext(x)
	w.Header()["Content-Type"] = nil // else net/http would guess one where the API sends none
	if body := x.limit.body; body != nil {
		// Else net/http would read the rest of the body before it lets an answer
		// begin. Where the writer cannot, HTTP/2 can anyway.
		_ = http.NewResponseController(w).EnableFullDuplex()
		defer body.leave()
		if err := body.keep(r); err != nil {
			return classify(ctx, err)
		}
	}
	x.streams = asksForStream(r.Header)
	x.limit.ask(x.streams)
	c.proxy.ServeHTTP(&x.answer, r)
	x.answer.settle()
	return classify(ctx, x.err)
}

// classify says what an error of a call was.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var ours *Error
	var token tokenError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errLateBody):
		return fmt.Errorf("%w: %w", ErrBody, cause)
	case cause != nil && !errors.Is(cause, errTimeout):
		return fmt.Errorf("the caller left: %w", cause)
	case errors.Is(err, ErrBody), errors.Is(err, ErrHeader): // in it may be an *http.MaxBytesError
		return err
	case cause != nil:
		return &Error{Kind: Timeout, Err: cause}
	case errors.As(err, &token):
		return token.error
	case errors.As(err, &ours):
		return err
	}
	return &Error{Kind: Unreachable, Err: failure.Of(err)}
}

// tokenError marks an error of a TokenFunc among those of the transport.
type tokenError struct{ error }
