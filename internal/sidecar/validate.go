package sidecar

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
	"middletier/internal/validate"
)

// validation is the body of /Validate.
type validation struct {
	Protocol string          `json:"protocol"`
	Token    string          `json:"token"`
	Claims   json.RawMessage `json:"claims"`
}

var errNoUserScope = problem.New("wrong-token-type",
	"The token has no user. This service accepts tokens of users with one of sidecar.scopes only.")

// validate answers with the claims of the caller's token, as the provider wrote them.
func (s *Server) validate(c echo.Context, _ string) error {
	caller, err := s.authenticate(c.Request())
	if err != nil {
		return err
	}
	if err := s.checkScopes(caller); err != nil {
		return err
	}
	_, rest, _ := strings.Cut(caller.Token(), ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil { // the token was checked
		return err
	}
	return respond(c, validation{"Bearer", caller.Token(), claims})
}

// checkScopes refuses callers without any of the scopes that are configured.
func (s *Server) checkScopes(caller *validate.Caller) error {
	switch {
	case s.scopes == nil:
		return nil
	case caller.IsApp():
		return errNoUserScope
	}
	return s.scopes.Check(caller, "GET", "/")
}
