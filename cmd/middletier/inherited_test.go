package main

import (
	"strings"
	"testing"
)

// A sample's placeholder is refused in the variables of Azure's own tools too.
func TestPlaceholdersInAzureVariablesAreRefused(t *testing.T) {
	base := []string{
		"AZURE_TENANT_ID=11111111-2222-4333-8444-555555555555", "AZURE_CLIENT_ID=66666666-7777-4888-8999-aaaaaaaaaaaa",
		"AZURE_CLIENT_SECRET=s3cret-value", "DownstreamApis__todo__BaseUrl=https://todo.example/",
		"DownstreamApis__todo__Scopes__0=api://todo/.default",
	}
	if _, _, err := loadDocument(nil, base); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ variable, value, want string }{
		{"AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000000", "azureAd.tenantId: SAMPLE the tenant's GUID"},
		{"AZURE_CLIENT_ID", "Enter_the_Application_Id_Here", "azureAd.clientId: SAMPLE the application (client) ID"},
		{"AZURE_CLIENT_SECRET", "Enter_the_Client_Secret_Here", "azureAd.clientCredentials[0].clientSecret: SAMPLE the client secret"},
	} {
		t.Run(row.variable, func(t *testing.T) {
			want := strings.Replace(row.want, "SAMPLE", "is a placeholder of a sample; here belongs", 1)
			var environ []string
			for _, assignment := range base {
				if !strings.HasPrefix(assignment, row.variable+"=") {
					environ = append(environ, assignment)
				}
			}
			_, _, err := loadDocument(nil, append(environ, row.variable+"="+row.value))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(it is from "+row.variable+")") {
				t.Errorf("got %v, want %s… (it is from %s)", err, want, row.variable)
			}
			if err != nil && strings.Contains(err.Error(), "Secret_Here") {
				t.Errorf("the secret is quoted: %v", err)
			}
		})
	}
}

// A section whose name is nearly one of ours is a mistake in the environment as in a file.
func TestMisspeltSectionsInTheEnvironment(t *testing.T) {
	for variable, want := range map[string]string{
		"Serverr__Address=:9":             `environment variable Serverr__Address: Serverr: unknown key; did you mean "server"?`,
		"loggin__level=debug":             `environment variable loggin__level: loggin: unknown key; did you mean "logging"?`,
		"DOWNSTREAMAPPIS__x=x":            `environment variable DOWNSTREAMAPPIS__x: DOWNSTREAMAPPIS: unknown key; did you mean "downstreamApis"?`,
		"AzureAd_ClientId=one underscore": "",
		"MyCompany__Feature=a word":       "",
	} {
		_, doc, err := loadDocument([]string{writeConfig(t, goodConfig)}, []string{variable})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want || len(doc.Warnings()) > 0 {
			t.Errorf("%s: got %q and the warnings %q, want %q and none", variable, got, doc.Warnings(), want)
		}
	}
}
