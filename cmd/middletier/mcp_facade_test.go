package main

import (
	"slices"
	"strings"
	"testing"
)

// Where an API has both, its authorization server is that of users at the endpoint: it knows the
// scopes of tools, and what they begin with there.
func TestFacadeIsForTheEndpointOfAnMCPServer(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ appIDURI, idURI string }{
		"by default":     {"", "api://" + demoMiddleTier},
		"its App ID URI": {endpointURI, endpointURI},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFacade(t, withMCP, withFacade, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				d.MCP.AppIDURI = row.appIDURI
				f.DownstreamAPIs["todo"] = d
			})
			provider := w.idp.URL() + "/" + demoTenant + "/v2.0"
			for path, issuer := range map[string]string{
				"/api/todo/mcp": w.issuer(), "/app/todo/mcp": provider, "/api/todo": provider, "": provider,
			} {
				if got := w.metadataAt("/.well-known/oauth-protected-resource" + path); !slices.Equal(got.Servers, []string{issuer}) {
					t.Errorf("%q: authorization_servers are %q, want %s", path, got.Servers, issuer)
				}
			}
			admin := row.idURI + "/ToDoList.Admin" // which only an entry of tools names
			for _, scope := range []string{"ToDoList.Admin", admin, ours("ToDoList.Admin")} {
				_, sent := w.authorize(w.goodAuthorization("scope", scope).Encode()).sentTo(t)
				if got := strings.Fields(sent.Get("scope")); !slices.Contains(got, admin) {
					t.Errorf("scope %q: the provider is asked for %q, want %s", scope, got, admin)
				}
			}
			if r := w.call("GET", "/.well-known/oauth-authorization-server/mcp/todo", "", ""); !strings.Contains(r.body, `"`+admin+`"`) {
				t.Errorf("the authorization server's metadata is %s, want the scope %s", r.body, admin)
			}
		})
	}
}

// What the metadata of an endpoint lists can be requested, also of the service itself, whose
// scopes begin with its client ID in a token request.
func TestFacadeKnowsTheScopesOfTheMetadata(t *testing.T) {
	t.Parallel()
	for _, client := range []string{mcpClient, demoMiddleTier} {
		w := newFacade(t, withMCP, withFacade, func(f *file) {
			d := f.DownstreamAPIs["todo"]
			d.MCP.AppIDURI, d.MCP.AuthorizationServer.ClientID = endpointURI, client
			f.DownstreamAPIs["todo"] = d
		})
		listed := w.metadataAt("/.well-known/oauth-protected-resource/api/todo/mcp").Scopes
		if len(listed) == 0 {
			t.Error("the metadata lists no scopes")
		}
		for _, scope := range listed {
			if _, sent := w.authorize(w.goodAuthorization("client_id", client, "scope", scope).Encode()).sentTo(t); sent.Has("error") {
				t.Errorf("client %s, scope %s: got %q", client, scope, sent)
			}
		}
	}
}
