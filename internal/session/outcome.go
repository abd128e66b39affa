package session

import (
	"errors"

	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// outcomeOf says in one word how a sign-in ended at the callback, for the metric. The words are
// those of obo.Outcome, where it is the provider that refused, and a few more.
func outcomeOf(err error) string {
	var (
		refusal *obo.Error
		request *problem.Error
	)
	switch {
	case errors.Is(err, errNoAttempt):
		return "no_attempt"
	case errors.Is(err, errOtherUser):
		return "other_user"
	case isUnavailable(err):
		return "redis_unavailable"
	case errors.Is(err, validate.ErrKeysUnavailable):
		return "unavailable"
	case errors.Is(err, validate.ErrTenantNotAllowed):
		return "tenant_not_allowed"
	case errors.As(err, &refusal) && refusal.Code == "access_denied":
		return "denied"
	case errors.As(err, &request):
		return "invalid_request"
	}
	return obo.Outcome(err)
}
