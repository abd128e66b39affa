package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
)

type health struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons,omitempty"`
}

// healthz answers that the process is alive. It checks nothing else.
func (s *Server) healthz(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return door.RespondJSON(c, http.StatusOK, health{Status: "ok"})
}

// readyz answers whether the service is ready. Credentials are not checked: they are
// loaded before the service listens.
func (s *Server) readyz(c echo.Context) error {
	s.door.NoteLoadBalancer(c.Request())
	c.Response().Header().Set("Cache-Control", "no-store")
	var reasons []string
	if s.door.Draining() {
		reasons = append(reasons, "the service is shutting down")
	}
	if err := s.config.Validator.Ready(); err != nil {
		reasons = append(reasons, "the identity provider's signing keys have not been loaded")
	}
	if reasons != nil {
		return door.RespondJSON(c, http.StatusServiceUnavailable, health{"not ready", reasons})
	}
	return door.RespondJSON(c, http.StatusOK, health{Status: "ready"})
}
