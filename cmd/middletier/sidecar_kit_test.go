package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
	"middletier/internal/todo"
)

// Agent identities of the middle tier in agentDirectory, and their users.
const (
	agentOne   = "a9e70001-0000-4000-8000-00000000000a"
	agentTwo   = "a9e70002-0000-4000-8000-00000000000a"
	robotOne   = "a9e70001-0000-4000-8000-0000000000f0"
	robotTwo   = "a9e70002-0000-4000-8000-0000000000f0"
	robotOneAs = "robot1@contoso.example"
	robotTwoAs = "robot2@contoso.example"
)

// agentDirectory is the tests' directory with two agents of the middle tier, each with a
// user of its own, and a second API.
func agentDirectory() mockidp.Directory {
	directory := testDirectory()
	directory.Users = append(directory.Users,
		mockidp.User{Name: "robot1", ObjectID: robotOne, TenantID: demoTenant, Username: robotOneAs},
		mockidp.User{Name: "robot2", ObjectID: robotTwo, TenantID: demoTenant, Username: robotTwoAs})
	for i := range directory.Apps {
		if app := &directory.Apps[i]; app.Name == "middletier" {
			app.Agents = []mockidp.Agent{
				{Name: "agent1", ClientID: agentOne, Users: []string{robotOneAs}},
				{Name: "agent2", ClientID: agentTwo, Users: []string{robotTwoAs}},
			}
		}
	}
	directory.Apps = append(directory.Apps, mockidp.App{
		Name: "notes", TenantID: demoTenant, ClientID: "a9e70003-0000-4000-8000-00000000000a", MultiTenant: true,
		ObjectID: "a9e70003-0000-4000-8000-0000000000f0", IDURIs: []string{"api://notes"},
		Scopes: []string{"Notes.Read"}, Roles: []string{"Notes.Read.All"}, OptionalClaims: []string{"idtyp"},
	})
	for _, client := range []string{"middletier", "agent1", "agent2"} {
		directory.Grants = append(directory.Grants,
			mockidp.Grant{Client: client, Resource: "notes", Scopes: []string{"Notes.Read"}, Roles: []string{"Notes.Read.All"}},
			mockidp.Grant{Client: client, Resource: "todo", Scopes: todo.Scopes, Roles: []string{"ToDoList.Read.All"}})
	}
	return directory
}

// withSidecar adds a sidecar listener to a configuration.
func withSidecar(f *file) { f.Server.SidecarAddress = "127.0.0.1:0" }

// withOpenGates opens the gates of all sidecar routes.
func withOpenGates(f *file) {
	f.Sidecar.AllowOverrides = allowOverrides{true, true, true, true}
}

// withoutGates closes the gates of all sidecar routes.
func withoutGates(f *file) { f.Sidecar.AllowOverrides = allowOverrides{} }

// newSidecar starts a world with a sidecar listener and agents.
func newSidecar(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newStoppedWorldOf(t, agentDirectory(), append([]func(*file){withSidecar}, change...)...)
	w.startReady()
	return w
}

// beside calls the sidecar listener, with header lines beside the token ("" for none).
func (w *world) beside(method, path, token string, lines ...string) *reply {
	w.t.Helper()
	return w.send(method, w.side+path, token, nil, lines...)
}

// rawBeside sends text to the sidecar listener, and returns the head of the answer.
func (w *world) rawBeside(t *testing.T, text string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.side, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return sendRaw(t, conn, text)
}

// Paths of the routes for headers, with queries.
func headerPath(api string, query ...string) string {
	return "/AuthorizationHeader/" + api + "?" + strings.Join(query, "&")
}

func headerPathFree(api string, query ...string) string {
	return "/AuthorizationHeaderUnauthenticated/" + api + "?" + strings.Join(query, "&")
}

// option is an override of a query.
func option(name, value string) string {
	return "optionsOverride." + name + "=" + url.QueryEscape(value)
}

// headerToken returns the claims of the token in an answer of the routes for headers.
func headerToken(t *testing.T, r *reply) jwt.MapClaims {
	t.Helper()
	var answer struct{ AuthorizationHeader string }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200 with a header", r.StatusCode, r.body)
	}
	token, ok := strings.CutPrefix(answer.AuthorizationHeader, "Bearer ")
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); !ok || err != nil {
		t.Fatalf("%q is no header with a JWT: %v", answer.AuthorizationHeader, err)
	}
	return claims
}
