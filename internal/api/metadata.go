package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// resource is a protected resource in the sense of RFC 9728: the whole service, one API
// that users call, or an MCP endpoint.
type resource struct {
	base     string // the URL of the service, without a slash at its end
	api      string // "" for the whole service
	endpoint string // the path of the MCP endpoint below the API; "" for the API
	app      bool   // on the route for applications
}

// path returns the path of the resource below base.
func (r resource) path() string {
	if r.api == "" {
		return ""
	}
	route := userRoute
	if r.app {
		route = appRoute
	}
	return route.prefix + r.api + r.endpoint
}

// url returns the identifier of the resource: its URL, without a slash at its end.
func (r resource) url() string { return r.base + r.path() }

// metadataURL returns the URL of the resource's metadata.
func (r resource) metadataURL() string { return door.MetadataURL(r.url()) }

// metadata answers with the protected resource metadata (RFC 9728, section 2) of the
// service or of an API, from which clients learn where to request a token and with which
// scopes. Until the provider's metadata has been fetched, the answer is 503: a client
// takes a document without authorization_servers for complete, and may then look for
// the authorization server at this service.
func (s *Server) metadata(c echo.Context) error {
	described, err := s.describedResource(c.Request())
	if err != nil {
		return err
	}
	issuer, err := s.issuerOf(described)
	if err != nil {
		return err
	}
	s.door.SetCacheableIfFixed(c)
	return door.RespondJSON(c, http.StatusOK, resourceMetadata{described.url(), []string{issuer}, s.fullScopes(described), []string{"header"}})
}

// resourceMetadata is a metadata document. An empty list must be left out (RFC 9728,
// section 3.2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Methods              []string `json:"bearer_methods_supported"`
}

// describedResource returns the resource whose metadata r asks for. A gateway must send
// such requests here. It may leave the path of the service's URL on them or remove it.
func (s *Server) describedResource(r *http.Request) (resource, error) {
	path := strings.TrimSuffix(door.RawPath(r), "/")
	described := resource{base: s.baseURL(r)}
	result := error(echo.ErrNotFound)
	for _, start := range []string{
		door.MetadataPath + escapePath(door.URLPath(described.base)),
		door.MetadataPath + s.config.BasePath,
		s.config.BasePath + door.MetadataPath,
		door.MetadataPath,
	} {
		rest, ok := strings.CutPrefix(path, start)
		if rest == "" && ok && (start != door.MetadataPath || s.config.BasePath == "") {
			return described, nil
		}
		for _, route := range []route{userRoute, appRoute} {
			name, below, err := splitTarget(rest, route.prefix)
			if !ok || err != nil || name == "" {
				continue
			}
			api, known := s.config.APIs[name]
			switch isEndpoint := known && api.isEndpoint(below); {
			case isEndpoint, known && below == "" && !route.app:
				described.api, described.endpoint, described.app = name, below, route.app
				return described, nil
			case below == "" && !route.app:
				result = problem.ErrUnknownAPI
			}
		}
	}
	return resource{}, result
}

// escapePath returns a path as clients send it.
func escapePath(path string) string {
	if u, err := url.Parse(path); err == nil {
		return u.EscapedPath()
	}
	return path
}

// fullScopes returns the scopes that the access rules of a resource mention, and those for
// tools, in full and sorted. offline_access is the client's own matter: the service needs
// no refresh token. An application requests all that it was given.
func (s *Server) fullScopes(of resource) []string {
	idURI := s.idURI(of)
	if of.app {
		return []string{fullScope(idURI, ".default")}
	}
	var scopes []string
	for name, api := range s.config.APIs {
		if of.api != "" && of.api != name {
			continue
		}
		for _, scope := range api.scopes() {
			if scope != "offline_access" {
				scopes = append(scopes, fullScope(idURI, scope))
			}
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// idURI returns what scopes begin with in challenges and metadata of a resource.
func (s *Server) idURI(of resource) string {
	if of.endpoint != "" {
		return cmp.Or(s.config.APIs[of.api].MCP.IDURI, s.config.IDURI)
	}
	return s.config.IDURI
}

// addMetadata adds the metadata's routes.
func (s *Server) addMetadata(e *echo.Echo, g *echo.Group) {
	for _, path := range []string{door.MetadataPath, door.MetadataPath + "/*"} {
		g.Match(door.GetAndHead, path, s.metadata)
		if s.config.BasePath != "" {
			e.Match(door.GetAndHead, path, s.metadata)
		}
	}
}

// isMetadata reports whether r asks for metadata.
func (s *Server) isMetadata(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, door.MetadataPath) ||
		s.config.BasePath != "" && strings.HasPrefix(r.URL.Path, s.config.BasePath+door.MetadataPath)
}

// anyOrigin is the header that lets every page read an answer.
var anyOrigin = []string{"*"}

// openMethods returns the methods with which pages of every origin may make r, or nil if that
// is for server.cors to say.
func (s *Server) openMethods(r *http.Request) []string {
	if s.isMetadata(r) {
		return door.GetAndHead
	}
	return s.config.Facade.OpenMethods(r.URL.Path)
}

// answerAnyOrigin lets pages of every origin read metadata, and answers their
// preflights. Browser clients that have yet to find out where to sign in must read it
// (RFC 9728, section 3.1), and it is public. methods are those that the path has.
func (s *Server) answerAnyOrigin(c echo.Context, next echo.HandlerFunc, methods []string) error {
	r, h := c.Request(), c.Response().Header()
	h["Access-Control-Allow-Origin"] = anyOrigin
	if !isPreflight(r) {
		h["Access-Control-Expose-Headers"] = anyOrigin
		return next(c)
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", "*, Authorization") // the wildcard does not cover it
	h.Set("Access-Control-Max-Age", door.Seconds(door.DescriptionMaxAge))
	return c.NoContent(http.StatusNoContent)
}
