package problem

import (
	"fmt"
	"time"
)

// Errors of requests, each answered with the problem that it holds.
var (
	ErrNoToken      = New("missing-token", "The request has no bearer token.")
	ErrPresentation = &Error{Problem{
		Kind: "invalid-request", Detail: "The Authorization header is not one bearer token.", Challenge: `Bearer error="invalid_request"`,
	}}
	ErrBodyTooLarge    = New("body-too-large", "The request body is larger than this service accepts.")
	ErrHeadersTooLarge = New("headers-too-large", "The request headers are larger than this service accepts.")
	ErrUpgrade         = New("upgrade-not-supported", "A WebSocket is not supported here.")
	ErrUnknownAPI      = New("unknown-api", "No downstream API of that name is configured.")
	ErrNotFound        = New("not-found", "There is nothing at this path.")
	ErrMethod          = New("method-not-allowed", "This path does not support the method.") // whoever returns it sets Allow
	ErrAppOnUser       = New("wrong-token-type", "The token has no user. Calls without a user go to /app/{name}/.")
	ErrNoSession       = New("session-required", "The request has no session, or the session has ended.")
	ErrCSRF            = New("cross-site-request", "The request lacks the header X-CSRF: 1, or a page of another origin sent it.")
	ErrCrossSite       = New("cross-site-request",
		"The token of the platform's sign-in comes from a cookie, and a page of another origin sent the request.")
)

// RateError rejects a call beyond the caller's quota. After is when the next one is allowed.
type RateError struct{ After time.Duration }

func (e *RateError) Error() string {
	return fmt.Sprintf("the caller exceeds server.rateLimit, for another %v", e.After)
}
