package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

var errHost = problem.New("invalid-request", "The request names a host that this service does not serve.")

// rejectOtherHosts is middleware that rejects requests to hosts that are not allowed. The
// host is the one that the client called, as a trusted proxy says, else the request's own.
// Health is exempt: probes call a replica by its address.
func (s *Server) rejectOtherHosts(hosts *door.AllowedHosts) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if r := c.Request(); !isHealth(r) && !hosts.Allow(s.proxies.Client(r).Complete(r).Host) {
				return errHost
			}
			return next(c)
		}
	}
}

// isHealth reports whether r asks for the health of this replica.
func isHealth(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }
