package main

import (
	"strings"
	"testing"
)

// The rule that a warning suggests must be one that the API's callers can meet: of an API
// that is called as the application only, a rule with scopes lets nobody in.
func TestTheSuggestedRuleFitsTheAPI(t *testing.T) {
	const wantScopes, wantRoles = "scopes: [SCOPE-TO-READ]", "access: [{appPermissions: [APP-ROLE]}]"
	for _, row := range []struct{ name, keys, want, not string }{
		{"for users", `scopes: ["api://other/.default"]`, wantScopes, wantRoles},
		{"appScopes alone", `appScopes: ["api://other/.default"]`, wantRoles, "SCOPE"},
		{"requestAppToken", `{requestAppToken: true, scopes: ["api://other/.default"]}`, wantRoles, "SCOPE"},
	} {
		t.Run(row.name, func(t *testing.T) {
			keys := strings.Trim(row.keys, "{}")
			text := strings.ReplaceAll(withoutAccess, "KEYS", keys)
			_, doc, err := configFlag{Config: []string{writeConfig(t, text)}}.load(nil)
			if err != nil {
				t.Fatal(err)
			}
			got := doc.Warnings().Error()
			if !strings.Contains(got, row.want) || strings.Contains(got, row.not) {
				t.Errorf("got %q, want a warning with %q and without %q", got, row.want, row.not)
			}
		})
	}
}

const withoutAccess = `
azureAd:
  tenantId: 11111111-2222-4333-8444-555555555555
  clientId: 66666666-7777-4888-8999-aaaaaaaaaaaa
  clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret-value}]
downstreamApis:
  other: {baseUrl: "https://other.example/", KEYS}
`
