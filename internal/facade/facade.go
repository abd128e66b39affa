// Package facade is the authorization server that clients of a protected API meet where they
// cannot use the identity provider itself: because it does not say that it knows PKCE, does not
// register clients, or refuses the parameter resource.
//
// It is a thin one. It issues nothing and keeps nothing: it answers with metadata of its own, sends
// browsers on to the provider, and adds the credential of the one client that is configured to
// the requests at the token endpoint, which come from programs that have none. Since nobody
// authenticates to it, that credential is worth no more than what it lets through: two grants,
// redirect URIs of a list, scopes of this service, and tokens that this service accepts.
package facade

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Config describes the authorization server of one API. The keys in its errors are those of
// mcp.authorizationServer.
type Config struct {
	// ClientID is the client ID of the registration that all clients share.
	ClientID string
	// RedirectURIs are where the provider may send users: https URIs, which are compared exactly,
	// and http URIs of the loopback interface, whose port does not count.
	RedirectURIs []string
	// Scopes are the names of this service's scopes that clients may request. IDURI is what the
	// provider knows them by, and Aliases are other prefixes under which clients may request
	// them.
	Scopes  []string
	IDURI   string
	Aliases []string
	// Authority is the URL of our tenant's authority.
	Authority string
	// Relay redeems codes and refresh tokens as the client.
	Relay func(ctx context.Context, caller string, form url.Values) (obo.Relayed, error)
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	if strings.TrimSpace(c.ClientID) == "" {
		report("clientId", "must be set: it is the client that users sign in to")
	}
	newRedirectURIs(c.RedirectURIs, report)
}

// Listener is what the listener that serves the routes has for them.
type Listener struct {
	// BaseURL returns the URL of the service as the client of r knows it, without a slash at its
	// end. BasePath is the prefix of all routes.
	BaseURL  func(r *http.Request) string
	BasePath string
	// Address returns the address of the client of r.
	Address func(r *http.Request) netip.Addr
	// Validate decides whether a token is one of this service's.
	Validate func(event *door.Event, token string) (*validate.Caller, error)
	// SetCacheable says in an answer that describes the service how long it holds.
	SetCacheable func(c echo.Context)
	Telemetry    *telemetry.Telemetry
}

// Server is the authorization servers of all APIs that have one.
type Server struct {
	servers  map[string]*server // by the name of the API
	listener Listener
	limits   map[string]limit // by route
}

// server is the authorization server of an API.
type server struct {
	Config
	api       string
	redirects redirectURIs
	scopes    scopes
}

// New returns a Server for these APIs, by name, whose Check must have passed.
func New(apis map[string]Config) *Server {
	s := &Server{servers: map[string]*server{}, limits: map[string]limit{}}
	for name, c := range apis {
		s.servers[name] = &server{
			Config: c, api: name, redirects: newRedirectURIs(c.RedirectURIs, func(string, string) {}),
			scopes: newScopes(c.Scopes, c.IDURI, c.Aliases),
		}
	}
	return s
}

const (
	prefix = "/mcp/" // of the routes

	// metadataPath is the well-known path of metadata (RFC 8414, section 3).
	metadataPath = "/.well-known/oauth-authorization-server"
)

// The routes of an authorization server, below its issuer.
const (
	authorizePath = "/authorize"
	tokenPath     = "/token"
	registerPath  = "/register"
)

// AddRoutes adds the routes to e, and to g, which has the base path.
func (s *Server) AddRoutes(e *echo.Echo, g *echo.Group, l Listener) {
	if s == nil || len(s.servers) == 0 {
		return
	}
	s.listener = l
	for path, methods := range map[string][]string{
		authorizePath: door.GetAndHead, tokenPath: {http.MethodPost}, registerPath: {http.MethodPost},
	} {
		s.limits[path] = newLimit()
		g.Match(methods, prefix+":name"+path, s.answer(path))
	}
	path := metadataPath + "/*"
	g.Match(door.GetAndHead, path, s.metadata)
	if l.BasePath != "" {
		e.Match(door.GetAndHead, path, s.metadata)
	}
}

