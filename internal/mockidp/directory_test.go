package mockidp_test

import (
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

func TestDirectoryRefusesWhatDoesNotFit(t *testing.T) {
	agent := func(changes ...func(*mockidp.Agent)) func(*mockidp.Directory) {
		return func(d *mockidp.Directory) {
			agent := mockidp.Agent{Name: "helper", ClientID: appID("8"), Users: []string{"alice@contoso.example"}}
			for _, change := range changes {
				change(&agent)
			}
			d.Apps[0].Agents = []mockidp.Agent{agent}
		}
	}
	consent := func(grant mockidp.Grant) func(*mockidp.Directory) {
		return func(d *mockidp.Directory) { d.Grants = append(d.Grants, grant) }
	}
	for name, row := range map[string]struct {
		change func(*mockidp.Directory)
		want   string // "": it fits
	}{
		"an agent":                  {agent(), ""},
		"an agent without a name":   {agent(func(a *mockidp.Agent) { a.Name = "" }), "it needs a name"},
		"an agent without a GUID":   {agent(func(a *mockidp.Agent) { a.ClientID = "x" }), "a GUID as its client id"},
		"an agent with an app's id": {agent(func(a *mockidp.Agent) { a.ClientID = todoID }), "its client id is that of an app"},
		"an agent's unknown user":   {agent(func(a *mockidp.Agent) { a.Users = []string{"zoe@contoso.example"} }), `no user "zoe@contoso.example"`},
		"two agents of one id": {
			func(d *mockidp.Directory) {
				d.Apps[0].Agents = []mockidp.Agent{{Name: "a", ClientID: appID("8")}, {Name: "b", ClientID: appID("8")}}
			}, "appears twice",
		},
		"two users of one username":  {func(d *mockidp.Directory) { d.Users[1].Username = "Alice@contoso.example" }, `username "alice@contoso.example" appears twice`},
		"a user's consent":           {consent(mockidp.Grant{Client: "spa", Resource: "todo", User: "alice", Scopes: []string{"Read"}}), ""},
		"an unknown user's consent":  {consent(mockidp.Grant{Client: "spa", Resource: "todo", User: "zoe", Scopes: []string{"Read"}}), `no user "zoe"`},
		"a user's consent to a role": {consent(mockidp.Grant{Client: "spa", Resource: "todo", User: "alice", Roles: []string{"Read.All"}}), "granted by the tenant"},
	} {
		directory := testDirectory()
		row.change(&directory)
		_, err := mockidp.New(directory)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}
