package obo_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/obo"
	"middletier/internal/testkit/tokentest"
)

const (
	agentID        = "dddddddd-0000-4000-8000-00000000000a"
	secondAgentID  = "dddddddd-0000-4000-8000-00000000000b"
	foreignAgentID = "dddddddd-0000-4000-8000-00000000000c"
	robotID        = "eeeeeeee-0000-4000-8000-00000000000a"
	droidID        = "eeeeeeee-0000-4000-8000-00000000000b"
	exchangeScope  = "api://AzureADTokenExchange/.default"
)

var (
	appScopes = []string{"api://todo/.default"}
	agentApp  = obo.Request{Agent: obo.Agent{ID: agentID}, Scopes: appScopes}
	agentUser = obo.Request{Agent: obo.Agent{ID: agentID, User: robotID}, Scopes: todo}
)

// onBehalfThrough is a request on behalf of a user through an agent.
func onBehalfThrough(agent string, a obo.Assertion) obo.Request {
	return obo.Request{User: &a, Agent: obo.Agent{ID: agent}, Scopes: todo}
}

func secret() credential.Config {
	return credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret}
}

// tokenRequests returns how many requests the token endpoint got.
func (r real) tokenRequests() int {
	n := 0
	for _, seen := range r.Requests() {
		if seen.Flow == "on_behalf_of" || seen.Flow == "client_credentials" || seen.Flow == "user_fic" {
			n++
		}
	}
	return n
}

// claimsFor asks for a token and returns its claims.
func (r real) claimsFor(request obo.Request) map[string]any {
	r.t.Helper()
	got, err := r.cache.Token(r.t.Context(), request)
	if err != nil {
		r.t.Fatalf("token for %+v: %v", request, err)
	}
	return tokentest.Read(r.t, got.Value)
}

// The strict platform gives an agent every kind of token. Each costs what it must when nothing
// is held, and nothing while it is.
func TestAgentGetsTokens(t *testing.T) {
	r := startReal(t, secret())
	alice := r.assertion("alice", ourTenant)
	byName := agentUser
	byName.Agent.User = "Droid@Contoso.example"
	guest := r.assertion("gina", guestTenant)
	for _, c := range []struct {
		name    string
		request obo.Request
		cold    int
		want    map[string]any
	}{
		{"the agent's user", agentUser, 3, map[string]any{"azp": agentID, "oid": robotID, "idtyp": "user", "scp": "Read Write"}},
		{"by name, with T1 and T2", byName, 1, map[string]any{"azp": agentID, "oid": droidID, "idtyp": "user"}},
		{"the agent itself", agentApp, 1, map[string]any{
			"azp": agentID, "oid": agentID, "idtyp": "app", "scp": nil, "roles": "[Read.All]",
		}},
		{"on behalf of alice", onBehalfThrough(agentID, alice), 1, map[string]any{
			"azp": agentID, "idtyp": "user", "scp": "Read Write", "tid": ourTenant, "xms_par_app_azp": ourClient,
		}},
		{"the second agent, with a T1 of its own", onBehalfThrough(secondAgentID, alice), 2, map[string]any{"azp": secondAgentID}},
		{"on behalf of a guest tenant's user", onBehalfThrough(agentID, guest), 2, map[string]any{"azp": agentID, "tid": guestTenant}},
		{"upper case", upperCase(agentUser), 0, map[string]any{"oid": robotID}},
	} {
		before := r.tokenRequests()
		claims := r.claimsFor(c.request)
		if got := r.tokenRequests() - before; got != c.cold {
			t.Errorf("%s: exchanges: got %d, want %d", c.name, got, c.cold)
		}
		for name, want := range c.want {
			if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
				t.Errorf("%s: claim %s: got %v, want %v", c.name, name, claims[name], want)
			}
		}
		r.claimsFor(c.request)
		if got := r.tokenRequests() - before; got != c.cold {
			t.Errorf("%s: exchanges with a token held: got %d, want %d", c.name, got, c.cold)
		}
	}
}

func upperCase(r obo.Request) obo.Request {
	r.Agent.ID, r.Agent.User = strings.ToUpper(r.Agent.ID), strings.ToUpper(r.Agent.User)
	return r
}

func TestAgentUserStampedeCostsThreeExchanges(t *testing.T) {
	r := startReal(t, secret())
	defer r.AddFault(mockidp.Fault{Delay: 50 * time.Millisecond})()
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() { r.claimsFor(agentUser) })
	}
	all.Wait()
	if got := r.tokenRequests(); got != 3 {
		t.Errorf("exchanges: got %d, want 3", got)
	}
}

