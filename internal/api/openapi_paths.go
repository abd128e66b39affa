package api

import (
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

const (
	userScheme, appScheme, bearerScheme = "user", "application", "bearer"
	sessionScheme                       = "session"
	serviceTag                          = "middletier"
)

// describedMethods are the methods that OpenAPI 3.1 supports and that can be forwarded.
var describedMethods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// addPaths adds the paths that the access rules of an API mention on route. Rules whose
// paths are the same in OpenAPI share an entry that lists all of them.
func addPaths(paths *openapi3.Paths, api string, rules []validate.Rule, route route, idURI string) {
	for _, rule := range rules {
		permissions, listed := rule.Scopes, false
		if route.app {
			permissions, listed = rule.AppPermissions, len(rule.Clients) > 0
		}
		patterns, methods := rule.Paths, rule.Methods
		if len(patterns) == 0 {
			patterns = []string{"/**"}
		}
		if len(methods) == 0 {
			methods = describedMethods
		}
		if len(permissions) == 0 && !listed {
			continue // the rule is for the other route
		}
		for _, pattern := range patterns {
			path, parameters := pathTemplate(pattern)
			path = route.prefix + api + path
			item := paths.Value(path)
			if item == nil {
				item = &openapi3.PathItem{Parameters: parameters}
				paths.Set(path, item)
			}
			for _, method := range methods {
				if slices.Contains(describedMethods, method) {
					operation := operationOf(item, method, api, route)
					operation.Description += permissionSentence(pattern, permissions, listed, route)
					addSecurity(operation.Security, permissions, route, idURI)
				}
			}
		}
	}
}

// multiSegmentText describes a parameter that may hold slashes, which OpenAPI cannot
// express.
const multiSegmentText = "Any number of segments, such as `items/1`. The slashes between them must be sent as they are, " +
	"not as `%2F`."

// pathTemplate turns the pattern of an access rule into a path with parameters.
// Parameters are numbered: paths that differ only in parameter names are equal in
// OpenAPI.
func pathTemplate(pattern string) (path string, parameters openapi3.Parameters) {
	for _, segment := range strings.Split(strings.TrimSuffix(pattern, "/"), "/")[1:] {
		path += "/"
		wildcard, description := "*", "One segment of the path, or a part of one"
		if segment == "**" {
			wildcard, description = "**", multiSegmentText
		}
		for i, literal := range strings.Split(segment, wildcard) {
			if i > 0 {
				name := "path"
				if len(parameters) > 0 {
					name += strconv.Itoa(len(parameters) + 1)
				}
				parameter := openapi3.NewPathParameter(name).WithSchema(openapi3.NewStringSchema()).WithDescription(description)
				if segment == "**" {
					// OpenAPI has no keyword for it before 3.2.
					parameter.Extensions = map[string]any{"x-multi-segment": true}
				}
				parameters = append(parameters, &openapi3.ParameterRef{Value: parameter})
				path += "{" + name + "}"
			}
			path += url.PathEscape(literal)
		}
	}
	return path, parameters
}

// operationOf returns the operation of item for method. It adds one if there is none.
func operationOf(item *openapi3.PathItem, method, api string, route route) *openapi3.Operation {
	if operation := item.GetOperation(method); operation != nil {
		return operation
	}
	operation := &openapi3.Operation{
		Tags: []string{api}, Summary: "For a user", Security: openapi3.NewSecurityRequirements(), Responses: forwardedResponses(),
	}
	if route.app {
		operation.Summary = "Without a user"
	}
	if method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		body := &openapi3.RequestBody{Description: "Any body that the API accepts", Content: anyContent()}
		operation.RequestBody = &openapi3.RequestBodyRef{Value: body}
	}
	item.SetOperation(method, operation)
	return operation
}

// permissionSentence says that any one of these scopes or app permissions grants access
// to pattern, and whether a list of applications does.
func permissionSentence(pattern string, permissions []string, listed bool, route route) string {
	kind := "scopes"
	if route.app {
		kind = "app permissions"
	}
	const byList = "that this service's configuration names"
	if len(permissions) == 0 {
		return "`" + pattern + "` is for applications " + byList + ".\n\n"
	}
	sentence := "`" + pattern + "` needs any one of the " + kind + " `" + strings.Join(permissions, "`, `") + "`"
	if listed {
		sentence += ", or an application " + byList
	}
	return sentence + ".\n\n"
}

