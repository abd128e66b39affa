package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

// tokenWith is a good answer with members changed, as JSON; "" drops one.
func tokenWith(changes map[string]string) mockidp.Fault {
	members := map[string]string{"token_type": `"Bearer"`, "expires_in": "3600", "access_token": `"abc"`}
	maps.Copy(members, changes)
	var list []string
	for name, value := range members {
		if value != "" {
			list = append(list, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return mockidp.Fault{Status: 200, Body: "{" + strings.Join(list, ",") + "}"}
}

// What the provider answers to an exchange, and what the caller receives: at the next
// call too, if the refusal is cached.
func TestProviderRefusals(t *testing.T) {
	t.Parallel()
	claims := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for _, row := range []struct {
		name      string
		fault     mockidp.Fault
		status    int
		kind      string
		challenge string
		check     func(t *testing.T, r *reply)
	}{
		{"interaction required", mockidp.Fault{Error: "interaction_required", Suberror: "basic_action", ErrorCodes: []int{50076}}, 401, "interaction-required", `Bearer error="interaction_required"`, func(t *testing.T, r *reply) {
			if p := r.problem; p.Error != "interaction_required" || p.Suberror != "basic_action" || len(p.ErrorCodes) != 1 ||
				p.ErrorCodes[0] != 50076 || p.CorrelationID == "" {
				t.Errorf("problem: got %s", r.body)
			}
		}},
		{"login required", mockidp.Fault{Error: "login_required"}, 401, "interaction-required", `Bearer error="interaction_required"`, nil},
		{"revoked", mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{50173}}, 401, "interaction-required", `Bearer error="interaction_required"`, nil},
		{"claims challenge", mockidp.Fault{Error: "interaction_required", Claims: claims}, 401, "claims-challenge", "", func(t *testing.T, r *reply) {
			want := fmt.Sprintf(`Bearer realm="", authorization_uri="%%s/%s/oauth2/v2.0/authorize", client_id="%s", error="insufficient_claims", claims="%s", resource_metadata="http`,
				demoTenant, demoMiddleTier, base64.StdEncoding.EncodeToString([]byte(claims)))
			prefix, _, _ := strings.Cut(want, "%s")
			_, suffix, _ := strings.Cut(want, "%s")
			if got := r.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, prefix) || !strings.Contains(got, suffix) ||
				!strings.HasSuffix(got, `/.well-known/oauth-protected-resource/api/todo"`) {
				t.Errorf("WWW-Authenticate: got  %s\nwant %s", got, want)
			}
		}},
		{"consent", mockidp.Fault{Error: "invalid_grant", Suberror: "consent_required", ErrorCodes: []int{65001}}, 403, "consent-required", "", func(t *testing.T, r *reply) {
			if uri := r.problem.ConsentURI; !strings.Contains(uri, "client_id="+demoMiddleTier) || !strings.Contains(uri, "prompt=consent") {
				t.Errorf("consentUri: got %q", uri)
			}
		}},
		{"consent, by its number", mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{65001}}, 403, "consent-required", "", nil},
		{"we may not do that", mockidp.Fault{Error: "unauthorized_client", ErrorCodes: []int{700016}}, 500, "misconfigured", "", nil},
		{"our API's name is wrong", mockidp.Fault{Error: "invalid_resource", ErrorCodes: []int{500011}}, 500, "misconfigured", "", nil},
		{"an error that is new", mockidp.Fault{Error: "something_new"}, 500, "misconfigured", "", nil},
		{"our secret is wrong", mockidp.Fault{Error: "invalid_client", Status: 401, ErrorCodes: []int{7000215}}, 500, "misconfigured", "", nil},
		{"our scope is wrong", mockidp.Fault{Error: "invalid_scope", ErrorCodes: []int{70011}}, 500, "misconfigured", "", nil},
		{"throttled", mockidp.Fault{Status: 429, Header: map[string]string{"Retry-After": "17"}, Body: `{"error":"temporarily_unavailable"}`}, 503, "identity-provider-unavailable", "", func(t *testing.T, r *reply) {
			if got := r.Header.Get("Retry-After"); got != "17" {
				t.Errorf("Retry-After: got %q, want the provider's 17", got)
			}
		}},
		{"throttled by a 503", mockidp.Fault{Status: 503, Header: map[string]string{"Retry-After": "17"}}, 503, "identity-provider-unavailable", "", wantRetryAfter},
		{"an error with a code", mockidp.Fault{Error: "server_error", Status: 500}, 503, "identity-provider-unavailable", "", wantRetryAfter},
		{"an error without a code", mockidp.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}, 503, "identity-provider-unavailable", "", wantRetryAfter},
		{"cut off", mockidp.Fault{Drop: true}, 503, "identity-provider-unavailable", "", wantRetryAfter},
		{"nonsense", mockidp.Fault{Status: 200, Body: "<html>Welcome to the hotel</html>"}, 502, "identity-provider-error", "", nil},
		{"a refusal without a code", mockidp.Fault{Status: 400, Body: "no"}, 502, "identity-provider-error", "", nil},
		{"10 MiB", mockidp.Fault{Status: 200, Body: tokenWith(nil).Body + strings.Repeat(" ", 10<<20)}, 502, "identity-provider-error", "", nil},
		{"cut off in the middle", mockidp.Fault{Status: 200, Body: strings.TrimSuffix(tokenWith(nil).Body, "}")}, 502, "identity-provider-error", "", nil},
		{"no token", tokenWith(map[string]string{"access_token": ""}), 502, "identity-provider-error", "", nil},
		{"an empty token", tokenWith(map[string]string{"access_token": `""`}), 502, "identity-provider-error", "", nil},
		{"a token with a header in it", tokenWith(map[string]string{"access_token": `"a\r\nX-Evil: 1"`}), 502, "identity-provider-error", "", nil},
		{"a token with a NUL", tokenWith(map[string]string{"access_token": `"a\u0000"`}), 502, "identity-provider-error", "", nil},
		{"a token of another type", tokenWith(map[string]string{"token_type": `"mac"`}), 502, "identity-provider-error", "", nil},
		{"a token of no type", tokenWith(map[string]string{"token_type": ""}), 502, "identity-provider-error", "", nil},
		{"a token of no life", tokenWith(map[string]string{"expires_in": ""}), 502, "identity-provider-error", "", nil},
		{"a token that is dead", tokenWith(map[string]string{"expires_in": "0"}), 502, "identity-provider-error", "", nil},
		{"a token from before", tokenWith(map[string]string{"expires_in": "-3600"}), 502, "identity-provider-error", "", nil},
		{"a token for ever", tokenWith(map[string]string{"expires_in": "99999999999"}), 502, "identity-provider-error", "", nil},
		{"a life in words", tokenWith(map[string]string{"expires_in": `"soon"`}), 502, "identity-provider-error", "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.fault.Flow = "on_behalf_of"
			w.idp.AddFault(row.fault)
			alice := w.alice()
			r := w.call("GET", "/api/todo/items", alice, "")
			if r.StatusCode != row.status || r.kind() != row.kind {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			throttled := row.fault.Header["Retry-After"] != ""
			tries := 1
			if row.status == 503 && !throttled {
				tries = 2
			}
			if got := w.exchanges(); got != tries {
				t.Errorf("got %d exchanges, want %d", got, tries)
			}
			challenge := row.challenge
			if row.status == 401 {
				challenge += w.leadsTo("/api/todo")
			}
			if got := r.Header.Get("WWW-Authenticate"); row.kind != "claims-challenge" && got != challenge {
				t.Errorf("WWW-Authenticate: got %q, want %q", got, challenge)
			}
			checkProblem(t, w, r, "/api/todo/items")
			if row.check != nil {
				row.check(t, r)
			}
			w.idp.ClearFaults()
			want, seen := 200, 1
			if row.status == 401 || row.status == 403 || throttled {
				want, seen = row.status, 0
			}
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != want || w.exchanges() != tries+seen || len(w.api.seen()) != seen {
				t.Errorf("afterwards: got %d %s, %d exchanges, %d calls of the API; want %d, %d, %d",
					r.StatusCode, r.body, w.exchanges(), len(w.api.seen()), want, tries+seen, seen)
			}
			if r := w.call("GET", "/api/todo/items", w.bob(), ""); r.StatusCode != 200 {
				t.Errorf("another user, afterwards: got %d %s, want 200", r.StatusCode, r.body)
			}
		})
	}
}

