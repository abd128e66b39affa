package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// signout drops every token cached for the caller's token, in memory and in Redis.
func (s *Server) signout(c echo.Context) error {
	caller := door.EventOf(c.Request()).Caller
	if caller.IsApp() {
		return problem.ErrAppOnUser
	}
	var scopes [][]string
	for _, api := range s.config.APIs {
		scopes = append(scopes, api.Scopes)
	}
	s.config.Tokens.Forget(c.Request().Context(), assertionOf(caller), scopes)
	return c.NoContent(http.StatusNoContent)
}
