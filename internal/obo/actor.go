package obo

import (
	"slices"
	"strings"
	"time"
)

// actor is a row of actors: what kind of refusal an AADSTS number or a suberror is.
type actor struct {
	kind      Kind
	numbers   []int
	suberrors []string
}

// actors says who must act when the provider refuses: the caller (a new token), the
// user (a sign-in), whoever may consent, the operators, or nobody but time. The first
// row that fits decides; what no row knows is decided by the error code alone.
//
// Microsoft asks not to branch on AADSTS numbers, because they may change, and to go
// by error and suberror ("Microsoft Entra authentication & authorization error codes").
// But invalid_grant alone stands for five causes with five people to act. A number that
// changes its meaning or is new falls back to the error code, which is what we would
// have without the table. Which numbers there are: pages "Microsoft Entra
// authentication & authorization error codes" and "On-Behalf-Of flow".
var actors = []actor{
	// Throttling, and trouble at the provider that passes.
	{Unavailable, []int{
		50033,               // a database error that passes
		50196,               // the same request too often: a loop
		90024, 90033, 90055, // the tenant's or a user's budget is used up; the directory is not available
		90090, // the directory asks to try again
	}, []string{"throttled", "throttling", "too_many_requests"}},
	// The caller's token is past its time by the provider's clock.
	{AssertionExpired, []int{500133}, []string{"token_expired"}},
	// Somebody may agree: the user, or an administrator.
	{ConsentRequired, []int{
		65001,        // nobody has consented
		65004,        // the user declined, and is asked again by prompt=consent
		90094, 90095, // only an administrator may consent; a request to one
	}, []string{"consent_required"}},
	// The operators: the exchange is refused for every token of this kind.
	{Misconfigured, []int{
		50013, 50027, 500131, 240002, 7000114, // the assertion's signature, form, audience or type
		50105,                // the user is not assigned to the application
		50020, 90072, 501051, // the user, or we, are not in the tenant or not assigned to the API
		65005, 650052, 650056, 650057, 500011, // permissions, service principals
		28002, 70011, 700022, 700023, 9001023, 9010010, // scopes, resources, grants of another tenant
		700016, 7000112, 70002, 700030, 700229, // the application, its credential's kind
		7000214, 7000215, 7000218, 7000222, 7000274, 7000277, 700024, 700027, 1000502, // the credential
		70021, 700211, 700212, 700213, 7002137, 7002138, // federated credentials
		90002, 90009, 900382, 900432, // the authority: no such tenant, ourselves as resource, another cloud
	}, []string{"client_mismatch"}},
	// The user: another sign-in, more proof, another device or password.
	{InteractionRequired, []int{
		50072, 50074, 50076, 50078, 50079, 50158, // multi-factor authentication
		50097, 50129, 50131, 53000, 53001, 53002, 53003, 53004, 53011, 530032, 530035, // conditional access, devices
		50132, 50133, 50173, 70000, 70008, 70043, 700082, 700084, // sessions and grants that were revoked or ended
		50034, 50057, // the account is gone or disabled: the sign-in page says so, and ends there
		50058, // nobody is signed in
	}, []string{
		"basic_action", "additional_action", "message_only", "user_password_expired",
		"protection_policy_required", "device_authentication_failed",
	}},
	// A bad grant of no known number: in an exchange the grant is the caller's token.
	{AssertionExpired, nil, []string{"bad_token"}},
}

// kindOf decides who has to act, by actors and else by the error code.
func kindOf(body tokenResponse) Kind {
	kind, known := listedKind(body)
	if known && kind == Misconfigured && body.Claims != "" && asksUser(body.Error) {
		return InteractionRequired // the provider says itself what the user can do
	}
	if known {
		return kind
	}
	switch {
	case body.Error == "consent_required":
		return ConsentRequired
	case asksUser(body.Error):
		return InteractionRequired
	}
	return Misconfigured // invalid_client, unauthorized_client, invalid_scope, invalid_resource, …
}

// listedKind looks for body in actors: for its first number that is there, then for
// its suberror.
func listedKind(body tokenResponse) (kind Kind, known bool) {
	if isOutOfTime(body) {
		return AssertionExpired, true
	}
	for _, number := range body.Codes {
		for _, row := range actors {
			if slices.Contains(row.numbers, number) {
				return row.kind, true
			}
		}
	}
	for _, row := range actors {
		if slices.Contains(row.suberrors, body.Suberror) {
			return row.kind, true
		}
	}
	return 0, false
}

// asksUser reports whether an error code refuses the user's grant or asks for the user
// (RFC 6749, section 5.2; OpenID Connect Core, section 3.1.2.6).
func asksUser(code string) bool {
	return code == "invalid_grant" || code == "interaction_required" || code == "login_required"
}

// isThrottledGrant reports whether an answer that is no 429 and no 5xx asks for
// a pause: by its number, or by a Retry-After with a code that says nothing else.
func (r *response) isThrottledGrant(body tokenResponse) bool {
	kind, known := listedKind(body)
	if known {
		return kind == Unavailable
	}
	return body.Claims == "" && asksUser(body.Error) && r.header.Get("Retry-After") != ""
}

// outdated reports whether e says no more than that the caller's token is past its
// time: it ended by our own clock, and the provider does not take it. A claims
// challenge says more, and so does a lack of consent.
func (e *Error) outdated(a *Assertion, now time.Time) bool {
	if a.Expires.IsZero() || now.Before(a.Expires) {
		return false
	}
	return e.Kind == InteractionRequired && e.Claims == "" || e.Kind == Misconfigured && slices.ContainsFunc(e.Codes, isAboutAssertion)
}

// isAboutAssertion reports whether a number refuses the assertion for one of several
// reasons. Its time is one of them.
func isAboutAssertion(number int) bool { return number == 50013 || number == 50027 }

// isOutOfTime reports whether a description of AADSTS50013 says that the time is the
// reason: no other member does. In other words it stays misconfigured.
func isOutOfTime(body tokenResponse) bool {
	return slices.ContainsFunc(body.Codes, isAboutAssertion) && strings.Contains(body.Description, "not within its valid time range")
}
