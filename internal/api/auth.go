package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"

	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

var (
	errNoToken      = newRequestError("missing-token", "The request has no bearer token.")
	errPresentation = &requestError{problem{
		kind: "invalid-request", detail: "The Authorization header is not one bearer token.", challenge: `Bearer error="invalid_request"`,
	}}
)

// accessFunc returns the access rules of the API that a request is for, or nil.
type accessFunc func(r *http.Request) *validate.Access

// noAccess is for routes that belong to no API.
func noAccess(*http.Request) *validate.Access { return nil }

// accessOn returns the access rules of the API that a request on route is for.
func (s *Server) accessOn(route route) accessFunc {
	prefix := s.config.BasePath + route.prefix
	return func(r *http.Request) *validate.Access {
		name, _, err := splitTarget(rawPath(r), prefix)
		if err != nil {
			return nil
		}
		return s.config.APIs[name].Access
	}
}

// authenticate validates the caller's token and passes the request on with its caller.
// The rules that access returns may name applications that need no app permission. It is
// the only reader of the Authorization header; a token elsewhere in the request is
// ignored, except that of EasyAuth (RFC 6750, section 2.1).
func (s *Server) authenticate(access accessFunc, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		token, err := s.token(c)
		if err != nil {
			return err
		}
		event := eventOf(r)
		caller, err := s.validate(event, token, access(r))
		if err != nil {
			return err
		}
		event.caller = caller
		return next(c)
	}
}

// token returns the caller's token. If EasyAuth is on, the platform may have added it.
func (s *Server) token(c echo.Context) (string, error) {
	h := c.Request().Header
	if s.config.EasyAuth {
		if values := h[easyAuthHeader]; values != nil {
			return s.easyAuthToken(c, values)
		}
	}
	return bearerToken(h["Authorization"])
}

// validate validates the token, and counts and traces the validation.
func (s *Server) validate(event *event, token string, access *validate.Access) (*validate.Caller, error) {
	ctx, span := telemetry.Start(event, "validate")
	defer span.End()
	start := event.timing.now()
	caller, err := s.config.Validator.ValidateFor(ctx, token, access)
	event.timing.validated(start)
	result := validationResult(err)
	s.config.Telemetry.Validation(ctx, result)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("result", result))
	}
	return caller, err
}

// validationResult is the label for the result of a validation.
func validationResult(err error) string {
	var refused *validate.InvalidTokenError
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &refused):
		return string(refused.Reason)
	case errors.Is(err, validate.ErrKeysUnavailable):
		return "keys_unavailable"
	case errors.Is(err, validate.ErrTenantNotAllowed):
		return "tenant_not_allowed"
	case errors.Is(err, validate.ErrClientNotAllowed):
		return "client_not_allowed"
	}
	return "canceled" // the caller left while the request waited for a key
}

// bearerToken returns the token in the values of the Authorization header. If another
// scheme is used, or no text follows this one, the request has no bearer token: a page
// whose variable was empty then signs in again on the 401. Any other wrong use of the
// scheme, or several headers, is malformed (RFC 6750, section 3.1).
func bearerToken(values []string) (string, error) {
	if len(values) == 0 {
		return "", errNoToken
	}
	if len(values) > 1 {
		return "", errPresentation
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errNoToken
	}
	token = strings.TrimLeft(token, " ")
	if strings.TrimLeft(token, " \t") == "" {
		return "", errNoToken
	}
	// Three searches are ten times as fast as ContainsAny.
	if strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0 {
		return "", errPresentation
	}
	return token, nil
}