// A token that has just expired is accepted within our clock skew, but not by the
// exchange. A new token is all that is needed: no sign-in is requested, and nothing
// is cached.
func TestTokenThatExpiresBeforeItsExchangeIsToldSo(t *testing.T) {
	for _, row := range []struct {
		name  string
		exp   time.Duration // from now
		fault *mockidp.Fault
	}{
		{"20 s ago", -20 * time.Second, nil},
		{"20 s ago, by another number", -20 * time.Second, &mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{50013}}},
		{"20 s ago, as interaction", -20 * time.Second, &mockidp.Fault{Error: "interaction_required"}},
		{"not by our clock", time.Hour, &mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{500133}}},
		{"not by our clock, by its suberror", time.Hour, &mockidp.Fault{Error: "invalid_grant", Suberror: "token_expired"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			expired := `Bearer error="invalid_token", error_description="The token has expired."` + w.leadsTo("/api/todo")
			claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
			claims["exp"] = time.Now().Add(row.exp).Unix()
			token := w.idp.Sign(claims)
			if row.fault != nil {
				row.fault.Flow = "on_behalf_of"
				w.idp.AddFault(*row.fault)
			}
			for calls := 1; calls <= 2; calls++ {
				r := w.call("GET", "/api/todo/items", token, "")
				if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != 401 || r.kind() != "invalid-token" || got != expired ||
					r.problem.Detail != "The token has expired." {
					t.Errorf("got %d %s with %q, want 401 invalid-token with %q", r.StatusCode, r.body, got, expired)
				}
				if got := w.exchanges(); got != calls {
					t.Errorf("call %d: %d exchanges, want as many: the next one may be accepted", calls, got)
				}
			}
			w.idp.ClearFaults()
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
				t.Errorf("with a new token: got %d %s, want 200", r.StatusCode, r.body)
			}
		})
	}
}

