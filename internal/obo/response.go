package obo

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"middletier/internal/credential"
	"middletier/internal/failure"
	"middletier/internal/reply"
)

const (
	// maxRetryAfter bounds what a provider may ask for.
	maxRetryAfter = time.Hour

	// throttledRetryAfter is honoured where a provider throttles without a time.
	throttledRetryAfter = time.Minute
)

// tokenResponse is the body of the token endpoint's responses, good and bad
// (RFC 6749, sections 5.1 and 5.2, and Entra's own members).
type tokenResponse struct {
	AccessToken   string      `json:"access_token"`
	TokenType     string      `json:"token_type"`
	ExpiresIn     json.Number `json:"expires_in"`
	RefreshIn     json.Number `json:"refresh_in"`
	RefreshToken  string      `json:"refresh_token"`
	IDToken       string      `json:"id_token"`
	Error         string      `json:"error"`
	Description   string      `json:"error_description"`
	Suberror      string      `json:"suberror"`
	Codes         []int       `json:"error_codes"`
	Claims        string      `json:"claims"`
	CorrelationID string      `json:"correlation_id"`
	TraceID       string      `json:"trace_id"`
}

// read makes a grant or a refusal of the last response. err is MSAL's error, which decides if
// there was no response.
func (rec *recording) read(now time.Time, err error) (grant, *Error) {
	last := rec.last.Load()
	var unproven *credential.ClientAssertionError
	switch {
	case errors.Is(err, errResponseTooLarge):
		return grant{}, &Error{Kind: InvalidResponse, Err: errResponseTooLarge}
	case errors.As(err, &unproven):
		return grant{}, &Error{Kind: Unavailable, RetryAfter: defaultRetryAfter, Err: unproven}
	}
	if last == nil {
		if err == nil {
			return grant{}, &Error{Kind: Unavailable, RetryAfter: defaultRetryAfter, Err: errors.New("no request was made")}
		}
		return grant{}, &Error{Kind: Unavailable, RetryAfter: defaultRetryAfter, Err: failure.Of(err)}
	}
	if !last.token {
		return grant{}, last.discoveryError(now)
	}
	var body tokenResponse
	parseErr := failure.Of(json.Unmarshal(last.body, &body))
	body = body.sanitized()
	if last.status != http.StatusOK {
		return grant{}, last.refusal(now, body, parseErr)
	}
	g, err := body.grant(now)
	if err = errors.Join(parseErr, err); err != nil {
		return grant{}, &Error{Kind: InvalidResponse, Status: last.status, Err: err}
	}
	return g, nil
}

// grant reads a good response strictly: a token that cannot be sent in a header, or whose
// lifetime is unknown, is refused.
func (b tokenResponse) grant(now time.Time) (grant, error) {
	life, err := strconv.Atoi(string(b.ExpiresIn))
	switch {
	case b.Error != "":
		return grant{}, errors.New("a token response with an error")
	case !strings.EqualFold(b.TokenType, "Bearer"):
		return grant{}, errors.New("token_type is not Bearer")
	case err != nil || life <= 0 || life > int((30*24*time.Hour).Seconds()):
		return grant{}, errors.New("expires_in is not a life in seconds")
	case !isToken(b.AccessToken):
		return grant{}, errors.New("access_token is missing or cannot be sent in a header")
	}
	g := grant{token: b.AccessToken, expires: now.Add(time.Duration(life) * time.Second), refreshToken: b.RefreshToken, idToken: b.IDToken}
	if refresh, err := strconv.Atoi(string(b.RefreshIn)); err == nil && refresh > 0 && refresh < life {
		g.refreshAt = now.Add(time.Duration(refresh) * time.Second)
	}
	return g, nil
}

// isToken reports whether s has the form of a bearer token (RFC 6750, section
// 2.1).
func isToken(s string) bool {
	const others = "-._~+/="
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != ""
}

// refusal classifies an error response.
func (r *response) refusal(now time.Time, body tokenResponse, parseErr error) *Error {
	e := &Error{
		Kind: InvalidResponse, Status: r.status, Code: body.Error, Suberror: body.Suberror, Codes: body.Codes, Claims: body.Claims,
		CorrelationID: body.CorrelationID, TraceID: body.TraceID, Err: body.described(),
	}
	switch {
	case r.status == http.StatusTooManyRequests || r.status >= 500 ||
		body.Error == "temporarily_unavailable" && !r.isThrottledGrant(body):
		e.Kind, e.RetryAfter, e.Throttled = Unavailable, retryAfter(r, now), r.isThrottling()
	case parseErr != nil || body.Error == "":
		e.Err = errors.Join(errors.New("an error without a code"), parseErr)
	case r.isThrottledGrant(body):
		e.Kind, e.Throttled, e.RetryAfter, e.Claims = Unavailable, true, retryAfterOr(throttledRetryAfter, r, now), ""
	default:
		e.Kind = kindOf(body)
	}
	return e
}

// discoveryError classifies a failure before the token endpoint was asked.
func (r *response) discoveryError(now time.Time) *Error {
	e := &Error{Kind: InvalidResponse, Status: r.status, Err: errors.New("the metadata of the authority is not understood")}
	var body tokenResponse
	switch {
	case r.status == http.StatusTooManyRequests || r.status >= 500:
		e.Kind, e.RetryAfter, e.Throttled = Unavailable, retryAfter(r, now), r.isThrottling()
	case r.status != http.StatusOK && json.Unmarshal(r.body, &body) == nil && failure.Code(body.Error) != "":
		e.Kind, e.Code, e.Codes = Misconfigured, body.Error, body.Codes // an unknown tenant
		if r.isThrottledGrant(body) {
			e.Kind, e.Throttled, e.RetryAfter = Unavailable, true, retryAfterOr(throttledRetryAfter, r, now)
		}
	}
	return e
}

// isThrottling reports whether the provider asks to be left alone for a time.
func (r *response) isThrottling() bool {
	return r.status == http.StatusTooManyRequests || r.header.Get("Retry-After") != ""
}

// retryAfter is retryAfterOr with the default for r's status.
func retryAfter(r *response, now time.Time) time.Duration {
	if r.status == http.StatusTooManyRequests {
		return retryAfterOr(throttledRetryAfter, r, now)
	}
	return retryAfterOr(defaultRetryAfter, r, now)
}

// retryAfterOr returns the time of a Retry-After header, from a second to maxRetryAfter.
// Without one it returns after.
func retryAfterOr(after time.Duration, r *response, now time.Time) time.Duration {
	if wait, ok := reply.RetryAfter(r.header, now); ok {
		after = wait
	}
	return min(max(after, time.Second), maxRetryAfter)
}
