package mockidp_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/mockidp"
)

const (
	agentID       = "aaaaaaaa-0000-4000-8000-00000000000a"
	otherAgentID  = "aaaaaaaa-0000-4000-8000-00000000000b"
	robotID       = "bbbbbbbb-0000-4000-8000-00000000000a"
	otherRobotID  = "bbbbbbbb-0000-4000-8000-00000000000b"
	exchangeScope = "api://AzureADTokenExchange/.default"
	exchangeID    = "fb60f99c-7a34-4190-8149-302f77469936"
)

// agentDirectory has an agent of the middle tier with a user of its own, and one of another
// blueprint.
func agentDirectory() mockidp.Directory {
	directory := testDirectory()
	directory.Users = append(directory.Users,
		mockidp.User{Name: "robot", ObjectID: robotID, TenantID: contoso, Username: "robot@contoso.example"},
		mockidp.User{Name: "other robot", ObjectID: otherRobotID, TenantID: contoso, Username: "other@contoso.example"})
	for i := range directory.Apps {
		switch app := &directory.Apps[i]; app.Name {
		case "middle":
			app.Agents = []mockidp.Agent{{Name: "agent", ClientID: agentID, Users: []string{"robot@contoso.example"}}}
		case "daemon":
			app.Agents = []mockidp.Agent{{Name: "other agent", ClientID: otherAgentID, Users: []string{"other@contoso.example"}}}
		}
	}
	directory.Grants = append(directory.Grants,
		mockidp.Grant{Client: "agent", Resource: "todo", Scopes: []string{"Read"}, Roles: []string{"Read.All"}})
	return directory
}

// vouch asks for T1 as the middle tier, with some parameters changed.
func (k kit) vouch(changes ...string) url.Values {
	return change(k.daemon("scope", exchangeScope, "fmi_path", agentID), changes)
}

// token posts a good request in contoso and returns the access token.
func (k kit) token(form url.Values) string {
	k.t.Helper()
	status, body := k.post(contoso, form)
	token, _ := body["access_token"].(string)
	if status != http.StatusOK || token == "" {
		k.t.Fatalf("%v: got %d %v, want 200", form, status, body)
	}
	return token
}

// asAgent is a request of the agent with T1.
func asAgent(t1 string, pairs ...string) url.Values {
	return change(form("client_id", agentID, "client_assertion_type", byJWT, "client_assertion", t1,
		"grant_type", "client_credentials", "scope", "api://todo/.default"), pairs)
}

// asUser is a request of the agent for a token of its user.
func asUser(t1, t2 string, changes ...string) url.Values {
	return change(asAgent(t1, "grant_type", "user_fic", "user_federated_identity_credential", t2,
		"username", "robot@contoso.example", "scope", "api://todo/.default openid offline_access"), changes)
}

func wantClaims(t *testing.T, what string, token any, want map[string]any) {
	t.Helper()
	claims := claimsOf(t, token)
	for name, value := range want {
		if fmt.Sprint(claims[name]) != fmt.Sprint(value) {
			t.Errorf("%s: claim %s: got %v, want %v", what, name, claims[name], value)
		}
	}
}

