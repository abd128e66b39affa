package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const metadataPath = "/.well-known/oauth-protected-resource"

// descriptionMaxAge is how long caches may store descriptions of the service. They
// change with a restart only.
const descriptionMaxAge = 5 * time.Minute

// derivedMetadataPath is where clients that know only our URL look for the metadata: the
// well-known path comes before the path of the resource (RFC 9728, section 3.1). A
// gateway must route it to this service.
func (s *Server) derivedMetadataPath() string {
	path := s.config.BasePath
	if s.config.PublicURL != "" {
		u, _ := url.Parse(s.config.PublicURL) // checked before
		path = strings.TrimSuffix(u.Path, "/")
	}
	return metadataPath + path
}

// metadata answers with the protected resource metadata (RFC 9728, section 2), from
// which clients learn where to request a token and with which scopes.
func (s *Server) metadata(c echo.Context) error {
	scopes := []string{}
	for _, api := range s.config.APIs {
		scopes = append(scopes, api.Access.Scopes()...)
	}
	slices.Sort(scopes)
	s.setCacheableIfFixed(c)
	return respondJSON(c, http.StatusOK, struct {
		Resource             string   `json:"resource"`
		AuthorizationServers []string `json:"authorization_servers"`
		Scopes               []string `json:"scopes_supported"`
		Methods              []string `json:"bearer_methods_supported"`
	}{s.baseURL(c.Request()), []string{s.config.Authority + "/v2.0"}, slices.Compact(scopes), []string{"header"}})
}