// What differs in anything that decides whose the token is never meets.
func TestAgentsAndTheirUsersNeverShare(t *testing.T) {
	k := start(t, nil)
	alice, bob := user("alice"), user("bob")
	requests := map[string]obo.Request{
		"alice": {User: &alice, Scopes: todo}, "alice through agent": onBehalfThrough(agentID, alice),
		"alice through second agent": onBehalfThrough(secondAgentID, alice), "bob through agent": onBehalfThrough(agentID, bob),
		"app": {Scopes: appScopes}, "agent": agentApp, "agent elsewhere": {Agent: agentApp.Agent, Scopes: appScopes, Tenant: guestTenant},
		"second agent":          {Agent: obo.Agent{ID: secondAgentID}, Scopes: appScopes},
		"app with path":         {Scopes: appScopes, FMIPath: agentID},
		"robot":                 agentUser,
		"droid":                 {Agent: obo.Agent{ID: agentID, User: droidID}, Scopes: todo},
		"robot by name":         {Agent: obo.Agent{ID: agentID, User: "robot@contoso.example"}, Scopes: todo},
		"robot, other scope":    {Agent: agentUser.Agent, Scopes: todo[:1]},
		"robot elsewhere":       {Agent: agentUser.Agent, Scopes: todo, Tenant: guestTenant},
		"robot of second agent": {Agent: obo.Agent{ID: secondAgentID, User: robotID}, Scopes: todo},
	}
	seen := map[string]string{}
	for round := range 2 {
		for _, name := range slices.Sorted(maps.Keys(requests)) {
			got, err := k.cache.Token(t.Context(), requests[name])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			other, taken := seen[got.Value]
			switch {
			case round == 0 && taken:
				t.Errorf("%s and %s share a token", name, other)
			case round == 1 && other != name:
				t.Errorf("%s got the token of %s", name, other)
			}
			seen[got.Value] = name
		}
	}
}

// play is a platform that issues T1 and T2 named after who they are for, so that a test sees
// what is presented.
func play(r sent) answer {
	switch {
	case r.form.Get("fmi_path") != "":
		return granted(fmt.Sprintf("t1-%d", r.n), 3600)
	case strings.HasPrefix(r.form.Get("scope"), exchangeScope):
		return granted(fmt.Sprintf("t2-%d", r.n), 3600)
	}
	return granted(fmt.Sprintf("token-%d", r.n), 3600)
}

func TestAgentExchangesOnTheWire(t *testing.T) {
	k := (&platform{token: play, metadata: goodMetadata}).start(t, nil)
	alice := user("alice")
	k.asks(agentUser, "token-3", obo.IdentityProvider)
	sent := k.platform.sent
	want := []map[string]string{
		{"client_id": ourClient, "client_secret": ourSecret, "grant_type": "client_credentials", "scope": exchangeScope, "fmi_path": agentID},
		{
			"client_id": agentID, "client_assertion": "t1-1", "client_secret": "", "grant_type": "client_credentials",
			"scope": exchangeScope, "fmi_path": "",
		},
		{
			"client_id": agentID, "client_assertion": "t1-1", "grant_type": "user_fic", "user_federated_identity_credential": "t2-2",
			"user_id": robotID, "username": "", "claims": `{"access_token":{"xms_cc":{"values":["cp1"]}}}`,
		},
	}
	for i, parameters := range want {
		for name, value := range parameters {
			if got := sent[i].form.Get(name); name == "scope" && !strings.HasPrefix(got, value) || name != "scope" && got != value {
				t.Errorf("request %d, %s: got %q, want %q", i+1, name, got, value)
			}
		}
	}
	k.asks(onBehalfThrough(agentID, alice), "token-4", obo.IdentityProvider)
	k.wantSent(ourTenant, "client_id", agentID, "client_assertion", "t1-1", "client_secret", "", "assertion", alice.Token,
		"requested_token_use", "on_behalf_of")
	k.asks(agentApp, "token-5", obo.IdentityProvider)
	k.wantSent(ourTenant, "client_id", agentID, "client_assertion", "t1-1", "scope", appScopes[0]+" openid offline_access profile")
	byName := agentUser
	byName.Agent.User = "robot@contoso.example"
	byName.Claims = stepUp
	k.asks(byName, "token-6", obo.IdentityProvider)
	k.wantSent(ourTenant, "username", "robot@contoso.example", "user_id", "", "user_federated_identity_credential", "t2-2",
		"claims", `{"access_token":{"acrs":{"essential":true,"value":"c1"},"xms_cc":{"values":["cp1"]}}}`)
}