func TestAgentGetsTokens(t *testing.T) {
	k := startWith(t, agentDirectory())
	t1 := k.token(k.vouch())
	tid := base64.RawURLEncoding.EncodeToString([]byte("\x11\x11\x11\x11\x11\x11\x11\x41\x81\x11\x11\x11\x11\x11\x11\x11"))
	bid := base64.RawURLEncoding.EncodeToString([]byte("\xaa\xaa\xaa\xaa\x00\x00\x00\x40\x80\x00\x00\x00\x00\x00\x00\x01"))
	wantClaims(t, "T1", t1, map[string]any{
		"aud": exchangeID, "iss": k.URL() + "/" + contoso + "/v2.0", "azp": middleID, "oid": appID("1"), "idtyp": "app",
		"sub": "/eid1/c/pub/t/" + tid + "/a/" + bid + "/" + agentID, "xms_act_fct": nil, "roles": nil,
	})
	wantClaims(t, "the agent's own", k.token(asAgent(t1)), map[string]any{
		"aud": todoID, "azp": agentID, "azpacr": "2", "sub": agentID, "oid": agentID, "idtyp": "app", "roles": "[Read.All]", "scp": nil,
		"xms_par_app_azp": middleID, "xms_act_fct": "3 9 11", "xms_sub_fct": "9 3 11",
	})
	onBehalf := k.obo("client_id", agentID, "client_secret", "", "client_assertion_type", byJWT, "client_assertion", t1,
		"scope", "api://todo/Read openid offline_access")
	wantClaims(t, "on behalf of alice", k.token(onBehalf), map[string]any{
		"aud": todoID, "azp": agentID, "oid": aliceID, "idtyp": "user", "scp": "Read",
		"xms_par_app_azp": middleID, "xms_act_fct": "3 9 11", "xms_sub_fct": nil,
	})
	t2 := k.token(asAgent(t1, "scope", exchangeScope))
	wantClaims(t, "T2", t2, map[string]any{"aud": exchangeID, "azp": agentID, "sub": agentID, "xms_par_app_azp": middleID})
	for name, request := range map[string]url.Values{
		"by username":     asUser(t1, t2, "requested_token_use", "on_behalf_of"),
		"by object id":    asUser(t1, t2, "username", "", "user_id", strings.ToUpper(robotID)),
		"as on-behalf-of": asUser(t1, "", "grant_type", onBehalfOf, "assertion", t2, "requested_token_use", "on_behalf_of"),
	} {
		status, body := k.post(contoso, request)
		if status != 200 || body["refresh_token"] == nil {
			t.Errorf("agent's user, %s: got %d %v, want 200 and a refresh token", name, status, body)
			continue
		}
		wantClaims(t, "agent's user, "+name, body["access_token"], map[string]any{
			"aud": todoID, "azp": agentID, "oid": robotID, "idtyp": "user", "scp": "Read", "preferred_username": "robot@contoso.example",
			"xms_par_app_azp": middleID, "xms_act_fct": "3 9 11", "xms_sub_fct": "13",
		})
		wantClaims(t, "ID token, "+name, body["id_token"], map[string]any{"aud": agentID, "oid": robotID})
		token, _ := body["refresh_token"].(string)
		refreshed := k.token(asAgent(t1, "grant_type", "refresh_token", "refresh_token", token, "scope", "api://todo/Read"))
		wantClaims(t, "refreshed, "+name, refreshed, map[string]any{"azp": agentID, "oid": robotID, "xms_sub_fct": "13"})
	}
	if got := k.Count("user_fic"); got != 2 {
		t.Errorf("requests of the flow: got %d, want 2", got)
	}
}

