package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

const (
	blueprintOfCaller = "b1b1b1b1-0000-4000-8000-000000000001"

	scoutID       = "a9a9a9a9-0000-4000-8000-000000000001"
	scoutUserID   = "a9a9a9a9-0000-4000-8000-00000000000a"
	scoutUserName = "scout@contoso.example"
	foreignScout  = "a9a9a9a9-0000-4000-8000-0000000000ff"
)

// scoutDirectory is testDirectory with an agent identity of the middle tier, which has a user of
// its own, and one of another application.
func scoutDirectory() mockidp.Directory {
	directory := testDirectory()
	directory.Users = append(directory.Users,
		mockidp.User{Name: "scout user", ObjectID: scoutUserID, TenantID: demoTenant, Username: scoutUserName})
	for i := range directory.Apps {
		switch app := &directory.Apps[i]; app.Name {
		case "middletier":
			app.Agents = []mockidp.Agent{{Name: "scout", ClientID: scoutID, Users: []string{scoutUserName}}}
		case "other":
			app.Agents = []mockidp.Agent{{Name: "foreign scout", ClientID: foreignScout}}
		}
	}
	grant := mockidp.Grant{Client: "scout", Resource: "todo", Scopes: []string{"ToDoList.ReadWrite"}, Roles: []string{"ToDoList.Read.All"}}
	directory.Grants = append(directory.Grants, grant)
	return directory
}

// withScout has the API called by an agent, with a user or none.
func withScout(identity, user string) func(*file) {
	return withAPI(func(d *downstreamAPI) { d.Agent = agentKeys{identity, user} })
}

// withAPI changes the one API.
func withAPI(change func(*downstreamAPI)) func(*file) {
	return func(f *file) {
		d := f.DownstreamAPIs["todo"]
		change(&d)
		f.DownstreamAPIs["todo"] = d
	}
}

// newScoutWorld starts a world whose directory has agents.
func newScoutWorld(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newStoppedWorldOf(t, scoutDirectory(), change...)
	w.startReady()
	return w
}

// The API is called as the agent: on behalf of users on /api, as itself or as its own user on
// /app, where a user's calls have no place then.
func TestAPIIsCalledAsAnAgent(t *testing.T) {
	for _, row := range []struct {
		name, identity, user string
		path                 string
		asApp                bool
		status               int
		want                 map[string]any // of the token that the API gets
		flow                 string
		exchanges            int
	}{
		{"on behalf of a user", scoutID, "", "/api", false, 200, map[string]any{
			"azp": scoutID, "oid": "aaaaaaaa-0000-4000-8000-000000000001", "idtyp": "user", "xms_par_app_azp": demoMiddleTier,
		}, "on_behalf_of", 2},
		{"as itself", strings.ToUpper(scoutID), "", "/app", true, 200, map[string]any{
			"azp": scoutID, "oid": scoutID, "idtyp": "app", "roles": "[ToDoList.Read.All]",
		}, "client_credentials", 2},
		{"as its user, by object ID", scoutID, scoutUserID, "/app", true, 200, map[string]any{
			"azp": scoutID, "oid": scoutUserID, "idtyp": "user", "scp": "ToDoList.ReadWrite",
		}, "agent_user", 3},
		{"as its user, by name", scoutID, scoutUserName, "/app", true, 200, map[string]any{"oid": scoutUserID, "idtyp": "user"}, "agent_user", 3},
		{"its user on /api, for a user", scoutID, scoutUserID, "/api", false, 403, nil, "", 0},
		{"its user on /api, for an application", scoutID, scoutUserID, "/api", true, 403, nil, "", 0},
		{"a user on /app", scoutID, scoutUserID, "/app", false, 403, nil, "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorldOf(t, scoutDirectory(), withScout(row.identity, row.user))
			p := w.startReady()
			seen := make(chan map[string]any, 2)
			w.api.handle(func(_ http.ResponseWriter, r *http.Request) { seen <- claimsOf(t, r) })
			token := w.alice()
			if row.asApp {
				token = w.daemon()
			}
			for range 2 {
				r := w.call("GET", row.path+"/todo/items", token, "")
				if r.StatusCode != row.status || row.status == 403 && r.kind() != "wrong-token-type" {
					t.Fatalf("got %d %s, want %d", r.StatusCode, r.body, row.status)
				}
				if row.status != 200 {
					continue
				}
				claims := <-seen
				for name, want := range row.want {
					if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
						t.Errorf("claim %s of the API's token: got %v, want %v", name, claims[name], want)
					}
				}
			}
			total := w.idp.Count("on_behalf_of") + w.idp.Count("client_credentials") + w.idp.Count("user_fic")
			if total != row.exchanges {
				t.Errorf("exchanges of two calls: got %d, want %d", total, row.exchanges)
			}
			for _, source := range []string{"identity_provider", "memory"} {
				line := fmt.Sprintf(`middletier_token_requests_total{flow="%s",outcome="ok",source="%s"} 1`, row.flow, source)
				if row.flow != "" && !strings.Contains(p.scrape(t), line) {
					t.Errorf("no metric %s", line)
				}
			}
		})
	}
}

