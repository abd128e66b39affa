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
	text          string // as it came
	resource      *App
	identifier    string   // the resource as the client named it
	names         []string // of scopes, without the resource
	byDefault     bool     // .default, alone
	bare          bool     // scopes of Microsoft Graph, which need not name it
	offlineAccess bool
	openID        bool
	email         bool
}

// openIDScopes may stand beside the scopes of any resource ("Scopes and permissions",
// "OpenID Connect scopes").
var openIDScopes = []string{"openid", "profile", "email", "offline_access"}

// parseScopes reads the scope parameter. The OpenID Connect scopes may stand beside those of
// the resource; MSAL Go adds them to every request. Alone they are Microsoft Graph's.
func (s *Server) parseScopes(tenant Tenant, text string) (scopeRequest, *refusal) {
	if text == "" {
		return scopeRequest{}, missing("scope")
	}
	a := scopeRequest{text: text}
	var beside []string
	for _, scope := range strings.Fields(text) {
		if slices.Contains(openIDScopes, scope) {
			beside = union(beside, []string{scope})
		} else if refused := a.add(scope); refused != nil {
			return scopeRequest{}, refused
		}
	}
	a.openID, a.email = slices.Contains(beside, "openid"), slices.Contains(beside, "email")
	a.offlineAccess = slices.Contains(beside, "offline_access")
	switch {
	case len(a.names) == 0 && len(beside) == 0:
		return scopeRequest{}, invalidScope(text)
	case len(a.names) == 0:
		a.bare, a.identifier = true, graphURI
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
	return a, a.checkGraph(beside)
}

// checkGraph completes a request for scopes of Microsoft Graph, of which the OpenID Connect
// scopes are some.
func (a *scopeRequest) checkGraph(beside []string) *refusal {
	if a.resource.ClientID != graphID || a.byDefault {
		return nil
	}
	for _, name := range a.names {
		if !slices.Contains(a.resource.Scopes, name) {
			return invalidScope(name)
		}
	}
	a.names = union(a.names, slices.DeleteFunc(beside, func(name string) bool { return name == "offline_access" }))
	return nil
}

// checkItself refuses a client that asks for a token for itself by an App ID URI. Its GUID is
// what Entra takes (AADSTS90009).
func (a scopeRequest) checkItself(client *App) *refusal {
	if a.resource.ClientID != client.ClientID || strings.EqualFold(strings.TrimRight(a.identifier, "/"), client.ClientID) {
		return nil
	}
	return refuse(90009, "Application '%s'(%s) is requesting a token for itself. "+
		"This scenario is supported only if resource is specified using the GUID based App Identifier.", client.ClientID, client.Name)
}

// checkResource refuses a resource parameter (RFC 8707) that is not, to the letter, an App ID
// URI of the app whose scopes are asked for. v2.0 needs none.
func (a scopeRequest) checkResource(parameter string) *refusal {
	if parameter == "" || parameter == a.resource.ClientID || slices.Contains(a.resource.IDURIs, parameter) {
		return nil
	}
	return refuse(9010010, "The resource parameter provided in the request doesn't match with the requested scopes.")
}

// add parses one scope, resource/name. A scope without a resource belongs to Microsoft Graph.
func (a *scopeRequest) add(scope string) *refusal {
	slash := strings.LastIndexByte(scope, '/')
	if slash == 0 || slash == len(scope)-1 {
		return invalidScope(scope)
	}
	identifier, name := graphURI, scope
	if slash > 0 {
		identifier, name = scope[:slash], scope[slash+1:]
	} else {
		a.bare = true
	}
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

// consented returns the scopes to issue for the user: the requested ones, or with .default
// all granted ones. A requested scope that is not granted is refused.
func (s *Server) consented(r tokenRequest, a scopeRequest, user *User) ([]string, *refusal) {
	granted := s.granted(user, r.client, a.resource)
	if a.byDefault && len(granted) > 0 {
		return granted, nil
	}
	for _, name := range a.names {
		if !slices.Contains(granted, name) {
			return nil, notConsented(r.client)
		}
	}
	return a.names, nil
}

func notConsented(client *App) *refusal {
	refused := refuse(65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. "+
		"Send an interactive authorization request for this user and resource.", client.ClientID, client.Name)
	refused.suberror = "consent_required"
	return refused
}

// answer is the scope member of the success answer: full names, except for those of Microsoft
// Graph.
func (a scopeRequest) answer(scopes []string) string {
	if a.bare {
		return strings.Join(scopes, " ")
	}
	var full []string
	for _, scope := range scopes {
		full = append(full, a.identifier+"/"+scope)
	}
	if a.byDefault {
		full = append(full, a.identifier+"/"+defaultScope)
	}
	return strings.Join(full, " ")
}
