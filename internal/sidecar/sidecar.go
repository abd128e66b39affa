// Package sidecar answers the HTTP interface of Microsoft's sidecar container (Microsoft
// Entra SDK for AgentID), for an application on the same machine or in the same pod.
//
// The caller is the application itself, so access rules do not apply: a caller that may
// reach the listener may use every API that is configured. Users' tokens are validated as
// on the public listener. The token endpoint also serves clients on other machines, which
// authenticate there (TokenClient).
package sidecar

import (
	"cmp"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"middletier/internal/door"
	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Config holds what a Server needs. The keys in its errors are those of the sidecar
// section.
type Config struct {
	// AllowedCallers are CIDRs of the callers; AllowedHosts the names in Host beside
	// localhost, 127.0.0.1 and [::1].
	AllowedCallers, AllowedHosts []string
	// Scopes are those of which a user's token needs one on /Validate; none: it needs none.
	Scopes []string
	// Overrides says on which routes a query may change options.
	Overrides Gates
	// TokenClients may use POST /oauth2/token from any address.
	TokenClients []TokenClient

	// MaxBodySize and MaxHeaderSize limit each request, in bytes.
	MaxBodySize, MaxHeaderSize int64
	// ProblemURL is the URL of the listener that explains problem types, without a slash
	// at its end; "": this one.
	ProblemURL string
	// Authority is the URL of our tenant's authority, and ClientID is this service's
	// client ID. Claims challenges name both.
	Authority, ClientID string
	// IDURI is the App ID URI of this service, the prefix of its scopes in a token
	// request.
	IDURI string
	// RoleFreeClients are the applications whose tokens need no roles on this listener
	// (azureAd.allowWebApiToBeAuthorizedByACL).
	RoleFreeClients []string

	Validator *validate.Validator
	Tokens    *obo.Cache
	APIs      map[string]API // by name, in lower case
	Telemetry *telemetry.Telemetry
	Log       *slog.Logger
}

// Gates say on which routes overrides, agents and session keys count.
type Gates struct {
	AuthorizationHeader, AuthorizationHeaderUnauthenticated bool
	DownstreamAPI, DownstreamAPIUnauthenticated             bool
}

// TokenClient is another machine's program that may exchange users' tokens.
type TokenClient struct {
	ClientID         string
	ClientSecretFile string
	APIs             []string // by name, in lower case
}

// API is one downstream API with its defaults for this listener.
type API struct {
	Name   string // as configured
	Client *downstream.Client
	// Scopes are requested on behalf of users, AppScope as an application, in Tenant or in
	// our own tenant if that is empty. Any of them may be missing here.
	Scopes           []string
	AppScope, Tenant string
	// AppScopes: AppScope was configured by itself, so that the API may be called as the
	// application without being asked.
	AppScopes bool
	// RequestAppToken: the API is called as the application, whoever the caller is.
	RequestAppToken bool
	// Agent is the agent identity as which the API is called; the zero value: none.
	Agent obo.Agent
	// BaseURL is another name of the API in a token exchange; "": none.
	BaseURL string

	RelativePath, HTTPMethod, AcceptHeader, ContentType string
	ExtraHeader, ExtraQuery                             map[string]string

	// RelativePath, parsed; not for an API without Client.
	path  downstream.Path
	query string
}

// Check reports every mistake in the sidecar section by its key.
func (c Config) Check(report func(key, problem string)) {
	c.callers(report)
	c.access(report)
}

// callers returns who may call, and reports every mistake in that.
func (c Config) callers(report func(key, problem string)) *callers {
	hosts := append(slices.Clone(c.AllowedHosts), "localhost", "127.0.0.1", "::1")
	return &callers{
		networks: newNetworks(c.AllowedCallers, func(key, problem string) { report("allowedCallers"+key, problem) }),
		hosts:    door.NewAllowedHosts(hosts, func(key, problem string) { report("allowedHosts"+key, problem) }),
	}
}

// access returns the rule of /Validate, nil for none, and reports every mistake in it.
func (c Config) access(report func(key, problem string)) *validate.Access {
	if len(c.Scopes) == 0 {
		return nil
	}
	return validate.NewAccess([]validate.Rule{{Scopes: c.Scopes}}, func(key, problem string) {
		report(strings.TrimPrefix(key, "[0]."), problem)
	})
}

// Server answers requests of the sidecar listener.
type Server struct {
	config  Config
	door    *door.Door
	handler http.Handler
	callers *callers
	table   []route
	plain   map[string]plainOptions // by name in lower case

	scopes   *validate.Access // of /Validate; nil: none are needed
	roleFree *validate.Access // names the clients that need no roles; nil: none
}

// New returns a Server for c, whose Check must have passed.
func New(c Config) *Server {
	checked := func(string, string) {}
	c.APIs = withPaths(c.APIs)
	s := &Server{config: c, callers: c.callers(checked), scopes: c.access(checked), plain: newPlainOptions(c.APIs)}
	if len(c.RoleFreeClients) > 0 {
		s.roleFree = validate.NewAccess([]validate.Rule{{Clients: c.RoleFreeClients}}, checked)
	}
	s.door = door.New(door.Config{
		MaxBodySize: c.MaxBodySize, MaxHeaderSize: c.MaxHeaderSize,
		TrustsPeer: func(*http.Request) bool { return false }, // forwarded headers are never believed
		BaseURL:    s.problemURL, Fixed: c.ProblemURL != "",
		Challenge:        func(p problem.Problem, _ *http.Request, _ string) string { return s.challenge(p) },
		ExampleChallenge: func(p problem.Problem, _ string) string { return s.challenge(p) },
		Extend:           addClaims,
		RouteName:        routeName,
		Validator:        c.Validator, Telemetry: c.Telemetry, Log: c.Log,
	})
	s.table = s.routes()
	e := s.door.NewEcho(s.checkCaller)
	e.RouteNotFound("/*", s.dispatch) // as middleware it would be wrapped again for each request
	if c.ProblemURL == "" {
		s.door.AddProblems(e.Group(""))
	}
	s.handler = e
	return s
}

// withPaths returns apis with their relative paths parsed.
func withPaths(apis map[string]API) map[string]API {
	parsed := maps.Clone(apis)
	for name, api := range parsed {
		if api.Client != nil {
			api.path, api.query, _ = api.Client.ParseRelative(api.RelativePath) // Check has passed
			parsed[name] = api
		}
	}
	return parsed
}

// routeName returns the label of a route of Echo's: a problem's page, or no route.
func routeName(path string) string {
	if path == "" || path == "/*" {
		return "none"
	}
	return path
}

// ServeHTTP answers a request of the sidecar listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain closes each connection after its current answer.
func (s *Server) Drain() { s.door.Drain() }

// InFlight returns how many requests are being answered.
func (s *Server) InFlight() int { return s.door.InFlight() }

// problemURL returns the URL that problem types begin with.
func (s *Server) problemURL(r *http.Request) string {
	if s.config.ProblemURL != "" {
		return strings.TrimSuffix(s.config.ProblemURL, "/")
	}
	return "http://" + cmp.Or(r.Host, "localhost")
}
