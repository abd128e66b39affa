package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/downstream"
	"middletier/internal/failure"
	"middletier/internal/linger"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Event collects what the log line of a request says. Middleware and handlers fill it
// in. It is also the request's context, so a lookup needs no search and storing it needs
// no extra allocation.
type Event struct {
	context.Context
	ID            string // request id
	TraceID       string
	Start         time.Time
	Caller        *validate.Caller // nil: no token was validated
	InSession     bool             // the request is one of a session, which brings the caller's token
	ForgottenUser User             // the user whose tokens an operator dropped
	API           string           // its name; "" for none
	Route         string           // the label of the route; "": that of the router
	Agent         string           // client ID of the agent identity that a token was for; "" for none
	TokenClient   string           // client ID of the program on another machine that asked for the token; "" for none
	Source        obo.TokenOrigin
	Trial         *obo.Trial // nil: the token is not on trial
	Problem       string
	Failure       error
	AnswerErr     error   // it cut the API's answer short
	Timing        *Timing // nil if Server-Timing is off

	Forwarded bool // downstream.Client.Forward was called: it prepares early replies itself

	Upload *downstream.Upload // nil for none

	Handshake time.Duration // how long it took to open a WebSocket; 0: none was opened

	// Each would be an allocation of its own.
	ids     [1]string    // ID, as the value of the header
	request http.Request // the one whose context this is
}

// User is a user of a tenant, by GUIDs.
type User struct{ Tenant, ObjectID string }

type eventKey struct{}

// Value returns the event for its own key, the request id as the correlation id of token
// exchanges, and the server context's value for other keys.
func (e *Event) Value(key any) any {
	switch key {
	case eventKey{}:
		return e
	case obo.CorrelationID{}:
		return e.ID
	}
	return e.Context.Value(key)
}

// EventOf returns the event of a request. Every route has one.
func EventOf(r *http.Request) *Event { return r.Context().Value(eventKey{}).(*Event) }

// ErrShutdown is the cause with which a request's context is canceled if the service
// stops first.
var ErrShutdown error = shutdownError{}

type shutdownError struct{}

func (shutdownError) Error() string { return "the service stopped before the end of the answer" }

// Is makes it a cancellation, which is never answered.
func (shutdownError) Is(target error) bool { return target == context.Canceled }

// observe gives a request its ID, answers errors and panics, and logs the request once.
// It is the outermost middleware, so the log line has the errors of all others. Echo wraps
// the route anew for each request. So all others are wrapped once, as inner, which asks
// Echo for the route.
func (d *Door) observe(inner echo.HandlerFunc) echo.MiddlewareFunc {
	observed := func(c echo.Context) error { return d.answer(c, inner) }
	return func(echo.HandlerFunc) echo.HandlerFunc { return observed }
}

// callRoute is what inner calls at last: what the router found.
func callRoute(c echo.Context) error { return c.Handler()(c) }

// answer is observe for one request.
func (d *Door) answer(c echo.Context, inner echo.HandlerFunc) error {
	r := c.Request()
	if r.ProtoMajor == 2 { // first, so that error answers have the deadline too
		writer := stallWriter{c.Response().Writer}
		c.Response().Writer = writer
		defer writer.end()
	}
	ev := &Event{ID: requestID(r), Start: time.Now()}
	d.load.begin(d.config.TrustsPeer(r), ev.Start)
	defer d.load.end()
	ev.Context, ev.TraceID = d.config.Telemetry.Begin(r)
	ev.request = *r.WithContext(ev)
	r = &ev.request
	c.SetRequest(r)
	if r.ContentLength != 0 {
		ev.Upload = downstream.NewUpload(c.Response(), r, d.config.MaxBodySize)
		r.Body = ev.Upload
	}
	ev.ids[0] = ev.ID
	c.Response().Header()["X-Request-Id"] = ev.ids[:]
	if d.config.ServerTiming {
		ev.Timing = &Timing{}
		c.Response().Before(func() {
			if value := ev.Timing.header(ev.Source); value != "" {
				c.Response().Header().Add("Server-Timing", value) // Add: the API may have sent one
			}
		})
	}
	defer func() { d.conclude(c, ev, recover()) }()
	if ev.Failure = inner(c); ev.Failure != nil {
		d.handleError(ev.Failure, c)
	}
	return nil
}

// conclude answers a panic, logs the request, and reads the rest of its body. If the
// answer cannot be completed, it panics, so that the connection is closed.
func (d *Door) conclude(c echo.Context, ev *Event, panicked any) {
	switch {
	case panicked == http.ErrAbortHandler && ev.Failure != nil: // the handler knows why
	case panicked == http.ErrAbortHandler && ev.AnswerErr != nil:
		ev.Failure = fmt.Errorf("the API's answer was cut short: %w", ev.AnswerErr)
	case panicked == http.ErrAbortHandler:
		ev.Failure = errors.New("the caller left before the end of the answer")
	case panicked != nil:
		// Not wrapped: problem.For must not find a known error in a panic.
		ev.Failure = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		d.handleError(ev.Failure, c)
	}
	abandoned := c.Response().Status == problem.StatusClientClosed && !c.Response().Committed
	aborted := abandoned || panicked == http.ErrAbortHandler
	if aborted && ev.AnswerErr == nil && errors.Is(context.Cause(ev.Context), ErrShutdown) {
		ev.Failure = ErrShutdown // in place of the error that the cancellation caused
	}
	d.finish(c, ev)
	// net/http closes the connection. Without the panic it would send 200.
	if aborted {
		panic(http.ErrAbortHandler)
	}
	readRest(c, ev.Upload)
}

