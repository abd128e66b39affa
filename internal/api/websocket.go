package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"

	"middletier/internal/door"
	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
)

var (
	errHandshake = problem.New("invalid-request",
		"The request names the WebSocket protocol and is no handshake for it: a GET of HTTP/1.1 without a body.")
	errSocketOrigin = problem.New("cross-site-request",
		"The WebSocket is opened by a page of another origin, which the operators have not listed.")
	errSocketPage = problem.New("cross-site-request",
		"A WebSocket with a session is for pages of this service's own origin, and the request does not say that one opens it.")

	errTokenExpired   = &downstream.CloseError{Code: downstream.ClosePolicyViolation, Reason: "the access token has expired"}
	errTokenForgotten = &downstream.CloseError{Code: downstream.ClosePolicyViolation, Reason: "the user has signed out"}
	errSessionEnded   = &downstream.CloseError{Code: downstream.ClosePolicyViolation, Reason: "the session has ended"}
)

// allowsWebSocket reports whether r is for an API that callers may open WebSockets to.
func (s *Server) allowsWebSocket(r *http.Request) bool {
	for _, route := range [...]route{userRoute, appRoute, sessionRoute} {
		if route == sessionRoute && s.config.Sessions == nil {
			continue
		}
		name, _, err := splitTarget(door.RawPath(r), s.config.BasePath+route.prefix)
		if err == nil && s.config.APIs[name].WebSockets {
			return true
		}
	}
	return false
}

// isHandshake reports whether r asks for a WebSocket. Package door passes the header on only
// where that is allowed.
func isHandshake(r *http.Request) bool { return r.Header["Upgrade"] != nil }

// checkHandshake rejects requests for a WebSocket that cannot begin one, and those that
// checkOrigin does. What the Sec-WebSocket-… headers say is for the API (RFC 6455, section 4.2).
func checkHandshake(checkOrigin func(*http.Request) error, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if !isHandshake(r) {
			return next(c)
		}
		upgrade := r.Header["Upgrade"]
		if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.ContentLength != 0 ||
			len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") ||
			!httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade") {
			return errHandshake
		}
		if err := checkOrigin(r); err != nil {
			return err
		}
		return next(c)
	}
}

// checkSocketOrigin rejects WebSockets of pages of other origins: browsers ask for no permission
// before they open one.
func (s *Server) checkSocketOrigin(r *http.Request) error {
	if slices.ContainsFunc(r.Header["Origin"], func(origin string) bool { return !s.isAllowedOrigin(r, origin) }) {
		return errSocketOrigin
	}
	return nil
}

// checkSocketPage rejects WebSockets that no page of this origin opens. A browser cannot send the
// header of isOwnScript with one, but always says the page's origin (RFC 6455, section 4.1). The
// origins of server.cors are for pages with a token, not for cookies.
func (s *Server) checkSocketPage(r *http.Request) error {
	origins := r.Header["Origin"]
	otherSite := func(site string) bool { return site != "same-origin" }
	if len(origins) != 1 || !s.isOwnOrigin(r, origins[0]) || slices.ContainsFunc(r.Header["Sec-Fetch-Site"], otherSite) {
		return errSocketPage
	}
	return nil
}

// forwardWebSocket is the end of forward for a handshake. It returns when the WebSocket has
// ended.
func (s *Server) forwardWebSocket(c echo.Context, api API, route route, call downstream.Call) error {
	r, resp := c.Request(), c.Response()
	event := door.EventOf(r)
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	defer s.watch(r, api, route, end)()
	defer context.AfterFunc(s.door.WebSockets(), func() { end(downstream.GoingAway) })()
	opened := false
	call.WebSocket = &downstream.WebSocket{Context: ctx, Accepted: func() {
		opened = true
		s.openSockets.Add(1)
		resp.Status, resp.Committed = http.StatusSwitchingProtocols, true
		event.Handshake = time.Since(event.Start)
		passTrial(event)
	}}
	err := api.Client.Forward(resp, r, call)
	switch {
	case opened:
		s.openSockets.Add(-1)
		resp.Size = call.WebSocket.Sent
	case err == nil:
		passTrial(event)
	}
	return err
}

// watch calls end with the reason, a *downstream.CloseError, when the caller of r may no longer
// use what r has opened: its token expires, or a sign-out or an operator drops the token that it
// was traded for. On the route of sessions only the end of the session counts: its token is
// renewed. stop ends the watch.
func (s *Server) watch(r *http.Request, api API, route route, end context.CancelCauseFunc) (stop func()) {
	if route == sessionRoute {
		return s.config.Sessions.Watch(r, func() { end(errSessionEnded) })
	}
	caller := door.EventOf(r).Caller
	expiry := time.AfterFunc(time.Until(caller.Expires()), func() { end(errTokenExpired) })
	request := obo.Request{Agent: api.Agent, Tenant: api.Tenant, Scopes: []string{api.AppScope}}
	if !route.app {
		user := door.AssertionOf(caller)
		request = obo.Request{User: &user, Agent: obo.Agent{ID: api.Agent.ID}, Scopes: api.Scopes}
	}
	forget := s.config.Tokens.OnForget(request, func() { end(errTokenForgotten) })
	return func() {
		expiry.Stop()
		forget()
	}
}
