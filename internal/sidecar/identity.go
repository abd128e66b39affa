package sidecar

import (
	"cmp"
	"net/http"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

var (
	errNoScopes     = invalid("The API has no scopes for this request. Configure them, or name them in optionsOverride.Scopes.")
	errNoAppScope   = invalid("The scope for a token as the application must be RESOURCE/.default.")
	errAgentUserApp = invalid("AgentUsername and AgentUserId ask for a user's token, and this request can only get an application's.")
	errFMIUser      = invalid("optionsOverride.AcquireTokenOptions.FmiPath is for tokens as the application only.")
	errNoUser       = problem.New("missing-token", "The request has no bearer token, and the API is called on behalf of users. "+
		"For a token as the application, set requestAppToken or ask for optionsOverride.RequestAppToken=true.")
	errAppCaller = problem.New("wrong-token-type", "The token has no user, and the API is called on behalf of users. "+
		"For a token as the application, set requestAppToken or ask for optionsOverride.RequestAppToken=true.")
)

// authenticate validates the token of a request, which must have one.
func (s *Server) authenticate(r *http.Request) (*validate.Caller, error) {
	token, err := door.BearerToken(r.Header["Authorization"])
	if err != nil {
		return nil, err
	}
	event := door.EventOf(r)
	event.Caller, err = s.door.Validate(event, token, s.roleFree)
	return event.Caller, err
}

// callerOf returns the caller of a request on a route without authentication, whose token
// counts if it is asked for a user's: nil if there is none. A token that is bad is never
// ignored.
func (s *Server) callerOf(r *http.Request, o options) (*validate.Caller, error) {
	if o.RequestAppToken || r.Header["Authorization"] == nil {
		return nil, nil
	}
	return s.authenticate(r)
}

// tokenRequest decides whose token a request gets. caller is nil if it has no token that
// counts.
func tokenRequest(caller *validate.Caller, o options) (obo.Request, error) {
	r := obo.Request{Agent: o.Agent, Tenant: o.override.Tenant, Claims: o.override.Claims, Refresh: o.override.ForceRefresh}
	switch {
	case o.RequestAppToken && o.Agent.User != "":
		return obo.Request{}, errAgentUserApp
	case o.RequestAppToken:
		return asApplication(r, o)
	case o.override.SessionKey != "":
		return sessionRequest(r, caller, o)
	case caller != nil && caller.IsApp():
		return obo.Request{}, errAppCaller
	case o.Agent.User == "" && caller == nil && o.appByDefault():
		return asApplication(r, o)
	case o.Agent.User == "" && caller == nil:
		return obo.Request{}, errNoUser
	case o.override.FMIPath != "":
		return obo.Request{}, errFMIUser
	}
	r.Scopes = o.Scopes
	if o.Agent.User != "" { // the caller is let in, and no more
		r.Tenant = cmp.Or(r.Tenant, o.Tenant)
		return r, nil
	}
	assertion := door.AssertionOf(caller)
	r.User = &assertion
	return r, nil
}

// asApplication completes a request for a token without a user.
func asApplication(r obo.Request, o options) (obo.Request, error) {
	if o.AppScope == "" {
		return obo.Request{}, errNoAppScope
	}
	r.Scopes, r.FMIPath = []string{o.AppScope}, o.override.FMIPath
	r.Tenant = cmp.Or(r.Tenant, o.Tenant)
	return r, nil
}
