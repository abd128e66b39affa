package main

import (
	"testing"
)

// withAPIs adds APIs of each kind beside todo, whose scopes are RESOURCE/.default.
func withAPIs(f *file) {
	like := f.DownstreamAPIs["todo"]
	add := func(name string, change func(d *downstreamAPI)) {
		d := like
		change(&d)
		f.DownstreamAPIs[name] = d
	}
	read := []string{"api://todo/ToDoList.Read"}
	add("delegated", func(d *downstreamAPI) { d.Scopes = read })
	add("both", func(d *downstreamAPI) { d.Scopes, d.AppScopes = read, []string{"api://notes/.default"} })
	add("asApp", func(d *downstreamAPI) { d.RequestAppToken = true })
	add("appScopes", func(d *downstreamAPI) { d.Scopes, d.AppScopes = nil, []string{"api://notes/.default"} })
	add("bare", func(d *downstreamAPI) { d.Scopes, d.Access = nil, nil })
	add("asAgent", func(d *downstreamAPI) { d.Agent = agentKeys{Identity: agentOne} })
	add("asRobot", func(d *downstreamAPI) { d.Agent = agentKeys{Identity: agentOne, User: robotOneAs} })
}

const (
	aliceID = "aaaaaaaa-0000-4000-8000-000000000001"
	usID    = "22222222-0000-4000-8000-000000000000" // of the middle tier's service principal
)

