package mockidp

import (
	"slices"
	"strings"
)

// defaultScope requests all granted scopes ("Scopes and permissions", "The .default
// scope").
const defaultScope = ".default"

// scopeRequest is a request's scope parameter: scopes of one resource.
type scopeRequest struct {
	resource      *App
	identifier    string   // the resource as the client named it
	names         []string // of scopes, without the resource
	byDefault     bool     // .default, alone
	offlineAccess bool
	openID        bool
}

// parseScopes reads the scope parameter. The OpenID Connect scopes may stand
// beside those of the resource; MSAL Go adds them to every request.
func (s *Server) parseScopes(tenant Tenant, text string) (scopeRequest, *refusal) {
	if text == "" {
		return scopeRequest{}, missing("scope")
	}
	var a scopeRequest
	for _, scope := range strings.Fields(text) {
		switch scope {
		case "openid":
			a.openID = true
			continue
		case "profile", "email":
			continue
		case "offline_access":
			a.offlineAccess = true
			continue
		}
		if refused := a.add(scope); refused != nil {
			return scopeRequest{}, refused
		}
	}
	if len(a.names) == 0 {
		return scopeRequest{}, invalidScope(text)
	}
	a.byDefault = slices.Contains(a.names, defaultScope)
	if a.byDefault && len(a.names) > 1 {
		return scopeRequest{}, refuse(70011, "The provided value for the input parameter 'scope' is not valid. "+
			"%s/.default scope can't be combined with resource-specific scopes.", a.identifier)
	}
	if a.resource = s.dir().resourceIn(tenant, a.identifier); a.resource == nil {
		return scopeRequest{}, refuse(500011, "The resource principal named %s was not found in the tenant named %s. "+
			"This can happen if the application has not been installed by the administrator of the tenant "+
			"or consented to by any user in the tenant.", a.identifier, tenant.ID)
	}
	return a, nil
}

// add parses one scope, resource/name. A scope without a resource would belong to Microsoft
// Graph, which this platform does not have.
func (a *scopeRequest) add(scope string) *refusal {
	slash := strings.LastIndexByte(scope, '/')
	if slash <= 0 || slash == len(scope)-1 {
		return invalidScope(scope)
	}
	identifier, name := scope[:slash], scope[slash+1:]
	if a.identifier != "" && a.identifier != identifier {
		return refuse(28000, "Provided value for the input parameter scope is not valid because it contains more than one resource. "+
			"Scope %s is not valid.", scope)
	}
	a.identifier = identifier
	if !slices.Contains(a.names, name) {
		a.names = append(a.names, name)
	}
	return nil
}

func invalidScope(scope string) *refusal {
	return refuse(70011, "The provided request must include a 'scope' input parameter. "+
		"The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)
}

// consented returns the scopes to issue: the requested ones, or with .default all
// granted ones. A requested scope that is not granted is refused.
func (s *Server) consented(r tokenRequest, a scopeRequest, user *User) ([]string, *refusal) {
	granted := s.dir().granted(r.client, a.resource, user).Scopes
	if a.byDefault && len(granted) > 0 {
		return granted, nil
	}
	for _, name := range a.names {
		if !slices.Contains(granted, name) {
			refused := refuse(65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. "+
				"Send an interactive authorization request for this user and resource.", r.client.ClientID, r.client.Name)
			refused.suberror = "consent_required"
			return nil, refused
		}
	}
	return a.names, nil
}

// answer is the scope member of the success answer: full names.
func (a scopeRequest) answer(scopes []string) string {
	var full []string
	for _, scope := range scopes {
		full = append(full, a.identifier+"/"+scope)
	}
	if a.byDefault {
		full = append(full, a.identifier+"/"+defaultScope)
	}
	return strings.Join(full, " ")
}