func TestAgentUserOnTheUsersRouteNamesTheOtherRoute(t *testing.T) {
	w := newScoutWorld(t, withScout(scoutID, scoutUserID))
	r := w.call("GET", "/api/todo/items", w.alice(), "")
	if want := "This API is called as an agent's user only. Calls without a user go to /app/{name}/."; r.problem.Detail != want {
		t.Errorf("detail: got %q, want %q", r.problem.Detail, want)
	}
	r = w.call("GET", "/openapi.json", "", "")
	if strings.Contains(r.body, `"/api/todo/{path}": {`) || !strings.Contains(r.body, `"/app/todo`) {
		t.Errorf("the description has the wrong paths of the API:\n%s", r.body)
	}
}

// stepUp has the platform ask the user of a flow for more.
func stepUp(flow string) mockidp.Fault {
	return mockidp.Fault{
		Flow: flow, Error: "interaction_required", Claims: `{"access_token":{"acrs":{"value":"c1"}}}`, ErrorCodes: []int{50079},
	}
}

// A refusal of the agent is the operators' to mend, and the log says how. A refusal of the user
// behind a call goes to the caller.
func TestAgentThatIsRefused(t *testing.T) {
	for _, row := range []struct {
		name, identity, user, path string
		fault                      mockidp.Fault
		status                     int
		kind, advice               string
	}{
		{"another blueprint's", foreignScout, "", "/app", mockidp.Fault{}, 500, "misconfigured", "no such agent identity"},
		{"unknown user", scoutID, "nobody@contoso.example", "/app", mockidp.Fault{}, 500, "misconfigured", "no such user"},
		{"a person as its user", scoutID, "alice@contoso.example", "/app", mockidp.Fault{}, 500, "misconfigured", "the agent's own"},
		{
			"its user must prove more", scoutID, scoutUserID, "/app",
			stepUp("user_fic"),
			500, "misconfigured", "nobody can sign in as the agent's user",
		},
		{
			"the caller must prove more", scoutID, "", "/api",
			stepUp("on_behalf_of"),
			401, "claims-challenge", "",
		},
		{
			"its blueprint is throttled", scoutID, scoutUserID, "/app",
			mockidp.Fault{Flow: "client_credentials", Status: 429, Header: map[string]string{"Retry-After": "7"}},
			503, "identity-provider-unavailable", "",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newScoutWorld(t, withScout(row.identity, row.user))
			if row.fault.Flow != "" {
				w.idp.AddFault(row.fault)
			}
			token := w.daemon()
			if row.path == "/api" {
				claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
				claims["xms_cc"] = []string{"cp1"}
				token = w.idp.Sign(claims)
			}
			r := w.call("GET", row.path+"/todo/items", token, "")
			if r.StatusCode != row.status || r.kind() != row.kind {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			if row.status == 503 && r.Header.Get("Retry-After") != "7" {
				t.Errorf("Retry-After: got %q, want 7", r.Header.Get("Retry-After"))
			}
			if !strings.Contains(w.log.String(), row.advice) {
				t.Errorf("no advice %q in the log:\n%s", row.advice, w.log)
			}
		})
	}
}

// A sign-out forgets what was fetched through the agent too.
func TestSignOutForgetsTokensThroughAgents(t *testing.T) {
	w := newScoutWorld(t, withScout(scoutID, ""))
	alice := w.alice()
	for want := 1; want <= 2; want++ {
		for range 2 {
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
			}
		}
		if got := w.idp.Count("on_behalf_of"); got != want {
			t.Errorf("exchanges: got %d, want %d", got, want)
		}
		if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 {
			t.Fatalf("POST /signout: got %d %s, want 204", r.StatusCode, r.body)
		}
	}
}

// A sign-out forgets what the application beside us traded for the user's token, whatever scopes,
// tenant and agent it named, and nothing of other users.
func TestSignOutForgetsWhatTheSidecarTraded(t *testing.T) {
	w := newSidecar(t)
	alice, bob := w.alice(), w.bob()
	paths := []string{
		headerPath("todo"), headerPath("todo", "optionsOverride.Scopes=api://notes/.default"),
		headerPath("todo", "AgentIdentity="+agentOne),
		headerPath("todo", "optionsOverride.AcquireTokenOptions.Tenant=contoso.example"),
	}
	ask := func(token string, want int) {
		t.Helper()
		before := w.idp.Count("on_behalf_of")
		for _, path := range paths {
			if r := w.beside("GET", path, token); r.StatusCode != 200 {
				t.Fatalf("GET %s: got %d %s, want 200", path, r.StatusCode, r.body)
			}
		}
		if got := w.idp.Count("on_behalf_of") - before; got != want {
			t.Errorf("exchanges: got %d, want %d", got, want)
		}
	}
	ask(alice, len(paths))
	ask(bob, len(paths))
	ask(alice, 0)
	if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 {
		t.Fatalf("POST /signout: got %d %s, want 204", r.StatusCode, r.body)
	}
	ask(alice, len(paths))
	ask(bob, 0)
}

