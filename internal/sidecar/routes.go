package sidecar

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// route is one route of this listener. Its path has a parameter if a segment is in braces.
type route struct {
	methods []string
	path    string // in its canonical spelling, the label of logs and metrics
	handle  func(c echo.Context, parameter string) error
	pattern []string // segments of path
}

// routes is the table of routes. The paths are those of Microsoft's container.
func (s *Server) routes() []route {
	get, post, gates := []string{http.MethodGet}, []string{http.MethodPost}, s.config.Overrides
	routes := []route{
		{methods: door.GetAndHead, path: "/healthz", handle: s.healthz},
		{methods: get, path: "/Validate", handle: s.validate},
		{methods: get, path: "/AuthorizationHeader/{apiName}", handle: s.withToken(gates.AuthorizationHeader, true, s.sendHeader)},
		{
			methods: get, path: "/AuthorizationHeaderUnauthenticated/{apiName}",
			handle: s.withoutToken(gates.AuthorizationHeaderUnauthenticated, true, s.sendHeader),
		},
		{methods: post, path: "/DownstreamApi/{apiName}", handle: s.withToken(gates.DownstreamAPI, false, s.call)},
		{
			methods: post, path: "/DownstreamApiUnauthenticated/{apiName}",
			handle: s.withoutToken(gates.DownstreamAPIUnauthenticated, false, s.call),
		},
		{methods: []string{http.MethodDelete}, path: sessionRoute, handle: s.endSession},
		{methods: post, path: tokenPath, handle: s.issueToken},
		{methods: get, path: openAPIPath, handle: s.openAPI},
	}
	for i := range routes {
		routes[i].pattern = strings.Split(routes[i].path[1:], "/")
	}
	return routes
}

// answerFunc answers a request for an API. caller is nil if no token counts.
type answerFunc func(c echo.Context, caller *validate.Caller, o options) error

// withToken handles a route on which a caller must have a token of its own. open and bare
// are as for readOptions.
func (s *Server) withToken(open, bare bool, answer answerFunc) func(c echo.Context, name string) error {
	return func(c echo.Context, name string) error {
		caller, err := s.authenticate(c.Request())
		if err != nil {
			return err
		}
		o, err := s.readOptions(c.Request(), name, open, bare)
		if err != nil {
			return err
		}
		return answer(c, caller, o)
	}
}

// withoutToken is withToken for a route on which a caller needs no token.
func (s *Server) withoutToken(open, bare bool, answer answerFunc) func(c echo.Context, name string) error {
	return func(c echo.Context, name string) error {
		o, err := s.readOptions(c.Request(), name, open, bare)
		if err != nil {
			return err
		}
		caller, err := s.callerOf(c.Request(), o)
		if err != nil {
			return err
		}
		return answer(c, caller, o)
	}
}

// match returns the parameter if the segments of a path are r's, in any case.
func (r route) match(segments []string) (parameter string, ok bool) {
	if len(r.pattern) != len(segments) {
		return "", false
	}
	for i, name := range r.pattern {
		switch {
		case name[0] == '{':
			parameter = segments[i]
		case !strings.EqualFold(name, segments[i]):
			return "", false
		}
	}
	return parameter, true
}

// dispatch answers the routes of the table. Echo's own router compares paths with case.
func (s *Server) dispatch(c echo.Context) error {
	r := c.Request()
	var buf [4]string // on the stack, for the paths of all routes
	segments, ok := splitPath(buf[:0], door.RawPath(r))
	if !ok {
		return problem.ErrNotFound
	}
	var allow []string
	for _, route := range s.table {
		parameter, matches := route.match(segments)
		if !matches {
			continue
		}
		door.EventOf(r).Route = route.path
		if slices.Contains(route.methods, r.Method) {
			return route.handle(c, parameter)
		}
		allow = append(allow, route.methods...)
	}
	if allow == nil {
		return problem.ErrNotFound
	}
	p := problem.ErrMethod.Problem
	p.Allow = allow
	return &problem.Error{Problem: p}
}

// healthz answers probes.
func (s *Server) healthz(c echo.Context, _ string) error {
	setUncached(c.Response().Header())
	return door.Respond(c, http.StatusOK, "text/plain; charset=utf-8", []byte("Healthy"))
}

// isHealth reports whether r asks for health, plainly: other spellings of the path are for
// the application.
func isHealth(r *http.Request) bool { return asksFor(r, "/healthz") }

// asksFor reports whether the path of r, as it was sent, is this one, in any case and with
// a slash at its end or without.
func asksFor(r *http.Request, path string) bool {
	return strings.EqualFold(strings.TrimSuffix(door.RawPath(r), "/"), path)
}
