package downstream_test

import (
	"net/http"
	"strings"
	"testing"

	"middletier/internal/downstream"
)

// Links below the base URL become public ones; all others are not changed.
func TestLinksBelowTheBaseURLAreTheCallers(t *testing.T) {
	const own = "https://gateway.example/mt/api/todo"
	var link string
	api := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Location"], w.Header()["Content-Location"] = []string{link}, []string{link}
		w.WriteHeader(http.StatusCreated)
	}))
	host := strings.TrimPrefix(api, "http://")
	_, port, _ := strings.Cut(host, ":")
	var path downstream.Path
	forward := func(e *env) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.results <- e.client.Forward(w, r, downstream.Call{
				Path: path, Token: e.token, RequestID: "request-1", Prefix: "/mt/api/todo", PublicURL: func(*http.Request) string { return own },
			})
		})
	}
	for _, row := range []struct{ base, path, link, want string }{ // want "": unchanged
		{"/v1/", "/items", api + "/v1/items/7", own + "/items/7"},
		{"/v1/", "/items", api + "/v1/items/7?a=%2F&b#c%20d", own + "/items/7?a=%2F&b#c%20d"},
		{"/v1/", "/items", api + "/v1", own},
		{"/v1/", "/items", api + "/v1/", own + "/"},
		{"/v1", "/items", "/v1/items/7", own + "/items/7"},
		{"/v1/", "/items", "/v1/items/%C3%A4%20;x=1", own + "/items/%C3%A4%20;x=1"},
		{"/v1/", "/items", "//" + host + "/v1/items/7", own + "/items/7"},
		{"/v1/", "/items", "HTTP://" + host + "/v1/items/7", own + "/items/7"},
		{"/v1/", "/items", api + "/v2/../v1/./items/7", own + "/items/7"},
		{"/v1/", "/items", "/v1/items/?", own + "/items/?"},
		{"", "/items", api, own},
		{"/", "/items", "/items/7", own + "/items/7"},
		{"/v%201/", "/items", "/v%201/items/7", own + "/items/7"},

		// A relative link is right from the caller's URL too, or becomes absolute.
		{"/v1/", "/items", "items/7", ""},
		{"/v1/", "/items/", "7", ""},
		{"/v1/", "/items/7", "../items/8", ""},
		{"/v1/", "/items", "?page=2", ""},
		{"/v1/", "/items", "#x", ""},
		{"/v1/", "/items", "", ""},
		{"/v1/", "/items", "../v1/items/7", own + "/items/7"},
		{"/v1/", "", "v1/items/7", own + "/items/7"},

		// Elsewhere.
		{"/v1/", "/items", "https://elsewhere.example/v1/items/7", ""},
		{"/v1/", "/items", "https://" + host + "/v1/items/7", ""},
		{"/v1/", "/items", "http://127.0.0.1:1/v1/items/7", ""},
		{"/v1/", "/items", "http://user@" + host + "/v1/items/7", ""},
		{"/v1/", "/items", "http://" + host + ".evil.example/v1/items/7", ""},
		{"/v1/", "/items", api + "/v10/items/7", ""},
		{"/v1/", "/items", "/v10/items/7", ""},
		{"/v1/", "/items", "/V1/items/7", ""},
		{"/v1/", "/items", "/v2/items/7", ""},
		{"/v1/", "/items", "/", ""},
		{"/v1/", "/items", "../../x", ""},
		{"/v1/", "/items", api + "/v1/../admin", ""},
		{"/v1/", "/items", api + "/v1/%2e%2E/admin", ""},
		{"/v1/", "/items", api + "/v1/.%2e/admin", ""},
		{"/v1/", "/items", api + `/v1/\..\admin`, ""},
		{"/v1/", "/items", "//" + port, ""},
		{"/v1/", "/items", "mailto:x@example.com", ""},
		{"/v1/", "/items", "http://[::1", ""},
		{"/v1/", "/items", own + "/items/7", ""},

		// An API that uses X-Forwarded-Prefix has written the public path already,
		// unless it has such paths itself.
		{"/", "/items", "/mt/api/todo/items/7", ""},
		{"/", "/items", "/mt/api/todos/7", own + "/mt/api/todos/7"},
		{"/", "/mt/api/todo/items", "/mt/api/todo/items/7", own + "/mt/api/todo/items/7"},
	} {
		var err error
		if path, err = downstream.ParsePath(row.path); err != nil {
			t.Fatal(err)
		}
		e := start(t, api+row.base, nil)
		e.front.Config.Handler = forward(e)
		link = row.link
		want := row.want
		if want == "" {
			want = link
		}
		got := e.do("POST", "/x", "")
		for _, name := range []string{"Location", "Content-Location"} {
			if got.status != 201 || got.header.Get(name) != want {
				t.Errorf("base %q, path %q, %s %q: got %d %q, want %q", row.base, row.path, name, link, got.status, got.header.Get(name), want)
			}
		}
	}
}

// Schemes have a default port, and host names are compared without case.
func TestLinksAreComparedByOrigin(t *testing.T) {
	transport := func(link string) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 201, Header: http.Header{"Location": {link}}, Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			}, nil
		})
	}
	for _, row := range []struct {
		base, link string
		below      bool
	}{
		{"https://api.example/v1/", "https://API.example:443/v1/x", true},
		{"https://API.example:443/v1/", "https://api.example/v1/x", true},
		{"http://api.example/v1/", "http://api.example:80/v1/x", true},
		{"http://api.example/v1/", "//api.example/v1/x", true},
		{"https://api.example/v1/", "http://api.example/v1/x", false},
		{"https://api.example/v1/", "http://api.example:443/v1/x", false},
		{"https://api.example:8443/v1/", "https://api.example/v1/x", false},
	} {
		e := start(t, row.base, func(c *downstream.Config) { c.Transport = transport(row.link) })
		path, err := downstream.ParsePath("/items")
		if err != nil {
			t.Fatal(err)
		}
		e.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.results <- e.client.Forward(w, r, downstream.Call{
				Path: path, Token: e.token, PublicURL: func(*http.Request) string { return "https://own" },
			})
		})
		if got := e.do("GET", "/x", "").header.Get("Location"); got == "https://own/x" != row.below {
			t.Errorf("base %s, link %s: got %s, want it rewritten: %v", row.base, row.link, got, row.below)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
