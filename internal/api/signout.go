package api

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// signout drops every token cached for the caller's token, in memory and in Redis.
func (s *Server) signout(c echo.Context) error {
	caller := eventOf(c.Request()).caller
	if caller.IsApp() {
		return errAppOnUser
	}
	var scopes [][]string
	for _, api := range s.config.APIs {
		scopes = append(scopes, api.Scopes)
	}
	s.config.Tokens.Forget(c.Request().Context(), assertionOf(caller), scopes)
	return c.NoContent(http.StatusNoContent)
}
