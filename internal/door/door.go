// Package door is what every listener does with a request: it gives the request an id,
// limits, metrics and one line in the log, and answers its error with a problem document.
//
// The routes are those of packages api and sidecar. A handler finds the Event of its
// request with EventOf, fills it in, and returns an error. Nothing else writes an error,
// except for the endpoints of OAuth in packages sidecar and facade, whose errors are OAuth's.
package door

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"

	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Config holds what a Door needs.
type Config struct {
	// MaxBodySize and MaxHeaderSize limit each request, in bytes.
	MaxBodySize, MaxHeaderSize int64
	// ServerTiming adds the durations of a request's parts to its answer.
	ServerTiming bool
	// TrustsPeer reports whether a trusted proxy sent r.
	TrustsPeer func(r *http.Request) bool
	// BaseURL returns the URL that problem types begin with, without a slash at its end.
	// Fixed: it does not depend on the request.
	BaseURL func(r *http.Request) string
	Fixed   bool
	// Challenge returns the WWW-Authenticate header of a problem that answers r, or "".
	Challenge func(p problem.Problem, r *http.Request, base string) string
	// ExampleChallenge is Challenge for the example on a problem's page.
	ExampleChallenge func(p problem.Problem, base string) string
	// Extend adds what this listener alone has to the document that answers r; nil: nothing.
	Extend func(doc *problem.Document, p problem.Problem, r *http.Request)
	// AllowsWebSocket reports whether r may begin a WebSocket; nil: no request may. The handler
	// checks that it is a handshake.
	AllowsWebSocket func(r *http.Request) bool
	// RouteName returns the label of an Echo route. The number of labels must be bounded.
	RouteName func(path string) string

	Validator *validate.Validator
	Telemetry *telemetry.Telemetry
	Log       *slog.Logger
}

// Door observes the requests of listeners that share their limits.
type Door struct {
	config   Config
	draining atomic.Bool
	load     load

	sockets      context.Context // ends with CloseWebSockets
	closeSockets context.CancelFunc
}

// New returns a Door.
func New(c Config) *Door {
	d := &Door{config: c}
	d.sockets, d.closeSockets = context.WithCancel(context.Background())
	return d
}

// GetAndHead are the methods of routes that only read.
var GetAndHead = []string{http.MethodGet, http.MethodHead}

// NewEcho returns a router with the order of middleware and the error handling of every
// listener. Errors after early are answered with the headers that early has set.
func (d *Door) NewEcho(early ...echo.MiddlewareFunc) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = d.handleError
	inner := d.limitSize(callRoute)
	for _, middleware := range slices.Backward(early) {
		inner = middleware(inner)
	}
	e.Use(d.observe(inner))
	return e
}

// Drain has each connection closed after its current answer. Idle connections stay open: a
// client that is just sending a request on one would lose it.
func (d *Door) Drain() { d.draining.Store(true) }

// CloseWebSockets ends the context that WebSockets returns.
func (d *Door) CloseWebSockets() { d.closeSockets() }

// WebSockets returns the context in which WebSockets are open.
func (d *Door) WebSockets() context.Context { return d.sockets }

// Draining reports whether Drain was called.
func (d *Door) Draining() bool { return d.draining.Load() }

// limitSize rejects requests that are too large, methods that are not in upper case, and
// upgrades that are not allowed, before anything else looks at the request. A body of
// unknown length is limited while it is read.
func (d *Door) limitSize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if d.draining.Load() {
			c.Response().Header()["Connection"] = []string{"close"} // on HTTP/2, net/http sends GOAWAY instead
		}
		if headerSize(r) > d.config.MaxHeaderSize {
			return problem.ErrHeadersTooLarge
		}
		if !isMethod(r.Method) {
			return errMethod
		}
		switch upgrade := r.Header["Upgrade"]; {
		case len(upgrade) == 0:
		case !strings.Contains(strings.ToLower(upgrade[0]), "websocket"):
			r.Header.Del("Upgrade") // any other may be ignored (RFC 9110, section 7.8)
		case d.config.AllowsWebSocket == nil || !d.config.AllowsWebSocket(r):
			return problem.ErrUpgrade
		}
		if r.ContentLength > d.config.MaxBodySize {
			return problem.ErrBodyTooLarge
		}
		if upload := EventOf(r).Upload; upload != nil {
			upload.ShortenReadDeadline()
		}
		return next(c)
	}
}

// headerSize returns the size of a request's method, target and headers in HTTP/1.1, in
// bytes.
func headerSize(r *http.Request) int64 {
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return int64(size)
}

var errMethod = problem.New("invalid-request", "The method is not an HTTP method in upper case.")

// isMethod reports whether a method is valid and has no lower-case letter. Methods are
// case-sensitive (RFC 9110, section 9.1), but many frameworks convert them to upper case
// before they choose a handler. An access rule would take "delete" for a method other
// than DELETE, and the API would not. net/http checks the characters for HTTP/1.1 only.
func isMethod(method string) bool {
	for _, c := range []byte(method) {
		if 'a' <= c && c <= 'z' {
			return false
		}
	}
	return httpguts.ValidHeaderFieldName(method) // both are tokens
}
