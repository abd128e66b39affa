package api

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// addAdminRoutes adds the routes for operators. They need no token: a client that can reach
// the admin listener counts as an operator.
func (s *Server) addAdminRoutes(e *echo.Echo, level *slog.LevelVar) {
	e.GET("/metrics", echo.WrapHandler(s.config.Telemetry.Handler()))
	e.Match(door.GetAndHead, "/config", s.settings, rejectCrossSite)
	e.Match([]string{http.MethodGet, http.MethodPut}, "/loglevel", logLevelHandler(level), rejectCrossSite)
	e.DELETE("/cache", s.forgetAll, rejectCrossSite)
	e.DELETE("/cache/users/:tid/:oid", s.forgetUser, rejectCrossSite)
	if !s.config.Profiling {
		return
	}
	for path, handler := range map[string]http.HandlerFunc{
		"*": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		e.GET("/debug/pprof/"+path, echo.WrapHandler(handler), rejectCrossSite)
	}
}

var (
	errWebPage = problem.New("invalid-request",
		"The admin listener does not serve web pages: call it by its address or as localhost, and not from another site.")
	errNoUser = problem.New("invalid-request",
		"The path must be /cache/users/{tid}/{oid}, with the GUIDs of a tenant and of a user object.")
)

// rejectForeignHost rejects DNS rebinding: a web page can let its own name resolve to
// this machine, and the browser then takes the answer for the page's own. On loopback,
// operators use no name other than localhost. Requests with an address or without a Host
// pass on every route, so probes pass.
func rejectForeignHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if r := c.Request(); r.Host != "" && onLoopback(r) && !isLocal(r.Host) {
			return errWebPage
		}
		return next(c)
	}
}

// rejectCrossSite rejects requests that the browser of an operator sends for a page of
// another site. Scrapes and probes have no such check: a page of another origin cannot
// read the answer.
func rejectCrossSite(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		site := r.Header.Get("Sec-Fetch-Site")
		if r.Header["Origin"] != nil || site != "" && site != "none" && site != "same-origin" {
			return errWebPage
		}
		return next(c)
	}
}

// onLoopback reports whether r came in over the machine's loopback.
func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// isLocal reports whether a Host header is an address or localhost. DNS cannot redirect
// those.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// settings answers with the configuration in force, without its secrets.
func (s *Server) settings(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSONBlob(http.StatusOK, s.config.Settings)
}

// forgetAll drops every cached token, in memory and in Redis, and ends every session.
func (s *Server) forgetAll(c echo.Context) error {
	ctx := c.Request().Context()
	err := s.config.Tokens.ForgetAll(ctx)
	if s.config.Sessions != nil { // they may be in another store than long-running ones
		err = cmp.Or(err, s.config.Sessions.EndAll(ctx))
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// forgetUser drops every cached token of a user: in memory, in Redis, and in the memory
// of the replicas that share it. All sessions of the user end.
func (s *Server) forgetUser(c echo.Context) error {
	tenant, oid := c.Param("tid"), c.Param("oid")
	if !validate.IsGUID(tenant) || !validate.IsGUID(oid) {
		return errNoUser // a user name matches no entry, and its tokens would stay cached
	}
	door.EventOf(c.Request()).ForgottenUser = door.User{Tenant: tenant, ObjectID: oid}
	ctx := c.Request().Context()
	var err error
	if s.config.Sessions != nil { // first: one that goes on would fetch tokens again
		err = s.config.Sessions.EndUser(ctx, tenant, oid)
	}
	if err := cmp.Or(err, s.config.Tokens.ForgetUser(ctx, tenant, oid)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