// addSecurity adds to security that any one of these scopes or app permissions is
// enough.
func addSecurity(security *openapi3.SecurityRequirements, permissions []string, route route, idURI string) {
	add := func(scheme, name string) {
		requirement := openapi3.SecurityRequirement{scheme: {name}}
		if !slices.ContainsFunc(*security, func(existing openapi3.SecurityRequirement) bool { return reflect.DeepEqual(existing, requirement) }) {
			*security = append(*security, requirement)
		}
	}
	for _, name := range permissions {
		if !route.app {
			add(userScheme, fullScope(idURI, name))
		}
		add(bearerScheme, name)
	}
	if route.app {
		add(appScheme, fullScope(idURI, ".default"))
	}
}

// addWebSockets adds to the operations at and below root with which callers may open a WebSocket how
// that is answered.
func addWebSockets(paths *openapi3.Paths, root string) {
	for path, item := range paths.Map() {
		if (path == root || strings.HasPrefix(path, root+"/")) && item.Get != nil {
			response := openapi3.NewResponse().WithDescription("The API accepts the handshake: a WebSocket is open")
			response.Headers = requestIDHeader()
			item.Get.Responses.Set("101", &openapi3.ResponseRef{Value: response})
		}
	}
}

// forwardedResponses are the possible answers to a call to an API.
func forwardedResponses() *openapi3.Responses {
	responses := responsesNamed(forwardedResponse, 400, 401, 403, 404, 405, 413, 429, 431, 500, 501, 502, 503, 504)
	for status, description := range map[string]string{"2XX": "What the API answered", "default": "Any other answer of the API"} {
		response := openapi3.NewResponse().WithDescription(description).WithContent(anyContent())
		response.Headers = requestIDHeader()
		responses.Set(status, &openapi3.ResponseRef{Value: response})
	}
	return responses
}

// anyContent is a body that only the API can describe. JSON is listed because generated
// clients choose by it how to write and read a body.
func anyContent() openapi3.Content {
	body := openapi3.NewMediaType().WithSchema(&openapi3.Schema{Description: "Defined by the API"})
	return openapi3.Content{"application/json": body, "*/*": body}
}

// nameOperations gives each operation an ID that depends on the configuration only:
// method, route, API and path, in letters and digits. Equal IDs are numbered.
func nameOperations(paths *openapi3.Paths) {
	used := map[string]int{}
	for _, path := range slices.Sorted(maps.Keys(paths.Map())) {
		operations := paths.Value(path).Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			words := strings.FieldsFunc(path, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
			})
			id := strings.ToLower(method)
			for _, word := range words {
				id += strings.ToUpper(word[:1]) + word[1:]
			}
			if used[id]++; used[id] > 1 {
				id += "_" + strconv.Itoa(used[id])
			}
			operations[method].OperationID = id
		}
	}
}

// responsesNamed are the responses of these statuses, which have these names.
func responsesNamed(name func(status int) string, statuses ...int) *openapi3.Responses {
	responses := openapi3.NewResponsesWithCapacity(len(statuses))
	for _, status := range statuses {
		responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Ref: "#/components/responses/" + name(status)})
	}
	return responses
}

