package sidecar

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
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
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	routes := []route{
		{methods: door.GetAndHead, path: "/healthz", handle: s.healthz},
		{methods: get, path: "/Validate", handle: s.validate},
		{methods: get, path: "/AuthorizationHeader/{apiName}", handle: s.authorizationHeader},
		{methods: get, path: "/AuthorizationHeaderUnauthenticated/{apiName}", handle: s.authorizationHeaderUnauthenticated},
		{methods: post, path: "/DownstreamApi/{apiName}", handle: s.downstreamAPI},
		{methods: post, path: "/DownstreamApiUnauthenticated/{apiName}", handle: s.downstreamAPIUnauthenticated},
		{methods: []string{http.MethodDelete}, path: sessionRoute, handle: s.endSession},
		{methods: post, path: tokenPath, handle: s.issueToken},
		{methods: get, path: openAPIPath, handle: s.openAPI},
	}
	for i := range routes {
		routes[i].pattern = strings.Split(routes[i].path[1:], "/")
	}
	return routes
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

// dispatch is middleware that answers the routes of the table. Echo's own router compares
// paths with case.
func (s *Server) dispatch(next echo.HandlerFunc) echo.HandlerFunc { // Echo calls it for each request
	return func(c echo.Context) error {
		r := c.Request()
		segments, ok := splitPath(door.RawPath(r))
		var allow []string
		for _, route := range s.table {
			parameter, matches := route.match(segments)
			if !ok || !matches {
				continue
			}
			door.EventOf(r).Route = route.path
			if slices.Contains(route.methods, r.Method) {
				return route.handle(c, parameter)
			}
			allow = append(allow, route.methods...)
		}
		if allow != nil {
			p := problem.ErrMethod.Problem
			p.Allow = allow
			return &problem.Error{Problem: p}
		}
		return next(c)
	}
}

// healthz answers probes.
func (s *Server) healthz(c echo.Context, _ string) error {
	setUncached(c.Response().Header())
	return door.Respond(c, http.StatusOK, "text/plain; charset=utf-8", []byte("Healthy"))
}

// isHealth reports whether r asks for health, plainly: other spellings of the path are for
// the application.
func isHealth(r *http.Request) bool {
	return strings.EqualFold(strings.TrimSuffix(door.RawPath(r), "/"), "/healthz")
}