// An API whose tokens are for another registration can be configured, and refuses every
// user at the exchange. No sign-in helps; the log says what does.
func TestRefusalsThatNoUserCanEndAreTheOperators(t *testing.T) {
	t.Run("audience of another registration", func(t *testing.T) {
		w := newWorld(t, func(f *file) { f.AzureAd.Audiences = []string{"api://other"} })
		claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
		claims["aud"] = "api://other"
		r := w.call("GET", "/api/todo/items", w.idp.Sign(claims), "")
		if r.StatusCode != 500 || r.kind() != "misconfigured" || r.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("got %d %s, want 500 misconfigured", r.StatusCode, r.body)
		}
		if log := w.log.String(); !strings.Contains(log, `"advice":"callers' tokens are for another application: each of azureAd.audiences`) {
			t.Errorf("no advice in\n%s", log)
		}
	})
	for _, number := range []int{50013, 50105, 240002, 7000114, 65005, 90072} {
		t.Run(strconv.Itoa(number), func(t *testing.T) {
			w := newWorld(t)
			w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "invalid_grant", ErrorCodes: []int{number}})
			r := w.call("GET", "/api/todo/items", w.alice(), "")
			if r.StatusCode != 500 || r.kind() != "misconfigured" || r.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("got %d %s, want 500 misconfigured", r.StatusCode, r.body)
			}
			if log := w.log.String(); !strings.Contains(log, `"advice":"`) {
				t.Errorf("no advice in\n%s", log)
			}
		})
	}
}

// Throttling that looks like invalid_grant leads to no sign-in, and ends when its
// time has passed.
func TestThrottlingInTheFormOfABadGrant(t *testing.T) {
	t.Parallel()
	for _, number := range []int{50196, 90055, 90024, 90033, 90090, 50033} {
		w := newWorld(t)
		w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "invalid_grant", ErrorCodes: []int{number}})
		alice := w.alice()
		for range 3 {
			r := w.call("GET", "/api/todo/items", alice, "")
			left, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || err != nil || left > 60 || left < 10 {
				t.Errorf("%d: got %d %s, Retry-After %q; want 503, what is left of 60", number, r.StatusCode, r.body, r.Header.Get("Retry-After"))
			}
		}
		if got := w.exchanges(); got != 1 {
			t.Errorf("%d: %d exchanges, want 1", number, got)
		}
	}
}

// On /app any refusal of the provider is a refusal of this service: there is no user
// who could act, and no challenge is forwarded to the daemon.
func TestRefusalsOfTheAppItselfAreOurs(t *testing.T) {
	for _, fault := range []mockidp.Fault{
		{Error: "interaction_required", Claims: `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`},
		{Error: "invalid_grant", Suberror: "consent_required", ErrorCodes: []int{65001}},
		{Error: "unauthorized_client", ErrorCodes: []int{700016}},
	} {
		w := newWorld(t)
		fault.Flow = "client_credentials"
		w.idp.AddFault(fault)
		r := w.call("GET", "/app/todo/items", w.daemon(), "")
		if r.StatusCode != 500 || r.kind() != "misconfigured" || r.problem.ConsentURI != "" || r.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: got %d %s, want 500 misconfigured", fault.Error, r.StatusCode, r.body)
		}
	}
}

