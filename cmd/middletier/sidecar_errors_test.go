package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"middletier/internal/mockidp"
)

// What the provider refuses has the status that clients of this interface act on.
func TestSidecarProviderErrors(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for _, row := range []struct {
		name      string
		fault     mockidp.Fault
		status    int
		kind      string
		challenge string // in WWW-Authenticate
		wait      bool   // Retry-After
	}{
		{
			"claims",
			mockidp.Fault{Error: "interaction_required", ErrorCodes: []int{50076}, Claims: claims},
			401, "claims-challenge",
			`claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`, false,
		},
		{
			"the user must sign in",
			mockidp.Fault{Error: "interaction_required", ErrorCodes: []int{50076}},
			401, "interaction-required",
			`Bearer error="interaction_required"`, false,
		},
		{
			"no consent",
			mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{65001}, Suberror: "consent_required"},
			403, "consent-required", "", false,
		},
		{"throttling", mockidp.Fault{Status: 429, Header: map[string]string{"Retry-After": "7"}}, 503, "identity-provider-unavailable", "", true},
		{"a fault", mockidp.Fault{Status: 500}, 503, "identity-provider-unavailable", "", true},
		{"no answer", mockidp.Fault{Drop: true}, 503, "identity-provider-unavailable", "", true},
		{"our credential", mockidp.Fault{Error: "invalid_client", ErrorCodes: []int{7000215}}, 500, "misconfigured", "", false},
		{"our scopes", mockidp.Fault{Error: "invalid_resource", ErrorCodes: []int{500011}}, 500, "misconfigured", "", false},
		{"nonsense", mockidp.Fault{Body: "nonsense"}, 502, "identity-provider-error", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newSidecar(t)
			w.idp.AddFault(row.fault)
			r := w.beside("GET", headerPath("todo"), w.alice())
			if r.StatusCode != row.status || r.kind() != row.kind || r.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, row.challenge) || (row.status == 401) != (got != "") {
				t.Errorf("got WWW-Authenticate %q, want %q", got, row.challenge)
			}
			if got := r.Header.Get("Retry-After"); (got != "") != row.wait {
				t.Errorf("got Retry-After %q, want one: %v", got, row.wait)
			}
			var body struct{ Claims string }
			if err := json.Unmarshal([]byte(r.body), &body); err != nil || body.Claims != row.fault.Claims {
				t.Errorf("got claims %q in the body, want %q", body.Claims, row.fault.Claims)
			}
			if strings.Contains(r.problem.Title, "AADSTS") || strings.Contains(r.body, testSecret) {
				t.Errorf("the problem says too much: %s", r.body)
			}
		})
	}
}

func TestSidecarRefusesTokens(t *testing.T) {
	w := newSidecar(t, withOpenGates)
	alice := w.alice()
	bearer := "Authorization: Bearer "
	toOther := w.idp.UserToken("alice", "app", "other", "Other.Read")
	const invalidRequest, invalidToken = `Bearer error="invalid_request"`, `Bearer error="invalid_token"`
	for _, row := range []struct {
		name   string
		lines  []string
		status int
		kind   string
		start  string // of WWW-Authenticate
	}{
		{"no token", nil, 401, "missing-token", "Bearer"},
		{"another scheme", []string{"Authorization: Basic x"}, 401, "missing-token", "Bearer"},
		{"a PoP token", []string{"Authorization: PoP " + alice}, 401, "missing-token", "Bearer"},
		{"no token behind the scheme", []string{bearer}, 401, "missing-token", "Bearer"},
		{"two headers", []string{bearer + alice, bearer + alice}, 400, "invalid-request", invalidRequest},
		{"no JWT", []string{bearer + "x"}, 401, "invalid-token", invalidToken},
		{"a bad signature", []string{bearer + alice[:len(alice)-8] + "AAAAAAAA"}, 401, "invalid-token", invalidToken},
		{"another audience", []string{bearer + toOther}, 401, "invalid-token", invalidToken},
		{"the scheme in another case", []string{"Authorization: bEARER " + alice}, 200, "", ""},
	} {
		for _, path := range []string{"/Validate", headerPath("todo"), headerPathFree("todo")} {
			if row.lines == nil && strings.Contains(path, "Unauthenticated") {
				continue
			}
			r := w.beside("GET", path, "", row.lines...)
			if r.StatusCode != row.status || r.StatusCode != 200 && r.kind() != row.kind {
				t.Errorf("%s: %s: got %d %s, want %d %s", row.name, path, r.StatusCode, r.body, row.status, row.kind)
			}
			if got := r.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, row.start) || row.start == "" && got != "" {
				t.Errorf("%s: %s: got WWW-Authenticate %q, want %q", row.name, path, got, row.start)
			}
		}
	}
	if n := w.idp.Count("client_credentials"); n != 0 {
		t.Errorf("refused tokens led to %d tokens of ours", n)
	}
}

