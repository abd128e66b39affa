package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/validate"
)

// statusClientClosed is logged if the caller left before the answer, or the service
// stopped. It is never sent.
const statusClientClosed = 499

// problem is the answer to an error. Its kind decides the status, and detail is a fixed
// sentence.
type problem struct {
	kind          string // a key of problemTypes
	detail        string
	challenge     string        // what of WWW-Authenticate does not depend on the request
	allow         []string      // Allow
	scopes        []string      // any one of them would be enough
	retryAfter    time.Duration // Retry-After; 0: none
	providerError *obo.Error    // the document repeats its fields; nil: none
}

// requestError is an error of this package, with its problem.
type requestError struct{ problem }

func (e *requestError) Error() string { return e.detail }

// newRequestError returns an error that is answered with a problem of type kind.
func newRequestError(kind, detail string) *requestError {
	return &requestError{problem{kind: kind, detail: detail}}
}

// tokenDetails are the details for tokens that were rejected.
var tokenDetails = map[validate.Reason]string{
	validate.Malformed:   "The token is malformed.",
	validate.BadSig:      "The token's signature was not made with a current key of the identity provider.",
	validate.WrongIssuer: "The token was issued by another issuer or tenant.",
	validate.WrongAud: "The token was issued for another audience. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.ForGraph: "The token is for Microsoft Graph. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.IDToken: "The token is an ID token. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.Expired:     "The token has expired.",
	validate.NotYetValid: "The token is not valid yet.",
	validate.NotAccess:   "The token is not an access token with scopes or app permissions.",
}

// problemFor is the only place that maps an error to an answer. caller is nil if the
// error came before the token was validated.
func problemFor(err error, caller *validate.Caller) problem {
	var (
		requestErr  *requestError
		tokenErr    *validate.InvalidTokenError
		accessErr   *validate.AccessError
		rateErr     *rateError
		providerErr *obo.Error
		callErr     *downstream.Error
		tooLarge    *http.MaxBytesError
		routeErr    *echo.HTTPError
	)
	switch {
	case errors.Is(err, context.Canceled): // first: any error below may wrap it
		return problem{kind: "client-closed-request"}
	case errors.As(err, &requestErr):
		return requestErr.problem
	case errors.As(err, &tokenErr):
		return tokenProblem(tokenErr.Reason)
	case errors.Is(err, validate.ErrKeysUnavailable):
		return problem{
			kind: "identity-provider-unavailable", detail: "The identity provider's signing keys could not be loaded yet.",
			retryAfter: shortRetryAfter,
		}
	case errors.Is(err, validate.ErrClientNotAllowed):
		return problem{kind: "caller-not-allowed", detail: "The calling application is not allowed to use this service."}
	case errors.Is(err, validate.ErrTenantNotAllowed):
		return problem{kind: "tenant-not-allowed", detail: "The caller's tenant is not allowed to use this service."}
	case errors.As(err, &accessErr):
		return accessProblem(accessErr)
	case errors.As(err, &rateErr):
		return problem{kind: "rate-limited", detail: "The caller has made more calls than this service allows.", retryAfter: rateErr.after}
	case errors.Is(err, downstream.ErrPath), errors.Is(err, validate.ErrPath):
		return problem{kind: "invalid-request", detail: "The path is malformed or ambiguous and is not forwarded."}
	case errors.Is(err, downstream.ErrQuery):
		return problem{kind: "invalid-request", detail: "The query has bytes that must be percent-encoded, and is not forwarded."}
	case errors.Is(err, downstream.ErrHeader):
		return problem{kind: "invalid-request", detail: "A header or trailer of the request has a value that is not valid UTF-8."}
	case errors.As(err, &tooLarge): // before ErrBody, which wraps it
		return errBodyTooLarge.problem
	case errors.Is(err, downstream.ErrBody):
		return problem{kind: "invalid-request", detail: "The request body could not be read."}
	case errors.Is(err, obo.ErrRedis):
		return problem{
			kind: "shared-cache-unavailable", detail: "Memory is cleared; Redis could not be reached, or does not allow it.",
			retryAfter: shortRetryAfter,
		}
	case errors.As(err, &providerErr):
		return providerProblem(providerErr, caller)
	case errors.As(err, &callErr):
		return callProblem(callErr, caller)
	case errors.As(err, &routeErr):
		return routingProblem(routeErr)
	}
	return internalProblem
}