// T1 and T2 are renewed before they end, behind the requests, and so is the token they get.
func TestTokensOfAgentsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := (&platform{token: slowly(time.Second, play), metadata: goodMetadata}).start(t, nil)
		if _, err := k.cache.Token(t.Context(), agentUser); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for time.Since(start) < 24*time.Hour {
			time.Sleep(time.Minute)
			before := time.Now()
			got, err := k.cache.Token(t.Context(), agentUser)
			if err != nil || got.Origin != obo.Memory || time.Since(before) > 0 {
				t.Fatalf("after %v: got %v %v, want a token from memory at once", time.Since(start), got, err)
			}
			synctest.Wait()
		}
		// 33 for the user's token; for T1 and T2 as many, or half where a renewal comes just
		// before they are due.
		if got := k.exchanges(); got < 30+2*15 || got > 3*24*3/2 {
			t.Errorf("exchanges in a day: got %d, want 66 to 99 or so", got)
		}
	})
}

// A T1 that the provider refuses is dropped and fetched once more, here and not again in the
// next moments if the new one is refused as well.
func TestRefusedVoucherIsReplaced(t *testing.T) {
	refusedClient := answer{status: 401, body: `{"error":"invalid_client","error_codes":[700027],"error_description":"AADSTS700027"}`}
	for name, request := range map[string]obo.Request{
		"agent": agentApp, "agent's user": agentUser, "on behalf of a user": onBehalfThrough(agentID, user("alice")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, bad := "", ""
				k := (&platform{metadata: goodMetadata, token: func(r sent) answer {
					t1 := r.form.Get("client_assertion")
					if t1 != "" && (t1 == bad || good != "" && t1 != good) {
						return refusedClient
					}
					return play(r)
				}}).start(t, nil)
				other := request
				other.Scopes = []string{"api://other/.default"}
				if _, err := k.cache.Token(t.Context(), request); err != nil {
					t.Fatal(err)
				}
				bad = "t1-1" // such as after the signing key was withdrawn
				before := k.exchanges()
				if _, err := k.cache.Token(t.Context(), other); err != nil {
					t.Fatalf("after T1 is refused: %v", err)
				}
				want := 3 // refused, T1, again
				if request.Flow() == obo.AgentUser {
					want = 4 // and T2
				}
				if got := k.exchanges() - before; got != want {
					t.Errorf("exchanges: got %d, want %d", got, want)
				}
				good = "none" // whatever vouches is refused from now on
				before = k.exchanges()
				for i := range 10 {
					other.Scopes = []string{fmt.Sprintf("api://other-%d/.default", i)}
					if got := k.refused(other); got.Kind != obo.Misconfigured || !slices.Contains(got.Codes, 700027) {
						t.Errorf("got %v, want misconfigured", got)
					}
				}
				if got := k.exchanges() - before; got > 14 {
					t.Errorf("exchanges of 10 refused requests: got %d, want 14 at most", got)
				}
				good, bad = "", ""
				time.Sleep(31 * time.Second)
				if _, err := k.cache.Token(t.Context(), other); err != nil {
					t.Errorf("after it mends: %v", err)
				}
			})
		})
	}
}

// When the platform withdraws its signing keys, every T1 and T2 is worthless.
func TestAgentSurvivesKeyRotation(t *testing.T) {
	r := startReal(t, secret())
	r.claimsFor(agentUser)
	r.RotateKeys(false)
	refresh := agentUser
	refresh.Refresh = true
	if got := r.claimsFor(refresh)["oid"]; got != robotID {
		t.Errorf("after the rotation: got a token of %v, want %s", got, robotID)
	}
}

