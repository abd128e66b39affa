package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/invopop/jsonschema"
	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// openAPI answers with the OpenAPI document of the service.
func (s *Server) openAPI(c echo.Context) error {
	s.door.SetCacheableIfFixed(c)
	return door.Respond(c, http.StatusOK, "application/json", s.openAPIDocument)
}

// buildOpenAPI returns the OpenAPI 3.1 document for the current configuration. It does
// not contain the URLs of the APIs, nor the kind of credential.
func (s *Server) buildOpenAPI() []byte {
	base, root := cmp.Or(strings.TrimSuffix(s.config.PublicURL, "/"), s.config.BasePath), "/"
	if u, err := url.Parse(s.config.PublicURL); err == nil && u.Host != "" {
		root = u.Scheme + "://" + u.Host
	}
	doc := &openapi3.T{
		OpenAPI: "3.1.0",
		Info: &openapi3.Info{
			Title: "middletier", Version: cmp.Or(s.config.Version, "unknown"),
			Description: "Calls below `/api/{name}` are made to an API on behalf of a user, calls below `/app/{name}` as an application. " +
				"Status, headers and body are the API's own, except for the problems listed.",
		},
		Servers:    openapi3.Servers{{URL: cmp.Or(base, "/")}},
		Paths:      s.servicePaths(root),
		Components: s.components(base),
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.APIs)) {
		api := s.config.APIs[name]
		rules := api.Access.Rules()
		tag := &openapi3.Tag{Name: name, Description: "An API that this service calls"}
		if len(rules) == 0 {
			tag.Description = "This API has no access rules: every call to it is refused."
			doc.Info.Description += "\n\nThe API `" + name + "` has no access rules: every call to it is refused."
		}
		doc.Tags = append(doc.Tags, tag)
		for _, route := range []route{userRoute, appRoute} {
			if route.app || !api.AppOnly {
				addPaths(doc.Paths, name, rules, route, s.config.IDURI)
				if api.MCP != nil {
					s.addEndpoint(doc.Paths, name, api.MCP, route, root)
				}
				if api.WebSockets {
					addWebSockets(doc.Paths, route.prefix+name)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.APIs)) {
		if issuer, ok := s.config.Facade.Issuer("", name); ok {
			addAuthorizationServer(doc.Paths, issuer, root, s.resourcePath())
		}
	}
	if s.config.Sessions != nil {
		doc.Components.SecuritySchemes[sessionScheme] = &openapi3.SecuritySchemeRef{Value: &openapi3.SecurityScheme{
			Type: "apiKey", In: "cookie", Name: s.config.Sessions.CookieName(), Description: "The cookie of a session, which /bff/login begins",
		}}
		s.addSessionPaths(doc.Paths)
	}
	doc.Tags = append(doc.Tags, &openapi3.Tag{Name: serviceTag, Description: "The service itself"})
	nameOperations(doc.Paths)
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil { // strings, numbers, lists and objects always encode
		panic(err)
	}
	return append(text, '\n')
}

// components are the problem types, each as a response with an example, one response per
// status for all problems of that status, one more for a call to an API, which may have
// that status too, and the ways to authenticate.
func (s *Server) components(base string) *openapi3.Components {
	result := &openapi3.Components{
		Schemas:   openapi3.Schemas{"Problem": openapi3.NewSchemaRef("", schemaOf(problem.Document{}))},
		Examples:  openapi3.Examples{},
		Responses: openapi3.ResponseBodies{},
		Headers: openapi3.Headers{"X-Request-ID": {Value: &openapi3.Header{Parameter: openapi3.Parameter{
			Description: "Finds the request in the log", Schema: openapi3.NewSchemaRef("", openapi3.NewStringSchema()),
		}}}},
		SecuritySchemes: s.securitySchemes(),
	}
	byStatus, headersByStatus := map[int]openapi3.Examples{}, map[int]openapi3.Headers{}
	for name, kind := range problem.Types {
		explained := s.door.Explain(name, base)
		if explained.Example == nil {
			continue
		}
		result.Examples[name] = &openapi3.ExampleRef{Value: &openapi3.Example{
			Summary: kind.Title, Description: kind.Meaning + " " + kind.Action, Value: explained.Example.Document,
		}}
		example := &openapi3.ExampleRef{Ref: "#/components/examples/" + name}
		response := problemResponse(kind.Title, openapi3.Examples{name: example})
		for header, value := range explained.Example.Headers {
			if header != "Content-Type" { // OpenAPI describes it elsewhere
				response.Headers[header] = textHeader("", value)
			}
		}
		result.Responses[name] = &openapi3.ResponseRef{Value: response}
		if byStatus[kind.Status] == nil {
			byStatus[kind.Status], headersByStatus[kind.Status] = openapi3.Examples{}, requestIDHeader()
		}
		byStatus[kind.Status][name] = example
		for header := range explained.Example.Headers {
			if description, described := problemHeaders[header]; described {
				headersByStatus[kind.Status][header] = textHeader(description, nil)
			}
		}
	}
	for status, examples := range byStatus {
		response := problemResponse("One of: "+strings.Join(slices.Sorted(maps.Keys(examples)), ", "), examples)
		response.Headers = headersByStatus[status]
		result.Responses[statusResponse(status)] = &openapi3.ResponseRef{Value: response}
		forwarded := *response
		forwarded.Description = openapi3.Ptr(*response.Description + "; or the API's own answer")
		forwarded.Content = maps.Clone(response.Content)
		forwarded.Content["*/*"] = openapi3.NewMediaType()
		result.Responses[forwardedResponse(status)] = &openapi3.ResponseRef{Value: &forwarded}
	}
	return result
}

// schemaOf is the JSON schema of the type of a fixed value.
func schemaOf(value any) *openapi3.Schema {
	reflector := jsonschema.Reflector{Anonymous: true, DoNotReference: true, AllowAdditionalProperties: true}
	reflected := reflector.Reflect(value)
	reflected.Version = "" // OpenAPI's own applies
	var schema openapi3.Schema
	text, err := json.Marshal(reflected)
	if err == nil {
		err = json.Unmarshal(text, &schema)
	}
	if err != nil { // the type is fixed
		panic(err)
	}
	return &schema
}

func problemResponse(description string, examples openapi3.Examples) *openapi3.Response {
	schema := openapi3.NewSchemaRef("#/components/schemas/Problem", nil)
	response := openapi3.NewResponse().WithDescription(description).WithContent(openapi3.Content{
		"application/problem+json": {Schema: schema, Examples: examples},
	})
	response.Headers = requestIDHeader()
	return response
}

// problemHeaders are the headers that some problems of a status have, and what they say.
var problemHeaders = map[string]string{
	"WWW-Authenticate": "Who may call: resource_metadata is the URL of the document that says where to request a token, " +
		"scope is the scope that would be enough, in full, and claims are those to request (base64)",
	"Retry-After": "Seconds to wait before the next attempt",
	"Allow":       "The methods that the access rules of the API mention",
}

// textHeader describes a header. description and example may be empty.
func textHeader(description string, example any) *openapi3.HeaderRef {
	return &openapi3.HeaderRef{Value: &openapi3.Header{Parameter: openapi3.Parameter{
		Description: description, Schema: openapi3.NewSchemaRef("", openapi3.NewStringSchema()), Example: example,
	}}}
}

// requestIDHeader is the header that every answer has.
func requestIDHeader() openapi3.Headers {
	return openapi3.Headers{"X-Request-ID": {Ref: "#/components/headers/X-Request-ID"}}
}

// statusResponse is the name of the response for all problems of a status.
func statusResponse(status int) string { return "Problem" + strconv.Itoa(status) }

// forwardedResponse is the name of the response with that status to a call to an API.
func forwardedResponse(status int) string { return "Answer" + strconv.Itoa(status) }

// securitySchemes describe where tokens for this service are issued, and how they are
// sent.
func (s *Server) securitySchemes() openapi3.SecuritySchemes {
	scopes := map[string]string{}
	for _, api := range s.config.APIs {
		for _, scope := range api.Access.Scopes() {
			scopes[fullScope(s.config.IDURI, scope)] = scope
		}
	}
	authorize, token := s.config.Authority+"/oauth2/v2.0/authorize", s.config.Authority+"/oauth2/v2.0/token"
	return openapi3.SecuritySchemes{
		userScheme: {Value: &openapi3.SecurityScheme{Type: "oauth2", Description: "For users", Flows: &openapi3.OAuthFlows{
			AuthorizationCode: &openapi3.OAuthFlow{AuthorizationURL: authorize, TokenURL: token, RefreshURL: token, Scopes: scopes},
		}}},
		appScheme: {Value: &openapi3.SecurityScheme{
			Type: "oauth2", Description: "For applications without a user, in their own tenant",
			Flows: &openapi3.OAuthFlows{ClientCredentials: &openapi3.OAuthFlow{
				TokenURL: token,
				Scopes:   map[string]string{fullScope(s.config.IDURI, ".default"): "Every app permission that the application was given"},
			}},
		}},
		bearerScheme: {Value: &openapi3.SecurityScheme{
			Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "An access token for this service, from any flow",
		}},
	}
}

// fullScope is a scope in the form that clients request: the provider takes short names
// for scopes of Microsoft Graph.
func fullScope(idURI, scope string) string { return idURI + "/" + scope }