var internalProblem = problem{kind: "internal", detail: "An unexpected error occurred inside this service."}

// shortRetryAfter is the Retry-After for signing keys and Redis: both are usually
// available within seconds of the other side's return.
const shortRetryAfter = 5 * time.Second

// tokenProblem is the problem of a caller's token that was rejected.
func tokenProblem(reason validate.Reason) problem {
	if reason == validate.TooLong {
		return problem{kind: "headers-too-large", detail: "The token is longer than this service accepts."}
	}
	detail := tokenDetails[reason]
	return problem{
		kind: "invalid-token", detail: detail,
		challenge: fmt.Sprintf("Bearer error=%q, error_description=%q", "invalid_token", detail),
	}
}

func accessProblem(e *validate.AccessError) problem {
	switch {
	case e.Allow != nil:
		return problem{kind: "method-not-allowed", detail: "No access rule of this API mentions the method.", allow: e.Allow}
	case len(e.Needed) == 0:
		return problem{kind: "no-access-rule", detail: "No access rule of this API allows the request, whatever the token holds."}
	}
	return problem{
		kind: "insufficient-scope", detail: "The token holds none of the scopes or app permissions that the request needs.",
		challenge: `Bearer error="insufficient_scope"`, scopes: e.Needed,
	}
}

// providerProblem is the problem of a refusal by the identity provider. A claims
// challenge goes only to callers that declared that they can answer one.
func providerProblem(e *obo.Error, caller *validate.Caller) problem {
	p := problem{providerError: e, scopes: e.Scopes, retryAfter: e.RetryAfter}
	switch e.Kind {
	case obo.InteractionRequired:
		if answersClaims(e.Claims, caller) {
			return claimsProblem(e)
		}
		p.kind, p.detail = "interaction-required", "The user must act: sign in again and repeat the request."
		p.challenge = `Bearer error="interaction_required"`
	case obo.AssertionExpired:
		expired := tokenProblem(validate.Expired)
		expired.providerError, expired.retryAfter = e, e.RetryAfter
		return expired
	case obo.ConsentRequired:
		p.kind, p.detail = "consent-required",
			"Neither the user nor an administrator has consented to this service calling the API on the user's behalf."
	case obo.Misconfigured:
		p.kind, p.detail = "misconfigured", "The identity provider refuses this service. Its operators must correct its configuration."
	case obo.Unavailable:
		p.kind, p.detail = "identity-provider-unavailable", "The identity provider does not answer, or throttles this service."
	default:
		p.kind, p.detail = "identity-provider-error", "The identity provider's answer is neither a token nor an OAuth error."
	}
	return p
}

// answersClaims reports whether caller declared that it can answer a claims challenge.
func answersClaims(claims string, caller *validate.Caller) bool {
	return claims != "" && caller != nil && caller.HandlesClaims()
}

func claimsProblem(e *obo.Error) problem {
	return problem{
		kind: "claims-challenge", detail: "More claims are needed: sign in again with those of the challenge.",
		providerError: e, scopes: e.Scopes, retryAfter: e.RetryAfter,
	}
}

