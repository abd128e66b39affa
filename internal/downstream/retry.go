package downstream

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// sending sends requests, and once more with a new token when the API rejects
// the one that was sent. Both are tried again where that may help.
type sending struct{ http.RoundTripper }

func (t sending) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r)
	if x.unsendable != nil {
		return nil, x.unsendable
	}
	resp, err := t.try(x, r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	_ = resp.Body.Close() // its reason is not for the caller, whose token is good
	challenges := challengesOf(resp.Header["Www-Authenticate"])
	if otherSchemes(challenges) != "" { // it is not about our token
		return nil, rejected(challenges, "answered 401")
	}
	refused := x.token
	if x.token, err = x.Token(r.Context(), Refused{refused, claimsOf(challenges)}); err != nil {
		return nil, tokenError{err}
	}
	if x.token == refused {
		return nil, rejected(challenges, "answered 401 again; no new token is fetched for a while")
	}
	if r.Body != nil && r.GetBody == nil {
		return nil, &Error{Kind: RejectedToken, Err: errors.New("answered 401 to a body that cannot be sent again")}
	}
	again := r.Clone(r.Context())
	again.Header.Set("Authorization", "Bearer "+x.token)
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, err = t.try(x, again)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		_ = resp.Body.Close()
		return nil, rejected(challengesOf(resp.Header["Www-Authenticate"]), "answered 401 twice")
	}
	return resp, err
}

// rejected is the error for an API's last 401 with these challenges.
func rejected(challenges []challenge, what string) *Error {
	e := &Error{Kind: RejectedToken, Claims: claimsOf(challenges), Schemes: otherSchemes(challenges)}
	if e.Schemes != "" {
		what += " and asks for another scheme than Bearer: " + e.Schemes
	}
	e.Err = errors.New(what)
	return e
}

// retryPause is waited before a request is sent again, and up to as much more, so
// that not all callers come back at once.
const retryPause = 50 * time.Millisecond

// maxRetryAfter is how long an API may ask to wait before a retry. A caller that
// would wait longer gets the answer at once, and decides by itself.
const maxRetryAfter = 2 * time.Second

// try sends r, and again after a pause while x allows it. Beneath, net/http and
// Transport do more: where the API closes a kept HTTP/1.1 connection at the moment
// a request is sent on it, a request that has not left, or that is safe (GET,
// HEAD, OPTIONS, or one with an Idempotency-Key) and was not answered, goes on
// another connection; and so does an HTTP/2 request that the API says it did not
// process.
func (t sending) try(x *exchange, r *http.Request) (*http.Response, error) {
	for {
		resp, err := t.RoundTripper.RoundTrip(r)
		pause, ok := x.pauseAfter(r, resp, err)
		if !ok {
			return resp, err
		}
		if err == nil {
			_ = resp.Body.Close() // another answer takes its place
		}
		select {
		case <-time.After(pause):
		case <-x.Done():
			return nil, x.Err()
		}
		x.retries--
		r = r.WithContext(r.Context()) // a copy
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// pauseAfter returns how long to wait before r is sent again. ok is false where
// it is not: the answer is not one of a server that may soon be well, the API may
// have acted on r and would do so twice, the body is gone, or there is no time.
func (x *exchange) pauseAfter(r *http.Request, resp *http.Response, err error) (pause time.Duration, ok bool) {
	if x.retries == 0 || !isIdempotent(r.Method) || r.Body != nil && r.GetBody == nil {
		return 0, false
	}
	pause = retryPause + rand.N(retryPause)
	if err != nil {
		var connect *net.OpError
		ok = errors.As(err, &connect) && connect.Op == "dial"
	} else {
		switch resp.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			wait := retryAfter(resp.Header.Get("Retry-After"))
			ok = wait <= maxRetryAfter
			pause += wait
		}
	}
	return pause, ok && x.deadline.remaining() > pause
}

// isIdempotent reports whether a request of the method may be sent twice
// (RFC 9110, section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// retryAfter reads the header of that name, in seconds or as a date (RFC 9110,
// section 10.2.3). What is not understood is no wish.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}
