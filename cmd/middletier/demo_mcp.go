package main

import (
	"slices"

	"middletier/internal/mcp"
	"middletier/internal/mockidp"
	"middletier/internal/todo"
	"middletier/internal/validate"
)

// demoMCP is the registration that all MCP clients share.
const demoMCP = "99999999-9999-4999-8999-999999999999"

// demoRedirectURIs are where MCP clients on the user's machine wait for the answer of a
// sign-in, at any port, and the pages that lead to VS Code. A client that registers others as
// well is refused as a whole.
var demoRedirectURIs = []string{
	"http://localhost/callback", "http://127.0.0.1/callback", // Claude Code, and examples of SDKs
	"http://localhost/oauth/callback", "http://127.0.0.1/oauth/callback", // MCP Inspector, mcp-remote
	"http://localhost/", "http://127.0.0.1/", // VS Code
	"https://vscode.dev/redirect", "https://insiders.vscode.dev/redirect",
}

// withMCPClients returns the directory with the registration of MCP clients.
func withMCPClients(directory mockidp.Directory, secret string) mockidp.Directory {
	directory.Apps = append(directory.Apps, mockidp.App{
		Name: "mcp", TenantID: demoTenant, ClientID: demoMCP, ObjectID: "99999999-0000-4000-8000-000000000000",
		Secrets: []string{secret}, RedirectURIs: mockidp.RedirectURIs{Web: demoRedirectURIs},
	})
	directory.Grants = append(directory.Grants, mockidp.Grant{Client: "mcp", Resource: "middletier", Scopes: todo.Scopes})
	return directory
}

// withMCPServer makes the API todo an MCP server, with an authorization server for clients
// that know no more than its URL.
func withMCPServer(f *file, secret string) {
	api := f.DownstreamAPIs["todo"]
	anyTool := validate.Rule{
		Methods: []string{"POST"}, Paths: []string{todo.Endpoint}, Scopes: todo.Scopes, AppPermissions: todo.AppPermissions,
	}
	api.Access = slices.Insert(api.Access, 0, anyTool)
	api.MCP = mcpKeys{
		Path: todo.Endpoint,
		Tools: []mcp.Rule{
			{
				Methods: []string{"tools/call"}, Names: []string{todo.AddTool, todo.DeleteTool},
				Scopes: todo.Scopes[1:], AppPermissions: todo.AppPermissions[1:],
			},
			{Methods: []string{"tools/call"}, Scopes: todo.Scopes, AppPermissions: todo.AppPermissions},
		},
		AuthorizationServer: authorizationServerKeys{
			ClientID: demoMCP, ClientSecret: secret, AllowedRedirectURIs: demoRedirectURIs,
		},
	}
	f.DownstreamAPIs["todo"] = api
}
