package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The listener describes itself like Microsoft's container, from which clients are
// generated, and with the routes of this service.
func TestSidecarDescribesItself(t *testing.T) {
	w := newSidecar(t)
	r := w.beside("GET", "/OpenAPI/v1.json", "")
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater(), openapi3.EnableMultiError()); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	if doc.OpenAPI != "3.1.1" || doc.Info.Title != "Microsoft.Identity.Web.Sidecar | v1" || doc.Info.Version != "1.0.0" ||
		len(doc.Servers) != 1 || doc.Servers[0].URL != w.side+"/" {
		t.Errorf("got %s, %+v at %+v", doc.OpenAPI, doc.Info, doc.Servers)
	}
	operations := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			operations[method+" "+path] = operation.OperationID
		}
	}
	want := map[string]string{
		"GET /Validate":                                     "ValidateAuthorizationHeader",
		"GET /AuthorizationHeader/{apiName}":                "AuthorizationHeader",
		"GET /AuthorizationHeaderUnauthenticated/{apiName}": "AuthorizationHeaderUnauthenticated",
		"POST /DownstreamApi/{apiName}":                     "DownstreamApi",
		"POST /DownstreamApiUnauthenticated/{apiName}":      "DownstreamApiUnauthenticated",
		"DELETE /LongRunningSession/{key}":                  "EndLongRunningSession",
		"POST /oauth2/token":                                "Token",
		"GET /healthz":                                      "Health",
	}
	if !maps.Equal(operations, want) {
		t.Errorf("got %v, want %v", operations, want)
	}
	for _, name := range []string{
		"AuthorizationHeaderResult", "DownstreamApiResult", "ProblemDetails", "ValidateAuthorizationHeaderResult", "JsonNode",
	} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	var names []string
	for _, parameter := range doc.Paths.Value("/AuthorizationHeader/{apiName}").Get.Parameters {
		names = append(names, parameter.Value.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "AgentIdentity AgentUserId AgentUsername apiName"+
		" optionsOverride.AcceptHeader optionsOverride.AcquireTokenOptions.Claims optionsOverride.AcquireTokenOptions.CorrelationId"+
		" optionsOverride.AcquireTokenOptions.FmiPath optionsOverride.AcquireTokenOptions.ForceRefresh"+
		" optionsOverride.AcquireTokenOptions.LongRunningWebApiSessionKey optionsOverride.AcquireTokenOptions.Tenant"+
		" optionsOverride.BaseUrl optionsOverride.ContentType optionsOverride.HttpMethod optionsOverride.RelativePath"+
		" optionsOverride.RequestAppToken optionsOverride.Scopes" {
		t.Errorf("got the parameters %s", got)
	}
}
