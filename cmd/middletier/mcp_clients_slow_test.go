//go:build slow

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mcpEndpoint is where clients of the Model Context Protocol find the ToDo API: by an
// authorization server of the service, or directly, by the platform.
type mcpEndpoint struct {
	url, issuer string
}

// mcpConfig is the configuration of the service in front of the ToDo API as an MCP server. In
// it, ADDRESS is the service's, and MORE are further keys of the endpoint.
const mcpConfig = `
server: {address: ADDRESS, adminAddress: "", publicUrl: "http://ADDRESS"}
azureAd:
  instance: PLATFORM/
  tenantId: ` + demoTenant + `
  clientId: ` + demoMiddleTier + `
  clientCredentials: [{sourceType: ClientSecret, clientSecret: ` + mockSecret + `}]
downstreamApis:
  todo:
    baseUrl: TODO/
    scopes: ["api://todo/.default"]
    access:
      - {methods: [POST], paths: [/mcp], scopes: [ToDoList.Read, ToDoList.ReadWrite], appPermissions: [ToDoList.Read.All]}
      - {methods: [GET], scopes: [ToDoList.Read, ToDoList.ReadWrite], appPermissions: [ToDoList.Read.All]}
      - {methods: [POST, DELETE], scopes: [ToDoList.ReadWrite], appPermissions: [ToDoList.ReadWrite.All]}
    mcp:
      path: /mcp
      tools:
        - {methods: [tools/call], names: [todo_add, todo_delete], scopes: [ToDoList.ReadWrite], appPermissions: [ToDoList.ReadWrite.All]}
        - {methods: [tools/call], scopes: [ToDoList.Read, ToDoList.ReadWrite], appPermissions: [ToDoList.Read.All]}
MORE`

// startMCP starts the service in front of the ToDo API as an MCP server.
func (s *stack) startMCP(more string) mcpEndpoint {
	s.t.Helper()
	address := "127.0.0.1:" + freePorts(s.t, 1)[0]
	s.startServiceWith(address, strings.NewReplacer("MORE", more, "ADDRESS", address, "PLATFORM", s.platform, "TODO", s.todo).Replace(mcpConfig))
	return mcpEndpoint{url: s.service + "/api/todo/mcp"}
}

// ownMCPClient is the client ID of a client that is registered by hand.
const ownMCPClient = "99999999-0000-4000-8000-000000000003"

const clientCallback = "http://127.0.0.1:51234/callback"

// startMCPWithFacade starts it with an authorization server of its own, and registers the
// client of that.
func (s *stack) startMCPWithFacade() mcpEndpoint {
	s.t.Helper()
	s.manage("POST", "/mock/apps", map[string]any{
		"name": "mcp", "tenantId": demoTenant, "clientId": demoMCP, "secrets": []string{mockSecret},
		"redirectUris": map[string]any{"web": []string{"http://127.0.0.1/callback"}},
	})
	endpoint := s.startMCP(`
      authorizationServer: {clientId: ` + demoMCP + `, clientSecret: ` + mockSecret + `, allowedRedirectUris: ["http://127.0.0.1/callback"]}`)
	endpoint.issuer = s.service + "/mcp/todo"
	return endpoint
}

// startMCPWithURI starts it with its URL as an App ID URI, as the platform demands it of what
// clients name as the resource, and registers a client.
func (s *stack) startMCPWithURI() mcpEndpoint {
	s.t.Helper()
	s.manage("POST", "/mock/apps", map[string]any{
		"name": "own", "tenantId": demoTenant, "clientId": ownMCPClient, "redirectUris": map[string]any{"native": []string{"http://127.0.0.1/callback"}},
	})
	address := "127.0.0.1:" + freePorts(s.t, 1)[0]
	uri := "http://" + address + "/api/todo/mcp"
	app := demoAPIs(mockSecret)[0]
	s.manage("POST", "/mock/apps", map[string]any{
		"name": app.Name, "tenantId": demoTenant, "clientId": app.ClientID, "objectId": app.ObjectID, "secrets": app.Secrets,
		"idUris": append(slices.Clone(app.IDURIs), uri), "scopes": app.Scopes, "roles": app.Roles, "optionalClaims": app.OptionalClaims,
	})
	s.startServiceWith(address, strings.NewReplacer("MORE", "\n      appIdUri: "+uri, "ADDRESS", address, "PLATFORM", s.platform, "TODO", s.todo).
		Replace(mcpConfig))
	return mcpEndpoint{uri, s.platform + "/" + demoTenant + "/v2.0"}
}

// environment has what a client's program needs to know.
func (e mcpEndpoint) environment(s *stack, people string) []string {
	return []string{
		"PLATFORM=" + s.platform, "SERVICE=" + s.service, "TODO=" + s.todo, "PEOPLE=" + people, "NODE_EXTRA_CA_CERTS=" + s.ca,
		"SSL_CERT_FILE=" + s.ca, "SERVER=" + e.url, "ISSUER=" + e.issuer, "CLIENT_ID=" + ownMCPClient, "REDIRECT_URI=" + clientCallback,
	}
}

// Clients of the TypeScript SDK go from a 401 to a tool's answer by themselves: metadata,
// registration, sign-in, token, and a tool that needs more than they asked for.
func TestSlowMCPClientsInJavascript(t *testing.T) {
	node := javascriptClients(t)
	s := startPlatform(t)
	people := s.startPeople(t)
	facade, direct := s.startMCPWithFacade(), s.startMCPWithURI()
	const used = `{"tools":"todo_add todo_delete todo_list","before":0,"after":"tea","items":"tea","notified":true,"ended":404,` +
		`"signedIn":["ToDoList.Read"],"then":["ToDoList.ReadWrite"]}`
	for _, row := range []struct {
		flow   string
		server mcpEndpoint
		want   string
	}{
		{"registered", facade, used},
		{"known", direct, used},
		{"resume", facade, `{"events":2,"same":true}`},
	} {
		t.Run(row.flow, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), node, filepath.Join(javascript, "mcp.mjs"), row.flow)
			program.Env = append(os.Environ(), row.server.environment(s, people)...)
			wantAnswer(t, program, row.want)
		})
	}
}

// wantAnswer runs a program, and fails unless it prints want.
func wantAnswer(t *testing.T, program *exec.Cmd, want string) {
	t.Helper()
	var complaints bytes.Buffer
	program.Stderr = &complaints
	out, err := program.Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s\n%s", got, err, want, complaints.String())
	}
}

// Clients of the Python SDK do so as well, in both revisions of the protocol.
func TestSlowMCPClientsInPython(t *testing.T) {
	s := startPlatform(t)
	people := s.startPeople(t)
	facade, direct := s.startMCPWithFacade(), s.startMCPWithURI()
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		want := `{"revision": "` + revision + `", "tools": "todo_add todo_delete todo_list", "before": 0, "after": "tea", "notified": true, ` +
			`"signedIn": ["ToDoList.Read offline_access"], "then": ["ToDoList.Read ToDoList.ReadWrite offline_access"]}`
		for flow, server := range map[string]mcpEndpoint{"registered": facade, "known": direct} {
			t.Run(revision+"/"+flow, func(t *testing.T) {
				program := pythonClient(t, filepath.Join(python, "mcp_client.py"), flow, revision)
				program.Env = append(program.Env, server.environment(s, people)...)
				wantAnswer(t, program, want)
			})
		}
	}
}
