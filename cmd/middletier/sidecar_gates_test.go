package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

const (
	demoNotes = "a9e70003-0000-4000-8000-00000000000a" // the API of agentDirectory
	toNotes   = "api://notes/.default"
)

// A gatedRoute is one of the routes whose parameters a gate decides about.
type gatedRoute struct {
	name   string
	method string
	gate   func(*allowOverrides) *bool
}

var gatedRoutes = []gatedRoute{
	{"AuthorizationHeader", "GET", func(a *allowOverrides) *bool { return &a.GetAuthorizationHeader }},
	{"AuthorizationHeaderUnauthenticated", "GET", func(a *allowOverrides) *bool { return &a.GetAuthorizationHeaderUnauthenticated }},
	{"DownstreamApi", "POST", func(a *allowOverrides) *bool { return &a.CallDownstreamAPI }},
	{"DownstreamApiUnauthenticated", "POST", func(a *allowOverrides) *bool { return &a.CallDownstreamAPIUnauthenticated }},
}

// audience has alice ask the route, and returns whom the token is for that she gets, or
// that the API gets: a status and the type of a problem instead, if there is none.
func (route gatedRoute) audience(t *testing.T, w *world, api, query string) string {
	t.Helper()
	r := w.beside(route.method, "/"+route.name+"/"+api+"?"+query, w.alice())
	var claims jwt.MapClaims
	switch {
	case r.StatusCode != 200:
		return r.Status[:4] + r.kind()
	case route.method == "GET":
		claims = headerToken(t, r)
	default:
		claims = claimsOf(t, &http.Request{Header: answerOf(t, r).called(t).Header})
	}
	audience, _ := claims["aud"].(string)
	return audience
}

// A gate decides about its own route only: parameters count where it is open. Where it is
// closed, overrides are ignored, and what would give another identity's token is refused.
func TestSidecarGates(t *testing.T) {
	for _, route := range gatedRoutes {
		for _, open := range []bool{true, false} {
			w := newCaller(t, withAPIs, func(f *file) {
				f.Sidecar.AllowOverrides = allowOverrides{!open, !open, !open, !open}
				*route.gate(&f.Sidecar.AllowOverrides) = open
			})
			unnamed := demoNotes
			if route.method == "POST" { // there is no URL to call
				unnamed = "404 unknown-api"
			}
			for _, row := range []struct {
				name, api, query string
				open, closed     string // the audience of the token, or a status and the type of a problem
			}{
				{"no parameters", "todo", "", demoToDo, demoToDo},
				{"scopes", "todo", option("Scopes", toNotes), demoNotes, demoToDo},
				{"scopes of an API that is not configured", "default", option("Scopes", toNotes), unnamed, "404 unknown-api"},
				{"an API that is not configured", "default", "", "404 unknown-api", "404 unknown-api"},
				{"blank scopes of it", "default", option("Scopes", " "), "404 unknown-api", "404 unknown-api"},
				{"empty values", "todo", "AgentIdentity=&AgentUsername=&AgentUserId=&" + option("Scopes", "") + "&" +
					option("AcquireTokenOptions.LongRunningWebApiSessionKey", ""), demoToDo, demoToDo},
				{"another tenant", "todo", option("AcquireTokenOptions.Tenant", "none.example"), "500 misconfigured", demoToDo},
				{"unknown overrides", "todo", option("Nope", "x"), "400 invalid-request", demoToDo},
				{"bad overrides", "todo", option("RequestAppToken", "maybe"), "400 invalid-request", demoToDo},
				{"line breaks", "todo", option("ExtraHeaderParameters.X", "a\r\nb"), "400 invalid-request", demoToDo},
				{"a path that leaves the API", "todo", option("RelativePath", "../x"), "400 invalid-request", demoToDo},
				{"BaseUrl", "todo", option("BaseUrl", "https://evil.example"), demoToDo, demoToDo},
				{"an agent", "todo", "AgentIdentity=" + agentOne, demoToDo, "400 invalid-request"},
				{"an agent's user", "todo", "AgentIdentity=" + agentOne + "&AgentUsername=" + robotOneAs, demoToDo, "400 invalid-request"},
				{"a bad agent", "todo", "AgentUserId=x", "400 invalid-request", "400 invalid-request"},
				{"a session key", "todo", option("AcquireTokenOptions.LongRunningWebApiSessionKey", "x"), "400 invalid-request", "400 invalid-request"},
				{"a malformed query", "todo", "%zz", "400 invalid-request", "400 invalid-request"},
				{"other parameters", "todo", "a=b&Scopes=c", demoToDo, demoToDo},
			} {
				t.Run(fmt.Sprintf("%s/%v/%s", route.name, open, row.name), func(t *testing.T) {
					want := row.closed
					if open {
						want = row.open
					}
					if got := route.audience(t, w, row.api, row.query); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				})
			}
		}
	}
}

