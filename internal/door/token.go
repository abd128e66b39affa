package door

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Validate validates the token, and counts and traces the validation.
func (d *Door) Validate(event *Event, token string, access *validate.Access) (*validate.Caller, error) {
	ctx, span := telemetry.Start(event, "validate")
	defer span.End()
	start := event.Timing.now()
	caller, err := d.config.Validator.ValidateFor(ctx, token, access)
	event.Timing.validated(start)
	result := validationResult(err)
	d.config.Telemetry.Validation(ctx, result)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("result", result))
	}
	return caller, err
}

// validationResult is the label for the result of a validation.
func validationResult(err error) string {
	if err == nil { // first, as errors.As needs an allocation
		return "accepted"
	}
	var refused *validate.InvalidTokenError
	switch {
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

// GetToken gets a token for an API by get, and counts, times and traces that.
func (d *Door) GetToken(
	ctx context.Context, event *Event, get func(context.Context) (obo.Flow, obo.Token, error),
) (obo.Token, error) {
	ctx, span := telemetry.Start(ctx, "token")
	defer span.End()
	start := event.Timing.now()
	flow, token, err := get(ctx)
	event.Source, event.Trial = token.Origin, token.Trial
	event.Timing.gotToken(start, err)
	outcome := obo.Outcome(err)
	d.config.Telemetry.Token(ctx, string(flow), string(token.Origin), outcome)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("flow", string(flow)),
			attribute.String("source", string(token.Origin)), attribute.String("outcome", outcome))
	}
	return token, err
}

// BearerToken returns the token in the values of the Authorization header. If another
// scheme is used, or no text follows this one, the request has no bearer token: a page
// whose variable was empty then signs in again on the 401. Any other wrong use of the
// scheme, or several headers, is malformed (RFC 6750, section 3.1).
func BearerToken(values []string) (string, error) {
	if len(values) == 0 {
		return "", problem.ErrNoToken
	}
	if len(values) > 1 {
		return "", problem.ErrPresentation
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", problem.ErrNoToken
	}
	token = strings.TrimLeft(token, " ")
	if strings.TrimLeft(token, " \t") == "" {
		return "", problem.ErrNoToken
	}
	// Three searches are ten times as fast as ContainsAny.
	if strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0 {
		return "", problem.ErrPresentation
	}
	return token, nil
}
