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

	"github.com/invopop/jsonschema"
	"github.com/labstack/echo/v4"
)

// object is one of JSON.
type object = map[string]any

// openAPI answers with the description of the service.
func (s *Server) openAPI(c echo.Context) error {
	s.describes(c)
	return answer(c, http.StatusOK, "application/json", s.description)
}

// describe returns the description of the service as it is configured (OpenAPI
// 3.1). What it forwards to, and with which credential, is not in it.
func (s *Server) describe() []byte {
	base, root := cmp.Or(strings.TrimSuffix(s.config.PublicURL, "/"), s.config.BasePath), "/"
	if u, err := url.Parse(s.config.PublicURL); err == nil && u.Host != "" {
		root = u.Scheme + "://" + u.Host
	}
	paths := s.ownPaths(root)
	tags, closed := []object{}, ""
	for _, name := range slices.Sorted(maps.Keys(s.config.APIs)) {
		rules := s.config.APIs[name].Access.Rules()
		tag := object{"name": name, "description": "An API behind this service"}
		if len(rules) == 0 {
			tag["description"] = "This API has no access rules: every call to it is refused."
			closed += "\n\nThe API `" + name + "` has no access rules: every call to it is refused."
		}
		tags = append(tags, tag)
		for _, route := range []route{userRoute, appRoute} {
			addPaths(paths, name, rules, route, s.config.IDURI)
		}
	}
	nameOperations(paths)
	text, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "middletier", "version": cmp.Or(s.config.Version, "unknown"),
			"description": "Calls below `/api/{name}` are made to an API on behalf of a user, calls below `/app/{name}` as an application. " +
				"Status, headers and body are the API's own, except for the problems listed." + closed,
		},
		"servers":    []object{{"url": cmp.Or(base, "/")}},
		"tags":       append(tags, object{"name": ownTag, "description": "The service itself"}),
		"paths":      paths,
		"components": s.components(base),
	}, "", " ")
	if err != nil { // of strings, numbers, lists and objects only
		panic(err)
	}
	return append(text, '\n')
}

// components are the problems, each as a response with an example and all of one
// status as another, and the ways to show a token.
func (s *Server) components(base string) object {
	reflector := jsonschema.Reflector{Anonymous: true, DoNotReference: true, AllowAdditionalProperties: true}
	schema := reflector.Reflect(document{})
	schema.Version = "" // that of OpenAPI

	examples, responses, ofStatus := object{}, object{}, map[int]object{}
	for name, kind := range problemTypes {
		explained := s.explain(name, base)
		if explained.Example == nil {
			continue
		}
		examples[name] = object{"summary": kind.Title, "description": kind.Meaning + " " + kind.Action, "value": explained.Example.Document}
		example := reference("examples", name)
		headers := object{"X-Request-ID": reference("headers", "X-Request-ID")}
		for header, value := range explained.Example.Headers {
			if header != "Content-Type" { // which OpenAPI has said already
				headers[header] = object{"schema": object{"type": "string"}, "example": value}
			}
		}
		responses[name] = problemResponse(kind.Title, headers, object{name: example})
		if ofStatus[kind.Status] == nil {
			ofStatus[kind.Status] = object{}
		}
		ofStatus[kind.Status][name] = example
	}
	for status, all := range ofStatus {
		responses[statusResponse(status)] = problemResponse("One of: "+strings.Join(slices.Sorted(maps.Keys(all)), ", "),
			object{"X-Request-ID": reference("headers", "X-Request-ID")}, all)
	}
	return object{
		"schemas":         object{"Problem": schema},
		"examples":        examples,
		"responses":       responses,
		"headers":         object{"X-Request-ID": object{"description": "Finds the request in the log", "schema": object{"type": "string"}}},
		"securitySchemes": s.securitySchemes(),
	}
}

func reference(section, name string) object {
	return object{"$ref": "#/components/" + section + "/" + name}
}

func problemResponse(description string, headers, examples object) object {
	return object{"description": description, "headers": headers, "content": object{
		"application/problem+json": object{"schema": reference("schemas", "Problem"), "examples": examples},
	}}
}

// statusResponse names the response with all problems of a status.
func statusResponse(status int) string { return "Problem" + strconv.Itoa(status) }

// securitySchemes say where tokens for this service come from, and how they are
// shown.
func (s *Server) securitySchemes() object {
	scopes := object{}
	for _, api := range s.config.APIs {
		for _, scope := range api.Access.Scopes() {
			scopes[fullScope(s.config.IDURI, scope)] = scope
		}
	}
	endpoint := s.config.Authority + "/oauth2/v2.0"
	return object{
		userScheme: object{"type": "oauth2", "description": "For users", "flows": object{"authorizationCode": object{
			"authorizationUrl": endpoint + "/authorize", "tokenUrl": endpoint + "/token", "refreshUrl": endpoint + "/token", "scopes": scopes,
		}}},
		appScheme: object{"type": "oauth2", "description": "For applications without a user, in their own tenant", "flows": object{"clientCredentials": object{
			"tokenUrl": endpoint + "/token", "scopes": object{fullScope(s.config.IDURI, ".default"): "Every app permission that the application was given"},
		}}},
		bearerScheme: object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token for this service, however it was got"},
	}
}

// fullScope is a scope as it is asked for: short ones would be taken for those of
// Microsoft Graph.
func fullScope(idURI, scope string) string { return idURI + "/" + scope }
