package sidecar

import (
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// allocateForMe is the session key of a request that begins a long-running session, as in
// Microsoft.Identity.Web.
const allocateForMe = "AllocateForMe"

// sessionRoute is the route that ends a long-running session. Its paths hold a secret.
const sessionRoute = "/LongRunningSession/{key}"

var (
	errChosenKey = invalid("Beside a user's token, optionsOverride.AcquireTokenOptions.LongRunningWebApiSessionKey must be " + allocateForMe +
		": this service makes the keys, since one that a caller chooses can be guessed.")
	errAgentUserSession = invalid("AgentUsername and AgentUserId ask for a token of the agent's user, " +
		"and a long-running session is on behalf of another user.")
	errNoSessionUser = problem.New("missing-token", "The request has no bearer token. A long-running session begins with a user's.")
)

// beginsSession reports whether a request asks for a new long-running session.
func (o options) beginsSession() bool { return strings.EqualFold(o.override.SessionKey, allocateForMe) }

// sessionRequest completes a request that names a long-running session.
func sessionRequest(r obo.Request, caller *validate.Caller, o options) (obo.Request, error) {
	switch {
	case caller == nil && o.beginsSession():
		return obo.Request{}, errNoSessionUser
	case caller != nil && caller.IsApp():
		return obo.Request{}, errAppCaller
	case caller != nil && !o.beginsSession():
		return obo.Request{}, errChosenKey
	case o.Agent.User != "":
		return obo.Request{}, errAgentUserSession
	case len(o.Scopes) == 0:
		return obo.Request{}, errNoScopes
	case o.override.FMIPath != "":
		return obo.Request{}, errFMIUser
	}
	r.Scopes = o.Scopes
	if caller == nil {
		r.SessionKey = o.override.SessionKey
		return r, nil
	}
	assertion := door.AssertionOf(caller)
	r.User = &assertion
	return r, nil
}

// getToken gets a token for r. If that begins a long-running session, r goes on with the
// session's key: so do further attempts of the same call.
func (s *Server) getToken(ctx context.Context, r *obo.Request, o options) (obo.Token, error) {
	if r.User == nil || !o.beginsSession() {
		return s.config.Tokens.Token(ctx, *r)
	}
	key, token, err := s.config.Tokens.Keep(ctx, *r)
	if err == nil {
		r.User, r.SessionKey = nil, key
	}
	return token, err
}

// newSession is the key of the session that r has begun, "" for none.
func (o options) newSession(r obo.Request) string {
	if !o.beginsSession() {
		return ""
	}
	return r.SessionKey
}

// dropSession ends a session that was begun for a request that failed: nobody gets its key.
func (s *Server) dropSession(event *door.Event, key string) {
	if key == "" {
		return
	}
	if err := s.config.Tokens.ForgetKey(event, key); err != nil {
		s.config.Log.WarnContext(event, "a long-running session whose call failed is not ended", "requestId", event.ID, "error", err)
	}
}

// endSession ends the long-running session under key, if there is one.
func (s *Server) endSession(c echo.Context, key string) error {
	if err := s.config.Tokens.ForgetKey(c.Request().Context(), key); err != nil {
		return err
	}
	setUncached(c.Response().Header())
	return c.NoContent(http.StatusNoContent)
}

// hideKey keeps the key of a session out of a problem document, which callers log.
func hideKey(doc *problem.Document, r *http.Request) {
	if strings.Contains(strings.ToLower(r.URL.Path), strings.ToLower(strings.TrimSuffix(sessionRoute, "{key}"))) {
		doc.Instance = strings.TrimSuffix(sessionRoute, "{key}")
	}
}
