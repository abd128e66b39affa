package sidecar

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"middletier/internal/door"
)

// openAPIPath is where Microsoft's container has its OpenAPI document.
const openAPIPath = "/openapi/v1.json"

// openAPI answers with the OpenAPI document of this listener. Title, version, names of
// operations and schemas are those of Microsoft's container, for generated clients.
func (s *Server) openAPI(c echo.Context, _ string) error {
	doc := *description()
	doc.Servers = openapi3.Servers{{URL: "http://" + cmp.Or(c.Request().Host, "localhost") + "/"}}
	text, err := json.MarshalIndent(&doc, "", " ")
	if err != nil {
		return err
	}
	setUncached(c.Response().Header())
	return door.Respond(c, http.StatusOK, "application/json", append(text, '\n'))
}

// description is what describe returns, made when it is first asked for.
var description = sync.OnceValue(describe)

// describe returns the OpenAPI document without its servers. It does not depend on the
// configuration.
func describe() *openapi3.T {
	paths := openapi3.NewPaths()
	add := func(path, method string, operation *openapi3.Operation) {
		if paths.Value(path) == nil {
			paths.Set(path, &openapi3.PathItem{})
		}
		paths.Value(path).SetOperation(method, operation)
	}
	add("/Validate", http.MethodGet, operation("ValidateAuthorizationHeader", "Validates the caller's token, and answers with its claims.",
		"ValidateAuthorizationHeaderResult", true, nil))
	for _, suffix := range []string{"", "Unauthenticated"} {
		bearer := suffix == ""
		who := "for a caller with a token of its own"
		if !bearer {
			who = "for a caller that may have no token"
		}
		add("/AuthorizationHeader"+suffix+"/{apiName}", http.MethodGet, operation("AuthorizationHeader"+suffix,
			"Answers with an Authorization header for an API, "+who+".", "AuthorizationHeaderResult", bearer, apiParameters()))
		add("/DownstreamApi"+suffix+"/{apiName}", http.MethodPost, call("DownstreamApi"+suffix, "Calls an API "+who+".", bearer))
	}
	add(sessionRoute, http.MethodDelete, endOfSession())
	add(tokenPath, http.MethodPost, tokenOperation())
	add("/healthz", http.MethodGet, health())
	return &openapi3.T{
		OpenAPI: "3.1.1",
		Info: &openapi3.Info{
			Title: "Microsoft.Identity.Web.Sidecar | v1", Version: "1.0.0",
			Description: "The interface of Microsoft's sidecar container, served by middletier. " +
				"Paths and the names of parameters are in any case. Beside the parameters listed there are " +
				"`optionsOverride.ExtraHeaderParameters.NAME` and `optionsOverride.ExtraQueryParameters.NAME`. " +
				"What the query says counts where `sidecar.allowOverrides` is true for the route.",
		},
		Paths:      paths,
		Components: &openapi3.Components{Schemas: schemas(), SecuritySchemes: securitySchemes()},
	}
}

// operation returns an operation that answers with a schema of the components. bearer: it
// needs a token.
func operation(id, summary, schema string, bearer bool, parameters openapi3.Parameters) *openapi3.Operation {
	o := &openapi3.Operation{OperationID: id, Summary: summary, Parameters: parameters, Responses: openapi3.NewResponses()}
	o.Responses.Delete("default")
	o.Responses.Set("200", response("OK", "application/json", schema))
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
		o.Responses.Set(strconv.Itoa(status), response(http.StatusText(status), "application/problem+json", "ProblemDetails"))
	}
	o.Responses.Set("default", response("Another problem", "application/problem+json", "ProblemDetails"))
	if bearer {
		o.Security = &openapi3.SecurityRequirements{{"Bearer": {}}}
	}
	return o
}

func call(id, summary string, bearer bool) *openapi3.Operation {
	o := operation(id, summary, "DownstreamApiResult", bearer, apiParameters())
	o.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithDescription(
		"The body for the API, sent as it is with any method.").WithContent(openapi3.Content{"*/*": openapi3.NewMediaType()})}
	return o
}

func endOfSession() *openapi3.Operation {
	key := openapi3.NewPathParameter("key").WithSchema(openapi3.NewStringSchema())
	o := operation("EndLongRunningSession", "Ends a long-running session.", "ProblemDetails", false, openapi3.Parameters{{Value: key}})
	o.Responses.Delete("200")
	o.Responses.Set("204", &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription("The session has ended, if there was one.")})
	return o
}

func health() *openapi3.Operation {
	o := &openapi3.Operation{OperationID: "Health", Summary: "Answers Healthy while the process runs.", Responses: openapi3.NewResponses()}
	o.Responses.Delete("default")
	text := openapi3.Content{"text/plain": openapi3.NewMediaType().WithSchema(openapi3.NewStringSchema())}
	o.Responses.Set("200", &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription("OK").WithContent(text)})
	return o
}

