package facade

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// oauthError is an error with a code of OAuth (RFC 6749, sections 4.1.2.1 and 5.2; RFC 7591,
// section 3.2.2; RFC 8707, section 2).
type oauthError struct{ code, description string }

func (e *oauthError) Error() string { return e.code + ": " + e.description }

// invalidRequest returns the error of a request that is malformed.
func invalidRequest(description string) *oauthError {
	return &oauthError{"invalid_request", description}
}

var (
	errRepeated    = invalidRequest("A parameter is there more than once.")
	errClient      = &oauthError{"invalid_client", "The client is not the one of this authorization server."}
	errClientProof = &oauthError{"invalid_client", "The client is a public one: it sends client_id in the form, and no Authorization."}
	errScope       = &oauthError{"invalid_scope", "A scope is neither one of this API's, nor openid, profile or offline_access."}
	errTarget      = &oauthError{"invalid_target", "The resource is not one of this service's."}
	errRegistered  = &oauthError{"invalid_redirect_uri", "There is no redirect URI, or one that this authorization server does not allow."}
	errForeign     = &oauthError{"invalid_grant", "The token is not for this service, or not for this user and client."}
)

// refusal is the body of an error. Members beside the first two are those of Entra's answers.
type refusal struct {
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

// passed are the codes of the provider that are the client's to act on. All others refuse
// this service, such as a secret that has expired, and would tell the client that it is wrong.
var passed = []string{"invalid_grant", "invalid_request", "invalid_scope", "interaction_required", "consent_required", "login_required"}

// refusalOf returns what err is at an endpoint of OAuth.
func refusalOf(err error) refusal {
	var own *oauthError
	if errors.As(err, &own) {
		answer := refusal{Error: own.code, Description: own.description, status: http.StatusBadRequest, kind: "invalid-request"}
		switch own {
		case errClient:
			answer.kind = "caller-not-allowed"
		case errClientProof:
			answer.status, answer.kind = http.StatusUnauthorized, "caller-not-allowed"
		}
		return answer
	}
	p := problem.For(err, problem.Requester{})
	answer := refusal{Description: p.Detail, status: problem.Types[p.Kind].Status, kind: p.Kind, retryAfter: p.RetryAfter}
	var provider *obo.Error
	if errors.As(err, &provider) {
		answer.Suberror, answer.ErrorCodes = provider.Suberror, provider.Codes
		answer.CorrelationID, answer.TraceID = provider.CorrelationID, provider.TraceID
		if provider.Kind != obo.Unavailable && slices.Contains(passed, provider.Code) {
			answer.Error, answer.Description, answer.status = provider.Code, "The identity provider refuses the request.", http.StatusBadRequest
			answer.Claims = provider.Claims
			return answer
		}
	}
	switch {
	case answer.status == http.StatusServiceUnavailable, answer.status == http.StatusTooManyRequests:
		answer.Error = "temporarily_unavailable"
	case answer.status >= http.StatusInternalServerError:
		answer.Error = "server_error"
	default: // what cannot be read
		answer.Error = "invalid_request"
	}
	return answer
}

// refuse answers an error as OAuth does, and returns it for the log.
func (s *Server) refuse(c echo.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // nobody waits for the answer
	}
	event, answer := door.EventOf(c.Request()), refusalOf(err)
	event.Problem = answer.kind
	if event.Upload != nil && !event.Upload.IsComplete() {
		event.Upload.PrepareEarlyReply()
	}
	h := c.Response().Header()
	if answer.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="middletier", charset="UTF-8"`) // RFC 6749, section 5.2
	}
	if answer.retryAfter > 0 {
		h.Set("Retry-After", door.Seconds(answer.retryAfter+time.Second-1))
	}
	if writeErr := door.RespondJSON(c, answer.status, answer); writeErr != nil {
		return writeErr
	}
	return fmt.Errorf("%s: %w", answer.Error, err)
}

// isUnavailable reports whether a token could not be validated for a reason that passes.
func isUnavailable(err error) bool {
	return errors.Is(err, validate.ErrKeysUnavailable) || errors.Is(err, context.Canceled)
}