func TestCheckTriesTheAgent(t *testing.T) {
	for _, row := range []struct{ name, identity, user, want string }{
		{"agent", scoutID, "", "ok api://todo/.default"},
		{"its user", scoutID, scoutUserName, "ok api://todo/.default"},
		{"another blueprint's", foreignScout, "", "failed api://todo/.default: unauthorized_client AADSTS700016: the tenant has no such agent"},
		{"unknown user", scoutID, "nobody@contoso.example", "failed api://todo/.default: invalid_grant AADSTS50034: the tenant has no such user"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorldOf(t, scoutDirectory(), withScout(row.identity, row.user))
			w.expectCheck(w.transport(), map[string]string{"todo: agent token": row.want})
		})
	}
}

// call is the agent where the API is called as one.
func TestCallAsAnAgent(t *testing.T) {
	for user, want := range map[string]map[string]any{
		"": {"azp": scoutID, "idtyp": "app"}, scoutUserName: {"azp": scoutID, "oid": scoutUserID, "idtyp": "user"},
	} {
		w := newStoppedWorldOf(t, scoutDirectory())
		environment, path := w.onDisk()
		environment = append(environment, "DownstreamApis__todo__Agent__Identity="+scoutID, "DownstreamApis__todo__Agent__User="+user)
		seen := make(chan map[string]any, 1)
		w.api.handle(func(_ http.ResponseWriter, r *http.Request) { seen <- claimsOf(t, r) })
		if got := runProcess(t, environment, "", "call", "todo", "/items", "--config", path); got.code != 0 {
			t.Fatalf("call: exit code %d\n%s", got.code, got.stderr)
		}
		claims := <-seen
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("user %q: claim %s: got %v, want %v", user, name, claims[name], value)
			}
		}
	}
}

func TestMistakesInAnAgent(t *testing.T) {
	for _, row := range []struct{ keys, want string }{
		{"agent: {identity: " + scoutID + "}", ""},
		{"agent: {identity: " + scoutID + ", user: " + scoutUserName + "}", ""},
		{"agent: {}", ""},
		{"agent: {identity: scout}", "downstreamApis.todo.agent.identity: must be the client ID (a GUID) of an agent identity"},
		{"agent: {identity: " + demoMiddleTier + "}", "downstreamApis.todo.agent.identity: is azureAd.clientId, the blueprint"},
		{"agent: {user: " + scoutUserName + "}", "downstreamApis.todo.agent.identity: is missing: user is the agent's"},
		{"agent: {identity: " + scoutID + ", user: scout}", "downstreamApis.todo.agent.user: must be the object ID (a GUID) or the user name"},
		{
			"agent: {identity: " + scoutID + ", user: " + scoutUserName + "}\n    requestAppToken: true",
			"downstreamApis.todo.agent.user: cannot be set where requestAppToken is true",
		},
		{"agent: {identity: " + scoutID + ", name: x}", `downstreamApis.todo.agent.name: unknown key`},
	} {
		var stdout, stderr bytes.Buffer
		path := writeConfig(t, goodConfig+"    "+row.keys+"\n")
		code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr})
		if (code == 0) != (row.want == "") || !strings.Contains(stderr.String(), row.want) {
			t.Errorf("%s: got exit code %d and %q, want %q", row.keys, code, stderr.String(), row.want)
		}
	}
}

// Tokens that agents bring: the line names the blueprint, and an application's scp of "/" is none.
func TestTokensOfAgentsAreLoggedWithTheirBlueprint(t *testing.T) {
	w := newWorld(t)
	user := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	user["xms_par_app_azp"] = blueprintOfCaller
	app := w.idp.AppClaims("daemon", "middletier", "ToDoList.Read.All")
	app["xms_par_app_azp"], app["scp"] = blueprintOfCaller, "/"
	delete(app, "idtyp")
	forged := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	forged["xms_par_app_azp"] = "no GUID"
	for _, c := range []struct {
		path  string
		token map[string]any
		want  any
	}{
		{"/api/todo/items", user, blueprintOfCaller},
		{"/app/todo/items", app, blueprintOfCaller},
		{"/api/todo/items", forged, nil},
	} {
		if r := w.call("GET", c.path, w.idp.Sign(c.token), ""); r.StatusCode != 200 {
			t.Errorf("GET %s: got %d %s, want 200", c.path, r.StatusCode, r.body)
		}
		lines := w.log.lines(t)
		if got := lines[len(lines)-1]["xms_par_app_azp"]; got != c.want {
			t.Errorf("GET %s: xms_par_app_azp in the log: got %v, want %v", c.path, got, c.want)
		}
	}
}