// Who is refused, and what kind of refusal it is: nobody at a browser can help an agent's user.
func TestAgentIsRefused(t *testing.T) {
	r := startReal(t, secret())
	alice := r.assertion("alice", ourTenant)
	as := func(user string) obo.Request {
		return obo.Request{Agent: obo.Agent{ID: agentID, User: user}, Scopes: todo}
	}
	scoped := func(request obo.Request, scope string) obo.Request {
		request.Scopes = []string{scope}
		return request
	}
	elsewhere := agentUser
	elsewhere.Tenant = "99999999-9999-4999-8999-999999999999"
	ourselves := obo.Request{Agent: obo.Agent{ID: ourClient}, Scopes: appScopes}
	foreign := obo.Request{Agent: obo.Agent{ID: foreignAgentID}, Scopes: appScopes}
	for _, c := range []struct {
		name    string
		request obo.Request
		kind    obo.Kind
		code    string
		number  int
	}{
		{"agent of another blueprint", foreign, obo.Misconfigured, "unauthorized_client", 700016},
		{"on behalf of alice through it", onBehalfThrough(foreignAgentID, alice), obo.Misconfigured, "unauthorized_client", 700016},
		{"our own client ID as agent", ourselves, obo.Misconfigured, "unauthorized_client", 700016},
		{"unknown user", as("nobody@contoso.example"), obo.Misconfigured, "invalid_grant", 50034},
		{"unknown object ID", as(foreignAgentID), obo.Misconfigured, "invalid_grant", 50034},
		{"a person", as("alice@contoso.example"), obo.Misconfigured, "invalid_client", 700213},
		{"another agent's user", as("second@contoso.example"), obo.Misconfigured, "invalid_client", 700213},
		{"scope without consent", scoped(agentUser, "api://todo/Admin"), obo.Misconfigured, "invalid_grant", 65001},
		{"the same on behalf of alice", scoped(onBehalfThrough(agentID, alice), "api://todo/Admin"), obo.ConsentRequired, "invalid_grant", 65001},
		{"unknown tenant", elsewhere, obo.Misconfigured, "invalid_tenant", 90002},
	} {
		_, err := r.cache.Token(t.Context(), c.request)
		refusal, ok := err.(*obo.Error)
		if !ok || refusal.Kind != c.kind || refusal.Code != c.code || !slices.Contains(refusal.Codes, c.number) || refusal.Claims != "" {
			t.Errorf("%s: got %+v, want %v, %s, %d", c.name, err, c.kind, c.code, c.number)
			continue
		}
		if !slices.Equal(refusal.Scopes, c.request.Scopes) {
			t.Errorf("%s: scopes: got %v, want those of the request, %v", c.name, refusal.Scopes, c.request.Scopes)
		}
		if got := refusal.ConsentURI != "" && strings.Contains(refusal.ConsentURI, "client_id="+agentID); got != (c.kind == obo.ConsentRequired) {
			t.Errorf("%s: consent URI: got %q", c.name, refusal.ConsentURI)
		}
		wantNoSecrets(t, err)
	}
	if got := r.claimsFor(agentUser)["oid"]; got != robotID {
		t.Errorf("after all that: got a token of %v, want %s", got, robotID)
	}
}

// The agent identity's and its user's throttling hold back them alone.
func TestThrottledAgentHoldsBackItselfAlone(t *testing.T) {
	for name, c := range map[string]struct {
		throttled, same obo.Request
		others          []obo.Request
	}{
		"agent": {
			agentApp,
			obo.Request{Agent: agentApp.Agent, Scopes: []string{"api://other/.default"}},
			[]obo.Request{
				{Scopes: appScopes},
				{Agent: obo.Agent{ID: secondAgentID}, Scopes: appScopes},
				agentUser,
				onBehalfThrough(agentID, user("alice")),
			},
		},
		"agent's user": {agentUser, agentUser, []obo.Request{
			agentApp,
			{Agent: obo.Agent{ID: agentID, User: droidID}, Scopes: todo},
			{Agent: agentUser.Agent, Scopes: []string{"api://other/.default"}},
			onBehalfThrough(agentID, user("alice")),
		}},
		"through an agent": {onBehalfThrough(agentID, user("alice")), onBehalfThrough(agentID, user("alice")), []obo.Request{
			onBehalfThrough(agentID, user("bob")), onBehalfThrough(secondAgentID, user("alice")), agentApp, agentUser,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				throttling := false
				k := (&platform{metadata: goodMetadata, token: func(r sent) answer {
					if throttling {
						return answer{status: 429, header: http.Header{"Retry-After": {"30"}}, body: `{}`}
					}
					return play(r)
				}}).start(t, nil)
				if _, err := k.cache.Token(t.Context(), agentUser); err != nil { // T1, T2 are held
					t.Fatal(err)
				}
				refresh := c.throttled
				refresh.Refresh = true
				throttling = true
				if got := k.refused(refresh); !got.Throttled || got.RetryAfter != 30*time.Second {
					t.Fatalf("got %v, want throttled for 30 s", got)
				}
				throttling = false
				before := k.exchanges()
				same := c.same
				same.Refresh = true
				if got := k.refused(same); !got.Throttled {
					t.Errorf("same caller: got %v, want throttled", got)
				}
				if got := k.exchanges(); got != before {
					t.Errorf("the provider was asked during its pause")
				}
				for _, other := range c.others {
					other.Refresh = true
					if _, err := k.cache.Token(t.Context(), other); err != nil {
						t.Errorf("%+v: %v", other, err)
					}
				}
			})
		})
	}
}

