package main

import (
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// The log says once what to change. The line of each request has the provider's code.
func TestRefusalOfThisServiceIsLoggedWithAdvice(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{
		Flow: "on_behalf_of", Error: "invalid_client", Status: 401,
		ErrorCodes: []int{7000222}, Description: "AADSTS7000222: of a secret.",
	})
	w.idp.AddFault(mockidp.Fault{Flow: "client_credentials", Error: "invalid_client", Status: 401, ErrorCodes: []int{7000222}})
	for _, call := range []struct{ path, token string }{
		{"/api/todo/items", w.alice()}, {"/api/todo/items", w.bob()}, {"/app/todo/items", w.daemon()},
	} {
		if r := w.call("GET", call.path, call.token, ""); r.kind() != "misconfigured" {
			t.Fatalf("%s: got %d %s, want misconfigured", call.path, r.StatusCode, r.body)
		}
	}
	log := w.log.String()
	const advice = `"level":"ERROR","msg":"the identity provider refuses this service","advice":"the client secret has expired","error":"invalid_client AADSTS7000222","scopes":"api://todo/.default"`
	if strings.Count(log, advice) != 1 || strings.Count(log, `"advice"`) != 1 {
		t.Errorf("got\n%s\nwant once %s", log, advice)
	}
}
