package sidecar

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"middletier/internal/problem"
	"middletier/internal/validate"
)

// oauthError is an error of the token endpoint alone.
type oauthError struct {
	code        string // RFC 6749, section 5.2, or RFC 8693, section 2.2.2
	description string
}

func (e *oauthError) Error() string { return e.description }

// invalidForm returns the error of a request that is malformed.
func invalidForm(description string) *oauthError { return &oauthError{"invalid_request", description} }

var errClient = &oauthError{"invalid_client", "The client is not known, or its secret is wrong."}

// oauthRefusal is the body of an error at the token endpoint. Members beside the first two
// are those of Entra's answers.
type oauthRefusal struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Suberror      string `json:"suberror,omitempty"`
	ErrorCodes    []int  `json:"error_codes,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
	Claims        string `json:"claims,omitempty"`

	status     int
	kind       string // of the problem that it would be on another route
	retryAfter time.Duration
}

// userMustAct are the problems that the user can solve. Their code is the provider's.
var userMustAct = []string{"claims-challenge", "interaction-required", "consent-required"}

// refusalOf returns what err is at the token endpoint. Its status is that of the problem
// for faults of this service and beyond, and otherwise the one of OAuth.
func refusalOf(err error, caller *validate.Caller) oauthRefusal {
	var own *oauthError
	if errors.As(err, &own) {
		refusal := oauthRefusal{Error: own.code, Description: own.description, status: http.StatusBadRequest, kind: "invalid-request"}
		if own == errClient {
			refusal.status, refusal.kind = http.StatusUnauthorized, "caller-not-allowed"
		}
		return refusal
	}
	p := problem.For(err, problem.Requester{Caller: caller})
	status := problem.Types[p.Kind].Status
	refusal := oauthRefusal{Description: descriptionOf(p.Detail), status: status, kind: p.Kind, retryAfter: p.RetryAfter}
	e := p.ProviderError
	if e != nil {
		refusal.Suberror, refusal.ErrorCodes = e.Suberror, e.Codes
		refusal.CorrelationID, refusal.TraceID = e.CorrelationID, e.TraceID
	}
	switch {
	case status == http.StatusServiceUnavailable:
		refusal.Error = "temporarily_unavailable"
	case status >= http.StatusInternalServerError:
		refusal.Error = "server_error"
	case status == http.StatusRequestEntityTooLarge:
		refusal.Error = "invalid_request"
	case e != nil && slices.Contains(userMustAct, p.Kind):
		refusal.Error, refusal.status, refusal.Claims = cmp.Or(e.Code, "interaction_required"), http.StatusBadRequest, e.Claims
	default: // the subject token is refused, too (RFC 8693, section 2.2.2)
		refusal.Error, refusal.status = "invalid_request", http.StatusBadRequest
	}
	return refusal
}

// descriptionOf returns text without the characters that an error_description must not
// have.
func descriptionOf(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, text)
}