func wantRetryAfter(t *testing.T, r *reply) {
	t.Helper()
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// A claims challenge is only for clients that declared they can answer one.
func TestClaimsChallengeNeedsAClientThatHandlesIt(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", Claims: `{"access_token":{}}`})
	claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	delete(claims, "xms_cc")
	r := w.call("GET", "/api/todo/items", w.idp.Sign(claims), "")
	if got := r.Header.Get("WWW-Authenticate"); r.kind() != "interaction-required" ||
		got != `Bearer error="interaction_required"`+w.leadsTo("/api/todo") {
		t.Errorf("got %s, %q", r.kind(), got)
	}
}

func TestClientInALoopDoesNotHammerTheProvider(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", ErrorCodes: []int{50076}, Claims: providerClaims})
	alice := w.alice()
	for range 20 {
		r := w.call("GET", "/api/todo/items", alice, "")
		w.wantChallenge(r, providerClaims)
		if r.problem.Error != "interaction_required" || r.problem.CorrelationID == "" {
			t.Errorf("problem: got %s", r.body)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for 20 calls, want 1", got)
	}
}

func TestThrottledUserIsLeftAlone(t *testing.T) {
	for _, row := range []struct {
		name, retryAfter string
		seconds          int
	}{
		{"seconds", "1000", 1000},
		{"a date", time.Now().Add(1000 * time.Second).UTC().Format(http.TimeFormat), 1000},
		{"no time", "", 60},
		{"a day", "86400", 3600},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			fault := mockidp.Fault{Flow: "on_behalf_of", Times: 1, Status: 429}
			if row.retryAfter != "" {
				fault.Header = map[string]string{"Retry-After": row.retryAfter}
			}
			w.idp.AddFault(fault)
			for _, token := range []string{w.alice(), w.simple(), w.alice()} { // all are Alice's
				r := w.call("GET", "/api/todo/items", token, "")
				left, err := strconv.Atoi(r.Header.Get("Retry-After"))
				if r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || err != nil || left > row.seconds || left < row.seconds-50 {
					t.Errorf("got %d %s, Retry-After %s; want 503, what is left of %d", r.StatusCode, r.kind(), r.Header.Get("Retry-After"), row.seconds)
				}
			}
			if got := w.exchanges(); got != 1 {
				t.Errorf("got %d exchanges, want 1", got)
			}
			if r := w.call("GET", "/api/todo/items", w.bob(), ""); r.StatusCode != 200 {
				t.Errorf("another user: got %d %s, want 200", r.StatusCode, r.body)
			}
		})
	}
}

// An answer of one byte a second counts as none: the exchange ends after
// azureAd.timeout, and its part of an answer is discarded.
func TestProviderThatDrips(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(f *file) { f.AzureAd.Timeout = 3 * time.Second })
	dripping := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		for _, b := range []byte(tokenWith(nil).Body) {
			_, _ = rw.Write([]byte{b})
			rw.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
	}))
	t.Cleanup(dripping.Close)
	d := detour(func(r *http.Request, platform http.RoundTripper) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(dripping.URL, "http://")
		return platform.RoundTrip(r)
	})
	w.detour.Store(&d)
	alice := w.alice()
	r := w.call("GET", "/api/todo/items", alice, "")
	if r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" {
		t.Errorf("got %d %s, want 503 identity-provider-unavailable", r.StatusCode, r.body)
	}
	wantRetryAfter(t, r)
	w.detour.Store(nil)
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 || len(w.api.seen()) != 1 {
		t.Errorf("afterwards: got %d %s, want 200", r.StatusCode, r.body)
	}
}

func TestConnectionsToTheProviderAreKept(t *testing.T) {
	const exchanges, rounds = 120, 3 // more than net/http keeps for all hosts
	var connections atomic.Int64
	var crowd sync.WaitGroup // until all of a round are there
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		crowd.Done()
		crowd.Wait()
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	transport := newProviderTransport(exchanges)
	t.Cleanup(transport.CloseIdleConnections)
	client := newClient(transport)
	client.Timeout = time.Minute // one that fails would leave the others waiting
	for range rounds {
		crowd.Add(exchanges)
		var group sync.WaitGroup
		for range exchanges {
			group.Go(func() {
				resp, err := client.Get(server.URL)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close() // it is empty
			})
		}
		group.Wait()
	}
	if got := connections.Load(); got != exchanges {
		t.Errorf("%d connections for %d exchanges at once, %d times, want one each", got, exchanges, rounds)
	}
}