// servicePaths are the paths that the service itself answers. root is the server of
// those outside the base path.
func (s *Server) servicePaths(root string) *openapi3.Paths {
	const jsonType = "application/json"
	signout := serviceOperation("Drop every token cached for the user", 400, 401, 403, 413, 429, 431, 500, 503)
	signout.Security = openapi3.NewSecurityRequirements().With(openapi3.SecurityRequirement{bearerScheme: {}})
	signout.Responses.Set("204", &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription("They are dropped")})
	ready := getOperation("Whether the service can serve", jsonType)
	ready.Responses.Set("503", &openapi3.ResponseRef{Value: okResponse(jsonType)})
	kind := openapi3.NewPathParameter("type").WithDescription("The last part of a problem's type").
		WithSchema(openapi3.NewStringSchema().WithEnum(typeNames()...))
	api := openapi3.NewPathParameter("name").WithDescription("The name of the API").
		WithSchema(openapi3.NewStringSchema().WithEnum(s.apiNames()...))
	rootServer := openapi3.Servers{{URL: root}}
	get := func(path, summary string, types ...string) openapi3.NewPathsOption {
		return openapi3.WithPath(path, &openapi3.PathItem{Get: getOperation(summary, types...)})
	}
	return openapi3.NewPaths(
		openapi3.WithPath("/signout", &openapi3.PathItem{Post: signout}),
		openapi3.WithPath(door.MetadataPath, &openapi3.PathItem{Get: metadataOperation("Where to request tokens for this service (RFC 9728)")}),
		openapi3.WithPath(door.MetadataPath+s.resourcePath()+userRoute.prefix+"{name}", &openapi3.PathItem{
			Servers: rootServer, Parameters: openapi3.Parameters{{Value: api}},
			Get: metadataOperation("Where to request tokens for an API (RFC 9728), and with which scopes"),
		}),
		get("/openapi.json", "This document", jsonType),
		get("/docs", "A page to read this document", "text/html"),
		get("/problems", "All problem types", jsonType, "text/html"),
		openapi3.WithPath("/problems/{type}", &openapi3.PathItem{
			Parameters: openapi3.Parameters{{Value: kind}},
			Get:        getOperation("What an error means, and who must act", jsonType, "text/html"),
		}),
		openapi3.WithPath("/healthz", &openapi3.PathItem{Servers: rootServer, Get: getOperation("Whether the process is alive", jsonType)}),
		openapi3.WithPath("/readyz", &openapi3.PathItem{Servers: rootServer, Get: ready}),
	)
}

// resourcePath is the path of the service's URL, as far as it does not depend on the
// request.
func (s *Server) resourcePath() string {
	if s.config.PublicURL != "" {
		return door.URLPath(strings.TrimSuffix(s.config.PublicURL, "/"))
	}
	return s.config.BasePath
}

// apiNames are the names of all APIs.
func (s *Server) apiNames() []any {
	var names []any
	for _, name := range slices.Sorted(maps.Keys(s.config.APIs)) {
		names = append(names, name)
	}
	return names
}

// metadataOperation describes a GET of protected resource metadata.
func metadataOperation(summary string) *openapi3.Operation {
	operation := serviceOperation(summary, 404, 413, 431, 500, 503)
	operation.Security = openapi3.NewSecurityRequirements() // none
	response := openapi3.NewResponse().WithDescription("The document; without scopes_supported if no access rule names scopes").
		WithContent(openapi3.NewContentWithSchema(schemaOf(resourceMetadata{}), []string{"application/json"}))
	response.Headers = requestIDHeader()
	response.Headers["Access-Control-Allow-Origin"] = textHeader("Pages of every origin may read it", "*")
	operation.Responses.Set("200", &openapi3.ResponseRef{Value: response})
	return operation
}

// typeNames are the names of all problem types.
func typeNames() []any {
	var names []any
	for _, name := range slices.Sorted(maps.Keys(problem.Types)) {
		names = append(names, name)
	}
	return names
}

// serviceOperation describes an operation that the service itself answers, with problems
// of these statuses.
func serviceOperation(summary string, statuses ...int) *openapi3.Operation {
	return &openapi3.Operation{Tags: []string{serviceTag}, Summary: summary, Responses: responsesNamed(statusResponse, statuses...)}
}

// getOperation describes a GET that needs no token and answers with one of these content
// types.
func getOperation(summary string, types ...string) *openapi3.Operation {
	operation := serviceOperation(summary, 404, 413, 431, 500)
	operation.Security = openapi3.NewSecurityRequirements() // none
	operation.Responses.Set("200", &openapi3.ResponseRef{Value: okResponse(types...)})
	return operation
}

func okResponse(types ...string) *openapi3.Response {
	content := openapi3.Content{}
	for _, contentType := range types {
		schema := openapi3.NewStringSchema()
		if contentType == "application/json" {
			schema = openapi3.NewObjectSchema()
		}
		content[contentType] = openapi3.NewMediaType().WithSchema(schema)
	}
	return openapi3.NewResponse().WithDescription("The document or page").WithContent(content)
}

