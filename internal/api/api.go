// Package api has the routes of the public and the admin listener.
//
// Package door does what they have in common with the sidecar listener, and package
// problem says with which status an error is answered.
package api

import (
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/downstream"
	"middletier/internal/facade"
	"middletier/internal/forwarded"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
	"middletier/internal/webroot"
)

// Config holds what a Server needs. The keys in its errors are those of the server
// section.
type Config struct {
	// PublicURL is the URL that clients use. If it has no path, BasePath is added. If it
	// is empty, each request's own headers decide.
	PublicURL string
	// BasePath is a prefix of the path that the gateway does not remove.
	BasePath string
	// AllowedHosts are the host names and addresses by which clients may call, without
	// ports; *.example.com stands for every name below it. None, or "*": any.
	AllowedHosts []string
	// TrustedProxies are CIDRs of proxies whose forwarded headers are believed.
	TrustedProxies []string
	// MaxBodySize and MaxHeaderSize limit each request, in bytes.
	MaxBodySize, MaxHeaderSize int64
	// Rate limits how often each caller may call.
	Rate Rate
	// CORS lists the other origins whose pages may call.
	CORS CORS

	// EasyAuth takes the caller's token from the header that the built-in sign-in of App
	// Service and of Container Apps adds, if there is no Authorization.
	EasyAuth bool
	// ServerTiming adds the durations of a request's parts to its answer.
	ServerTiming bool

	// SignOutForgetsUser: a sign-out drops all tokens of the user, and not only those for the
	// caller's token and the APIs' scopes: other listeners trade it for more.
	SignOutForgetsUser bool

	// Authority is the URL of our tenant's authority, and ClientID is this service's
	// client ID. Claims challenges name both.
	Authority, ClientID string
	// IDURI is the App ID URI of this service, the prefix of its scopes in a token
	// request.
	IDURI string
	// Version is the version of the program.
	Version string

	// Sessions sign users in for pages that hold no token; nil: none do.
	Sessions *Sessions
	// Site serves the web root; nil: there is none, and browsers get to /docs from /.
	Site *webroot.Site

	Validator *validate.Validator
	Tokens    *obo.Cache
	APIs      map[string]API // by name
	Facade    *facade.Server // the authorization servers of APIs; nil: none has one
	Telemetry *telemetry.Telemetry
	Settings  []byte // the configuration in force as JSON, without secrets
	Profiling bool   // the admin listener answers /debug/pprof/
	Log       *slog.Logger
}

// API is one downstream API.
type API struct {
	Access *validate.Access
	// Client reaches the API. Without it, or without Scopes and AppScope, the API is not
	// known here: it is for the sidecar listener, which gives tokens for it.
	Client *downstream.Client
	// Scopes are requested on behalf of users, AppScope as an application. The latter is
	// requested in Tenant, or in our own tenant if that is empty.
	Scopes           []string
	AppScope, Tenant string
	// AppOnly: the API is not called on behalf of users.
	AppOnly bool
	// WebSockets lets callers open WebSockets to the API.
	WebSockets bool
	// Agent is the agent identity that calls the API in place of this application. A user
	// of its own calls it in place of applications, with Scopes.
	Agent obo.Agent
	// MCP is the API's endpoint of the Model Context Protocol; nil: none.
	MCP *MCP
}

// Check reports every mistake in the server section by its key.
func (c Config) Check(report func(key, problem string)) {
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			report("publicUrl", "must be an http or https URL without query and fragment")
		} else if !isPlainPath(strings.TrimSuffix(u.Path, "/")) {
			report("publicUrl", "must have a plain path or none")
		}
	}
	if strings.HasSuffix(c.BasePath, "/") || !isPlainPath(c.BasePath) {
		report("basePath", "must be a plain path that begins with a slash and does not end with one")
	}
	c.proxies(report)
	c.hosts(report)
	if c.MaxBodySize <= 0 {
		report("maxBodySize", "must be positive")
	}
	if c.MaxHeaderSize < 1<<10 || c.MaxHeaderSize > 16<<20 {
		report("maxHeaderSize", "must be between 1KiB and 16MiB")
	}
	c.Rate.check(func(key, problem string) { report("rateLimit."+key, problem) })
	c.CORS.check(func(key, problem string) { report("cors."+key, problem) })
}

