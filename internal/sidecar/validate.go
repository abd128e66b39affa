package sidecar

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
	"middletier/internal/validate"
)

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
	return respond(c, func(body []byte) ([]byte, error) { return appendValidation(body, caller.Token()) })
}

// appendValidation appends the answer of /Validate: protocol, token and claims. It is written
// by hand, since package json would read the claims once more, and the token to escape it: a
// JWT has letters, digits, hyphens, underscores and dots (RFC 7515, section 3.1).
func appendValidation(body []byte, token string) ([]byte, error) {
	payload := payloadOf(token)
	body = slices.Grow(body, len(token)+base64.RawURLEncoding.DecodedLen(len(payload))+64)
	body = append(body, `{"protocol":"Bearer","token":"`...)
	body = append(body, token...)
	body = append(body, `","claims":`...)
	body, err := base64.RawURLEncoding.AppendDecode(body, []byte(payload))
	return append(body, "}\n"...), err // no error: the token was checked
}

// payloadOf returns the encoded claims of a JWT (RFC 7515, section 3.1).
func payloadOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	return payload
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
