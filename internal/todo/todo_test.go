package todo_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/tokentest"
	"middletier/internal/todo"
	"middletier/internal/validate"
)

const (
	tenant = "11111111-1111-4111-8111-111111111111"
	api    = "33333333-3333-4333-8333-333333333333"
	aliceO = "aaaaaaaa-0000-4000-8000-000000000001"
)

// signingKey is every platform's.
var signingKey = tokentest.NewKey(2048)

// newAPI returns the API and the platform whose tokens it accepts.
func newAPI(t *testing.T) (http.Handler, *mockidp.Server) {
	t.Helper()
	idp, err := mockidp.New(mockidp.Directory{
		SigningKey: signingKey(),

		Tenants: []mockidp.Tenant{{ID: tenant}},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: aliceO, TenantID: tenant, Username: "alice@contoso.example"},
			{Name: "bob", ObjectID: "bbbbbbbb-0000-4000-8000-000000000002", TenantID: tenant, Username: "bob@contoso.example"},
		},
		Apps: []mockidp.App{
			{Name: "todo", TenantID: tenant, ClientID: api, ObjectID: "33333333-0000-4000-8000-000000000000", IDURIs: []string{"api://todo"}, Scopes: todo.Scopes, Roles: todo.AppPermissions, OptionalClaims: []string{"idtyp"}},
			{Name: "client", TenantID: tenant, ClientID: "44444444-4444-4444-8444-444444444444", ObjectID: "44444444-0000-4000-8000-000000000000"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(idp.Close)
	validator := validate.New(validate.Config{
		Instance: idp.URL(), TenantID: tenant, ClientID: api, ClockSkew: time.Minute, Log: slog.New(slog.DiscardHandler),
		Client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: idp.CertPool()}}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		validator.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	late := time.After(15 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for validator.Ready() != nil {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no signing keys")
		}
	}
	return todo.New(validator), idp
}

// The steps build on each other: who adds what, and who sees and removes it.
func TestListsBelongToTheirUsers(t *testing.T) {
	handler, idp := newAPI(t)
	user := func(name, scope string) string { return idp.UserToken(name, "client", "todo", scope) }
	app := func(role string) string { return idp.AppToken("client", "todo", role) }
	for i, step := range []struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		{"", "GET", "/items", "", 401, "invalid_token"},
		{"nonsense", "GET", "/items", "", 401, "invalid_token"},
		{user("alice", "ToDoList.Read"), "GET", "/items", "", 200, "[]"},
		{user("alice", "ToDoList.Read"), "POST", "/items", `{"title":"x"}`, 403, "insufficient_scope"},
		{user("alice", "ToDoList.ReadWrite"), "POST", "/items", `{"title":"hers"}`, 201, `"owner":"` + aliceO + `"`},
		{user("alice", "ToDoList.ReadWrite"), "POST", "/items", `{"title":"x","owner":"someone else"}`, 201, `"owner":"` + aliceO + `"`},
		{user("alice", "ToDoList.ReadWrite"), "POST", "/items", `{}`, 400, "title"},
		{user("alice", "ToDoList.ReadWrite"), "POST", "/items", `{"title":"x","id":7}`, 400, "title"},
		{user("alice", "ToDoList.ReadWrite"), "POST", "/items", `{"title":"` + strings.Repeat("x", 5000) + `"}`, 400, "title"},
		{user("bob", "ToDoList.Read"), "GET", "/items", "", 200, "[]"},
		{user("bob", "ToDoList.ReadWrite"), "DELETE", "/items/1", "", 404, "no such item"},
		{app("ToDoList.Read.All"), "GET", "/items", "", 200, "hers"},
		{app("ToDoList.Read.All"), "DELETE", "/items/1", "", 403, "insufficient_scope"},
		{app("ToDoList.ReadWrite.All"), "POST", "/items", `{"title":"x"}`, 400, "owner"},
		{app("ToDoList.ReadWrite.All"), "POST", "/items", `{"title":"for Alice","owner":"` + aliceO + `"}`, 201, "for Alice"},
		{user("alice", "ToDoList.Read"), "GET", "/items", "", 200, "for Alice"},
		{user("alice", "ToDoList.ReadWrite"), "DELETE", "/items/1", "", 204, ""},
		{user("alice", "ToDoList.ReadWrite"), "DELETE", "/items/1", "", 404, "no such item"},
		{user("alice", "ToDoList.ReadWrite"), "DELETE", "/items/one", "", 404, "no such item"},
		{user("alice", "ToDoList.ReadWrite"), "PATCH", "/items/1", "", 405, ""},
	} {
		r := httptest.NewRequest(step.method, step.path, strings.NewReader(step.body))
		if step.token != "" {
			r.Header.Set("Authorization", "Bearer "+step.token)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != step.status || !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("step %d, %s %s: got %d %s, want %d with %q", i+1, step.method, step.path, w.Code, w.Body, step.status, step.want)
		}
	}
}
