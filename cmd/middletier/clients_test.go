package main

import (
	"bytes"
	"strings"
	"testing"

	"middletier/internal/todo"
	"middletier/internal/validate"
)

// listedApp is the demo's daemon, which needs no role where a rule names it.
const listedApp = "55555555-5555-4555-8555-555555555555"

// withRules gives the ToDo API other access rules.
func withRules(rules ...validate.Rule) func(*file) {
	return func(f *file) {
		api := f.DownstreamAPIs["todo"]
		api.Access = rules
		f.DownstreamAPIs["todo"] = api
	}
}

// An application that a rule names calls without an app permission, on /app and by that
// rule only. To everybody else the service answers as if the list were not there.
func TestApplicationsThatARuleNames(t *testing.T) {
	w := newWorld(t, withRules(
		validate.Rule{Methods: []string{"GET"}, Scopes: todo.Scopes[:1], Clients: []string{strings.ToUpper(listedApp)}},
		validate.Rule{Methods: []string{"POST"}, Scopes: todo.Scopes[:1], AppPermissions: []string{"ToDoList.ReadWrite.All"}},
		validate.Rule{Methods: []string{"DELETE"}, Scopes: todo.Scopes[:1]},
	), func(f *file) {
		unlisted := f.DownstreamAPIs["todo"]
		unlisted.Access = []validate.Rule{{Scopes: todo.Scopes[:1], AppPermissions: []string{"ToDoList.Read.All"}}}
		f.DownstreamAPIs["unlisted"] = unlisted
		f.AzureAd.AllowedClients = nil
	})
	listed, other := w.idp.AppToken("daemon", "middletier"), w.idp.AppToken("other", "middletier")
	for _, row := range []struct {
		name, method, path, token string
		status                    int
		kind                      string
		needed                    string
	}{
		{"listed", "GET", "/app/todo/items", listed, 200, "", ""},
		{"listed, again", "GET", "/app/todo/items", listed, 200, "", ""},
		{"listed by another rule", "POST", "/app/todo/items", listed, 403, "insufficient-scope", "ToDoList.ReadWrite.All"},
		{"listed by no rule that matches", "DELETE", "/app/todo/items", listed, 403, "", ""},
		{"listed, on the other route", "GET", "/api/todo/items", listed, 403, "wrong-token-type", ""},
		{"listed by another API", "GET", "/app/unlisted/items", listed, 401, "invalid-token", ""},
		{"listed, no such API", "GET", "/app/nothing/items", listed, 401, "invalid-token", ""},
		{"listed, elsewhere", "POST", "/signout", listed, 401, "invalid-token", ""},
		{"not listed", "GET", "/app/todo/items", other, 401, "invalid-token", ""},
		{"not listed, on the other route", "GET", "/api/todo/items", other, 401, "invalid-token", ""},
		{"roles do not matter to the list", "GET", "/app/todo/items", w.daemon(), 200, "", ""},
		{"a user", "GET", "/api/todo/items", w.bob(), 200, "", ""},
		{"a user on the other route", "GET", "/app/todo/items", w.alice(), 403, "wrong-token-type", ""},
	} {
		before := len(w.api.seen())
		r := w.call(row.method, row.path, row.token, "")
		kind := ""
		if r.StatusCode != 200 {
			kind = r.kind()
		}
		if r.StatusCode != row.status || row.kind != "" && kind != row.kind || strings.Join(r.problem.Scopes, " ") != row.needed {
			t.Errorf("%s: got %d %s", row.name, r.StatusCode, r.body)
		}
		if got := len(w.api.seen()) - before; (got == 1) != (row.status == 200) {
			t.Errorf("%s: the API got %d requests", row.name, got)
		}
	}
}

// What a list of clients needs, or what it perhaps does not mean, is said by check.
func TestCheckOfListedClients(t *testing.T) {
	for _, row := range []struct {
		name, azureAd, rule string
		code                int
		want                string
	}{
		{"clients only", "", "clients: [33333333-3333-4333-8333-333333333333]", 0, ""},
		{"no GUID", "", "clients: [33333333-3333-4333-8333-333333333333, daemon]", 1, "downstreamApis.todo.access[0].clients[1]: must be an application (client) ID"},
		{"GUID in braces", "", `clients: ["{33333333-3333-4333-8333-333333333333}"]`, 1, "downstreamApis.todo.access[0].clients[0]: must be"},
		{"nothing", "", "clients: []", 1, "downstreamApis.todo.access[0]: a rule needs scopes, appPermissions or clients"},
		{
			"beside scopes", "", "scopes: [ToDoList.Read], clients: [33333333-3333-4333-8333-333333333333]", 0,
			"downstreamApis.todo.access[0].clients: warning: the list does not restrict users",
		},
		{"beside both", "", "scopes: [ToDoList.Read], appPermissions: [ToDoList.Read.All], clients: [33333333-3333-4333-8333-333333333333]", 0, ""},
		{
			"not allowed at all", "allowedClients: [44444444-4444-4444-8444-444444444444]", "clients: [44444444-4444-4444-8444-444444444444, 33333333-3333-4333-8333-333333333333]", 0,
			"downstreamApis.todo.access[0].clients[1]: warning: azureAd.allowedClients does not list it",
		},
		{"needs a tenant", "allowedTenants: ['*']", "clients: [33333333-3333-4333-8333-333333333333]", 1, "downstreamApis.todo.tenant: " + tenantRequired},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := strings.Index(goodConfig, "    access:")
			text := goodConfig[:i] + "    access: [{" + row.rule + "}]\n"
			text = strings.Replace(text, "azureAd:\n", "azureAd:\n  "+row.azureAd+"\n", 1)
			if strings.HasPrefix(row.azureAd, "allowedTenants") {
				text = strings.Replace(text, "tenantId: ", "tenantId: organizations # ", 1)
			}
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"check", "--config", writeConfig(t, text)}, streams{nil, &stdout, &stderr})
			if code != row.code || !strings.Contains(stderr.String(), row.want) || row.want == "" && stderr.Len() > 0 {
				t.Errorf("got %d %q, want %d with %q", code, stderr.String(), row.code, row.want)
			}
		})
	}
}
