package api

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"

	"middletier/internal/door"
)

// CORS lists the web pages of other origins that may call the service from a browser;
// without Origins, none. Its keys are those of server.cors.
type CORS struct {
	Origins []string
	// RequestHeaders may be sent, and ResponseHeaders read, by pages, in addition to
	// those that the service itself uses.
	RequestHeaders, ResponseHeaders []string
	// MaxAge is how long a browser may cache the answer to a preflight.
	MaxAge time.Duration
}

var (
	// requestHeaders may be sent by every page. Authorization must be named: no wildcard
	// covers it (Fetch Standard, section 4.10).
	requestHeaders = []string{"Authorization", "Content-Type", "Traceparent", "Tracestate", "X-Request-ID"}

	// responseHeaders may be read by every page. Without them a page could neither
	// answer a challenge nor report an error.
	responseHeaders = []string{"WWW-Authenticate", "X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy"}
)

// serializedOrigin matches an origin in the form that browsers send (Fetch Standard,
// section 3.1). Origins are compared byte for byte.
var serializedOrigin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// maxCORSAge is longer than any browser caches a preflight.
const maxCORSAge = 24 * time.Hour

func (c CORS) check(report func(key, problem string)) {
	for i, origin := range c.Origins {
		key := fmt.Sprintf("allowedOrigins[%d]", i)
		switch {
		case origin == "null":
			report(key, `must not be null: any page in a sandboxed frame has that origin`)
		case strings.Contains(origin, "*"):
			report(key, "must name one origin: patterns are not supported")
		case !serializedOrigin.MatchString(origin) || hasDefaultPort(origin):
			report(key, "must be an origin as browsers send it, such as https://app.contoso.example: lower case, no path, no default port")
		}
	}
	for key, names := range map[string][]string{"allowedHeaders": c.RequestHeaders, "exposedHeaders": c.ResponseHeaders} {
		for i, name := range names {
			if name == "*" || !httpguts.ValidHeaderFieldName(name) {
				report(fmt.Sprintf("%s[%d]", key, i), "must be the name of one header")
			}
		}
	}
	if c.MaxAge < 0 || c.MaxAge > maxCORSAge || c.MaxAge%time.Second != 0 {
		report("maxAge", "must be whole seconds, at most 24h")
	}
}

// hasDefaultPort reports whether origin names the port that its scheme implies: browsers
// leave it out.
func hasDefaultPort(origin string) bool {
	return strings.HasPrefix(origin, "https:") && strings.HasSuffix(origin, ":443") ||
		strings.HasPrefix(origin, "http:") && strings.HasSuffix(origin, ":80")
}

// Warn reports origins whose pages can be modified on the network, under the keys of
// Check.
func (c CORS) Warn(report func(key, text string)) {
	for i, origin := range c.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" {
			continue
		}
		ip := net.ParseIP(u.Hostname())
		if u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost") || ip != nil && ip.IsLoopback() {
			continue
		}
		text := "a page that is loaded over http can be modified on the network, and could then take its user's token: " + origin
		report(fmt.Sprintf("allowedOrigins[%d]", i), text)
	}
}

// newCORS returns middleware that answers preflights and lets the listed origins read
// every answer, errors included. Credentials such as cookies are never allowed. All
// answers share the header slices here: code that appends to one must copy it.
func (s *Server) newCORS() echo.MiddlewareFunc {
	c := s.config.CORS
	allowedOrigins := map[string][]string{}
	for _, origin := range c.Origins {
		allowedOrigins[origin] = []string{origin}
	}
	vary := []string{"Origin"}
	exposedHeaders := []string{strings.Join(slices.Concat(responseHeaders, c.ResponseHeaders), ", ")}
	mcpExposedHeaders := []string{strings.Join(slices.Concat(responseHeaders, mcpResponseHeaders, c.ResponseHeaders), ", ")}
	allowedHeaders := strings.Join(slices.Concat(requestHeaders, c.RequestHeaders), ", ")
	mcpAllowedHeaders := strings.Join(slices.Concat(requestHeaders, mcpRequestHeaders, c.RequestHeaders), ", ")
	maxAge := door.Seconds(c.MaxAge)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r, h := c.Request(), c.Response().Header()
			if s.isSessionRequest(r) { // a session is for pages of this origin
				return next(c)
			}
			if methods := s.openMethods(r); methods != nil {
				return s.answerAnyOrigin(c, next, methods)
			}
			h["Vary"] = vary
			origin := r.Header.Get("Origin")
			allowOrigin := allowedOrigins[origin]
			switch {
			case allowOrigin != nil:
				h["Access-Control-Allow-Origin"] = allowOrigin
				h["Access-Control-Expose-Headers"] = exposedHeaders
				if _, ok := s.endpointAt(door.RawPath(r)); ok {
					h["Access-Control-Expose-Headers"] = mcpExposedHeaders
				}
				if s.config.ServerTiming {
					h["Timing-Allow-Origin"] = allowOrigin // Resource Timing, section 4.5.1
				}
			case origin != "":
				s.logRefusedOrigin(r, origin)
			}
			if !isPreflight(r) {
				return next(c)
			}
			h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
			if allowOrigin != nil {
				delete(h, "Access-Control-Expose-Headers") // has no meaning in a preflight
				if methods := s.preflightMethods(c); methods != "" {
					h.Set("Access-Control-Allow-Methods", methods)
				}
				h.Set("Access-Control-Allow-Headers", allowedHeaders)
				if _, ok := s.endpointAt(door.RawPath(r)); ok {
					h.Set("Access-Control-Allow-Headers", mcpAllowedHeaders)
				}
				h.Set("Access-Control-Max-Age", maxAge)
			}
			return c.NoContent(http.StatusNoContent)
		}
	}
}

// isPreflight reports whether r is a browser's question whether a page may make a
// request (Fetch Standard, section 4.8).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflightMethods returns the methods that are allowed at the path of a preflight:
// those of the API's access rules, or of the route. It returns "" for an unknown path.
func (s *Server) preflightMethods(c echo.Context) string {
	for _, route := range []route{userRoute, appRoute} {
		name, path, err := splitTarget(c.Request().URL.EscapedPath(), s.config.BasePath+route.prefix)
		if api, ok := s.config.APIs[name]; err == nil && ok {
			if target, err := api.Client.ParsePath(path); err == nil {
				path = target.Decoded()
			}
			return strings.Join(api.methodsAt(path), ", ")
		}
	}
	methods, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
	return methods
}