// FixedURL returns PublicURL with BasePath, if that is to be added, and without a slash at
// its end; "" if there is no PublicURL.
func (c Config) FixedURL() string {
	fixed := strings.TrimSuffix(c.PublicURL, "/")
	if u, err := url.Parse(fixed); err == nil && u.Host != "" && strings.Trim(u.Path, "/") == "" {
		return fixed + c.BasePath
	}
	return fixed
}

// isServed reports whether requests can be forwarded to the API.
func (a API) isServed() bool { return a.Client != nil && len(a.Scopes)+len(a.AppScope) > 0 }

// proxies returns the trusted proxies, and reports every mistake in them.
func (c Config) proxies(report func(key, problem string)) *forwarded.Proxies {
	return forwarded.NewProxies(c.TrustedProxies, isPlainPath, func(key, problem string) { report("trustedProxies"+key, problem) })
}

// hosts returns the allowed hosts, and reports every mistake in them.
func (c Config) hosts(report func(key, problem string)) *door.AllowedHosts {
	return door.NewAllowedHosts(c.AllowedHosts, func(key, problem string) { report("allowedHosts"+key, problem) })
}

// isPlainPath reports whether path is empty or can be a part of a route.
func isPlainPath(path string) bool {
	parsed, err := downstream.ParsePath(path)
	return err == nil && parsed.Decoded() == path && !strings.ContainsAny(path, ":*")
}

// Server answers requests. Its zero value is not usable.
type Server struct {
	config         Config         // with the APIs that are served only
	apis           map[string]API // all of them
	proxies        *forwarded.Proxies
	refusedOrigins *refusedOrigins
	handler        http.Handler
	door           *door.Door

	openAPIDocument []byte // OpenAPI

	openSockets atomic.Int64 // WebSockets
}

// New returns a Server for c, whose Check must have passed.
func New(c Config) *Server {
	c.PublicURL = c.FixedURL()
	all := c.APIs
	c.APIs = maps.Clone(all)
	maps.DeleteFunc(c.APIs, func(_ string, a API) bool { return !a.isServed() })
	for name, api := range c.APIs {
		c.APIs[name] = api.withMCP()
	}
	s := &Server{ // checked before
		config: c, apis: all, proxies: c.proxies(func(string, string) {}), refusedOrigins: newRefusedOrigins(),
	}
	s.door = door.New(door.Config{
		MaxBodySize: c.MaxBodySize, MaxHeaderSize: c.MaxHeaderSize, ServerTiming: c.ServerTiming,
		TrustsPeer: s.proxies.TrustsPeer, BaseURL: s.baseURL, Fixed: c.PublicURL != "", RouteName: routeName,
		Challenge: func(p problem.Problem, r *http.Request, base string) string {
			return s.challenge(p, s.targetOf(r, base))
		},
		ExampleChallenge: func(p problem.Problem, base string) string {
			return s.challenge(p, target{resource: resource{base: base, api: "todo"}, scopes: problem.ExampleScopes})
		},
		Extend: s.extend, AllowsWebSocket: s.allowsWebSocket,
		Validator: c.Validator, Telemetry: c.Telemetry, Log: c.Log,
	})
	var early []echo.MiddlewareFunc
	if hosts := c.hosts(func(string, string) {}); !hosts.Any() { // before CORS: other hosts answer no preflight
		early = append(early, s.rejectOtherHosts(hosts))
	}
	if len(c.CORS.Origins) > 0 {
		early = append(early, s.newCORS())
	} else {
		early = append(early, s.logRefusedOrigins)
	}
	e := s.newEcho(early...)
	s.addRoutes(e)
	s.handler, s.openAPIDocument = e, s.buildOpenAPI()
	return s
}

