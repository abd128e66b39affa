package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"middletier/internal/door"
)

// messageSummaries say what each method of an MCP endpoint is for.
var messageSummaries = map[string]string{
	http.MethodPost:   "Send a message to the MCP server",
	http.MethodGet:    "Read the MCP server's own messages, or resume a stream (revisions before 2026-07-28)",
	http.MethodDelete: "End a session of the MCP server (revisions before 2026-07-28)",
}

// addEndpoint adds the MCP endpoint of an API on route, where one access rule decides about all
// methods, and its metadata. root is the server of paths outside the base path.
func (s *Server) addEndpoint(paths *openapi3.Paths, api string, endpoint *MCP, route route, root string) {
	rule, found := endpoint.access.RuleFor(http.MethodPost, endpoint.Path)
	permissions, listed := rule.Scopes, false
	if route.app {
		permissions, listed = rule.AppPermissions, len(rule.Clients) > 0
	}
	if !found || len(permissions) == 0 && !listed {
		return // it is for the other route
	}
	path := route.prefix + api + endpoint.Path
	item := paths.Value(path)
	if item == nil {
		item = &openapi3.PathItem{}
		paths.Set(path, item)
	}
	for _, method := range mcpMethods {
		item.SetOperation(method, nil) // what rules for the path say of the method does not count here
		operation := operationOf(item, method, api, route)
		operation.Summary = messageSummaries[method]
		operation.Description = permissionSentence(endpoint.Path, permissions, listed, route)
		addSecurity(operation.Security, permissions, route, s.config.IDURI)
	}
	item.Post.Description += endpoint.toolSentences(route)
	metadata := door.MetadataPath + s.resourcePath() + path
	paths.Set(metadata, &openapi3.PathItem{
		Servers: openapi3.Servers{{URL: root}},
		Get:     metadataOperation("Where to request tokens for the MCP server (RFC 9728), and with which scopes"),
	})
}

// toolSentences say which messages need more than access.
func (m *MCP) toolSentences(route route) string {
	var sentences strings.Builder
	for _, rule := range m.Tools.Rules() {
		permissions := rule.Scopes
		if route.app {
			permissions = rule.AppPermissions
		}
		what := slices.Concat(rule.Methods, rule.Names)
		if len(what) == 0 {
			what = []string{"other messages"}
		}
		if len(permissions) > 0 {
			sentences.WriteString(permissionSentence(strings.Join(what, " "), permissions, false, route))
		}
	}
	return sentences.String()
}

// addAuthorizationServer adds the routes of an API's own authorization server. issuer is its
// path.
func addAuthorizationServer(paths *openapi3.Paths, issuer, root, resourcePath string) {
	const jsonType = "application/json"
	post := func(summary, contentType, success string) *openapi3.PathItem {
		operation := serviceOperation(summary, 404, 405, 431)
		operation.Security = openapi3.NewSecurityRequirements() // none
		body := openapi3.NewRequestBody().WithRequired(true).
			WithContent(openapi3.NewContentWithSchema(openapi3.NewObjectSchema(), []string{contentType}))
		operation.RequestBody = &openapi3.RequestBodyRef{Value: body}
		operation.Responses.Set(success, &openapi3.ResponseRef{Value: okResponse(jsonType)})
		refusal := openapi3.NewResponse().WithDescription("An error of OAuth (RFC 6749, section 5.2)").
			WithContent(openapi3.NewContentWithSchema(openapi3.NewObjectSchema(), []string{jsonType}))
		operation.Responses.Set("default", &openapi3.ResponseRef{Value: refusal})
		return &openapi3.PathItem{Post: operation}
	}
	paths.Set("/.well-known/oauth-authorization-server"+resourcePath+issuer, &openapi3.PathItem{
		Servers: openapi3.Servers{{URL: root}}, Get: getOperation("What the authorization server of an API can do (RFC 8414)", jsonType),
	})
	var parameters []*openapi3.ParameterRef
	for _, name := range []string{
		"response_type", "client_id", "redirect_uri", "code_challenge", "code_challenge_method", "scope", "state", "resource",
	} {
		parameters = append(parameters, queryParameter(name, "As in OAuth 2.1"))
	}
	paths.Set(issuer+"/authorize", &openapi3.PathItem{Get: redirectOperation("Sign the user in at the identity provider", parameters...)})
	paths.Set(issuer+"/token", post("Redeem a code or a refresh token", "application/x-www-form-urlencoded", "200"))
	paths.Set(issuer+"/register", post("Learn the client ID (RFC 7591); nothing is registered", jsonType, "201"))
}
