package obo_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

// Every number of Microsoft's that an exchange meets, with the error code that it
// comes with, and who must act.
func TestEveryKnownRefusalReachesWhoCanAct(t *testing.T) {
	const (
		caller   = obo.AssertionExpired
		user     = obo.InteractionRequired
		consent  = obo.ConsentRequired
		operator = obo.Misconfigured
		nobody   = obo.Unavailable
	)
	for _, row := range []struct {
		number int
		code   string
		want   obo.Kind
	}{
		{50013, "invalid_grant", operator},
		{500133, "invalid_grant", caller},
		{500133, "invalid_request", caller},
		{500131, "invalid_grant", operator},
		{50027, "invalid_request", operator},
		{50027, "invalid_grant", operator},
		{70000, "invalid_grant", user},
		{240002, "invalid_grant", operator},

		{50072, "interaction_required", user},
		{50074, "interaction_required", user},
		{50076, "interaction_required", user},
		{50076, "invalid_grant", user},
		{50078, "interaction_required", user},
		{50079, "interaction_required", user},
		{50158, "interaction_required", user},

		{50097, "interaction_required", user},
		{50129, "interaction_required", user},
		{50131, "interaction_required", user},
		{53000, "invalid_grant", user},
		{53001, "invalid_grant", user},
		{53002, "invalid_grant", user},
		{53003, "access_denied", user},
		{53004, "invalid_grant", user},
		{53011, "interaction_required", user},
		{530032, "interaction_required", user},
		{530035, "access_denied", user},

		{50132, "invalid_grant", user},
		{50133, "invalid_grant", user},
		{50173, "invalid_grant", user},
		{70008, "invalid_grant", user},
		{70043, "invalid_grant", user},
		{700082, "invalid_grant", user},
		{700084, "invalid_grant", user},

		{50020, "invalid_grant", operator},
		{50034, "invalid_grant", user},
		{50034, "invalid_request", user},
		{50057, "invalid_grant", user},
		{50057, "invalid_client", user},
		{50058, "invalid_request", user},
		{50105, "invalid_grant", operator},
		{50105, "interaction_required", operator},
		{90072, "invalid_grant", operator},

		{65001, "invalid_grant", consent},
		{65004, "invalid_grant", consent},
		{65004, "access_denied", consent},
		{65005, "invalid_grant", operator},
		{65005, "invalid_client", operator},
		{650052, "invalid_grant", operator},
		{650056, "invalid_grant", operator},
		{650057, "invalid_grant", operator},
		{90094, "invalid_grant", consent},
		{90095, "access_denied", consent},
		{500011, "invalid_grant", operator},

		{70011, "invalid_grant", operator},
		{28002, "invalid_grant", operator},
		{700022, "invalid_grant", operator},
		{700023, "invalid_grant", operator},
		{9001023, "invalid_grant", operator},

		{700016, "unauthorized_client", operator},
		{700016, "invalid_grant", operator},
		{7000112, "unauthorized_client", operator},
		{7000112, "invalid_grant", operator},
		{7000114, "invalid_grant", operator},
		{7000215, "invalid_client", operator},
		{7000222, "invalid_client", operator},
		{7000218, "invalid_client", operator},
		{700024, "invalid_client", operator},
		{700027, "invalid_client", operator},
		{700030, "invalid_client", operator},
		{70002, "invalid_client", operator},
		{700229, "invalid_grant", operator},
		{1000502, "invalid_client", operator},
		{7000214, "invalid_client", operator},
		{7000274, "invalid_client", operator},
		{7000277, "invalid_client", operator},
		{70021, "invalid_request", operator},
		{700211, "invalid_client", operator},
		{700212, "invalid_client", operator},
		{700213, "invalid_client", operator},
		{7002137, "invalid_client", operator},
		{7002138, "invalid_client", operator},

		{90055, "invalid_grant", nobody},
		{90055, "temporarily_unavailable", nobody},
		{90024, "invalid_grant", nobody},
		{90033, "invalid_grant", nobody},
		{90033, "temporarily_unavailable", nobody},
		{90090, "invalid_grant", nobody},
		{50033, "invalid_grant", nobody},
		{50196, "invalid_grant", nobody},
		{50196, "invalid_client", nobody},

		{90002, "invalid_grant", operator},
		{90002, "invalid_request", operator},
		{90009, "invalid_grant", operator},
		{900382, "invalid_grant", operator},
		{900432, "invalid_grant", operator},
	} {
		t.Run(fmt.Sprint(row.number, row.code), func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer {
				return refused(400, row.code, fmt.Sprintf(`"error_codes":[%d],`, row.number))
			}
			got := k.fails(userOf(ourTenant, "alice"))
			if got.Kind != row.want || got.Code != row.code {
				t.Errorf("got %v, want %v", got, row.want)
			}
			if (got.ConsentURI != "") != (row.want == consent) {
				t.Errorf("consent URI: got %q", got.ConsentURI)
			}
			if throttled := row.want == nobody; got.Throttled != throttled || throttled && got.RetryAfter != time.Minute {
				t.Errorf("throttled: got %v for %v", got.Throttled, got.RetryAfter)
			}
			k.wantExchanges(1)
		})
	}
}

