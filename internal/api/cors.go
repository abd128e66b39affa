package api

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"
)

// CORS says which pages of other origins may call the service from a browser.
// Without Origins none may. Its keys are those of server.cors.
type CORS struct {
	Origins []string
	// RequestHeaders and ResponseHeaders are for pages to send and to read, beyond
	// those that the service itself knows.
	RequestHeaders, ResponseHeaders []string
	// MaxAge is how long a browser may remember what it may send.
	MaxAge time.Duration
}

var (
	// requestHeaders are for every page to send. Authorization must be named: no
	// wildcard covers it (Fetch Standard, section 4.10).
	requestHeaders = []string{"Authorization", "Content-Type", "Traceparent", "Tracestate", "X-Request-ID"}

	// responseHeaders are for every page to read. Without them a challenge cannot
	// be answered, and no error reported.
	responseHeaders = []string{"WWW-Authenticate", "X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy"}
)

// serializedOrigin is an origin as browsers write it (Fetch Standard, section
// 3.1). It is compared as it is.
var serializedOrigin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// maxCORSAge is beyond what any browser remembers.
const maxCORSAge = 24 * time.Hour

func (c CORS) check(report func(key, problem string)) {
	for i, origin := range c.Origins {
		key := fmt.Sprintf("allowedOrigins[%d]", i)
		switch {
		case origin == "null":
			report(key, `must not be null: any page can have that origin, from a sandboxed frame`)
		case strings.Contains(origin, "*"):
			report(key, "must name one origin: patterns would let in pages that are not known")
		case !serializedOrigin.MatchString(origin) || strings.HasPrefix(origin, "https:") && strings.HasSuffix(origin, ":443") || strings.HasPrefix(origin, "http:") && strings.HasSuffix(origin, ":80"):
			report(key, "must be an origin as browsers send it, as https://app.contoso.example: in lower case, without path and default port")
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

// Warn reports origins of pages that somebody on the way to the browser can change,
// by the keys of Check.
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
		report(fmt.Sprintf("allowedOrigins[%d]", i), fmt.Sprintf("a page that is loaded over http can be changed on its way, and then holds its user's token: %s", origin))
	}
}

// newCORS returns middleware that answers preflights and lets the listed origins
// read every answer, errors as well. Cookies and the like are never asked for.
// Lists of one are shared by all answers: whoever adds to them copies them.
func (s *Server) newCORS() echo.MiddlewareFunc {
	c := s.config.CORS
	allowedOrigins := map[string][]string{}
	for _, origin := range c.Origins {
		allowedOrigins[origin] = []string{origin}
	}
	vary := []string{"Origin"}
	exposedHeaders := []string{strings.Join(slices.Concat(responseHeaders, c.ResponseHeaders), ", ")}
	allowedHeaders := strings.Join(slices.Concat(requestHeaders, c.RequestHeaders), ", ")
	maxAge := strconv.Itoa(int(c.MaxAge / time.Second))
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r, h := c.Request(), c.Response().Header()
			h["Vary"] = vary
			origin := r.Header.Get("Origin")
			allowOrigin := allowedOrigins[origin]
			switch {
			case allowOrigin != nil:
				h["Access-Control-Allow-Origin"] = allowOrigin
				h["Access-Control-Expose-Headers"] = exposedHeaders
				if s.config.ServerTiming {
					h["Timing-Allow-Origin"] = allowOrigin // Resource Timing, section 4.5.1
				}
			case origin != "":
				s.logRefusedOrigin(r, origin)
			}
			if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" {
				return next(c)
			}
			h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
			if allowOrigin != nil {
				delete(h, "Access-Control-Expose-Headers") // means nothing here
				if methods := s.preflightMethods(c); methods != "" {
					h.Set("Access-Control-Allow-Methods", methods)
				}
				h.Set("Access-Control-Allow-Headers", allowedHeaders)
				h.Set("Access-Control-Max-Age", maxAge)
			}
			return c.NoContent(http.StatusNoContent)
		}
	}
}

// preflightMethods returns the methods of what a request without one of them asks for:
// of the API's access rules or of the route; "" where there is nothing.
func (s *Server) preflightMethods(c echo.Context) string {
	for _, route := range []route{userRoute, appRoute} {
		name, _, err := splitTarget(c.Request().URL.EscapedPath(), s.config.BasePath+route.prefix)
		if api, ok := s.config.APIs[name]; err == nil && ok {
			return strings.Join(api.Access.Methods(), ", ")
		}
	}
	methods, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
	return methods
}