// callProblem is the problem of a call to an API. It passes on a claims challenge of the
// API that no token exchange could answer.
func callProblem(e *downstream.Error, caller *validate.Caller) problem {
	if e.Kind == downstream.RejectedToken && e.Claims != "" && caller != nil && (caller.HandlesClaims() || !caller.IsApp()) {
		return providerProblem(&obo.Error{Kind: obo.InteractionRequired, Claims: e.Claims}, caller)
	}
	switch e.Kind {
	case downstream.Timeout:
		return problem{kind: "downstream-timeout", detail: "The downstream API did not answer in time."}
	case downstream.RejectedToken:
		if e.Schemes != "" {
			return problem{
				kind:   "downstream-rejected-token",
				detail: "The downstream API asks for another kind of credential than a bearer token, such as a key.",
			}
		}
		return problem{kind: "downstream-rejected-token", detail: "The downstream API refused this service's token for it."}
	case downstream.InvalidResponse:
		return problem{kind: "downstream-invalid-response", detail: "The downstream API's answer is not valid HTTP."}
	case downstream.HeadersTooLarge:
		return problem{
			kind:   "headers-too-large",
			detail: "The request headers are larger than the downstream API accepts, or one header is larger than 32 KiB.",
		}
	case downstream.Unreachable:
		return problem{kind: "downstream-unreachable", detail: "The downstream API could not be reached, or closed the connection."}
	}
	return internalProblem
}

func routingProblem(e *echo.HTTPError) problem {
	switch e.Code {
	case http.StatusNotFound:
		return problem{kind: "not-found", detail: "There is nothing at this path."}
	case http.StatusMethodNotAllowed:
		return problem{kind: "method-not-allowed", detail: "This path does not support the method."} // Echo has set Allow
	}
	return internalProblem
}

// document is a problem document (RFC 9457, section 3).
type document struct {
	Type          string   `json:"type"`
	Title         string   `json:"title"`
	Status        int      `json:"status"`
	Detail        string   `json:"detail"`
	Instance      string   `json:"instance"`
	RequestID     string   `json:"requestId"`
	Error         string   `json:"error,omitempty"`
	Suberror      string   `json:"suberror,omitempty"`
	ErrorCodes    []int    `json:"errorCodes,omitempty"`
	CorrelationID string   `json:"correlationId,omitempty"`
	TraceID       string   `json:"traceId,omitempty"`
	Scopes        []string `json:"scopes,omitempty"`
	ConsentURI    string   `json:"consentUri,omitempty"`
}

// handleError answers err, unless the answer has begun.
func (s *Server) handleError(err error, c echo.Context) {
	r, resp := c.Request(), c.Response()
	event := eventOf(r)
	if resp.Committed {
		return
	}
	p := problemFor(err, event.caller)
	if p.kind == "client-closed-request" && r.Context().Err() == nil {
		p = internalProblem // another context was canceled: the caller still waits
	}
	event.problem = p.kind
	if problemTypes[p.kind].Status == statusClientClosed {
		resp.Status = statusClientClosed
		return
	}
	if event.upload != nil && !event.forwarded { // Forward does it itself
		event.upload.PrepareEarlyReply()
	}
	base := s.baseURL(r)
	s.setHeaders(resp.Header(), p, s.targetOf(r, base))
	if contentType := grpcType(r); contentType != "" {
		writeGRPC(c, contentType, p)
		return
	}
	doc := p.document(base)
	doc.Instance, doc.RequestID = r.URL.EscapedPath(), event.id
	writeProblem(c, doc)
}

// setHeaders sets the headers of p, the answer to a request for t.
func (s *Server) setHeaders(h http.Header, p problem, t target) {
	h.Set("Cache-Control", "no-store")
	if challenge := s.challenge(p, t); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if p.allow != nil {
		h.Set("Allow", strings.Join(p.allow, ", "))
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retryAfter+time.Second-1)/time.Second)))
	}
}

// document returns the problem document of p. base is the URL of the service.
func (p problem) document(base string) document {
	kind := problemTypes[p.kind]
	doc := document{Type: base + "/problems/" + p.kind, Title: kind.Title, Status: kind.Status, Detail: p.detail, Scopes: p.scopes}
	if e := p.providerError; e != nil {
		doc.Error, doc.Suberror, doc.ErrorCodes = e.Code, e.Suberror, e.Codes
		doc.CorrelationID, doc.TraceID, doc.ConsentURI = e.CorrelationID, e.TraceID, e.ConsentURI
	}
	return doc
}

func writeProblem(c echo.Context, doc document) {
	body, err := json.Marshal(doc)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	h := c.Response().Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	c.Response().WriteHeader(doc.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = c.Response().Write(append(body, '\n')) // the caller may have left
	}
}
