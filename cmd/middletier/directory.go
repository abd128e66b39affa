package main

import (
	"middletier/internal/mockidp"
	"middletier/internal/todo"
)

// The registrations of the default directory. Their ids are made up.
const (
	demoTenant     = "11111111-1111-4111-8111-111111111111"
	demoMiddleTier = "22222222-2222-4222-8222-222222222222"
	demoToDo       = "33333333-3333-4333-8333-333333333333"
	demoApp        = "44444444-4444-4444-8444-444444444444"
	demoDaemon     = "55555555-5555-4555-8555-555555555555"
	demoWeb        = "66666666-6666-4666-8666-666666666666"
	demoSPA        = "77777777-7777-4777-8777-777777777777"
	demoNative     = "88888888-8888-4888-8888-888888888888"
)

// demoDirectory is the default directory: a tenant with two users, the middle tier and the
// API behind it, and a client of each kind. secret is that of every app that has one.
func demoDirectory(secret string) mockidp.Directory {
	return mockidp.Directory{
		Tenants: []mockidp.Tenant{{ID: demoTenant, Domain: "contoso.example"}},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: "aaaaaaaa-0000-4000-8000-000000000001", TenantID: demoTenant, Username: "alice@contoso.example"},
			{Name: "bob", ObjectID: "bbbbbbbb-0000-4000-8000-000000000002", TenantID: demoTenant, Username: "bob@contoso.example"},
		},
		Apps: append(demoAPIs(secret), demoClients(secret)...),
		Grants: []mockidp.Grant{
			{Client: "app", Resource: "middletier", Scopes: todo.Scopes},
			{Client: "web", Resource: "middletier", Scopes: todo.Scopes},
			{Client: "spa", Resource: "middletier", Scopes: todo.Scopes},
			{Client: "native", Resource: "middletier", Scopes: todo.Scopes},
			{Client: "daemon", Resource: "middletier", Roles: todo.AppPermissions},
			{Client: "middletier", Resource: "todo", Scopes: todo.Scopes, Roles: todo.AppPermissions},
		},
	}
}

func demoAPIs(secret string) []mockidp.App {
	return []mockidp.App{
		{
			Name: "middletier", TenantID: demoTenant, ClientID: demoMiddleTier, ObjectID: "22222222-0000-4000-8000-000000000000",
			IDURIs: []string{"api://" + demoMiddleTier}, Secrets: []string{secret},
			Scopes: todo.Scopes, Roles: todo.AppPermissions, OptionalClaims: []string{"idtyp", "xms_cc"},
			KnownClients: []string{"app", "web", "spa", "native"},
			Requires:     []mockidp.Requirement{{Resource: "todo", Scopes: todo.Scopes}},
		},
		{
			Name: "todo", TenantID: demoTenant, ClientID: demoToDo, ObjectID: "33333333-0000-4000-8000-000000000000",
			IDURIs: []string{"api://todo"}, Scopes: todo.Scopes, Roles: todo.AppPermissions, OptionalClaims: []string{"idtyp"},
		},
	}
}

// demoClients have the redirect URIs that samples of common libraries use.
func demoClients(secret string) []mockidp.App {
	return []mockidp.App{
		{Name: "app", TenantID: demoTenant, ClientID: demoApp, ObjectID: "44444444-0000-4000-8000-000000000000"},
		{
			Name: "daemon", TenantID: demoTenant, ClientID: demoDaemon, ObjectID: "55555555-0000-4000-8000-000000000000",
			Secrets: []string{secret},
		},
		{
			Name: "web", TenantID: demoTenant, ClientID: demoWeb, ObjectID: "66666666-0000-4000-8000-000000000000",
			Secrets: []string{secret}, OptionalClaims: []string{"sid", "login_hint"},
			RedirectURIs: mockidp.RedirectURIs{Web: []string{
				"http://localhost:3000/auth/redirect", // MSAL Node
				"http://localhost:5000/getAToken",     // MSAL Python
				"http://localhost:5000/signin-oidc",   // ASP.NET Core
				"https://localhost:5001/signin-oidc",
				"http://localhost:8080/login/oauth2/code/", // Spring
				"http://localhost:8080/signin-oidc",        // the middle tier's own sign-in
				"http://localhost:8080/signout-callback-oidc",
			}},
		},
		{
			Name: "spa", TenantID: demoTenant, ClientID: demoSPA, ObjectID: "77777777-0000-4000-8000-000000000000",
			OptionalClaims: []string{"sid", "login_hint"},
			RedirectURIs:   mockidp.RedirectURIs{SPA: []string{"http://localhost:3000/", "http://127.0.0.1:8080/"}},
		},
		{
			Name: "native", TenantID: demoTenant, ClientID: demoNative, ObjectID: "88888888-0000-4000-8000-000000000000",
			OptionalClaims: []string{"sid", "login_hint"},
			RedirectURIs:   mockidp.RedirectURIs{Native: []string{"http://localhost"}},
		},
	}
}

// withPage returns the directory with the demo's page as the redirect URI of its single-page
// application, and of the middle tier, whose consentUri comes back there. The web app is the
// service's own sign-in.
func withPage(directory mockidp.Directory, service string) mockidp.Directory {
	redirectURI := service + "/"
	for i, app := range directory.Apps {
		switch app.ClientID {
		case demoSPA:
			directory.Apps[i].RedirectURIs.SPA = []string{redirectURI}
		case demoMiddleTier:
			directory.Apps[i].RedirectURIs.Web = []string{redirectURI}
		case demoWeb:
			directory.Apps[i].RedirectURIs.Web = []string{service + "/signin-oidc", service + "/signout-callback-oidc"}
			directory.Apps[i].FrontChannelLogoutURI = service + "/signout-oidc"
		}
	}
	return directory
}