func TestAgentIsRefused(t *testing.T) {
	k := startWith(t, agentDirectory())
	t1 := k.token(k.vouch())
	t2 := k.token(asAgent(t1, "scope", exchangeScope))
	otherT1 := k.token(k.vouch("client_id", daemonID, "client_secret", "daemon", "fmi_path", otherAgentID))
	otherAgent := asAgent(otherT1, "client_id", otherAgentID, "scope", exchangeScope)
	otherT2 := k.token(otherAgent)
	changed := func(token, name string, value any) string {
		claims := claimsOf(t, token)
		claims[name] = value
		return k.Sign(claims)
	}
	unvouched := asAgent("")
	unvouched.Del("client_assertion_type")
	const invalid = "invalid_client"
	k.wantRefusals([]refusalCase{
		{name: "T1 of an unknown agent", form: k.vouch("fmi_path", aliceID), code: "unauthorized_client", number: 700016},
		{name: "T1 of another blueprint's agent", form: k.vouch("fmi_path", otherAgentID), code: "unauthorized_client", number: 700016},
		{name: "T1 of an app that is no agent", form: k.vouch("fmi_path", todoID), code: "unauthorized_client", number: 700016},
		{name: "T1 of an agent by name", form: k.vouch("fmi_path", "agent"), code: "unauthorized_client", number: 700016},
		{name: "agent in the blueprint's place", tenant: fabrikam, form: asAgent(t1), code: "unauthorized_client", number: 700016},
		{name: "no credential", form: unvouched, status: 401, code: invalid, number: 7000218},
		{
			name: "a secret", form: asAgent("", "client_assertion_type", "", "client_secret", "s3cret"), status: 401,
			code: invalid, number: 7000215,
		},
		{name: "T1 for another agent", form: asAgent(otherT1), status: 401, code: invalid, number: 700213},
		{name: "T2 as T1", form: asAgent(t2), status: 401, code: invalid, number: 700213},
		{
			name: "token of the blueprint without fmi_path", form: asAgent(k.token(k.vouch("fmi_path", ""))), status: 401,
			code: invalid, number: 700213,
		},
		{name: "token for another resource", form: asAgent(changed(t1, "aud", todoID)), status: 401, code: invalid, number: 700212},
		{
			name: "another tenant's issuer", form: asAgent(changed(t1, "iss", k.URL()+"/"+fabrikam+"/v2.0")), status: 401,
			code: invalid, number: 700211,
		},
		{name: "another tenant", form: asAgent(changed(t1, "tid", fabrikam)), status: 401, code: invalid, number: 700213},
		{name: "user's token", form: asAgent(changed(t1, "idtyp", "user")), status: 401, code: invalid, number: 700213},
		{name: "expired", form: asAgent(changed(t1, "exp", time.Now().Unix())), status: 401, code: invalid, number: 700024},
		{name: "tampered", form: asAgent(tamper(t1)), status: 401, code: invalid, number: 700027},
		{name: "line break", form: asAgent(t1 + "\n"), code: "invalid_request", number: 50027},
		{name: "not a JWT", form: asAgent("abc"), code: "invalid_request", number: 50027},
		{
			name: "certificate of the blueprint", form: asAgent(k.assertion(map[string]any{"iss": agentID, "sub": agentID})), status: 401,
			code: invalid, number: 700211,
		},

		{name: "T2 with a line break", form: asUser(t1, t2+"\r\n"), code: "invalid_request", number: 50027},
		{name: "no T2", form: asUser(t1, ""), code: "invalid_request", number: 900144},
		{name: "no user", form: asUser(t1, t2, "username", ""), code: "invalid_request", number: 900144},
		{name: "two users", form: asUser(t1, t2, "user_id", robotID), code: "invalid_request", number: 90013},
		{name: "T1 as T2", form: asUser(t1, t1), status: 401, code: invalid, number: 700213},
		{name: "T2 of another agent", form: asUser(t1, otherT2), status: 401, code: invalid, number: 700213},
		{name: "unknown user", form: asUser(t1, t2, "username", "x@contoso.example"), code: "invalid_grant", number: 50034},
		{name: "unknown object id", form: asUser(t1, t2, "username", "", "user_id", agentID), code: "invalid_grant", number: 50034},
		{name: "object id that is none", form: asUser(t1, t2, "username", "", "user_id", "robot"), code: "invalid_grant", number: 50034},
		{name: "user of another tenant", form: asUser(t1, t2, "username", "frida@fabrikam.example"), code: "invalid_grant", number: 50034},
		{name: "a person", form: asUser(t1, t2, "username", "alice@contoso.example"), status: 401, code: invalid, number: 700213},
		{name: "another agent's user", form: asUser(t1, t2, "username", "other@contoso.example"), status: 401, code: invalid, number: 700213},
		{name: "a person, as on-behalf-of", form: asUser(t1, "", "grant_type", onBehalfOf, "assertion", t2,
			"requested_token_use", "on_behalf_of", "username", "alice@contoso.example"), status: 401, code: invalid, number: 700213},
		{name: "scope not granted", form: asUser(t1, t2, "scope", "api://todo/Write"), code: "invalid_grant", number: 65001},
		{
			name: "blueprint itself", form: asUser("", t2, "client_id", middleID, "client_assertion_type", "", "client_secret", "s3cret"),
			status: 401, code: invalid, number: 700213,
		},
		{
			name: "on behalf of a user who called the agent", form: k.obo("client_id", agentID, "client_secret", "",
				"client_assertion_type", byJWT, "client_assertion", t1, "assertion", changed(k.UserToken("alice", "spa", "middle"), "aud", agentID)),
			code: "invalid_grant", number: 500131,
		},
		{name: "another blueprint's caller", form: change(k.obo("client_secret", ""), []string{
			"client_id", otherAgentID,
			"client_assertion_type", byJWT, "client_assertion", otherT1,
		}), code: "invalid_grant", number: 500131},
	})
	k.wantRefusals([]refusalCase{{
		name: "a person by password", code: "unauthorized_client", number: 82014,
		form: asAgent(t1, "grant_type", "password", "username", "alice@contoso.example", "password", "x"),
	}})
	if status, body := k.beginDevice(contoso, "client_id", agentID, "scope", "api://todo/Read"); status != 400 ||
		body["error"] != "unauthorized_client" {
		t.Errorf("device code for an agent: got %d %v, want 400 unauthorized_client", status, body)
	}
	_, body := k.post(contoso, asUser(t1, t2))
	refresh, _ := body["refresh_token"].(string)
	again := []string{"grant_type", "refresh_token", "refresh_token", refresh, "scope", "api://todo/Read"}
	k.wantRefusals([]refusalCase{
		{name: "refresh without T1", form: change(unvouched, again), status: 401, code: invalid, number: 7000218},
		{name: "refresh with another agent's T1", form: asAgent(otherT1, again...), status: 401, code: invalid, number: 700213},
	})
	for name, other := range map[string]url.Values{
		"another agent": asAgent(otherT1, append([]string{"client_id", otherAgentID}, again...)...),
		"the blueprint": change(form("client_id", middleID, "client_secret", "s3cret"), again),
	} {
		if status, body := k.post(contoso, other); status != 400 || body["error"] != "invalid_grant" || body["suberror"] != "client_mismatch" {
			t.Errorf("refresh by %s: got %d %v, want 400 invalid_grant client_mismatch", name, status, body)
		}
	}
	if status, body := k.post(contoso, asUser(t1, t2)); status != 200 {
		t.Errorf("after all that: got %d %v, want 200", status, body)
	}
}

