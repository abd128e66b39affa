package obo_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

// refused is an error answer of Entra. members go before the usual ones.
func refused(status int, code, members string) answer {
	return answer{status: status, body: `{` + members + `"error":"` + code +
		`","error_description":"AADSTS50000: What happened.\r\nTrace ID: t\r\nCorrelation ID: c","timestamp":"2000-01-01 00:00:00Z","trace_id":"trace","correlation_id":"correlation"}`}
}

func TestRefusalsAreClassified(t *testing.T) {
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	const quotedChallenge = `"claims":"{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}",`
	for _, c := range []struct {
		name   string
		answer answer
		want   obo.Error // Status, CorrelationID, TraceID and Scopes follow from the rest
	}{
		{"interaction", refused(400, "interaction_required", `"error_codes":[50076],"suberror":"basic_action",`), obo.Error{Kind: obo.InteractionRequired, Suberror: "basic_action", Codes: []int{50076}}},
		{"interaction with claims", refused(400, "interaction_required", quotedChallenge), obo.Error{Kind: obo.InteractionRequired, Claims: challenge}},
		{"login", refused(400, "login_required", ""), obo.Error{Kind: obo.InteractionRequired}},
		{"expired assertion", refused(400, "invalid_grant", `"error_codes":[500133],`), obo.Error{Kind: obo.AssertionExpired, Codes: []int{500133}}},
		{"revoked", refused(400, "invalid_grant", `"error_codes":[50173],"suberror":"bad_token",`), obo.Error{Kind: obo.InteractionRequired, Codes: []int{50173}, Suberror: "bad_token"}},
		{"grant with claims", refused(400, "invalid_grant", `"suberror":"message_only",`+quotedChallenge), obo.Error{Kind: obo.InteractionRequired, Suberror: "message_only", Claims: challenge}},
		{"password expired", refused(400, "invalid_grant", `"suberror":"user_password_expired",`), obo.Error{Kind: obo.InteractionRequired, Suberror: "user_password_expired"}},
		{"device", refused(400, "invalid_grant", `"suberror":"device_authentication_failed",`), obo.Error{Kind: obo.InteractionRequired, Suberror: "device_authentication_failed"}},
		{"consent", refused(400, "invalid_grant", `"error_codes":[65001],"suberror":"consent_required",`), obo.Error{Kind: obo.ConsentRequired, Codes: []int{65001}, Suberror: "consent_required"}},
		{"consent by code", refused(400, "invalid_grant", `"error_codes":[65001],`), obo.Error{Kind: obo.ConsentRequired, Codes: []int{65001}}},
		{"consent by error", refused(400, "consent_required", ""), obo.Error{Kind: obo.ConsentRequired}},
		{"client mismatch", refused(400, "invalid_grant", `"suberror":"client_mismatch",`), obo.Error{Kind: obo.Misconfigured, Suberror: "client_mismatch"}},
		{"client", refused(401, "invalid_client", `"error_codes":[7000215],`), obo.Error{Kind: obo.Misconfigured, Codes: []int{7000215}}},
		{"unauthorized client", refused(400, "unauthorized_client", `"error_codes":[700016],`), obo.Error{Kind: obo.Misconfigured, Codes: []int{700016}}},
		{"request", refused(400, "invalid_request", ""), obo.Error{Kind: obo.Misconfigured}},
		{"resource", refused(400, "invalid_resource", `"error_codes":[500011],`), obo.Error{Kind: obo.Misconfigured, Codes: []int{500011}}},
		{"scope", refused(400, "invalid_scope", `"error_codes":[70011],`), obo.Error{Kind: obo.Misconfigured, Codes: []int{70011}}},
		{"grant type", refused(400, "unsupported_grant_type", ""), obo.Error{Kind: obo.Misconfigured}},
		{"new code", refused(400, "something_new", ""), obo.Error{Kind: obo.Misconfigured}},
		{"temporarily unavailable", refused(400, "temporarily_unavailable", ""), obo.Error{Kind: obo.Unavailable}},
		{"throttled", refused(429, "invalid_request", ""), obo.Error{Kind: obo.Unavailable, Throttled: true, RetryAfter: time.Minute}},
		{"500", refused(500, "server_error", ""), obo.Error{Kind: obo.Unavailable}},
		{"503 with a code of ours", refused(503, "invalid_client", ""), obo.Error{Kind: obo.Unavailable}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return c.answer }
			got := k.fails(user("alice"))
			want := c.want
			want.Code = strings.Split(strings.Split(c.answer.body, `"error":"`)[1], `"`)[0]
			want.Status, want.CorrelationID, want.TraceID, want.Scopes, want.Flow = c.answer.status, "correlation", "trace", todo, obo.OnBehalfOf
			exchanges := 1
			if want.Kind == obo.Unavailable && !want.Throttled {
				want.RetryAfter, exchanges = 5*time.Second, 2 // it may have been a hiccup
			}
			if want.Kind == obo.ConsentRequired {
				want.ConsentURI = got.ConsentURI // has its own test
			}
			want.Err = got.Err
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got  %#v\nwant %#v", *got, want)
			}
			if text := got.Error(); !strings.Contains(text, "AADSTS50000") || strings.Contains(text, "What happened") {
				t.Errorf("text: got %q, want the description's number alone", text)
			}
			k.wantExchanges(exchanges)
		})
	}
}