// readRest reads what a caller still sends, so that the caller can read its answer. It
// runs after the log line, so its time is not part of the latency. On HTTP/2, an answer
// with trailers or to gRPC ends the stream at once.
func readRest(c echo.Context, upload *downstream.Upload) {
	switch r := c.Request(); {
	case upload == nil || upload.IsComplete():
	case r.ProtoMajor == 1:
		linger.AtClose(r.Context())
	case c.Response().Committed && !isGRPC(r) && !hasTrailers(c.Response().Header()):
		linger.Stream(r.Context(), c.Response().Writer, upload.Rest())
	}
}

// hasTrailers reports whether an answer with these headers has trailers.
func hasTrailers(h http.Header) bool {
	for name := range h {
		if name == "Trailer" || strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// requestID returns the caller's X-Request-ID if it is well formed, otherwise a new one.
// It is used for logs only.
func requestID(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) == 1 && isRequestID(ids[0]) {
		return ids[0]
	}
	return newRequestID()
}

// newRequestID returns 26 random characters, as crypto/rand.Text does. They are no secret,
// so the runtime's own generator (ChaCha8) will do, which is faster.
func newRequestID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // base32 (RFC 4648, section 6)
	var id [26]byte
	var bits uint64
	for i := range id {
		if i%12 == 0 { // 12 characters take 60 of 64 bits
			bits = rand.Uint64()
		}
		id[i] = alphabet[bits%32]
		bits /= 32
	}
	return string(id[:])
}

// isRequestID reports whether id is well formed: it follows the rules of an error code.
func isRequestID(id string) bool { return failure.Code(id) != "" }

// finish measures the request, ends its span and writes its log line.
func (d *Door) finish(c echo.Context, ev *Event) {
	r := c.Request()
	if ev.Route == "" {
		ev.Route = d.config.RouteName(c.Path())
	}
	done := telemetry.Request{
		Method: r.Method, Route: ev.Route, Scheme: "http",
		Status: c.Response().Status, API: ev.API, Problem: ev.Problem,
	}
	if r.TLS != nil {
		done.Scheme = "https"
	}
	done.Failed = ev.AnswerErr != nil || ev.outcome(done.Status) >= 500
	if ev.AnswerErr != nil {
		done.Problem = "downstream-broke-off" // too late for a problem document
	}
	now := time.Now()
	took := now.Sub(ev.Start)
	measured := took
	if ev.Handshake > 0 { // hours would be no latency
		measured = ev.Handshake
	}
	d.config.Telemetry.End(ev.Context, done, measured, ev.ID)
	d.logRequest(c, ev, done.Route, now, took)
}

// outcome returns the status of the problem, or without one the status of the answer.
// The two differ for gRPC, which gets 200 for every problem.
func (e *Event) outcome(status int) int {
	if e.Problem == "" {
		return status
	}
	return problem.Types[e.Problem].Status
}

// logRequest writes the log line. It holds no token and no secret: the errors of the
// packages below hold none.
func (d *Door) logRequest(c echo.Context, ev *Event, route string, now time.Time, took time.Duration) {
	status := c.Response().Status
	level := logLevel(route, ev.outcome(status), ev)
	r := c.Request()
	if !d.config.Log.Enabled(r.Context(), level) {
		return
	}
	line := telemetry.NewLine(d.config.Log, now, level, "request")
	line.Text("method", truncate(r.Method, maxField))
	line.Text("route", route)
	line.Int("status", int64(status))
	line.Millis("latencyMs", took)
	line.Int("bytes", c.Response().Size)
	line.Text("requestId", ev.ID)
	line.OptionalText("api", ev.API)
	line.OptionalText("agent", ev.Agent)
	line.OptionalText("tokenClient", ev.TokenClient)
	line.OptionalText("tokenSource", string(ev.Source))
	line.OptionalText("problem", ev.Problem)
	line.OptionalText("traceId", ev.TraceID)
	if ev.Caller != nil {
		line.Text("tenant", truncate(ev.Caller.TenantID(), maxField))
		line.Text("client", truncate(ev.Caller.ClientID(), maxField))
		line.Text("oid", truncate(ev.Caller.ObjectID(), maxField))
		line.OptionalText("xms_par_app_azp", ev.Caller.ParentClientID())
	}
	if ev.ForgottenUser.ObjectID != "" {
		line.Text("tenant", ev.ForgottenUser.Tenant)
		line.Text("oid", ev.ForgottenUser.ObjectID)
	}
	if ev.Failure != nil {
		line.Text("error", truncate(ev.Failure.Error(), maxErrorField))
	}
	line.Write(r.Context())
}

// The caller's text must not make a line long: the log queue has a limit in bytes, and
// drops lines when it is full. An error may hold the stack of a panic.
const (
	maxField      = 128
	maxErrorField = 8 << 10
)

// truncate returns the beginning of s, at most limit bytes.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// logLevel is error for a fault of this service, the provider or an API, and debug for
// probes and scrapes that succeed. A service that is not ready is no fault: every start
// and every stop has such a time.
func logLevel(path string, status int, ev *Event) slog.Level {
	switch {
	case ev.AnswerErr != nil, ev.Failure == ErrShutdown:
		return slog.LevelWarn
	case path == "/readyz" && status == http.StatusServiceUnavailable:
		return slog.LevelInfo
	case status >= 500 && status != http.StatusNotImplemented:
		return slog.LevelError
	case status == http.StatusOK && (path == "/healthz" || path == "/readyz" || path == "/metrics"):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
