package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
)

// signout drops every token cached for the caller's token, in memory and in Redis, and ends
// the user's long-running sessions. With SignOutForgetsUser it drops all tokens of the user.
func (s *Server) signout(c echo.Context) error {
	caller := door.EventOf(c.Request()).Caller
	if caller.IsApp() {
		return problem.ErrAppOnUser
	}
	if s.config.SignOutForgetsUser {
		_ = s.config.Tokens.ForgetUserOf(c.Request().Context(), door.AssertionOf(caller)) // nobody can do more about it
		return c.NoContent(http.StatusNoContent)
	}
	var requests []obo.Request
	for _, api := range s.apis {
		requests = append(requests, obo.Request{Agent: obo.Agent{ID: api.Agent.ID}, Scopes: api.Scopes})
	}
	s.config.Tokens.Forget(c.Request().Context(), door.AssertionOf(caller), requests)
	return c.NoContent(http.StatusNoContent)
}