func TestForgottenUserLosesTokensOfAgents(t *testing.T) {
	k := (&platform{token: play, metadata: goodMetadata}).start(t, nil)
	alice := user("alice")
	through := onBehalfThrough(agentID, alice)
	k.asks(agentUser, "token-3", obo.IdentityProvider)
	k.asks(through, "token-4", obo.IdentityProvider)
	if err := k.cache.ForgetUser(t.Context(), ourTenant, strings.ToUpper(robotID)); err != nil {
		t.Fatal(err)
	}
	k.asks(agentUser, "token-5", obo.IdentityProvider)
	k.asks(through, "token-4", obo.Memory)
	if err := k.cache.ForgetUser(t.Context(), ourTenant, "alice"); err != nil {
		t.Fatal(err)
	}
	k.asks(through, "token-6", obo.IdentityProvider)
	if err := k.cache.ForgetAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.asks(agentUser, "token-9", obo.IdentityProvider) // T1 and T2 are gone too
}

// Replicas share T1 and T2 as they share tokens.
func TestReplicasShareTokensOfAgents(t *testing.T) {
	s := startTier(t)
	p := &platform{token: play, metadata: goodMetadata}
	a, b := s.replica(t, p, nil), s.replica(t, p, nil)
	a.asks(agentUser, "token-3", obo.IdentityProvider)
	s.settles(t, 3)
	b.asks(agentUser, "token-3", obo.Redis)
	b.asks(agentApp, "token-4", obo.IdentityProvider) // with the T1 of the other
	a.wantExchanges(4)
}

// A refresh does not take what another replica has written before, and one runs for both.
func TestReplicasRefresh(t *testing.T) {
	s := startTier(t)
	p := newPlatform()
	a, b := s.replica(t, p, nil), s.replica(t, p, nil)
	alice := user("alice")
	r := obo.Request{User: &alice, Scopes: todo}
	refresh := r
	refresh.Refresh = true
	a.asks(r, "token-1", obo.IdentityProvider)
	s.settles(t, 1)
	b.asks(refresh, "token-2", obo.IdentityProvider)
	s.settles(t, 1)
	b.asks(r, "token-2", obo.Memory)
	c := s.replica(t, p, nil)
	c.asks(r, "token-2", obo.Redis)
	claims := r
	claims.Claims = stepUp
	c.asks(claims, "token-3", obo.IdentityProvider)
	d := s.replica(t, p, nil)
	d.asks(r, "token-2", obo.Redis)
	s.settles(t, 1)
}

func TestAgentsInTheirRegion(t *testing.T) {
	p := &regional{platform: &platform{token: play, metadata: goodMetadata}}
	config := p.config()
	config.Region, config.Client.Transport = "westeurope", p
	k := startWith(t, p.platform, config)
	k.asks(agentUser, "token-3", obo.IdentityProvider)
	want := []string{"westeurope.login.example", "westeurope.login.example", "login.example"}
	if !slices.Equal(p.hosts, want) {
		t.Errorf("hosts of T1, T2 and the agent's user: got %q, want %q", p.hosts, want)
	}
}

func TestAgentCheck(t *testing.T) {
	zeros := "00000000-0000-0000-0000-000000000000"
	for _, c := range []struct{ id, user, want string }{
		{"", "", ""},
		{agentID, "", ""},
		{strings.ToUpper(agentID), robotID, ""},
		{agentID, "robot@contoso.example", ""},
		{"", robotID, "identity"},
		{"agent", "", "identity"},
		{zeros, "", "identity"},
		{"{" + agentID + "}", "", "identity"},
		{agentID, zeros, "user"},
		{agentID, "robot", "user"},
		{agentID, "robot@", "user"},
		{agentID, "ro bot@contoso.example", "user"},
		{agentID, "robot@contoso.example\n", "user"},
		{agentID, "robot@contoso\x00.example", "user"},
		{agentID, "a@b@c", "user"},
		{agentID, base64.StdEncoding.EncodeToString(make([]byte, 300)) + "@contoso.example", "user"},
	} {
		var keys []string
		obo.Agent{ID: c.id, User: c.user}.Check(func(key, _ string) { keys = append(keys, key) })
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%q, %q: got mistakes in %q, want %q", c.id, c.user, got, c.want)
		}
	}
}
