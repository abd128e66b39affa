package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/validate"
)

// accessFunc returns the access rules of the API that a request is for, or nil.
type accessFunc func(r *http.Request) *validate.Access

// noAccess is for routes that belong to no API.
func noAccess(*http.Request) *validate.Access { return nil }

// accessOn returns the access rules of the API that a request on route is for.
func (s *Server) accessOn(route route) accessFunc {
	prefix := s.config.BasePath + route.prefix
	return func(r *http.Request) *validate.Access {
		name, _, err := splitTarget(door.RawPath(r), prefix)
		if err != nil {
			return nil
		}
		return s.config.APIs[name].Access
	}
}

// authenticate validates the caller's token and passes the request on with its caller.
// find returns the token, which is the caller's own or that of a session. The rules that
// access returns may name applications that need no app permission.
func (s *Server) authenticate(find func(echo.Context) (string, error), access accessFunc, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		token, err := find(c)
		if err != nil {
			return err
		}
		event := door.EventOf(r)
		caller, err := s.door.Validate(event, token, access(r))
		if err != nil {
			return err
		}
		event.Caller = caller
		return next(c)
	}
}

// bearerToken returns the caller's token. It is in the Authorization header; a token
// elsewhere in the request is ignored (RFC 6750, section 2.1), unless EasyAuth is on: then
// the platform may have added it, except to a WebSocket's handshake.
func (s *Server) bearerToken(c echo.Context) (string, error) {
	h := c.Request().Header
	if s.config.EasyAuth && !isHandshake(c.Request()) {
		if values := h[easyAuthHeader]; values != nil {
			return s.easyAuthToken(c, values)
		}
	}
	return door.BearerToken(h["Authorization"])
}