func TestSidecarRequestsWithoutScopes(t *testing.T) {
	w := newSidecar(t, withOpenGates)
	for _, path := range []string{
		headerPath("todo", option("Scopes", "openid")),
		headerPath("todo", option("Scopes", "api://todo/ToDoList.Read"), option("RequestAppToken", "true")),
		headerPath("todo", option("Scopes", "api://todo/ToDoList.Read api://notes/Notes.Read")),
		headerPath("todo", option("AcquireTokenOptions.FmiPath", "a/b")),
	} {
		if r := w.beside("GET", path, w.alice()); r.StatusCode != 400 || r.kind() != "invalid-request" {
			t.Errorf("%s: got %d %s, want 400 invalid-request", path, r.StatusCode, r.body)
		}
	}
	// As the application, the first scope counts.
	path := headerPath("todo", option("Scopes", toNotes), option("Scopes", "api://todo/.default"), option("RequestAppToken", "true"))
	if claims := headerToken(t, w.beside("GET", path, w.alice())); claims["aud"] != demoNotes {
		t.Errorf("got a token for %v, want %s", claims["aud"], demoNotes)
	}
}

// Many requests at once cost one exchange, and cached tokens none.
func TestSidecarColdRequestsShareAnExchange(t *testing.T) {
	w := newSidecar(t)
	alice := w.alice()
	for _, row := range []struct{ path, token, flow string }{
		{headerPath("todo"), alice, "on_behalf_of"},
		{headerPathFree("todo"), "", "client_credentials"},
	} {
		var group sync.WaitGroup
		for range 60 {
			group.Go(func() {
				if r := w.beside("GET", row.path, row.token); r.StatusCode != 200 {
					t.Errorf("got %d %s", r.StatusCode, r.body)
				}
			})
		}
		group.Wait()
		if n := w.idp.Count(row.flow); n != 1 {
			t.Errorf("%s: got %d exchanges, want 1", row.flow, n)
		}
	}
}

// The provider's demand to wait holds back the user it is about, and nobody else.
func TestSidecarThrottledUserHoldsNobodyBack(t *testing.T) {
	w := newSidecar(t, withOpenGates)
	w.idp.AddFault(mockidp.Fault{
		Flow: "on_behalf_of", Times: 1, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "60"},
	})
	for i, row := range []struct {
		path, token string
		want        int
	}{
		{headerPath("todo"), w.alice(), 503},
		{headerPath("todo"), w.alice(), 503}, // from memory
		{headerPath("todo"), w.bob(), 200},
		{headerPathFree("todo"), "", 200},
		{headerPathFree("todo", "AgentIdentity="+agentOne, "AgentUsername="+robotOneAs), "", 200},
	} {
		if r := w.beside("GET", row.path, row.token); r.StatusCode != row.want {
			t.Errorf("request %d: got %d %s, want %d", i, r.StatusCode, r.body, row.want)
		}
	}
}

// A token of another user's request is not used, whatever it was asked with: claims are
// asked for each time and change nothing in the cache; a refresh replaces the token.
func TestSidecarClaimsAndRefresh(t *testing.T) {
	w := newSidecar(t)
	alice := w.alice()
	ask := func(query ...string) string {
		r := w.beside("GET", headerPath("todo", query...), alice)
		if r.StatusCode != 200 {
			t.Fatalf("%v: got %d %s", query, r.StatusCode, r.body)
		}
		return r.body
	}
	first := ask()
	claims := option("AcquireTokenOptions.Claims", `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`)
	if with := ask(claims); with == first || ask(claims) == with {
		t.Error("a request with claims got a token that was held")
	}
	if ask() != first {
		t.Error("a request with claims changed the token that is held")
	}
	second := ask(option("AcquireTokenOptions.ForceRefresh", "true"))
	if second == first || ask() != second {
		t.Error("ForceRefresh did not replace the token")
	}
	if n := w.idp.Count("on_behalf_of"); n != 4 {
		t.Errorf("got %d exchanges, want 4", n)
	}
}

// The caller's correlation id is the provider's too.
func TestSidecarCorrelationID(t *testing.T) {
	w := newSidecar(t)
	sent := w.sentHeaders()
	const id = "0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0"
	w.beside("GET", headerPath("todo", option("AcquireTokenOptions.CorrelationId", "{"+strings.ToUpper(id)+"}")), w.alice())
	if got := sent().Get("client-request-id"); got != id {
		t.Errorf("got %q, want %s", got, id)
	}
}
