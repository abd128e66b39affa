package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// An API's 401 is about our token, not the caller's: the token is dropped and
// another one fetched. The rows are what can follow, on both paths.
func TestAPIThatRejectsOurToken(t *testing.T) {
	t.Parallel()
	const refusedClaims = `{"access_token":{"acrs":{"essential":true,"value":"c9"}}}`
	for _, row := range []struct {
		name      string
		app       bool
		challenge string        // of the API
		fault     mockidp.Fault // meets the second exchange
		body      string
		status    int
		kind      string
		exchanges int
		calls     int // of the API
	}{
		{name: "another is good", status: 200, exchanges: 2, calls: 2},
		{name: "another is good, app", app: true, status: 200, exchanges: 2, calls: 2},
		{name: "with a small body", body: "x", status: 200, exchanges: 2, calls: 2},
		{name: "with a body too large to keep", body: strings.Repeat("x", 100<<10), status: 502, kind: "downstream-rejected-token", exchanges: 2, calls: 1},
		{name: "claims", challenge: challengeFor(apiClaims), status: 200, exchanges: 2, calls: 2},
		{name: "claims, app", app: true, challenge: challengeFor(apiClaims), status: 200, exchanges: 2, calls: 2},
		{name: "claims, with a body too large to keep", challenge: challengeFor(apiClaims), body: strings.Repeat("x", 100<<10), status: 502, kind: "downstream-rejected-token", exchanges: 2, calls: 1},
		{name: "the user must act", fault: mockidp.Fault{Error: "interaction_required"}, status: 401, kind: "interaction-required", exchanges: 2, calls: 1},
		{name: "the user must act, with claims", fault: mockidp.Fault{Error: "interaction_required", Claims: refusedClaims}, status: 401, kind: "claims-challenge", exchanges: 2, calls: 1},
		{name: "claims that are refused", challenge: challengeFor(apiClaims), fault: mockidp.Fault{Error: "interaction_required"}, status: 401, kind: "claims-challenge", exchanges: 2, calls: 1},
		{name: "claims that are refused, app", app: true, challenge: challengeFor(apiClaims), fault: mockidp.Fault{Error: "interaction_required"}, status: 500, kind: "misconfigured", exchanges: 2, calls: 1},
		{name: "consent is gone", fault: mockidp.Fault{Error: "invalid_grant", Suberror: "consent_required"}, status: 403, kind: "consent-required", exchanges: 2, calls: 1},
		{name: "we are refused", fault: mockidp.Fault{Error: "unauthorized_client"}, status: 500, kind: "misconfigured", exchanges: 2, calls: 1},
		{name: "throttled", fault: mockidp.Fault{Status: 429}, status: 503, kind: "identity-provider-unavailable", exchanges: 2, calls: 1},
		{name: "the provider fails", fault: mockidp.Fault{Status: 500}, status: 503, kind: "identity-provider-unavailable", exchanges: 3, calls: 1},
		{name: "the provider makes no sense", fault: mockidp.Fault{Status: 200, Body: "[]"}, status: 502, kind: "identity-provider-error", exchanges: 2, calls: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			path, flow, token := "/api/todo/items", "on_behalf_of", w.alice()
			if row.app {
				path, flow, token = "/app/todo/items", "client_credentials", w.daemon()
			}
			var rejected string
			w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // it is not looked at
				if rejected == "" {
					rejected = r.Header.Get("Authorization")
					row.fault.Flow = flow
					if row.fault.Error != "" || row.fault.Status != 0 {
						w.idp.AddFault(row.fault)
					}
				}
				if r.Header.Get("Authorization") == rejected {
					rw.Header().Set("WWW-Authenticate", row.challenge)
					rw.WriteHeader(http.StatusUnauthorized)
				}
			})
			method := "GET"
			if row.body != "" {
				method = "POST"
			}
			r := w.call(method, path, token, row.body)
			if r.StatusCode != row.status || row.kind != "" && r.kind() != row.kind {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			if calls := len(w.api.seen()); calls != row.calls || w.exchanges() != row.exchanges {
				t.Errorf("got %d calls and %d exchanges, want %d and %d", calls, w.exchanges(), row.calls, row.exchanges)
			}
			if row.kind != "" {
				checkProblem(t, w, r, path)
			}
			// The rejected token does not come back.
			w.idp.ClearFaults()
			w.call("GET", path, token, "")
			for _, again := range w.api.seen()[1:] {
				if again.Header.Get("Authorization") == rejected {
					t.Error("the API got the token again that it had rejected")
				}
			}
		})
	}
}
