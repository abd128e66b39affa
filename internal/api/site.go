package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/webroot"
)

// ServicePaths are the paths below which a path without a route is not found: none of them
// is a route of the application in the web root.
var ServicePaths = []string{"/api", "/app", "/bff", "/mcp", "/problems", "/docs", "/.well-known"}

// Paths are all paths of the service: ServicePaths, and routes with nothing below them.
var Paths = append(slices.Clone(ServicePaths), "/signout", "/openapi.json", "/healthz", "/readyz")

// addSite serves the web root on all paths that have no other route. Other methods are
// answered with 405 there.
func (s *Server) addSite(g *echo.Group) {
	for _, path := range []string{"", "/", "/*"} {
		g.Match(door.GetAndHead, path, s.file)
	}
}

// file answers with a file of the web root.
func (s *Server) file(c echo.Context) error {
	r := c.Request()
	event := door.EventOf(r)
	event.Route = routeName(s.config.BasePath + "/*") // one label for all of them
	path := strings.TrimPrefix(door.RawPath(r), s.config.BasePath)
	if path == "" && s.config.BasePath == "" { // as in GET http://api.contoso.example HTTP/1.1
		path = "/"
	}
	err := s.config.Site.Serve(c.Response(), r, path)
	switch {
	case errors.Is(err, webroot.ErrNotFound):
		return fmt.Errorf("%w (%w)", problem.ErrNotFound, err)
	case errors.Is(err, webroot.ErrChanged) && c.Response().Committed:
		event.Failure = err
		panic(http.ErrAbortHandler) // the answer must not look complete
	}
	return err
}