func TestConsentURI(t *testing.T) {
	k := start(t, nil)
	k.token = func(sent) answer { return refused(400, "consent_required", "") }
	got := k.fails(userOf(guestTenant, "alice")).ConsentURI
	want := "https://login.example/" + guestTenant + "/oauth2/v2.0/authorize?client_id=" + ourClient +
		"&prompt=consent&response_type=code&scope=api%3A%2F%2Ftodo%2FRead+api%3A%2F%2Ftodo%2FWrite"
	if got != want {
		t.Errorf("consent URI: got %s, want %s", got, want)
	}
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	good := func(members string) answer {
		return answer{body: `{"scope":"api://todo/Read",` + members + `}`}
	}
	html := answer{
		status: 200, header: http.Header{"Content-Type": {"text/html"}},
		body: "<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>",
	}
	with := func(a answer, status int) answer {
		a.status = status
		return a
	}
	for name, a := range map[string]answer{
		"HTML":                       html,
		"HTML refusal":               with(html, 400),
		"HTML 404":                   with(html, 404),
		"empty":                      {},
		"empty refusal":              {status: 400},
		"null":                       {body: "null"},
		"array":                      {body: "[]"},
		"refusal without code":       {status: 400, body: `{"error_description":"no code"}`},
		"refusal of wrong types":     {status: 400, body: `{"error":"invalid_grant","error_codes":["65001"]}`},
		"refusal with status 200":    {body: `{"error":"invalid_grant","token_type":"Bearer","expires_in":3600,"access_token":"token-x"}`},
		"10 MiB":                     {body: strings.Repeat(" ", 10<<20) + `{"token_type":"Bearer","expires_in":3600,"access_token":"token-x"}`},
		"10 MiB refusal":             {status: 400, body: `{"error":"` + strings.Repeat("x", 10<<20) + `"}`},
		"truncated":                  {body: `{"token_type":"Bearer","expires_in":3600,"access_token":"token-x`},
		"two documents":              {body: granted("token-x", 3600).body + granted("token-y", 3600).body},
		"201":                        with(granted("token-x", 3600), 201),
		"no access_token":            good(`"token_type":"Bearer","expires_in":3600`),
		"empty access_token":         good(`"token_type":"Bearer","expires_in":3600,"access_token":""`),
		"null access_token":          good(`"token_type":"Bearer","expires_in":3600,"access_token":null`),
		"access_token is an object":  good(`"token_type":"Bearer","expires_in":3600,"access_token":{"token-x":1}`),
		"CR LF in access_token":      good(`"token_type":"Bearer","expires_in":3600,"access_token":"token-x\r\nX-Evil: 1"`),
		"NUL in access_token":        good(`"token_type":"Bearer","expires_in":3600,"access_token":"token-x\u0000"`),
		"space in access_token":      good(`"token_type":"Bearer","expires_in":3600,"access_token":"token-x y"`),
		"umlaut in access_token":     good(`"token_type":"Bearer","expires_in":3600,"access_token":"token-ü"`),
		"token_type mac":             good(`"token_type":"mac","expires_in":3600,"access_token":"token-x"`),
		"token_type pop":             good(`"token_type":"pop","expires_in":3600,"access_token":"token-x"`),
		"no token_type":              good(`"expires_in":3600,"access_token":"token-x"`),
		"expires_in 0":               good(`"token_type":"Bearer","expires_in":0,"access_token":"token-x"`),
		"expires_in -5":              good(`"token_type":"Bearer","expires_in":-5,"access_token":"token-x"`),
		"expires_in 1e20":            good(`"token_type":"Bearer","expires_in":1e20,"access_token":"token-x"`),
		"expires_in 99999999999":     good(`"token_type":"Bearer","expires_in":99999999999,"access_token":"token-x"`),
		"expires_in beyond int":      good(`"token_type":"Bearer","expires_in":99999999999999999999,"access_token":"token-x"`),
		"expires_in 3600.5":          good(`"token_type":"Bearer","expires_in":3600.5,"access_token":"token-x"`),
		"expires_in missing":         good(`"token_type":"Bearer","access_token":"token-x"`),
		"expires_in null":            good(`"token_type":"Bearer","expires_in":null,"access_token":"token-x"`),
		"expires_in true":            good(`"token_type":"Bearer","expires_in":true,"access_token":"token-x"`),
		"expires_in \"soon\"":        good(`"token_type":"Bearer","expires_in":"soon","access_token":"token-x"`),
		"another member's type":      good(`"token_type":"Bearer","expires_in":3600,"access_token":"token-x","trace_id":1`),
		"expires_in holds the token": good(`"token_type":"Bearer","access_token":"token-x","expires_in":[3600]`),
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return a }
			refusal := k.fails(user("alice"))
			if refusal.Kind != obo.InvalidResponse || refusal.Err == nil || strings.Contains(refusal.Error(), "%!") {
				t.Errorf("got %v, want nonsense", refusal)
			}
			k.token = numbered
			k.want(user("alice"), "", "token-2", obo.IdentityProvider) // nothing was kept
		})
	}
}

