package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/session"
)

// sessionRoute is the route for pages that hold no token: the cookie of their session brings
// it. From there on, a call goes the way of one on userRoute.
var sessionRoute = route{"/bff/api/", false}

// sessionPrefix is what the routes of sessions begin with, below the base path.
const sessionPrefix = "/bff/"

// Sessions are the sessions of pages that hold no token.
type Sessions struct {
	*session.Manager
	// Resource is what scopes of this service begin with where the web app requests them.
	Resource string
	// CallbackPath is where the provider's refusals of a sign-in arrive.
	CallbackPath string
	// ConsentScopes are requested where the user has not consented to this service's call
	// of an API; none: those of the API.
	ConsentScopes []string
}

var errTokenAndCookie = problem.New("invalid-request", "The request has both an Authorization header and the cookie of a session.")

// addSessionRoutes adds the routes below /bff, and the callbacks.
func (s *Server) addSessionRoutes(g *echo.Group, forward echo.HandlerFunc) {
	s.config.Sessions.AddRoutes(g, s.isOwnScript)
	call := s.authenticate(s.sessionToken, s.accessOn(sessionRoute), forward)
	g.RouteNotFound(sessionRoute.prefix+"*", s.signInOnNavigation(checkHandshake(s.checkSocketPage, call)))
}

// sessionToken returns the access token of the session that the request belongs to. Browsers
// send its cookie with requests of any page of this site, so a page must show that it is of
// this origin: with a header that others cannot send without a preflight, which they fail
// (OAuth 2.0 for Browser-Based Applications, section 6.1.3.3), and with what browsers say.
func (s *Server) sessionToken(c echo.Context) (string, error) {
	r := c.Request()
	door.EventOf(r).InSession = true
	if isNavigation(r) { // it cannot send the header, and the user is to sign in before that matters
		if _, err := s.config.Sessions.Token(r); err != nil {
			return "", err
		}
	}
	if !isHandshake(r) && !s.isOwnScript(r) { // checkSocketPage has checked handshakes
		return "", problem.ErrCSRF
	}
	if r.Header["Authorization"] != nil && s.config.Sessions.HasCookie(r) {
		return "", errTokenAndCookie
	}
	found, err := s.config.Sessions.Token(r)
	return found.AccessToken, err
}

// isOwnScript reports whether a script of this origin, or no browser, sent r.
func (s *Server) isOwnScript(r *http.Request) bool {
	if values := r.Header["X-Csrf"]; len(values) != 1 || values[0] != "1" {
		return false
	}
	otherSite := func(site string) bool { return site != "same-origin" && (site != "none" || !isNavigation(r)) }
	otherOrigin := func(origin string) bool { return !s.isOwnOrigin(r, origin) }
	return !slices.ContainsFunc(r.Header["Sec-Fetch-Site"], otherSite) && !slices.ContainsFunc(r.Header["Origin"], otherOrigin)
}

// isNavigation reports whether r loads a page into a window, and not into a frame.
func isNavigation(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "" || dest == "document")
}

// signInOnNavigation sends a window to the sign-in that a script would find in the problem
// document.
func (s *Server) signInOnNavigation(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		r := c.Request()
		if err == nil || c.Response().Committed || !isNavigation(r) {
			return err
		}
		event := door.EventOf(r)
		p := problem.For(err, problem.Requester{Caller: event.Caller, InSession: true})
		login, ok := s.loginFor(p)
		if !ok {
			return err
		}
		event.Problem = p.Kind
		h := c.Response().Header()
		h.Set("Cache-Control", "no-store")
		return c.Redirect(http.StatusFound, s.config.Sessions.LoginURL(r, login))
	}
}

// extend adds to the document that answers a request of a session where the user signs in.
func (s *Server) extend(doc *problem.Document, p problem.Problem, r *http.Request) {
	if !s.isSessionRequest(r) {
		return
	}
	if login, ok := s.loginFor(p); ok {
		doc.LoginURL = s.config.Sessions.LoginURL(r, login)
	}
}

// loginFor returns what a sign-in must ask for to solve a problem, and false if no sign-in can.
func (s *Server) loginFor(p problem.Problem) (session.LoginRequest, bool) {
	switch p.Kind {
	case "session-required", "invalid-token":
		return session.LoginRequest{}, true
	case "claims-challenge":
		return session.LoginRequest{Claims: p.ProviderError.Claims}, true
	case "interaction-required": // without a prompt, the provider may sign in silently, to the same end
		return session.LoginRequest{Prompt: "login"}, true
	case "consent-required":
		if scopes := s.config.Sessions.ConsentScopes; len(scopes) > 0 {
			return session.LoginRequest{Scopes: scopes, Prompt: "consent"}, true
		}
		return session.LoginRequest{Scopes: p.Scopes}, true
	case "insufficient-scope": // any one is enough, and the first is the least
		return session.LoginRequest{Scopes: []string{fullScope(s.config.Sessions.Resource, p.Scopes[0])}}, true
	}
	return session.LoginRequest{}, false
}

// isSessionRequest reports whether r is for a route of sessions.
func (s *Server) isSessionRequest(r *http.Request) bool {
	if s.config.Sessions == nil {
		return false
	}
	path, ok := strings.CutPrefix(door.RawPath(r), s.config.BasePath)
	return ok && (strings.HasPrefix(path, sessionPrefix) || path == s.config.Sessions.CallbackPath)
}