// addRoutes adds the routes of the public listener.
func (s *Server) addRoutes(e *echo.Echo) {
	c, g := s.config, e.Group(s.config.BasePath)
	anyMethod := g.RouteNotFound // Any covers eleven methods only
	// Wrapped here: as Echo middleware it would be wrapped again for each request.
	rateLimit := func(next echo.HandlerFunc) echo.HandlerFunc { return next }
	if c.Rate.PerSecond > 0 {
		rateLimit = newQuotas(c.Rate).rateLimit
	}
	for _, route := range []route{userRoute, appRoute} {
		call := s.authenticate(s.bearerToken, s.accessOn(route), rateLimit(s.forward(route)))
		anyMethod(route.prefix+"*", checkHandshake(s.checkSocketOrigin, call))
	}
	if c.Sessions != nil {
		s.addSessionRoutes(g, rateLimit(s.forward(sessionRoute)))
	}
	g.POST("/signout", s.authenticate(s.bearerToken, noAccess, s.signout)) // without a rate limit: a sign-out must not fail for it
	s.addMetadata(e, g)
	c.Facade.AddRoutes(e, g, s.facadeListener())
	s.door.AddProblems(g)
	if c.Site != nil {
		s.addSite(g)
	} else {
		for _, path := range []string{"", "/"} {
			anyMethod(path, s.redirectToDocs)
		}
	}
	g.Match(door.GetAndHead, "/openapi.json", s.openAPI)
	g.Match(door.GetAndHead, "/docs", s.docs)
	g.Match(door.GetAndHead, "/docs/:version/:file", s.docsFile)
}

// newEcho returns what both listeners share: the middleware and error handling of all
// doors, and health.
func (s *Server) newEcho(early ...echo.MiddlewareFunc) *echo.Echo {
	e := s.door.NewEcho(early...)
	e.Match(door.GetAndHead, "/healthz", s.healthz)
	e.Match(door.GetAndHead, "/readyz", s.readyz)
	return e
}

// ServeHTTP answers a request of the public listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Admin returns the handler of the admin listener. Its /loglevel changes level.
func (s *Server) Admin(level *slog.LevelVar) http.Handler {
	e := s.newEcho(rejectForeignHost)
	s.door.AddProblems(e.Group(s.config.BasePath)) // without publicUrl, problem types link to the listener that was called
	s.addAdminRoutes(e, level)
	return e
}

// Drain makes the service not ready, so that load balancers send no new requests, and
// closes each connection after its current answer. Idle connections stay open: a client
// that is just sending a request on one would lose it.
func (s *Server) Drain() { s.door.Drain() }

// CloseWebSockets closes the WebSockets that are open, with code 1001.
func (s *Server) CloseWebSockets() { s.door.CloseWebSockets() }

// OpenWebSockets returns how many WebSockets are open.
func (s *Server) OpenWebSockets() int64 { return s.openSockets.Load() }

// InFlight returns how many requests are being answered, on both listeners.
func (s *Server) InFlight() int { return s.door.InFlight() }

// BehindLoadBalancer reports whether there seems to be a load balancer: within the last
// span it probed /readyz, or a trusted proxy sent a request.
func (s *Server) BehindLoadBalancer(span time.Duration) bool { return s.door.BehindLoadBalancer(span) }

// baseURL returns the URL by which the client of r reaches the service, without a slash
// at its end.
func (s *Server) baseURL(r *http.Request) string {
	if s.config.PublicURL != "" {
		return strings.TrimSuffix(s.config.PublicURL, "/")
	}
	client := s.proxies.Client(r).Complete(r)
	if client.Host == "" { // HTTP/1.0
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			client.Host = local.String()
		}
	}
	return (&url.URL{Scheme: client.Proto, Host: client.Host, Path: client.Prefix + s.config.BasePath}).String()
}

// routeName returns the label of an Echo route. The number of labels is bounded.
func routeName(path string) string {
	switch {
	case path == "":
		return "none"
	case strings.HasSuffix(path, "/api/*"), strings.HasSuffix(path, "/app/*"):
		return path[:len(path)-1] + "{name}/{path…}"
	case strings.HasSuffix(path, "/*"):
		return path[:len(path)-1] + "{path…}"
	case strings.Contains(path, "/:"):
		return parameter.ReplaceAllString(path, "/{$1}")
	}
	return path
}

var parameter = regexp.MustCompile(`/:(\w+)`)