// In every tenant of a multi-tenant blueprint its agents are others' to consent to, and T1 is
// good in its tenant only.
func TestAgentsOfAnotherTenant(t *testing.T) {
	directory := agentDirectory()
	directory.Apps[0].MultiTenant, directory.Apps[1].MultiTenant = true, true
	k := startWith(t, directory)
	status, body := k.post(fabrikam, k.vouch())
	t1, _ := body["access_token"].(string)
	if status != 200 {
		t.Fatalf("T1 in fabrikam: got %d %v", status, body)
	}
	if status, body := k.post(fabrikam, asAgent(t1)); status != 200 || claimsOf(t, body["access_token"])["tid"] != fabrikam {
		t.Errorf("agent in fabrikam: got %d %v, want 200", status, body)
	}
	k.wantRefusals([]refusalCase{
		{name: "fabrikam's T1 in contoso", form: asAgent(t1), status: 401, code: "invalid_client", number: 700211},
		{
			name: "contoso's T1 in fabrikam", tenant: fabrikam, form: asAgent(k.token(k.vouch())), status: 401,
			code: "invalid_client", number: 700211,
		},
	})
}

// MSAL Go gets the tokens of an agent and of its user as its documentation says.
func TestMSALAgent(t *testing.T) {
	k := startWith(t, agentDirectory())
	secret, err := confidential.NewCredFromSecret("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	blueprint := k.msal(secret)
	vouched := confidential.NewCredFromAssertionCallback(func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		result, err := blueprint.AcquireTokenByCredential(ctx, []string{exchangeScope}, confidential.WithFMIPath(agentID))
		return result.AccessToken, err
	})
	agent, err := confidential.New(k.URL()+"/"+contoso, agentID, vouched,
		confidential.WithHTTPClient(k.client), confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	t2, err := agent.AcquireTokenByCredential(t.Context(), []string{exchangeScope})
	if err != nil {
		t.Fatalf("T2: %v", err)
	}
	for name, user := range map[string]confidential.AcquireByUserFICOption{
		"username": confidential.WithUserFICUsername("robot@contoso.example"), "object id": confidential.WithUserObjectID(robotID),
	} {
		result, err := agent.AcquireTokenByUserFederatedIdentityCredential(t.Context(), []string{"api://todo/.default"}, t2.AccessToken, user)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantClaims(t, name, result.AccessToken, map[string]any{"oid": robotID, "azp": agentID, "xms_sub_fct": "13"})
	}
	result, err := agent.AcquireTokenOnBehalfOf(t.Context(), k.UserToken("alice", "spa", "middle"), []string{"api://todo/.default"})
	if err != nil {
		t.Fatalf("on behalf of alice: %v", err)
	}
	wantClaims(t, "on behalf of alice", result.AccessToken, map[string]any{"oid": aliceID, "azp": agentID})
}

// Whatever is presented as T1 or as a client assertion of an app, only what the platform issued
// for the agent and what the app signed passes.
func FuzzClientAssertion(f *testing.F) {
	server, err := mockidp.New(agentDirectory())
	if err != nil {
		f.Fatal(err)
	}
	good := map[string]any{}
	maps.Copy(good, server.AppClaims("middle", "todo"))
	f.Add("aud", exchangeID, "sub", "/eid1/c/pub/t/x/a/y/"+agentID)
	f.Add("idtyp", "app", "azp", agentID)
	f.Add("exp", "0", "iss", "https://localhost/"+contoso+"/v2.0")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		claims := maps.Clone(good)
		claims["aud"], claims[name1], claims[name2] = exchangeID, value1, value2
		token := server.Sign(claims)
		for _, presented := range []string{token, value1, value1 + "." + value2 + "." + name1} {
			for _, client := range []string{agentID, middleID} {
				status, body := serve(server, "/"+contoso+"/oauth2/v2.0/token", asAgent(presented, "client_id", client))
				if status == http.StatusOK {
					t.Errorf("%s presents %q with %v: got 200 %s", client, presented, claims, body)
				}
				parse(t, []byte(body))
			}
		}
	})
}
