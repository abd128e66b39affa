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

	errTokenExpired   = &downstream.CloseError{Code: downstream.ClosePolicyViolation, Reason: "the access token has expired"}
	errTokenForgotten = &downstream.CloseError{Code: downstream.ClosePolicyViolation, Reason: "the user has signed out"}
)

// allowsWebSocket reports whether r is for an API that callers may open WebSockets to.
func (s *Server) allowsWebSocket(r *http.Request) bool {
	for _, route := range [...]route{userRoute, appRoute} {
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

// checkHandshake rejects requests for a WebSocket that cannot begin one, and those of pages of
// other origins: browsers ask for no permission before they open a WebSocket. What the
// Sec-WebSocket-… headers say is for the API (RFC 6455, section 4.2).
func (s *Server) checkHandshake(next echo.HandlerFunc) echo.HandlerFunc {
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
		if slices.ContainsFunc(r.Header["Origin"], func(origin string) bool { return !s.isAllowedOrigin(r, origin) }) {
			return errSocketOrigin
		}
		return next(c)
	}
}

// forwardWebSocket is the end of forward for a handshake. It returns when the WebSocket has
// ended.
func (s *Server) forwardWebSocket(c echo.Context, api API, route route, call downstream.Call) error {
	r, resp := c.Request(), c.Response()
	event := door.EventOf(r)
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	defer s.watch(event, api, route, end)()
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

// watch calls end with the reason, a *downstream.CloseError, when the caller of a request may
// no longer use what the request has opened: its token expires, or what was got for the token
// is dropped by a sign-out or an operator. stop ends the watch.
func (s *Server) watch(event *door.Event, api API, route route, end context.CancelCauseFunc) (stop func()) {
	expiry := time.AfterFunc(time.Until(event.Caller.Expires()), func() { end(errTokenExpired) })
	request := obo.Request{Agent: api.Agent, Tenant: api.Tenant, Scopes: []string{api.AppScope}}
	if !route.app {
		user := door.AssertionOf(event.Caller)
		request = obo.Request{User: &user, Agent: obo.Agent{ID: api.Agent.ID}, Scopes: api.Scopes}
	}
	forget := s.config.Tokens.OnForget(request, func() { end(errTokenForgotten) })
	return func() {
		expiry.Stop()
		forget()
	}
}