// tokenOperation describes the token endpoint (RFC 8693).
func tokenOperation() *openapi3.Operation {
	o := operation("Token", "Exchanges a user's token for one for an API, or gets one as the application (RFC 8693, RFC 6749).",
		"TokenResponse", false, nil)
	for _, status := range []string{"400", "401"} {
		o.Responses.Set(status, response("OAuth error", "application/json", "TokenError"))
	}
	form := object("grant_type")
	for _, name := range []string{
		"subject_token", "subject_token_type", "requested_token_type", "scope", "client_id", "client_secret",
	} {
		form.WithProperty(name, openapi3.NewStringSchema())
	}
	for _, name := range repeatable {
		form.WithProperty(name, openapi3.NewArraySchema().WithItems(openapi3.NewStringSchema()))
	}
	form.WithProperty("grant_type", openapi3.NewStringSchema().WithEnum(grantExchange, grantClient))
	o.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithRequired(true).WithContent(
		openapi3.Content{"application/x-www-form-urlencoded": openapi3.NewMediaType().WithSchema(form)})}
	o.Security = &openapi3.SecurityRequirements{{}, {"Basic": {}}}
	return o
}

// apiParameters are those of the routes to APIs: the API, the agent, and every override.
func apiParameters() openapi3.Parameters {
	parameters := openapi3.Parameters{{Value: openapi3.NewPathParameter("apiName").WithSchema(openapi3.NewStringSchema())}}
	add := func(name string, schema *openapi3.Schema) {
		parameters = append(parameters, &openapi3.ParameterRef{Value: openapi3.NewQueryParameter(name).WithSchema(schema)})
	}
	add("AgentIdentity", openapi3.NewStringSchema())
	add("AgentUsername", openapi3.NewStringSchema())
	add("AgentUserId", openapi3.NewStringSchema())
	for _, key := range slices.Sorted(maps.Keys(known)) {
		schema := openapi3.NewStringSchema()
		switch name := known[key].name; {
		case name == "Scopes":
			schema = openapi3.NewArraySchema().WithItems(openapi3.NewStringSchema())
		case name == "RequestAppToken", strings.HasSuffix(name, ".ForceRefresh"):
			schema = openapi3.NewBoolSchema()
		}
		add("optionsOverride."+known[key].name, schema)
	}
	return parameters
}

// schemas are the bodies of answers.
func schemas() openapi3.Schemas {
	text, number := openapi3.NewStringSchema(), openapi3.NewIntegerSchema()
	list := openapi3.NewArraySchema().WithItems(text)
	nullable := &openapi3.Schema{Type: &openapi3.Types{"string", "null"}}
	problems := object("type", "title", "status", "detail")
	for _, name := range []string{
		"type", "title", "detail", "instance", "requestId", "error", "suberror", "correlationId", "traceId", "claims",
	} {
		problems.WithProperty(name, text)
	}
	refusal := object("error", "error_description")
	for _, name := range []string{"error", "error_description", "suberror", "correlation_id", "trace_id", "claims"} {
		refusal.WithProperty(name, text)
	}
	claims := object("protocol", "token", "claims").WithProperty("protocol", text).WithProperty("token", text)
	claims.Properties["claims"] = openapi3.NewSchemaRef("#/components/schemas/JsonNode", nil)
	result := openapi3.Schemas{}
	for name, schema := range map[string]*openapi3.Schema{
		"JsonNode":                          {},
		"ValidateAuthorizationHeaderResult": claims,
		"AuthorizationHeaderResult": object("authorizationHeader").WithProperty("authorizationHeader", text).
			WithProperty("longRunningSessionKey", text),
		"DownstreamApiResult": object("statusCode", "headers", "content").WithProperty("statusCode", number).
			WithProperty("headers", openapi3.NewObjectSchema().WithAdditionalProperties(list)).
			WithProperty("content", nullable).WithProperty("longRunningSessionKey", text),
		"ProblemDetails": problems.WithProperty("status", number),
		"TokenResponse": object("access_token", "token_type").WithProperty("access_token", text).WithProperty("issued_token_type", text).
			WithProperty("token_type", text).WithProperty("expires_in", number).WithProperty("scope", text),
		"TokenError": refusal.WithProperty("error_codes", openapi3.NewArraySchema().WithItems(number)),
	} {
		result[name] = openapi3.NewSchemaRef("", schema)
	}
	return result
}

func securitySchemes() openapi3.SecuritySchemes {
	return openapi3.SecuritySchemes{
		"Bearer": {Value: openapi3.NewSecurityScheme().WithType("http").WithScheme("bearer").WithBearerFormat("JWT")},
		"Basic":  {Value: openapi3.NewSecurityScheme().WithType("http").WithScheme("basic")},
	}
}

// object returns the schema of an object with these required members.
func object(required ...string) *openapi3.Schema {
	return openapi3.NewObjectSchema().WithRequired(required)
}

func response(description, contentType, schema string) *openapi3.ResponseRef {
	content := openapi3.Content{contentType: {Schema: openapi3.NewSchemaRef("#/components/schemas/"+schema, nil)}}
	return &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription(description).WithContent(content)}
}