// The log names what had no effect, without values.
func TestSidecarLogsIgnoredOverrides(t *testing.T) {
	w := newSidecar(t, withoutGates)
	ignored := func() []map[string]any {
		var lines []map[string]any
		for line := range strings.Lines(w.log.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if fields["overrides"] != nil {
				lines = append(lines, fields)
			}
		}
		return lines
	}
	w.beside("GET", headerPath("todo", option("scopes", "api://value/x"), option("Scopes", "api://value/y"), option("httpmethod", "VALUE"),
		option("ExtraHeaderParameters.X-Value", "value"), option("Value", "value"), option("AcquireTokenOptions.Tenant", "")), w.alice())
	lines := ignored()
	if len(lines) != 1 || lines[0]["overrides"] != "Scopes, HttpMethod, ExtraHeaderParameters, unknown" || lines[0]["api"] != "todo" ||
		lines[0]["requestId"] != w.log.lines(t)[0]["requestId"] {
		t.Errorf("got %v", lines)
	}
	if strings.Contains(strings.ToLower(w.log.String()), "value") {
		t.Errorf("the log has a value: %s", w.log)
	}
	w.beside("GET", headerPath("todo"), w.alice())
	if n := len(ignored()); n != 1 {
		t.Errorf("a request without overrides: got %d lines, want 1", n)
	}
}

// What one request asks for is its own: nobody else gets another tenant's, another API's
// or another agent's token, and no claims that others asked for.
func TestSidecarRequestsShareNoOverrides(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	alice, bob := w.alice(), w.bob()
	type kind struct {
		path, token string
		want        map[string]any
	}
	kinds := []kind{
		{headerPath("todo"), alice, map[string]any{"aud": demoToDo, "oid": aliceID, "azp": demoMiddleTier, "tid": demoTenant}},
		{headerPath("todo"), bob, map[string]any{"aud": demoToDo, "oid": "bbbbbbbb-0000-4000-8000-000000000002", "azp": demoMiddleTier}},
		{headerPath("todo", option("Scopes", toNotes)), alice, map[string]any{"aud": demoNotes, "oid": aliceID}},
		{headerPath("todo", option("RequestAppToken", "true")), alice, map[string]any{"aud": demoToDo, "oid": usID}},
		{
			headerPath("todo", option("AcquireTokenOptions.Claims", `{"access_token":{"xms_cc":{"values":["x"]}}}`)), alice,
			map[string]any{"aud": demoToDo, "oid": aliceID},
		},
		{headerPath("todo", "AgentIdentity="+agentOne), alice, map[string]any{"azp": agentOne, "oid": aliceID}},
		{headerPath("todo", "AgentIdentity="+agentTwo), alice, map[string]any{"azp": agentTwo, "oid": aliceID}},
		{headerPathFree("todo", "AgentIdentity="+agentOne), "", map[string]any{"azp": agentOne, "oid": agentOne}},
		{headerPathFree("todo", "AgentIdentity="+agentOne, "AgentUsername="+robotOneAs), "", map[string]any{"azp": agentOne, "oid": robotOne}},
		{headerPathFree("todo", "AgentIdentity="+agentTwo, "AgentUsername="+robotTwoAs), "", map[string]any{"azp": agentTwo, "oid": robotTwo}},
		{headerPathFree("delegated", option("Scopes", toNotes)), "", map[string]any{"aud": demoNotes, "oid": usID}},
		{headerPathFree("both"), "", map[string]any{"aud": demoNotes, "oid": usID}},
	}
	var group sync.WaitGroup
	jobs := make(chan kind)
	for range 32 {
		group.Go(func() {
			for job := range jobs {
				r := w.beside("GET", job.path, job.token)
				if r.StatusCode != 200 {
					t.Errorf("%s: got %d %s", job.path, r.StatusCode, r.body)
					continue
				}
				claims := headerToken(t, r)
				for name, want := range job.want {
					if claims[name] != want {
						t.Errorf("%s: %s: got %v, want %v", job.path, name, claims[name], want)
					}
				}
			}
		})
	}
	for i := range 1000 {
		jobs <- kinds[(i*7)%len(kinds)]
	}
	close(jobs)
	group.Wait()
}
