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
}

// routes is the table of routes. The paths are those of Microsoft's container.
func (s *Server) routes() []route {
	get := []string{http.MethodGet}
	return []route{
		{door.GetAndHead, "/healthz", s.healthz},
		{get, "/Validate", s.validate},
		{get, "/AuthorizationHeader/{apiName}", s.authorizationHeader},
		{get, "/AuthorizationHeaderUnauthenticated/{apiName}", s.authorizationHeaderUnauthenticated},
	}
}

// match returns the parameter if the segments of a path are r's, in any case.
func (r route) match(segments []string) (parameter string, ok bool) {
	pattern := strings.Split(r.path[1:], "/")
	if len(pattern) != len(segments) {
		return "", false
	}
	for i, name := range pattern {
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
func (s *Server) dispatch(next echo.HandlerFunc) echo.HandlerFunc {
	routes := s.routes()
	return func(c echo.Context) error {
		r := c.Request()
		segments, ok := splitPath(rawPath(r))
		var allow []string
		for _, route := range routes {
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

// rawPath returns the path of r's target as it was sent.
func rawPath(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.EscapedPath()
}

// healthz answers probes.
func (s *Server) healthz(c echo.Context, _ string) error {
	setUncached(c.Response().Header())
	return door.Respond(c, http.StatusOK, "text/plain; charset=utf-8", []byte("Healthy"))
}

// isHealth reports whether r asks for health.
func isHealth(r *http.Request) bool {
	segments, ok := splitPath(rawPath(r))
	return ok && len(segments) == 1 && strings.EqualFold(segments[0], "healthz")
}
