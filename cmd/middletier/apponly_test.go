package main

import (
	"strings"
	"testing"
)

// An API that is called as the application only has no calls on behalf of users, whatever
// the token.
func TestAPIThatIsCalledAsTheApplicationOnly(t *testing.T) {
	for name, change := range map[string]func(*downstreamAPI){
		"requestAppToken":          func(d *downstreamAPI) { d.RequestAppToken = true },
		"appScopes without scopes": func(d *downstreamAPI) { d.Scopes, d.AppScopes = nil, []string{"api://todo/.default"} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				change(&d)
				f.DownstreamAPIs["todo"] = d
			})
			r := w.call("GET", "/api/todo/items", w.alice(), "")
			if want := "This API is called as the application only. Calls without a user go to /app/{name}/."; r.StatusCode != 403 ||
				r.kind() != "wrong-token-type" || r.problem.Detail != want {
				t.Errorf("a user: got %d %s", r.StatusCode, r.body)
			}
			if r := w.call("GET", "/api/todo/items", w.daemon(), ""); r.StatusCode != 403 || r.kind() != "wrong-token-type" {
				t.Errorf("an application on /api: got %d %s", r.StatusCode, r.body)
			}
			if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.StatusCode != 200 {
				t.Errorf("an application on /app: got %d %s", r.StatusCode, r.body)
			}
			if r := w.call("GET", "/openapi.json", "", ""); strings.Contains(r.body, `"/api/todo/{path}": {`) ||
				!strings.Contains(r.body, `"/app/todo`) {
				t.Errorf("the description has the wrong paths of the API:\n%s", r.body)
			}
			if n := w.idp.Count("on_behalf_of"); n != 0 {
				t.Errorf("got %d exchanges", n)
			}
		})
	}
}
