package sidecar

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"middletier/internal/obo"
)

func TestTokenFormIsRefused(t *testing.T) {
	for _, body := range []string{
		"grant_type=a&grant_type=a", "scope=&scope=a", "subject_token=a&subject_token=", "a=%zz", "a;b=c", "%=1",
		strings.Repeat("a=b&", maxFormFields) + "c=d",
	} {
		if form, err := parseForm(body); err == nil {
			t.Errorf("%.40q: got %v, want an error", body, form)
		}
	}
	form, err := parseForm("audience=a&audience=b&resource=&resource=c&scope=&x=%C3%BC+y")
	if err != nil {
		t.Fatal(err)
	}
	targets, err := form.targets()
	if err != nil || !slices.Equal(targets, []string{"a", "b", "c"}) || form.get("scope") != "" || form.get("x") != "ü y" {
		t.Errorf("got %v with targets %v %v", form, targets, err)
	}
}

// A client may encode what it puts into Basic, as it should, or not.
func TestClientCredentials(t *testing.T) {
	basic := func(user, password string) []string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header["Authorization"]
	}
	for _, row := range []struct {
		name, form    string
		authorization []string
		id, secret    string // one of the meanings; "" for an error
	}{
		{"form", "client_id=gw&client_secret=s+%2B", nil, "gw", "s +"},
		{"Basic", "", basic("gw", "secret"), "gw", "secret"},
		{"Basic, plain with a plus sign", "", basic("g+w", "s+e%"), "g+w", "s+e%"},
		{"Basic, encoded", "", basic("g%2Bw", "s%2Be%25"), "g+w", "s+e%"},
		{"Basic in lower case", "", []string{strings.Replace(basic("gw", "secret")[0], "Basic", "basic", 1)}, "gw", "secret"},
		{"Basic, and its id in the form", "client_id=gw", basic("gw", "secret"), "gw", "secret"},
		{"Basic, and another id in the form", "client_id=other", basic("gw", "secret"), "", ""},
		{"both ways", "client_id=gw&client_secret=secret", basic("gw", "secret"), "", ""},
		{"two headers", "", slices.Concat(basic("gw", "secret"), basic("gw", "secret")), "", ""},
		{"Bearer", "client_id=gw&client_secret=secret", []string{"Bearer x"}, "", ""},
		{"no base64", "", []string{"Basic %%%"}, "", ""},
		{"no colon", "", []string{"Basic Z3c="}, "", ""},
	} {
		form, err := parseForm(row.form)
		if err != nil {
			t.Fatal(err)
		}
		given, err := clientCredentials(row.authorization, form)
		ok := err == nil && slices.Contains(given.ids, row.id) && slices.Contains(given.secrets, row.secret)
		if ok != (row.id != "") {
			t.Errorf("%s: got %q %v, want %q and %q", row.name, given, err, row.id, row.secret)
		}
	}
}

func TestEmptySecretsAreEqualToNone(t *testing.T) {
	if equal("", "") || equal("a", "") || equal("", "a") || equal("a", "b") || equal("a", "ab") || !equal("a", "a") {
		t.Error("got another comparison than that of secrets")
	}
}

func TestURLsOfAPIs(t *testing.T) {
	const api = "https://api.example/v1/"
	for url, want := range map[string]bool{
		"https://api.example/v1/": true, "https://api.example/v1": true, "HTTPS://API.example:443/v1": true,
		"https://api.example/v1/x": false, "https://api.example/": false, "http://api.example/v1/": false,
		"https://api.example:8443/v1/": false,
		"https://api.example/v1?x":     false, "https://api.example/v1#x": false, "https://u@api.example/v1": false,
		"https://api.example/V1": false,
		"":                       false, "/v1": false, "%": false, "api.example/v1": false,
	} {
		if got := sameURL(api, url); got != want {
			t.Errorf("%q: got %v, want %v", url, got, want)
		}
	}
}

// newTargets returns a Server with these APIs, by name.
func newTargets(apis ...API) *Server {
	s := &Server{config: Config{APIs: map[string]API{}}}
	for _, api := range apis {
		s.config.APIs[strings.ToLower(api.Name)] = api
	}
	return s
}

