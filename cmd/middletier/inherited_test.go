package main

import (
	"strings"
	"testing"
)

// A sample's placeholder is refused in the variables of Azure's own tools too.
func TestPlaceholdersInAzureVariablesAreRefused(t *testing.T) {
	base := []string{
		"AZURE_TENANT_ID=11111111-2222-4333-8444-555555555555", "AZURE_CLIENT_ID=66666666-7777-4888-8999-aaaaaaaaaaaa",
		"AZURE_CLIENT_SECRET=s3cret-value", "DownstreamApis__todo__BaseUrl=https://todo.example/", "DownstreamApis__todo__Scopes__0=api://todo/.default",
	}
	if _, _, err := loadDocument(nil, base); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ variable, value, want string }{
		{"AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000000", "azureAd.tenantId: is a placeholder of a sample; here belongs the tenant's GUID"},
		{"AZURE_CLIENT_ID", "Enter_the_Application_Id_Here", "azureAd.clientId: is a placeholder of a sample; here belongs the application (client) ID"},
		{"AZURE_CLIENT_SECRET", "Enter_the_Client_Secret_Here", "azureAd.clientCredentials[0].clientSecret: is a placeholder of a sample; here belongs the client secret"},
	} {
		t.Run(row.variable, func(t *testing.T) {
			var environ []string
			for _, assignment := range base {
				if !strings.HasPrefix(assignment, row.variable+"=") {
					environ = append(environ, assignment)
				}
			}
			_, _, err := loadDocument(nil, append(environ, row.variable+"="+row.value))
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "(it is from "+row.variable+")") {
				t.Errorf("got %v, want %s… (it is from %s)", err, row.want, row.variable)
			}
			if err != nil && strings.Contains(err.Error(), "Secret_Here") {
				t.Errorf("the secret is quoted: %v", err)
			}
		})
	}
}