// Whose token a request gets depends on the route, the API, the token and the query.
func TestSidecarDecidesWhoseToken(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	asApp := option("RequestAppToken", "true")
	agent, robot, robotByID := "AgentIdentity="+agentOne, "AgentUsername="+robotOneAs, "AgentUserId="+robotOne
	alice, daemon := w.alice(), w.daemon()
	elsewhere := option("AcquireTokenOptions.Tenant", fabrikam)
	expired := w.idp.UserToken("alice", "app", "middletier", "ToDoList.Read") + "x"
	type want = map[string]any
	us := want{"azp": demoMiddleTier, "oid": usID, "idtyp": "app"}
	aliceByUs := want{"azp": demoMiddleTier, "oid": aliceID, "idtyp": "user"}
	aliceByAgent := want{"azp": agentOne, "oid": aliceID, "idtyp": "user", "xms_par_app_azp": demoMiddleTier}
	theAgent := want{"azp": agentOne, "oid": agentOne, "idtyp": "app", "xms_par_app_azp": demoMiddleTier}
	theRobot := want{"azp": agentOne, "oid": robotOne, "idtyp": "user", "xms_par_app_azp": demoMiddleTier}
	for _, row := range []struct {
		name, path, token string
		want              any // claims, or a status and the type of a problem
	}{
		{"a user", headerPath("todo"), alice, aliceByUs},
		{"a user, delegated", headerPath("delegated"), alice, aliceByUs},
		{"a user of an API called as the application", headerPath("asApp"), alice, us},
		{"a user of an API with appScopes alone", headerPath("appScopes"), alice, us},
		{"a user who asks for the application", headerPath("delegated", asApp), alice, us},
		{"an application where a user is needed", headerPath("todo"), daemon, "403 wrong-token-type"},
		{"an application, though there are appScopes", headerPath("both"), daemon, "403 wrong-token-type"},
		{"an application of an API called as the application", headerPath("asApp"), daemon, us},
		{"an application that asks for the application", headerPath("todo", asApp), daemon, us},
		{"nobody", headerPath("todo"), "", "401 missing-token"},
		{"nobody who asks for the application", headerPath("todo", asApp), "", "401 missing-token"},
		{"a bad token", headerPath("asApp"), expired, "401 invalid-token"},
		{"free: a bad token that does not count", headerPathFree("asApp"), expired, us},
		{"a user, with an FMI path", headerPath("todo", option("AcquireTokenOptions.FmiPath", "x")), alice, "400 invalid-request"},
		{"a bad token, and an API that is not there", headerPath("nope"), expired, "401 invalid-token"},

		{"free: nobody", headerPathFree("todo"), "", us},
		{"free: nobody, delegated", headerPathFree("delegated"), "", "401 missing-token"},
		{"free: nobody, delegated with appScopes", headerPathFree("both"), "", us},
		{"free: nobody, delegated, asking", headerPathFree("delegated", asApp), "", us},
		{"free: nobody, as the application", headerPathFree("asApp"), "", us},
		{"free: nobody, appScopes alone", headerPathFree("appScopes"), "", us},
		{"free: a user", headerPathFree("todo"), alice, aliceByUs},
		{"free: a user, with appScopes", headerPathFree("both"), alice, aliceByUs},
		{"free: a user, as the application", headerPathFree("asApp"), alice, us},
		{"free: a user who asks", headerPathFree("todo", asApp), alice, us},
		{"free: a bad token", headerPathFree("todo"), expired, "401 invalid-token"},
		{"free: a bad token that does not count", headerPathFree("asApp"), expired, us},
		{"free: a bad token that does not count, asking", headerPathFree("todo", asApp), expired, us},
		{"free: an application", headerPathFree("todo"), daemon, "403 wrong-token-type"},

		{"no scopes: a user", headerPath("bare"), alice, "400 invalid-request"},
		{"no scopes: nobody", headerPath("bare"), "", "401 missing-token"},
		{"no scopes, free: nobody", headerPathFree("bare"), "", "400 invalid-request"},
		{"no scopes, free: as the application", headerPathFree("bare", asApp), "", "400 invalid-request"},
		{"no scopes but those of the query", headerPathFree("bare", option("Scopes", toNotes)), "", us},
		{"another tenant: the application", headerPathFree("todo", asApp, elsewhere), "", want{"tid": fabrikam, "azp": demoMiddleTier}},
		{"another tenant: an agent", headerPathFree("todo", agent, elsewhere), "", want{"tid": fabrikam, "azp": agentOne}},

		{"agent: on behalf of a user", headerPath("todo", agent), alice, aliceByAgent},
		{"agent: of an API called as the application", headerPath("asApp", agent), alice, theAgent},
		{"agent: asking", headerPath("todo", agent, asApp), alice, theAgent},
		{"agent's user: the caller only admits", headerPath("delegated", agent, robot), alice, theRobot},
		{"agent's user: by id", headerPath("todo", agent, robotByID), alice, theRobot},
		{"agent's user: the name wins", headerPath("todo", agent, robot, "AgentUserId="+robotTwo), alice, theRobot},
		{"agent's user: no token", headerPath("todo", agent, robot), "", "401 missing-token"},
		{"agent's user: an application's token", headerPath("todo", agent, robot), daemon, "403 wrong-token-type"},
		{"agent's user: as the application", headerPath("asApp", agent, robot), alice, "400 invalid-request"},
		{"agent's user: asking for the application", headerPath("todo", agent, robot, asApp), alice, "400 invalid-request"},
		{"agent's user: appScopes alone", headerPath("appScopes", agent, robot), alice, "400 invalid-request"},
		{"no agent: a user", headerPath("todo", robot), alice, "400 invalid-request"},
		{"no agent: a user's id", headerPath("todo", robotByID), alice, "400 invalid-request"},
		{"agent: a bad user id", headerPath("todo", agent, "AgentUserId=x"), alice, "400 invalid-request"},
		{"agent: zeros", headerPath("todo", agent, "AgentUserId=00000000-0000-0000-0000-000000000000"), alice, "400 invalid-request"},

		{"free agent: nobody", headerPathFree("todo", agent), "", theAgent},
		{"free agent: nobody, delegated", headerPathFree("delegated", agent), "", "401 missing-token"},
		{"free agent: asking", headerPathFree("delegated", agent, asApp), "", theAgent},
		{"free agent: a user", headerPathFree("todo", agent), alice, aliceByAgent},
		{"free agent's user", headerPathFree("delegated", agent, robot), "", theRobot},
		{"free agent's user, by id", headerPathFree("todo", agent, robotByID), "", theRobot},
		{"free agent's user: a user admits", headerPathFree("todo", agent, robot), alice, theRobot},
		{"free agent's user: a bad token", headerPathFree("todo", agent, robot), expired, "401 invalid-token"},
		{"free agent's user: asking for the application", headerPathFree("todo", agent, robot, asApp), "", "400 invalid-request"},

		{"configured agent: a user", headerPath("asAgent"), alice, aliceByAgent},
		{"configured agent: nobody", headerPathFree("asAgent"), "", theAgent},
		{"configured agent's user: a user", headerPath("asRobot"), alice, theRobot},
		{"configured agent's user: nobody", headerPathFree("asRobot"), "", theRobot},
		{
			"configured agent, another one", headerPathFree("asRobot", "AgentIdentity="+agentTwo), "",
			want{"azp": agentTwo, "oid": agentTwo, "idtyp": "app"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := w.beside("GET", row.path, row.token)
			if problem, ok := row.want.(string); ok {
				if got := r.Status[:4] + r.kind(); got != problem {
					t.Errorf("got %d %s, want %s", r.StatusCode, r.body, problem)
				}
				return
			}
			claims := headerToken(t, r)
			for name, value := range row.want.(want) {
				if claims[name] != value {
					t.Errorf("%s: got %v, want %v", name, claims[name], value)
				}
			}
		})
	}
}