// answer returns the handler of a route.
func (s *Server) answer(path string) echo.HandlerFunc {
	answers := map[string]func(*server, echo.Context) error{
		authorizePath: s.authorize, tokenPath: s.token, registerPath: s.register,
	}
	return func(c echo.Context) error {
		as := s.servers[c.Param("name")]
		if as == nil {
			return echo.ErrNotFound
		}
		door.EventOf(c.Request()).API = as.api
		setPrivate(c.Response().Header())
		err := s.limits[path].take(s.listener.Address(c.Request()), c.Response().Header())
		if err == nil {
			return answers[path](as, c)
		}
		if path == authorizePath {
			return err
		}
		return s.refuse(c, err)
	}
}

// setPrivate keeps an answer out of caches, and its URL, which may hold a code or a login
// hint, from the page that is next.
func setPrivate(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
}

// Issuer returns the issuer of an API's authorization server, and whether it has one. base
// is the URL of the service.
func (s *Server) Issuer(base, api string) (issuer string, ok bool) {
	if s == nil || s.servers[api] == nil {
		return "", false
	}
	return issuerOf(base, api), true
}

func issuerOf(base, api string) string { return base + prefix + api }

// OpenMethods returns the methods with which pages of every origin may use a path: none, but
// for metadata and for what programs in browsers call.
func (s *Server) OpenMethods(path string) []string {
	if s == nil || len(s.servers) == 0 {
		return nil
	}
	below := strings.TrimPrefix(path, s.listener.BasePath)
	if strings.HasPrefix(path, metadataPath+"/") || strings.HasPrefix(below, metadataPath+"/") {
		return door.GetAndHead
	}
	name, ok := strings.CutPrefix(below, prefix)
	if !ok {
		return nil
	}
	name, route, _ := strings.Cut(name, "/")
	if s.servers[name] != nil && (route == tokenPath[1:] || route == registerPath[1:]) {
		return []string{http.MethodPost}
	}
	return nil
}

// document is a metadata document (RFC 8414, section 2; RFC 7636; RFC 7591). It does not
// promise iss in authorization responses (RFC 9207): a good one comes from the provider, which
// sends none.
type document struct {
	Issuer               string   `json:"issuer"`
	Authorization        string   `json:"authorization_endpoint"`
	Token                string   `json:"token_endpoint"`
	Registration         string   `json:"registration_endpoint"`
	Scopes               []string `json:"scopes_supported"`
	ResponseTypes        []string `json:"response_types_supported"`
	ResponseModes        []string `json:"response_modes_supported"`
	Grants               []string `json:"grant_types_supported"`
	AuthenticationMethod []string `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethods     []string `json:"code_challenge_methods_supported"`
}

// What every client can do.
var (
	responseTypes = []string{"code"}
	grantTypes    = []string{grantCode, grantRefresh}
)

// metadata answers with the metadata of an API's authorization server.
func (s *Server) metadata(c echo.Context) error {
	base := s.listener.BaseURL(c.Request())
	as := s.described(c.Request(), base)
	if as == nil {
		return echo.ErrNotFound
	}
	door.EventOf(c.Request()).API = as.api
	s.listener.SetCacheable(c)
	issuer := issuerOf(base, as.api)
	return door.RespondJSON(c, http.StatusOK, document{
		Issuer: issuer, Authorization: issuer + authorizePath, Token: issuer + tokenPath, Registration: issuer + registerPath,
		Scopes:        slices.Concat(as.scopes.full, openIDScopes),
		ResponseTypes: responseTypes, ResponseModes: []string{"query"}, Grants: grantTypes,
		AuthenticationMethod: []string{"none"}, ChallengeMethods: []string{challengeMethod},
	})
}

// described returns what r asks about, or nil. A gateway may leave the path of the service's
// URL on such requests or remove it.
func (s *Server) described(r *http.Request, base string) *server {
	path := strings.TrimSuffix(door.RawPath(r), "/")
	for _, start := range []string{
		metadataPath + (&url.URL{Path: door.URLPath(base)}).EscapedPath(),
		metadataPath + s.listener.BasePath,
		s.listener.BasePath + metadataPath,
		metadataPath,
	} {
		if name, ok := strings.CutPrefix(path, start+prefix); ok && s.servers[name] != nil {
			return s.servers[name]
		}
	}
	return nil
}
