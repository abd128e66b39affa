package obo_test

import (
	"strings"
	"testing"

	"middletier/internal/obo"
)

func TestCheckScopes(t *testing.T) {
	for _, c := range []struct{ scopes, problem string }{
		{"api://todo/.default", ""},
		{"api://todo/Read", ""},
		{"api://todo/Read,api://todo/Write", ""},
		{"aaaaaaaa-0000-4000-8000-000000000002/Read", ""},
		{"https://graph.microsoft.com/User.Read,https://graph.microsoft.com/Mail.Read", ""},
		{"https://vault.azure.net//.default", ""}, // a resource that ends in a slash
		{"User.Read,Mail.Read", ""},
		{".default", ""},
		{"", "at least one"},
		{"api://todo/Read,", "is not one scope"},
		{"api://todo/Read api://todo/Write", "is not one scope"},
		{"api://todo/Read\n", "is not one scope"},
		{"api://todo/\"Read\"", "is not one scope"},
		{`api://todo\Read`, "is not one scope"},
		{"api://todo/Read,api://ledger/Read", "two resources"},
		{"api://todo/Read,User.Read", "two resources"},
		{"https://graph.microsoft.com/User.Read,https://graph.microsoft.com//User.Read", "two resources"},
		{"api://todo/.default,api://todo/Read", "stands alone"},
		{"api://todo/Read,api://todo/.default", "stands alone"},
		{"User.Read,.default", "stands alone"},
	} {
		var scopes []string
		if c.scopes != "" {
			scopes = strings.Split(c.scopes, ",")
		}
		err := obo.CheckScopes(scopes)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%q: got %v, want %q", scopes, err, c.problem)
		}
	}
}

func TestAppScope(t *testing.T) {
	for _, c := range []struct{ scope, want string }{
		{"", ""},
		{"api://todo/Read", "api://todo/.default"},
		{"api://todo/.default", "api://todo/.default"},
		{"api://contoso.example/todo/Read", "api://contoso.example/todo/.default"},
		{"https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/.default"},
		{"https://vault.azure.net//user_impersonation", "https://vault.azure.net//.default"},
		{"aaaaaaaa-0000-4000-8000-000000000002/Read", "aaaaaaaa-0000-4000-8000-000000000002/.default"},
		{"User.Read", ""},
		{"/Read", ""},
	} {
		var scopes []string
		if c.scope != "" {
			scopes = []string{c.scope, c.scope + "More"}
		}
		if got := obo.AppScope(scopes); got != c.want {
			t.Errorf("%q: got %q, want %q", scopes, got, c.want)
		}
	}
}
