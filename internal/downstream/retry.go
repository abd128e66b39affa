package downstream

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"middletier/internal/reply"
)

// retryTransport sends requests, and sends a request again with a new token when the API
// rejects the first one. Both are retried; see send.
type retryTransport struct{ http.RoundTripper }

func (t retryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := callOf(r)
	if c.headerErr != nil {
		return nil, c.headerErr
	}
	resp, err := t.send(c, r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	challenges := challengesOf(resp.Header["Www-Authenticate"])
	if otherSchemes(challenges) != "" { // the API asks for no bearer token
		return c.tokenRejected(resp, challenges, "answered 401")
	}
	if !c.keep401 {
		_ = resp.Body.Close()
	}
	rejected := c.token
	c.deadline.responded(c.stream)
	if c.token, err = c.Token(c, Rejection{rejected, claimsOf(challenges)}); err != nil {
		_ = resp.Body.Close()
		return nil, callerError{err}
	}
	if c.token == rejected {
		return c.tokenRejected(resp, challenges, "answered 401, and no new token is fetched for a while")
	}
	_ = resp.Body.Close() // the next response replaces it
	if r.Body != nil && r.GetBody == nil {
		return nil, &Error{Kind: RejectedToken, Err: errors.New("answered 401 to a body that cannot be sent again")}
	}
	again := r.Clone(r.Context())
	again.Header.Set("Authorization", "Bearer "+c.token)
	if c.headers, c.headerErr = measure(again.Header); c.headerErr != nil { // the new token may be larger
		return nil, c.headerErr
	}
	if again, err = withNewBody(again); err != nil {
		return nil, err
	}
	c.deadline.awaitResponse(c.stream)
	resp, err = t.send(c, again)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		return c.tokenRejected(resp, challengesOf(resp.Header["Www-Authenticate"]), "answered 401 twice")
	}
	return resp, err
}

// tokenRejected returns what becomes of an API's last 401, which has these challenges: an
// error, since its text is about our token and not the caller's, or with keep401 resp.
func (c *call) tokenRejected(resp *http.Response, challenges []challenge, what string) (*http.Response, error) {
	if c.keep401 {
		return resp, nil
	}
	_ = resp.Body.Close()
	e := &Error{Kind: RejectedToken, Claims: claimsOf(challenges), Schemes: otherSchemes(challenges)}
	if e.Schemes != "" {
		what += " and asks for another scheme than Bearer: " + e.Schemes
	}
	e.Err = errors.New(what)
	return nil, e
}

// retryPause is the pause before a retry. A random pause of up to the same length is
// added, so that not all callers retry at once.
const retryPause = 50 * time.Millisecond

// maxRetryAfter is the longest Retry-After that is waited for. With a longer one the
// response is passed on at once, and the caller decides.
const maxRetryAfter = 2 * time.Second

// send sends r, and retries it after a pause while pauseAfter allows it. Below it,
// net/http and Transport send a request again without counting: if the API closes an idle
// HTTP/1.1 connection at the moment a request is sent on it, they send the request on
// another connection if nothing of it was written, or if it is safe (GET, HEAD, OPTIONS,
// TRACE, or one with an Idempotency-Key) and has no response: an http1Pool on a new one. An
// HTTP/2 request that the API did not process is sent again too.
func (t retryTransport) send(c *call, r *http.Request) (*http.Response, error) {
	for {
		resp, err := t.RoundTripper.RoundTrip(r)
		pause, ok := c.pauseAfter(r, resp, err)
		if !ok {
			return resp, err
		}
		if err == nil {
			_ = resp.Body.Close() // the next response replaces it
		}
		select {
		case <-time.After(pause):
		case <-c.Done():
			return nil, c.Err()
		}
		c.retries--
		if r, err = withNewBody(r); err != nil {
			return nil, err
		}
	}
}

// pauseAfter returns how long to wait before r is retried. ok is false if it is not
// retried: the API is not expected to recover soon, may have processed r although it is
// not idempotent, the body cannot be sent again, or too little time remains.
func (c *call) pauseAfter(r *http.Request, resp *http.Response, err error) (pause time.Duration, ok bool) {
	if c.retries == 0 || !isIdempotent(r.Method) || r.Body != nil && r.GetBody == nil {
		return 0, false
	}
	pause = retryPause + rand.N(retryPause)
	if err != nil {
		var connect *net.OpError
		ok = errors.As(err, &connect) && connect.Op == "dial"
	} else {
		switch resp.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			wait, _ := reply.RetryAfter(resp.Header, time.Now())
			ok = wait <= maxRetryAfter
			pause += wait
		}
	}
	return pause, ok && c.deadline.remaining() > pause
}

// isIdempotent reports whether a request of the method may be sent twice (RFC 9110,
// section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