// What can be had as the application is what is configured, and which API is meant must be
// clear.
func TestTargetsOfTokenRequests(t *testing.T) {
	const graph = "https://graph.microsoft.com"
	s := newTargets(
		API{
			Name: "Todo", Scopes: []string{"api://todo/Read", "api://todo/Write"}, AppScope: "api://todo/.default",
			BaseURL: "https://todo.example/v1/",
		},
		API{Name: "graph", Scopes: []string{graph + "/.default"}, AppScope: graph + "/.default", BaseURL: graph + "/v1.0"},
		API{Name: "graph-beta", Scopes: []string{graph + "/.default"}, AppScope: graph + "/.default", BaseURL: graph + "/beta"},
		API{Name: "graph-app", AppScope: graph + "/.default", AppScopes: true, Tenant: "other"},
		API{
			Name: "guid", Scopes: []string{"44444444-0000-4000-8000-00000000000A/.default"},
			AppScope: "44444444-0000-4000-8000-00000000000A/.default",
		},
		API{Name: "tokens"},
		API{Name: "agent", Scopes: []string{"api://todo/Read", "api://todo/Write"}, AppScope: "api://todo/.default", Agent: obo.Agent{ID: "a"}},
	)
	gateway := &TokenClient{ClientID: "gw", APIs: []string{"todo", "graph"}}
	for _, row := range []struct {
		form   string
		client *TokenClient
		want   string // name and scope, or an error code
	}{
		{"audience=todo", nil, "Todo api://todo/.default"},
		{"audience=TODO", gateway, "Todo api://todo/.default"},
		{"audience=api://todo", nil, "Todo api://todo/.default"},
		{"resource=api://todo/", nil, "Todo api://todo/.default"},
		{"resource=https://todo.example/v1", nil, "Todo api://todo/.default"},
		{"audience=todo&resource=https://todo.example/v1&audience=api://todo", nil, "Todo api://todo/.default"},
		{"scope=api://todo/.default", nil, "Todo api://todo/.default"},
		{"scope=openid+.default&audience=todo", nil, "Todo api://todo/.default"},
		{"scope=openid&audience=todo", nil, "Todo api://todo/.default"},
		{"audience=44444444-0000-4000-8000-00000000000a", nil, "guid 44444444-0000-4000-8000-00000000000A/.default"},
		{"audience=agent", nil, "agent api://todo/.default"},
		{"audience=graph", nil, "graph " + graph + "/.default"},
		{"audience=graph-app", nil, "graph-app " + graph + "/.default"},
		{"audience=https://graph.microsoft.com/beta", nil, "graph-beta " + graph + "/.default"},
		{"audience=https://graph.microsoft.com", gateway, "graph " + graph + "/.default"},

		{"audience=https://graph.microsoft.com", nil, "invalid_target"}, // graph-app's is another tenant's
		{"audience=todo&audience=graph", nil, "invalid_target"},
		{"audience=todo&resource=https://graph.microsoft.com", nil, "invalid_target"},
		{"audience=nope", nil, "invalid_target"},
		{"audience=guid", gateway, "invalid_target"},
		{"audience=tokens", nil, "invalid_target"},
		{"resource=https://todo.example/v1/lists", nil, "invalid_target"},
		{"scope=api://todo/Read", nil, "invalid_scope"}, // as the application there are no such scopes
		{"scope=api://nope/.default", nil, "invalid_scope"},
		{"scope=api://todo/.default+api://todo/Other", nil, "invalid_scope"},
		{"scope=44444444-0000-4000-8000-00000000000A/.default", gateway, "invalid_scope"},
		{"audience=todo&scope=https://graph.microsoft.com/.default", nil, "invalid_scope"},
		{"", nil, "invalid_request"},
		{"scope=openid+profile", nil, "invalid_request"},
		{strings.Repeat("audience=todo&", maxTargets+1), nil, "invalid_request"},
	} {
		form, err := parseForm(row.form)
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.target(form, nil, row.client)
		var refused *oauthError
		got := ""
		switch {
		case err == nil:
			got = o.Name + " " + o.AppScope
		case errors.As(err, &refused):
			got = refused.code
		}
		if got != row.want {
			t.Errorf("%s: got %s %v, want %s", row.form, got, err, row.want)
		}
	}
}

func TestDescriptionsHaveNoCharacterThatOAuthForbids(t *testing.T) {
	if got := descriptionOf("The \"user\" \\ müst\nact."); got != "The 'user' ? m?st?act." {
		t.Errorf("got %q", got)
	}
	for _, err := range []*oauthError{errClient, errTarget, errTargetMissing, errKindOfToken, errAmbiguous, errScope} {
		if err.description != descriptionOf(err.description) {
			t.Errorf("%q has such a character", err.description)
		}
	}
}

func TestExpiryOfTokens(t *testing.T) {
	for token, want := range map[string]int64{
		"h.eyJleHAiOjQwMDAwMDAwMDB9.s": 4000000000, "opaque": 0, "h.e30.s": 0, "h.!.s": 0, "h.eyJleHAiOiJ4In0.s": 0, "": 0,
	} {
		got := expiryOf(token)
		if want == 0 && got.Unix() > 3000000000 || want != 0 && got.Unix() != want {
			t.Errorf("%q: got %v, want %d", token, got, want)
		}
	}
}

// Whatever is posted, one API is meant, and its scopes are configured.
func FuzzTokenForm(f *testing.F) {
	for _, body := range []string{
		"audience=todo&scope=Read", "resource=api%3A%2F%2Ftodo&scope=api%3A%2F%2Ftodo%2FRead",
		"audience=%00&client_id=a&client_secret=b", "a&a&=&==",
	} {
		f.Add(body, "Basic Z3c6cw==")
	}
	s := newTargets(
		API{
			Name: "todo", Scopes: []string{"api://todo/Read", "api://todo/Write"}, AppScope: "api://todo/.default",
			BaseURL: "https://todo.example/",
		},
		API{Name: "app", AppScope: "api://app/.default", AppScopes: true},
	)
	f.Fuzz(func(t *testing.T, body, authorization string) {
		form, err := parseForm(body)
		if err != nil {
			return
		}
		for name, values := range form {
			if len(values) > 1 && !slices.Contains(repeatable, name) {
				t.Errorf("%q: %q has %q", body, name, values)
			}
		}
		if o, err := s.target(form, nil, nil); err == nil {
			if _, err := tokenRequest(nil, o); err == nil && o.AppScope != s.config.APIs[o.Name].AppScope {
				t.Errorf("%q: got %s for %s", body, o.AppScope, o.Name)
			}
		}
		if given, err := clientCredentials([]string{authorization}, form); err == nil && (len(given.ids) == 0 || len(given.secrets) == 0) {
			t.Errorf("%q: got no credentials, and no error", authorization)
		}
		_, _, _ = form.subject()
	})
}
