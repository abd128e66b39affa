package main

import (
	"slices"
	"strings"
	"testing"

	"middletier/internal/validate"
)

// Where no token would do, a caller must not be sent for another one: the answer
// says that the operators must act.
func TestRequestThatNoRuleAllowsIsForOperators(t *testing.T) {
	w := newWorld(t, func(f *file) {
		add := func(name string, rules ...validate.Rule) {
			api := f.DownstreamAPIs["todo"]
			api.Access = rules
			f.DownstreamAPIs[name] = api
		}
		add("closed")
		add("mixed",
			validate.Rule{Methods: []string{"GET"}, Paths: []string{"/users/**"}, Scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"}},
			validate.Rule{
				Methods: []string{"GET"}, Paths: []string{"/reports/**"},
				Scopes: []string{}, AppPermissions: []string{"ToDoList.Read.All"},
			},
			validate.Rule{
				Methods: []string{"POST"}, Paths: []string{"/users/**"},
				Scopes: []string{"Users.Write", "Users.Manage"}, AppPermissions: []string{"Users.Write.All"},
			},
		)
	})
	alice, daemon := w.alice(), w.daemon()
	for _, row := range []struct {
		method, path, token string
		status              int
		kind                string
		needed              []string // scopes of the body
	}{
		{"GET", "/api/closed/items", alice, 403, "no-access-rule", nil},
		{"TRACE", "/api/closed/items", alice, 403, "no-access-rule", nil},
		{"GET", "/app/closed/items", daemon, 403, "no-access-rule", nil},
		{"GET", "/api/mixed/users/1", alice, 200, "", nil},
		{"GET", "/api/mixed/else", alice, 403, "no-access-rule", nil},
		{"GET", "/api/mixed/reports/1", alice, 403, "no-access-rule", nil},
		{"GET", "/app/mixed/reports/1", daemon, 200, "", nil},
		{"GET", "/app/mixed/users/1", daemon, 403, "no-access-rule", nil},
		{"POST", "/api/mixed/reports/1", alice, 403, "no-access-rule", nil},
		{"POST", "/api/mixed/users", alice, 403, "insufficient-scope", []string{"Users.Write", "Users.Manage"}},
		{"POST", "/app/mixed/users", daemon, 403, "insufficient-scope", []string{"Users.Write.All"}},
		{"DELETE", "/api/mixed/users/1", alice, 405, "method-not-allowed", nil},
		{"TRACE", "/api/mixed/users/1", alice, 405, "method-not-allowed", nil},
	} {
		r := w.call(row.method, row.path, row.token, "")
		if r.StatusCode != row.status || r.kind() != row.kind || !slices.Equal(r.problem.Scopes, row.needed) {
			t.Errorf("%s %s: got %d %s, want %d %s %q", row.method, row.path, r.StatusCode, r.body, row.status, row.kind, row.needed)
		}
		if got := r.Header.Get("Allow"); (got == "GET, POST") != (row.status == 405) {
			t.Errorf("%s %s: got Allow %q", row.method, row.path, got)
		}
		if got := r.Header.Get("WWW-Authenticate"); (got != "") != (row.kind == "insufficient-scope") {
			t.Errorf("%s %s: got WWW-Authenticate %s", row.method, row.path, got)
		}
	}
	page := w.call("GET", "/problems/no-access-rule", "", "")
	if !strings.Contains(page.body, `"action":"The operators `) || !strings.Contains(page.body, "downstreamApis.NAME.access") {
		t.Errorf("the problem's page: got %s", page.body)
	}
}
