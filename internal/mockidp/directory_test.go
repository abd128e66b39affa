package mockidp_test

import (
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

func TestDirectoryRefusesWhatDoesNotFit(t *testing.T) {
	type directory = mockidp.Directory
	helper := mockidp.Agent{Name: "helper", ClientID: appID("8"), Users: []string{"alice@contoso.example"}}
	agent := func(agents ...mockidp.Agent) func(*directory) {
		return func(d *directory) { d.Apps[0].Agents = agents }
	}
	grant := func(grant mockidp.Grant) func(*directory) {
		return func(d *directory) { d.Grants = append(d.Grants, grant) }
	}
	redirect := func(web, spa, native string) func(*directory) {
		return func(d *directory) {
			d.Apps[2].RedirectURIs = mockidp.RedirectURIs{Web: []string{web}, SPA: []string{spa}, Native: []string{native}}
		}
	}
	for _, row := range []struct {
		change func(*directory)
		want   string // "": it fits
	}{
		{func(d *directory) { d.Tenants[0].ID = "x" }, `tenants[0].tenantId: must be a GUID, got "x"`},
		{func(d *directory) { d.Tenants[1].Domain = "Contoso.example" }, `tenants[1].domain: "contoso.example" appears twice`},
		{func(d *directory) { d.Apps[1].Name = "Middle" }, `apps[1].name: "middle" appears twice`},
		{func(d *directory) { d.Apps[1].Name = "" }, `apps[1].name: must be set`},
		{func(d *directory) { d.Apps[1].Name = "a\x1b[2J" }, `apps[1].name: must be at most`},
		{func(d *directory) { d.Apps[0].TenantID = appID("9") }, `apps[0].tenantId: there is no tenant "` + appID("9") + `"`},
		{func(d *directory) { d.Apps[0].TenantID = "contoso.example" }, `apps[0].tenantId: there is no tenant "contoso.example"`},
		{func(d *directory) { d.Apps[0].ClientID = "middle" }, `apps[0].clientId: must be a GUID`},
		{func(d *directory) { d.Apps[1].ClientID = middleID }, `apps[1].clientId: "` + middleID + `" appears twice`},
		{func(d *directory) { d.Apps[1].IDURIs = []string{"API://middle/"} }, `apps[1].idUris[0]: "api://middle" appears twice`},
		{func(d *directory) { d.Apps[1].IDURIs = []string{"todo"} }, `apps[1].idUris[0]: "todo" is no absolute URI`},
		{func(d *directory) { d.Apps[0].KnownClients = []string{"spa", "x"} }, `apps[0].knownClientApplications[1]: there is no app "x"`},
		{
			func(d *directory) {
				d.Apps[0].Requires = []mockidp.Requirement{{Resource: "todo", Scopes: []string{"Read", "x"}}}
			},
			`apps[0].requiredResourceAccess[0].scopes[1]: app "todo" exposes no scope "x"`,
		},
		{func(d *directory) { d.Apps[0].OptionalClaims = []string{"groups"} }, `apps[0].optionalClaims[0]: "groups" is not supported`},
		{func(d *directory) { d.Apps[0].Scopes = []string{"a b"} }, `apps[0].scopes[0]: "a b" is no name`},
		{func(d *directory) { d.Apps[0].Roles = []string{"a/b"} }, `apps[0].roles[0]: "a/b" is no name`},
		{func(d *directory) { d.Apps[0].Secrets = []string{""} }, `apps[0].secrets[0]: is empty`},
		{func(d *directory) { d.Apps[0].TokenVersion = 3 }, `apps[0].tokenVersion: must be 1 or 2, got 3`},
		{func(d *directory) { d.Apps[0].TokenLifetime = -1 }, `apps[0].tokenLifetime: must not be negative`},
		{func(d *directory) { d.Apps = make([]mockidp.App, 10_001) }, `apps: holds more than 10000 entries`},
		{redirect("https://a/b", "http://127.0.0.1:8080/", "msal1234://auth"), ""},
		{redirect("app://a", "http://a/", "app://a"), `apps[2].redirectUris.web[0]: "app://a" is no http or https URL`},
		{redirect("http://a/", "http://a/#b", "app://a"), `apps[2].redirectUris.spa[0]: "http://a/#b" is no absolute URI without a fragment`},
		{redirect("http://a/", "http://a/", "javascript:alert(1)"), `apps[2].redirectUris.native[0]: "javascript:alert(1)" is no absolute URI`},
		{redirect("http:///", "http://a/", "app://a"), `apps[2].redirectUris.web[0]: "http:///" is no http or https URL`},
		{func(d *directory) { d.Apps[2].FrontChannelLogoutURI = "javascript:a" }, `apps[2].frontChannelLogoutUri: "javascript:a" is no http or https URL`},
		{func(d *directory) { d.Users[0].ObjectID = "" }, `users[0].objectId: must be a GUID, got ""`},
		{func(d *directory) { d.Users[0].TenantID = "" }, `users[0].tenantId: there is no tenant ""`},
		{func(d *directory) { d.Users[1].Username = "Alice@contoso.example" }, `users[1].username: "alice@contoso.example" appears twice`},
		{agent(helper), ""},
		{agent(mockidp.Agent{ClientID: helper.ClientID}), "apps[0].agents[0].name: must be set"},
		{agent(mockidp.Agent{Name: "a", ClientID: "x"}), "apps[0].agents[0].clientId: must be a GUID"},
		{agent(mockidp.Agent{Name: "a", ClientID: todoID}), `apps[0].agents[0].clientId: "` + todoID + `" appears twice`},
		{agent(helper, helper), `apps[0].agents[1].clientId: "` + helper.ClientID + `" appears twice`},
		{agent(mockidp.Agent{Name: "a", ClientID: helper.ClientID, Users: []string{"zoe"}}), `apps[0].agents[0].users[0]: no user has the username "zoe"`},
		{func(d *directory) { d.Grants[0].Scopes = []string{"Fly"} }, `grants[0].scopes[0]: app "todo" exposes no scope "Fly"`},
		{func(d *directory) { d.Grants[0].Roles = []string{"Fly"} }, `grants[0].roles[0]: app "todo" exposes no app role "Fly"`},
		{func(d *directory) { d.Grants[0].Client = "nobody" }, `grants[0].client: there is no app "nobody"`},
		{grant(mockidp.Grant{Client: "spa", Resource: "todo", User: "alice", Scopes: []string{"Read"}}), ""},
		{grant(mockidp.Grant{Client: "spa", Resource: "todo", User: "zoe", Scopes: []string{"Read"}}), `grants[5].user: there is no user "zoe"`},
		{grant(mockidp.Grant{Client: "spa", Resource: "todo", User: "alice", Roles: []string{"Read.All"}}), "grants[5].roles: a user cannot consent to app roles"},
	} {
		directory := testDirectory()
		row.change(&directory)
		_, err := mockidp.New(directory)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want %q", err, row.want)
		}
	}
}
