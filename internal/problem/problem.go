// Package problem decides how an error is answered: with which problem document (RFC 9457),
// status and headers. No other package maps errors to statuses, except for those of the
// router (package door) and of the token endpoint (package sidecar).
package problem

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"middletier/internal/downstream"
	"middletier/internal/mcp"
	"middletier/internal/obo"
	"middletier/internal/records"
	"middletier/internal/validate"
)

// StatusClientClosed is logged if the caller left before the answer, or the service
// stopped. It is never sent.
const StatusClientClosed = 499

// Problem is the answer to an error. Its kind decides the status, and detail is a fixed
// sentence.
type Problem struct {
	Kind          string // a key of Types
	Detail        string
	Challenge     string        // what of WWW-Authenticate does not depend on the request
	Allow         []string      // Allow
	Scopes        []string      // any one of them would be enough
	RetryAfter    time.Duration // Retry-After; 0: none
	ProviderError *obo.Error    // the document repeats its fields; nil: none
}

// Error is an error that holds its own problem.
type Error struct{ Problem }

func (e *Error) Error() string { return e.Detail }

// New returns an error that is answered with a problem of type kind.
func New(kind, detail string) *Error {
	return &Error{Problem{Kind: kind, Detail: detail}}
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

// Requester is who sent a request that is answered with a problem.
type Requester struct {
	Caller *validate.Caller // nil: the error came before the token was validated
	// InSession: it is a page of a session, or has lost it. It answers a challenge by a
	// sign-in.
	InSession bool
}

// For returns the problem that answers an error.
func For(err error, from Requester) Problem {
	var (
		requestErr  *Error
		tokenErr    *validate.InvalidTokenError
		accessErr   *validate.AccessError
		messageErr  *mcp.Error
		rateErr     *RateError
		providerErr *obo.Error
		callErr     *downstream.Error
		tooLarge    *http.MaxBytesError
	)
	switch {
	case errors.Is(err, context.Canceled): // first: any error below may wrap it
		return Problem{Kind: "client-closed-request"}
	case errors.As(err, &requestErr):
		return requestErr.Problem
	case errors.As(err, &tokenErr):
		return tokenProblem(tokenErr.Reason)
	case errors.Is(err, validate.ErrKeysUnavailable):
		return retrySoon("identity-provider-unavailable", "The identity provider's signing keys could not be loaded yet.")
	case errors.Is(err, validate.ErrClientNotAllowed):
		return Problem{Kind: "caller-not-allowed", Detail: "The calling application is not allowed to use this service."}
	case errors.Is(err, validate.ErrTenantNotAllowed):
		return Problem{Kind: "tenant-not-allowed", Detail: "The caller's tenant is not allowed to use this service."}
	case errors.As(err, &accessErr):
		return accessProblem(accessErr)
	case errors.As(err, &messageErr):
		return Problem{Kind: "invalid-request", Detail: messageErr.Detail}
	case errors.As(err, &rateErr):
		return Problem{Kind: "rate-limited", Detail: "The caller has made more calls than this service allows.", RetryAfter: rateErr.After}
	case errors.Is(err, downstream.ErrPath), errors.Is(err, validate.ErrPath):
		return Problem{Kind: "invalid-request", Detail: "The path is malformed or ambiguous and is not forwarded."}
	case errors.Is(err, downstream.ErrQuery):
		return Problem{Kind: "invalid-request", Detail: "The query has bytes that must be percent-encoded, and is not forwarded."}
	case errors.Is(err, downstream.ErrHeader):
		return Problem{Kind: "invalid-request", Detail: "A header or trailer of the request has a value that is not valid UTF-8."}
	case errors.As(err, &tooLarge): // before ErrBody, which wraps it
		return ErrBodyTooLarge.Problem
	case errors.Is(err, downstream.ErrBody):
		return Problem{Kind: "invalid-request", Detail: "The request body could not be read."}
	case errors.Is(err, records.ErrUnavailable) && !errors.Is(err, obo.ErrRedis): // else a deletion failed
		return retrySoon("shared-cache-unavailable", "Redis, which holds what is asked for, does not answer.")
	case errors.Is(err, obo.ErrUnknownKey): // before others of the provider
		p := providerProblem(obo.ErrUnknownKey, Requester{})
		p.Detail = "No long-running session has this key, or it has ended: the user must call again."
		return p
	case errors.Is(err, obo.ErrRedis):
		return retrySoon("shared-cache-unavailable", "Memory is cleared; Redis could not be reached, or does not allow it.")
	case errors.As(err, &providerErr):
		return providerProblem(providerErr, from)
	case errors.As(err, &callErr):
		return callProblem(callErr, from)
	}
	return Internal
}

// Internal is the problem of every error that For does not know.
var Internal = Problem{Kind: "internal", Detail: "An unexpected error occurred inside this service."}

// ShortRetryAfter is the Retry-After for signing keys and Redis: both are usually
// available within seconds of the other side's return.
const ShortRetryAfter = 5 * time.Second

// retrySoon returns a problem that usually ends within seconds.
func retrySoon(kind, detail string) Problem {
	return Problem{Kind: kind, Detail: detail, RetryAfter: ShortRetryAfter}
}

// tokenProblem is the problem of a caller's token that was rejected.
func tokenProblem(reason validate.Reason) Problem {
	if reason == validate.TooLong {
		return Problem{Kind: "headers-too-large", Detail: "The token is longer than this service accepts."}
	}
	detail := tokenDetails[reason]
	return Problem{
		Kind: "invalid-token", Detail: detail,
		Challenge: fmt.Sprintf("Bearer error=%q, error_description=%q", "invalid_token", detail),
	}
}

func accessProblem(e *validate.AccessError) Problem {
	switch {
	case e.Allow != nil:
		return Problem{Kind: "method-not-allowed", Detail: "No access rule of this API mentions the method.", Allow: e.Allow}
	case len(e.Needed) == 0:
		return Problem{Kind: "no-access-rule", Detail: "No access rule of this API allows the request, whatever the token holds."}
	}
	return Problem{
		Kind: "insufficient-scope", Detail: "The token holds none of the scopes or app permissions that the request needs.",
		Challenge: `Bearer error="insufficient_scope"`, Scopes: e.Needed,
	}
}

// providerProblem is the problem of a refusal by the identity provider. A claims
// challenge goes only to callers that can answer one.
func providerProblem(e *obo.Error, from Requester) Problem {
	p := Problem{ProviderError: e, Scopes: e.Scopes, RetryAfter: e.RetryAfter}
	switch e.Kind {
	case obo.InteractionRequired:
		if from.answersClaims(e.Claims) {
			return claimsProblem(e)
		}
		p.Kind, p.Detail = "interaction-required", "The user must act: sign in again and repeat the request."
		p.Challenge = `Bearer error="interaction_required"`
	case obo.AssertionExpired:
		expired := tokenProblem(validate.Expired)
		expired.ProviderError, expired.RetryAfter = e, e.RetryAfter
		return expired
	case obo.ConsentRequired:
		p.Kind, p.Detail = "consent-required",
			"Neither the user nor an administrator has consented to this service calling the API on the user's behalf."
	case obo.Misconfigured:
		p.Kind, p.Detail = "misconfigured", "The identity provider refuses this service. Its operators must correct its configuration."
	case obo.Unavailable:
		p.Kind, p.Detail = "identity-provider-unavailable", "The identity provider does not answer, or throttles this service."
	default:
		p.Kind, p.Detail = "identity-provider-error", "The identity provider's answer is neither a token nor an OAuth error."
	}
	return p
}

// answersClaims reports whether the requester can answer a claims challenge: its token
// declares that, or it has a session.
func (r Requester) answersClaims(claims string) bool {
	return claims != "" && (r.InSession || r.Caller != nil && r.Caller.HandlesClaims())
}

func claimsProblem(e *obo.Error) Problem {
	return Problem{
		Kind: "claims-challenge", Detail: "More claims are needed: sign in again with those of the challenge.",
		ProviderError: e, Scopes: e.Scopes, RetryAfter: e.RetryAfter,
	}
}

// callProblem is the problem of a call to an API. It passes on a claims challenge of the
// API that no token exchange could answer.
func callProblem(e *downstream.Error, from Requester) Problem {
	caller := from.Caller
	if e.Kind == downstream.RejectedToken && e.Claims != "" && caller != nil && (caller.HandlesClaims() || !caller.IsApp()) {
		return providerProblem(&obo.Error{Kind: obo.InteractionRequired, Claims: e.Claims}, from)
	}
	switch e.Kind {
	case downstream.Timeout:
		return Problem{Kind: "downstream-timeout", Detail: "The downstream API did not answer in time."}
	case downstream.RejectedToken:
		if e.Schemes != "" {
			return Problem{
				Kind:   "downstream-rejected-token",
				Detail: "The downstream API asks for another kind of credential than a bearer token, such as a key.",
			}
		}
		return Problem{Kind: "downstream-rejected-token", Detail: "The downstream API refused this service's token for it."}
	case downstream.InvalidResponse:
		return Problem{Kind: "downstream-invalid-response", Detail: "The downstream API's answer is not valid HTTP."}
	case downstream.ResponseTooLarge:
		return Problem{Kind: "downstream-invalid-response", Detail: "The downstream API's answer is larger than this service returns as JSON."}
	case downstream.HeadersTooLarge:
		return Problem{
			Kind:   "headers-too-large",
			Detail: "The request headers are larger than the downstream API accepts, or one header is larger than 32 KiB.",
		}
	case downstream.Unreachable:
		return Problem{Kind: "downstream-unreachable", Detail: "The downstream API could not be reached, or closed the connection."}
	}
	return Internal
}

// Document is a problem document (RFC 9457, section 3).
type Document struct {
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
	Claims        string   `json:"claims,omitempty"`   // on the sidecar listener: what to ask for, as JSON
	LoginURL      string   `json:"loginUrl,omitempty"` // below /bff: where the page sends the user
}

// Document returns the problem document of p. base is the URL of the service.
func (p Problem) Document(base string) Document {
	kind := Types[p.Kind]
	doc := Document{Type: base + "/problems/" + p.Kind, Title: kind.Title, Status: kind.Status, Detail: p.Detail, Scopes: p.Scopes}
	if e := p.ProviderError; e != nil {
		doc.Error, doc.Suberror, doc.ErrorCodes = e.Code, e.Suberror, e.Codes
		doc.CorrelationID, doc.TraceID, doc.ConsentURI = e.CorrelationID, e.TraceID, e.ConsentURI
	}
	return doc
}

// ClaimsChallenge is the challenge of Microsoft's page "Claims challenges, claims
// requests and client capabilities", with more parameters at its end, or "". The code on
// that page takes the quote at its end for a part of claims, so another parameter follows
// claims in any case.
func ClaimsChallenge(authority, clientID, claims, more string) string {
	client := fmt.Sprintf(", client_id=%q", clientID)
	before, after := client, more
	if more == "" {
		before, after = "", client
	}
	return fmt.Sprintf(`Bearer realm="", authorization_uri=%q%s, error="insufficient_claims", claims=%q%s`,
		authority+"/oauth2/v2.0/authorize", before, base64.StdEncoding.EncodeToString([]byte(claims)), after)
}
