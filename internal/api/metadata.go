package api

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
)

const metadataPath = "/.well-known/oauth-protected-resource"

// metadata answers with the protected resource metadata (RFC 9728, section 2),
// so that clients find out where to get a token and with what scopes.
func (s *Server) metadata(c echo.Context) error {
	scopes := []string{}
	for _, api := range s.config.APIs {
		scopes = append(scopes, api.Access.Scopes()...)
	}
	slices.Sort(scopes)
	return c.JSON(http.StatusOK, struct {
		Resource             string   `json:"resource"`
		AuthorizationServers []string `json:"authorization_servers"`
		Scopes               []string `json:"scopes_supported"`
		Methods              []string `json:"bearer_methods_supported"`
	}{s.baseURL(c.Request()), []string{s.config.Authority + "/v2.0"}, slices.Compact(scopes), []string{"header"}})
}
