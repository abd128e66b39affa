package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"middletier/internal/downstream"
	"middletier/internal/mcp"
	"middletier/internal/validate"
)

// MCP is the endpoint of an API that is a server of the Model Context Protocol.
type MCP struct {
	// Path is the endpoint's path below the API.
	Path string
	// IDURI is what scopes begin with in challenges and metadata of the endpoint; empty: as
	// everywhere.
	IDURI string
	// Tools decide about messages, after the access rules.
	Tools *mcp.Rules

	access *validate.Access // of mcpMethods
}

// IsEndpointPath reports whether path can be that of an MCP endpoint: it is plain, names
// something, and can be read in one way.
func IsEndpointPath(path string) bool {
	_, err := validate.MayBeReadAs(path, path)
	return err == nil && isPlainPath(path) && strings.Trim(path, "/") != "" && !strings.HasSuffix(path, "/") && !strings.Contains(path, ";")
}

var (
	// mcpMethods are those of the endpoint: messages to the server, a stream of its own
	// messages, and the end of a session (revision 2025-11-25). Revision 2026-07-28 has POST
	// only.
	mcpMethods = []string{http.MethodDelete, http.MethodGet, http.MethodPost}

	// mcpRequestHeaders and mcpResponseHeaders are for pages that are clients of a server.
	mcpRequestHeaders  = []string{"MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name", "Last-Event-ID"}
	mcpResponseHeaders = []string{"Mcp-Session-Id"}
)

// withMCP returns the API with the access rules of its endpoint: the rule for POST decides
// about all methods there.
func (a API) withMCP() API {
	if a.MCP != nil {
		endpoint := *a.MCP
		endpoint.access = a.Access.DecidedBy(http.MethodPost)
		a.MCP = &endpoint
	}
	return a
}

// isEndpoint reports whether path, decoded, is that of the API's MCP endpoint.
func (a API) isEndpoint(path string) bool { return a.MCP != nil && path == a.MCP.Path }

// accessFor returns the rules that decide about a call.
func (a API) accessFor(method, path string) *validate.Access {
	if a.isEndpoint(path) && slices.Contains(mcpMethods, method) {
		return a.MCP.access
	}
	return a.Access
}

// checkAccess returns nil if the caller may make a call.
func (a API) checkAccess(caller *validate.Caller, method, path string) error {
	err := a.accessFor(method, path).Check(caller, method, path)
	if err == nil || !a.isEndpoint(path) {
		return err
	}
	var refusal *validate.AccessError
	if errors.As(err, &refusal) && refusal.Allow != nil {
		return &validate.AccessError{Allow: a.methodsAt(path)}
	}
	return err
}

// methodsAt returns the methods that are allowed at a path, sorted.
func (a API) methodsAt(path string) []string {
	methods := a.Access.Methods()
	if a.isEndpoint(path) {
		methods = slices.Concat(methods, mcpMethods)
		slices.Sort(methods)
		methods = slices.Compact(methods)
	}
	return methods
}

// scopes returns all scopes that users may need.
func (a API) scopes() []string {
	scopes := a.Access.Scopes()
	if a.MCP != nil {
		scopes = append(scopes, a.MCP.Tools.Scopes()...)
	}
	return scopes
}

// inspect returns what decides on the body of a call that may be a message to the MCP
// server, or nil for other calls.
func (a API) inspect(r *http.Request, caller *validate.Caller, path downstream.Path) (func(body []byte) error, error) {
	if a.MCP == nil || a.MCP.Tools.None() {
		return nil, nil
	}
	mayBeEmpty := !needsMessage(r)
	if mayBeEmpty && r.ContentLength == 0 {
		return nil, nil
	}
	isMessage, err := validate.MayBeReadAs(path.Decoded(), a.MCP.Path)
	if err != nil || !isMessage {
		return nil, err
	}
	return func(body []byte) error {
		if len(body) == 0 && mayBeEmpty {
			return nil
		}
		rule, err := a.MCP.Tools.Match(r.Header, body)
		if err != nil || rule == nil {
			return err
		}
		return caller.CheckHolds(rule.Scopes, rule.AppPermissions)
	}, nil
}

// needsMessage reports whether a request must have a message for the server: with any
// method but those that have no body, also in a header that overrides it. Where one of those
// has a body, some servers read it.
func needsMessage(r *http.Request) bool {
	hasNone := func(method string) bool {
		return method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete || method == http.MethodOptions
	}
	return !hasNone(r.Method) || slices.ContainsFunc(overridingMethods(r.Header), func(method string) bool { return !hasNone(method) })
}

// endpointAt returns the resource at a path, as it was sent, that is an MCP endpoint.
func (s *Server) endpointAt(path string) (resource, bool) {
	for _, route := range []route{userRoute, appRoute} {
		name, rest, err := splitTarget(path, s.config.BasePath+route.prefix)
		api, known := s.config.APIs[name]
		if err != nil || !known || api.MCP == nil {
			continue
		}
		if target, err := api.Client.ParsePath(rest); err == nil && api.isEndpoint(target.Decoded()) {
			return resource{api: name, endpoint: api.MCP.Path, app: route.app}, true
		}
	}
	return resource{}, false
}
