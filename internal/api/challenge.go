package api

import (
	"fmt"
	"net/http"
	"strings"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// target is what a request asks for, as far as challenges say.
type target struct {
	resource
	scopes []string // of the access rule for the request, any one of which a user needs; not in full
}

// targetOf returns the target of r. base is the URL of the service. APIs that are not
// configured have no metadata, nor have those on the route for applications, except for
// MCP endpoints: which scope an application requests does not depend on the API.
func (s *Server) targetOf(r *http.Request, base string) target {
	path := door.RawPath(r)
	t := target{resource: resource{base: base}}
	if endpoint, ok := s.endpointAt(path); ok {
		t.resource, t.base = endpoint, base
		if !t.app {
			t.scopes = s.config.APIs[t.api].MCP.access.UserScopes(http.MethodPost, endpoint.endpoint)
		}
		return t
	}
	if strings.HasPrefix(path, s.config.BasePath+appRoute.prefix) {
		t.app = true
		return t
	}
	prefix := userRoute.prefix
	if s.isSessionRequest(r) {
		prefix = sessionRoute.prefix
	}
	name, rest, err := splitTarget(path, s.config.BasePath+prefix)
	api, known := s.config.APIs[name]
	if err != nil || !known {
		return t
	}
	t.api = name
	if forwarded, err := api.Client.ParsePath(rest); err == nil {
		t.scopes = api.Access.UserScopes(r.Method, forwarded.Decoded())
	}
	return t
}

// challenge returns the WWW-Authenticate header of a problem, or "". Every 401, and a
// token without the scope that is needed, leads to the metadata of what was asked for
// (RFC 9728, section 5.1; RFC 6750, section 3).
func (s *Server) challenge(p problem.Problem, t target) string {
	metadata := fmt.Sprintf(", resource_metadata=%q", t.metadataURL())
	switch p.Kind {
	case "session-required":
		return fmt.Sprintf("Bearer realm=%q", s.config.ClientID) + metadata
	case "missing-token":
		return fmt.Sprintf("Bearer realm=%q", s.config.ClientID) + metadata + s.scopeParameter(t, t.scopes)
	case "insufficient-scope":
		return p.Challenge + s.scopeParameter(t, p.Scopes) + metadata
	case "claims-challenge":
		return problem.ClaimsChallenge(s.config.Authority, s.config.ClientID, p.ProviderError.Claims, metadata)
	}
	if problem.Types[p.Kind].Status != http.StatusUnauthorized {
		return p.Challenge
	}
	return p.Challenge + metadata
}

// scopeParameter is the scope that a client requests to be allowed what t asks for, in
// full. Any one of scopes is enough, so it is the first alone: the list is written with
// the least first. An application requests all that it was given.
func (s *Server) scopeParameter(t target, scopes []string) string {
	switch {
	case t.app:
		scopes = []string{".default"}
	case len(scopes) == 0:
		return ""
	}
	return fmt.Sprintf(", scope=%q", fullScope(s.idURI(t.resource), scopes[0]))
}
