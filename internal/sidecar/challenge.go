package sidecar

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// challenge returns the WWW-Authenticate header of a problem, or "". It leads to the
// metadata of the public listener, if there is one (RFC 9728, section 5.1).
func (s *Server) challenge(p problem.Problem) string {
	metadata := s.metadataParameter()
	switch p.Kind {
	case "missing-token":
		return fmt.Sprintf("Bearer realm=%q", s.config.ClientID) + metadata
	case "insufficient-scope":
		return p.Challenge + fmt.Sprintf(", scope=%q", s.config.IDURI+"/"+p.Scopes[0]) + metadata
	case "claims-challenge":
		return problem.ClaimsChallenge(s.config.Authority, s.config.ClientID, p.ProviderError.Claims, metadata)
	}
	if problem.Types[p.Kind].Status != http.StatusUnauthorized {
		return p.Challenge
	}
	return p.Challenge + metadata
}

// metadataParameter is the parameter of a challenge with the URL of this service's
// metadata, which the public listener has.
func (s *Server) metadataParameter() string {
	if s.config.ProblemURL == "" {
		return ""
	}
	return fmt.Sprintf(", resource_metadata=%q", door.MetadataURL(strings.TrimSuffix(s.config.ProblemURL, "/")))
}

// addClaims adds the claims that the provider asks for to the answer: the application is
// the one that has its user sign in again.
func addClaims(doc *problem.Document, p problem.Problem, r *http.Request) {
	hideKey(doc, r)
	if p.ProviderError != nil && doc.Status == http.StatusUnauthorized {
		doc.Claims = p.ProviderError.Claims
	}
}

// checkCaller is middleware that refuses callers other than the application. Probes may come
// from anywhere, and so may clients of the token endpoint, which authenticate there.
func (s *Server) checkCaller(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		err := s.callers.check(r)
		isClient := len(s.config.TokenClients) > 0 && isTokenRequest(r) && !isPage(r.Header)
		if err == nil || isHealth(r) || isClient {
			return next(c)
		}
		return err
	}
}