// addSessionPaths adds the routes below /bff, for pages that hold no token.
func (s *Server) addSessionPaths(paths *openapi3.Paths) {
	inSession := openapi3.NewSecurityRequirements().With(openapi3.SecurityRequirement{sessionScheme: {}})
	header := openapi3.NewHeaderParameter("X-CSRF").WithRequired(true).WithSchema(openapi3.NewStringSchema().WithEnum("1")).
		WithDescription("Shows that a script of this origin sends the request")
	user := serviceOperation("Who has the session", 401, 403, 404, 413, 431, 500, 503)
	user.Security, user.Parameters = inSession, openapi3.Parameters{
		{Value: header}, queryParameter("slide", "`false`: the request does not lengthen the session"),
	}
	claim := openapi3.NewObjectSchema().WithProperty("type", openapi3.NewStringSchema()).WithProperty("value", &openapi3.Schema{})
	claims := openapi3.NewArraySchema().WithItems(claim)
	answer := openapi3.NewResponse().WithDescription("The claims of the user, with `bff:logout_url` and `bff:session_expires_in`").
		WithContent(openapi3.NewContentWithSchema(claims, []string{"application/json"}))
	answer.Headers = requestIDHeader()
	user.Responses.Set("200", &openapi3.ResponseRef{Value: answer})
	back := queryParameter("returnUrl", "Where the browser comes back to: a path of this origin")
	paths.Set("/bff/login", &openapi3.PathItem{Get: redirectOperation("Sign the user in, and begin a session",
		back, queryParameter("prompt", "As the identity provider knows it"), queryParameter("loginHint", "The user's name"),
		queryParameter("domainHint", "The user's organization"),
		queryParameter("scope", "Scopes of this service and of its APIs, with spaces between"),
		queryParameter("claims", "A claims request, JSON as base64url"))})
	paths.Set("/bff/silent-login", &openapi3.PathItem{Get: redirectOperation("Sign the user in without a page, in a hidden frame")})
	sid := queryParameter("sid", "That of the session, as in `bff:logout_url`")
	paths.Set("/bff/logout", &openapi3.PathItem{
		Get: redirectOperation("End the session, and sign the user out at the identity provider", sid, back),
	})
	paths.Set("/bff/user", &openapi3.PathItem{Get: user})

	name := openapi3.NewPathParameter("name").WithDescription("The name of the API").
		WithSchema(openapi3.NewStringSchema().WithEnum(s.apiNames()...))
	rest := openapi3.NewPathParameter("path").WithDescription(multiSegmentText).WithSchema(openapi3.NewStringSchema())
	rest.Extensions = map[string]any{"x-multi-segment": true}
	item := &openapi3.PathItem{Parameters: openapi3.Parameters{{Value: name}, {Value: rest}, {Value: header}}}
	for _, method := range describedMethods {
		operation := operationOf(item, method, serviceTag, userRoute)
		operation.Summary, operation.Security = "For the user of the session", inSession
		operation.Description = "As the same call below `/api`, with the token of the session. Problems that a sign-in solves have a `loginUrl`."
	}
	paths.Set(sessionRoute.prefix+"{name}/{path}", item)
}

func queryParameter(name, description string) *openapi3.ParameterRef {
	return &openapi3.ParameterRef{Value: openapi3.NewQueryParameter(name).WithDescription(description).WithSchema(openapi3.NewStringSchema())}
}

// redirectOperation describes a GET of a window, which the identity provider answers at last.
func redirectOperation(summary string, parameters ...*openapi3.ParameterRef) *openapi3.Operation {
	operation := serviceOperation(summary, 400, 404, 413, 431, 500, 503)
	operation.Security, operation.Parameters = openapi3.NewSecurityRequirements(), parameters // none
	response := openapi3.NewResponse().WithDescription("The identity provider goes on")
	response.Headers = requestIDHeader()
	response.Headers["Location"] = textHeader("", nil)
	operation.Responses.Set("302", &openapi3.ResponseRef{Value: response})
	return operation
}