// What a suberror, a description, a claims challenge or a header says where no number
// does, or against one.
func TestRefusalsWithoutAKnownNumber(t *testing.T) {
	const challenge = `"claims":"{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}",`
	retryLater := refused(400, "invalid_grant", "")
	retryLater.header = http.Header{"Retry-After": {"7"}}
	outOfTime := answer{status: 400, body: `{"error":"invalid_grant","error_codes":[50013],"error_description":"AADSTS50013: Assertion is not within its valid time range. Current time: 2026-01-01T00:00:00Z"}`}
	for _, row := range []struct {
		name   string
		answer answer
		want   obo.Kind
	}{
		{"token expired", refused(400, "invalid_grant", `"suberror":"token_expired",`), obo.AssertionExpired},
		{"bad token", refused(400, "invalid_grant", `"suberror":"bad_token",`), obo.AssertionExpired},
		{"bad token, of a revoked session", refused(400, "invalid_grant", `"suberror":"bad_token","error_codes":[50173],`), obo.InteractionRequired},
		{"the assertion is out of time", outOfTime, obo.AssertionExpired},
		{"client mismatch", refused(400, "invalid_grant", `"suberror":"client_mismatch",`), obo.Misconfigured},
		{"message only", refused(400, "invalid_grant", `"suberror":"message_only","error_codes":[53003],`), obo.InteractionRequired},
		{"device", refused(400, "invalid_grant", `"suberror":"device_authentication_failed",`), obo.InteractionRequired},
		{"protection policy", refused(400, "unauthorized_client", `"suberror":"protection_policy_required",`), obo.InteractionRequired},
		{"throttled", refused(400, "invalid_grant", `"suberror":"throttled",`), obo.Unavailable},
		{"Retry-After alone", retryLater, obo.Unavailable},
		{"consent declined", refused(400, "invalid_grant", `"suberror":"consent_required","error_codes":[65004],`), obo.ConsentRequired},
		{"unknown number", refused(400, "invalid_grant", `"error_codes":[1],`), obo.InteractionRequired},
		{"unknown number, then a known one", refused(400, "invalid_grant", `"error_codes":[1,50105],`), obo.Misconfigured},
		{"not assigned, but with claims", refused(400, "interaction_required", `"error_codes":[50105],`+challenge), obo.InteractionRequired},
		{"conditional access with claims", refused(400, "interaction_required", `"error_codes":[53003],`+challenge), obo.InteractionRequired},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return row.answer }
			if got := k.fails(user("alice")); got.Kind != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
			k.wantExchanges(1)
		})
	}
}

// A token that ended by our clock, within the clock skew, is the reason for whatever
// the provider says of it, unless it asks for claims or consent or refuses us.
func TestRefusalOfATokenThatEndedByOurClock(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer answer
		ended  bool
		want   obo.Kind
	}{
		{"bad signature or time", refused(400, "invalid_grant", `"error_codes":[50013],`), true, obo.AssertionExpired},
		{"the same, before its end", refused(400, "invalid_grant", `"error_codes":[50013],`), false, obo.Misconfigured},
		{"malformed or out of time", refused(400, "invalid_request", `"error_codes":[50027],`), true, obo.AssertionExpired},
		{"no number", refused(400, "invalid_grant", ""), true, obo.AssertionExpired},
		{"interaction", refused(400, "interaction_required", ""), true, obo.AssertionExpired},
		{"interaction, before its end", refused(400, "interaction_required", ""), false, obo.InteractionRequired},
		{"claims", refused(400, "interaction_required", `"claims":"{\"access_token\":{}}",`), true, obo.InteractionRequired},
		{"consent", refused(400, "invalid_grant", `"error_codes":[65001],`), true, obo.ConsentRequired},
		{"our secret", refused(401, "invalid_client", `"error_codes":[7000215],`), true, obo.Misconfigured},
		{"another audience", refused(400, "invalid_grant", `"error_codes":[500131],`), true, obo.Misconfigured},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return row.answer }
			alice := user("alice")
			if row.ended {
				alice.Expires = time.Now().Add(-20 * time.Second)
			}
			if got := k.fails(alice); got.Kind != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// That a token has expired is not held against the provider's next word on it, and a
// refusal of the operators' is gone as soon as they have acted.
func TestOnlyWhatNeedsTheUserIsRemembered(t *testing.T) {
	for _, number := range []int{500133, 500131, 50105} {
		synctest.Test(t, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(r sent) answer {
				if r.n == 1 {
					return refused(400, "invalid_grant", fmt.Sprintf(`"error_codes":[%d],`, number))
				}
				return numbered(r)
			}
			k.fails(user("alice"))
			k.want(user("alice"), "", "token-2", obo.IdentityProvider)
		})
	}
}
