package sidecar

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"middletier/internal/downstream"
)

// An override changes the setting that it names, for its request: the API of others, and
// every other setting, stay as configured.
func TestOptionsNameWhatTheyChange(t *testing.T) {
	configured := func() API {
		return API{
			Name: "graph", Scopes: []string{"api://graph/Read"}, AppScope: "api://graph/.default", AppScopes: true, Tenant: "home.example",
			RelativePath: "me", HTTPMethod: "PATCH", AcceptHeader: "text/csv", ContentType: "text/plain",
			ExtraHeader: map[string]string{"X-A": "1", "X-B": "2"}, ExtraQuery: map[string]string{"a": "1"},
		}
	}
	for _, row := range []struct {
		name   string
		change overrides
		want   func(api *API)
	}{
		{"nothing", overrides{}, func(*API) {}},
		{"a refresh", overrides{ForceRefresh: true}, func(*API) {}},
		{"claims and a tenant, which are the request's", overrides{Claims: "{}", Tenant: "other.example"}, func(*API) {}},
		{"the path", overrides{RelativePath: "you"}, func(api *API) { api.RelativePath = "you" }},
		{"the method", overrides{HTTPMethod: "PUT"}, func(api *API) { api.HTTPMethod = "PUT" }},
		{"what is accepted", overrides{AcceptHeader: "a/b"}, func(api *API) { api.AcceptHeader = "a/b" }},
		{"the type", overrides{ContentType: "a/b"}, func(api *API) { api.ContentType = "a/b" }},
		{
			"headers",
			overrides{ExtraHeader: map[string]string{"X-B": "3", "X-C": "4"}},
			func(api *API) { api.ExtraHeader = map[string]string{"X-A": "1", "X-B": "3", "X-C": "4"} },
		},
		{
			"the query",
			overrides{ExtraQuery: map[string]string{"A": "2"}},
			func(api *API) { api.ExtraQuery = map[string]string{"a": "1", "A": "2"} },
		},
		{
			"scopes",
			overrides{Scopes: []string{"api://notes/Read"}},
			func(api *API) { api.Scopes, api.AppScope, api.AppScopes = []string{"api://notes/Read"}, "", false },
		},
		{
			"scopes of an application",
			overrides{Scopes: []string{"api://notes/.default"}, RequestAppToken: true},
			func(api *API) {
				api.Scopes, api.AppScope, api.AppScopes = []string{"api://notes/.default"}, "api://notes/.default", false
				api.RequestAppToken = true
			},
		},
		{"as the application", overrides{RequestAppToken: true}, func(api *API) { api.RequestAppToken = true }},
	} {
		shared, want := configured(), configured()
		row.want(&want)
		got, err := newOptions(shared, row.change)
		if err != nil || !reflect.DeepEqual(*got.API, want) || !reflect.DeepEqual(*got.override, row.change) {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, got, err, want)
		}
		if !reflect.DeepEqual(shared, configured()) {
			t.Errorf("%s: the shared API became %+v", row.name, shared)
		}
	}
}

// Requests without a query share their options, so nothing that reads them may change them.
func TestSharedOptionsStayAsTheyAre(t *testing.T) {
	configured := func() map[string]API {
		apis := map[string]API{}
		for name, api := range map[string]API{
			"user":  {Scopes: []string{"api://todo/Read"}},
			"app":   {AppScope: "api://todo/.default", AppScopes: true},
			"both":  {Scopes: []string{"api://todo/Read"}, AppScope: "api://todo/.default", RequestAppToken: true},
			"agent": {Scopes: []string{"api://todo/Read"}},
		} {
			api.Name, api.Client, api.Tenant, api.BaseURL = name, &downstream.Client{}, "home.example", "https://todo.example"
			api.ExtraHeader, api.ExtraQuery = map[string]string{"X-A": "1"}, map[string]string{"a": "1"}
			if name == "agent" {
				api.Agent.ID, api.Agent.User = agentGUID, userGUID
			}
			apis[name] = api
		}
		return apis
	}
	apis := configured()
	s := &Server{config: Config{APIs: apis}, plain: newPlainOptions(apis)}
	for name, plain := range s.plain {
		r := httptest.NewRequest(http.MethodPost, "/DownstreamApi/"+name, http.NoBody)
		_, _ = tokenRequest(nil, plain.options) // some are refused
		if _, err := newOutgoing(r, plain.options); err != nil {
			t.Error(err)
		}
		for _, form := range []form{{"audience": {name}}, {"audience": {name}, "scope": {"Read"}}} {
			_, _ = s.target(form, nil, nil) // as above
		}
	}
	if want := newPlainOptions(configured()); !reflect.DeepEqual(s.plain, want) {
		t.Errorf("got %+v, want %+v", s.plain, want)
	}
}