func TestAnswersThatAreTaken(t *testing.T) {
	for name, members := range map[string]string{
		"usual":                 `"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"access_token":"token-x","refresh_token":"r","id_token":"not one","client_info":"!"`,
		"expires_in is text":    `"token_type":"Bearer","expires_in":"3600","access_token":"token-x"`,
		"token_type lower case": `"token_type":"bearer","expires_in":3600,"access_token":"token-x"`,
		"life of 200 s":         `"token_type":"Bearer","expires_in":200,"access_token":"token-x"`,
		"life of 28 h":          `"token_type":"Bearer","expires_in":100800,"access_token":"token-x"`,
		"fewer scopes":          `"token_type":"Bearer","expires_in":3600,"access_token":"token-x","scope":"api://todo/Read"`,
		"refresh_in":            `"token_type":"Bearer","expires_in":86400,"refresh_in":43200,"access_token":"token-x"`,
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return answer{body: "{" + members + "}"} }
			k.want(user("alice"), "", "token-x", obo.IdentityProvider)
			k.want(user("alice"), "", "token-x", obo.Memory)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	in := func(d time.Duration) func() string {
		return func() string { return time.Now().UTC().Add(d).Format(http.TimeFormat) }
	}
	is := func(value string) func() string { return func() string { return value } }
	for _, c := range []struct {
		name  string
		value func() string
		want  time.Duration
	}{
		{"seconds", is("17"), 17 * time.Second},
		{"date", in(90 * time.Second), 90 * time.Second},
		{"missing", nil, time.Minute},
		{"empty", is(""), time.Minute},
		{"words", is("soon"), time.Minute},
		{"fraction", is("1.5"), time.Minute},
		{"zero", is("0"), time.Second},
		{"negative", is("-17"), time.Second},
		{"date gone by", in(-time.Hour), time.Second},
		{"a day", is("86400"), time.Hour},
		{"date in a year", in(365 * 24 * time.Hour), time.Hour},
		{"beyond a duration", is("9223372036854775807"), time.Hour},
		{"beyond an int", is("99999999999999999999999"), time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, answers := range map[string]func(k kit, a answer){
				"token":    func(k kit, a answer) { k.token = func(sent) answer { return a } },
				"metadata": func(k kit, a answer) { k.metadata = func(string) answer { return a } },
			} {
				synctest.Test(t, func(t *testing.T) {
					k := start(t, nil)
					a := answer{status: 429, header: http.Header{}}
					if c.value != nil {
						a.header.Set("Retry-After", c.value())
					}
					answers(k, a)
					if got := k.fails(user("alice")); got.Kind != obo.Unavailable || got.RetryAfter != c.want || got.Status != 429 || !got.Throttled {
						t.Errorf("%s: got %v, retry after %v; want throttled, %v", name, got, got.RetryAfter, c.want)
					}
				})
			}
		})
	}
}

func TestDiscoveryFailures(t *testing.T) {
	long := strings.Repeat("<p>not found</p>", 10_000)
	for _, c := range []struct {
		name   string
		answer answer
		want   obo.Error
	}{
		{"404", answer{status: 404, body: long}, obo.Error{Kind: obo.InvalidResponse, Status: 404}},
		{"HTML", answer{body: "<html>" + long}, obo.Error{Kind: obo.InvalidResponse, Status: 200}},
		{"empty", answer{}, obo.Error{Kind: obo.InvalidResponse, Status: 200}},
		{"empty object", answer{body: "{}"}, obo.Error{Kind: obo.InvalidResponse, Status: 200}},
		{"redirect", answer{status: 302, header: http.Header{"Location": {"https://elsewhere.example/"}}}, obo.Error{Kind: obo.InvalidResponse, Status: 302}},
		{"10 MiB", answer{body: strings.Repeat(" ", 10<<20)}, obo.Error{Kind: obo.InvalidResponse}},
		{"another issuer", answer{body: `{"issuer":"https://elsewhere.example/v2.0","authorization_endpoint":"https://login.example/a","token_endpoint":"https://login.example/t"}`}, obo.Error{Kind: obo.InvalidResponse, Status: 200}},
		{"500", answer{status: 500, body: long}, obo.Error{Kind: obo.Unavailable, Status: 500, RetryAfter: 5 * time.Second}},
		{"unknown tenant", refused(400, "invalid_tenant", `"error_codes":[90002],`), obo.Error{Kind: obo.Misconfigured, Status: 400, Code: "invalid_tenant", Codes: []int{90002}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := start(t, nil)
			k.metadata = func(string) answer { return c.answer }
			got := k.fails(user("alice"))
			c.want.Flow, c.want.Scopes, c.want.Err = obo.OnBehalfOf, todo, got.Err
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %#v\nwant %#v", *got, c.want)
			}
			k.wantExchanges(0)
			k.metadata = goodMetadata
			k.want(user("alice"), "", "token-1", obo.IdentityProvider)
		})
	}
}

func TestErrorsHoldNoTokens(t *testing.T) {
	alice := user("alice")
	for name, a := range map[string]answer{
		"description":      {status: 400, body: `{"error":"invalid_grant","error_description":"AADSTS50013: Assertion ` + alice.Token + ` failed."}`},
		"HTML":             {status: 400, body: `<html>` + alice.Token + `</html>`},
		"HTML 200":         {body: `<html>` + alice.Token + ` ` + ourSecret + `</html>`},
		"500":              {status: 500, body: alice.Token + ourSecret},
		"good but for end": {body: `{"token_type":"Bearer","expires_in":3600,"access_token":"token-1"`},
		"MSAL's own check": {body: `{"token_type":"Bearer","expires_in":-1,"access_token":"token-1"}`},
		"wrong type":       {body: `{"token_type":"Bearer","expires_in":3600,"access_token":["token-1"]}`},
		"in refresh_token": {body: `{"token_type":"Bearer","expires_in":"x","refresh_token":"token-1","access_token":"token-2"}`},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return a }
			k.fails(alice) // looks for secrets
		})
	}
}
