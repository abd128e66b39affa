package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/downstream"
	"middletier/internal/failure"
	"middletier/internal/linger"
	"middletier/internal/obo"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// event collects what the log line of a request says. Middleware and handlers fill it
// in. It is also the request's context, so a lookup needs no search and storing it needs
// no extra allocation.
type event struct {
	context.Context
	id            string // request id
	traceID       string
	start         time.Time
	caller        *validate.Caller
	forgottenUser user // the user whose tokens an operator dropped
	api           string
	source        obo.TokenOrigin
	trial         *obo.Trial // nil: the token is not on trial
	problem       string
	err           error
	answerErr     error   // it cut the API's answer short
	timing        *timing // nil if Server-Timing is off

	forwarded bool // or the attempt has begun

	upload *downstream.Upload // nil for none
}

// user is a user of a tenant, by GUIDs.
type user struct{ tenant, oid string }

type eventKey struct{}

// Value returns the event for its own key, the request id as the correlation id of token
// exchanges, and the server context's value for other keys.
func (e *event) Value(key any) any {
	switch key {
	case eventKey{}:
		return e
	case obo.CorrelationID{}:
		return e.id
	}
	return e.Context.Value(key)
}

// eventOf returns the event of a request. Every route has one.
func eventOf(r *http.Request) *event { return r.Context().Value(eventKey{}).(*event) }

// ErrShutdown is the cause with which a request's context is canceled if the service
// stops first.
var ErrShutdown error = shutdownError{}

type shutdownError struct{}

func (shutdownError) Error() string { return "the service stopped before the end of the answer" }

// Is makes it a cancellation, which is never answered.
func (shutdownError) Is(target error) bool { return target == context.Canceled }

// observe gives a request its ID, answers errors and panics, and logs the request once.
// It is the outermost middleware, so the log line has the errors of all others.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ProtoMajor == 2 { // first, so that error answers have the deadline too
			writer := stallWriter{c.Response().Writer}
			c.Response().Writer = writer
			defer writer.end()
		}
		ev := &event{id: requestID(r), start: time.Now()}
		s.load.begin(s.proxies.TrustsPeer(r), ev.start)
		defer s.load.end()
		ev.Context, ev.traceID = s.config.Telemetry.Begin(r)
		r = r.WithContext(ev)
		c.SetRequest(r)
		if r.ContentLength != 0 {
			ev.upload = downstream.NewUpload(c.Response(), r, s.config.MaxBodySize)
			r.Body = ev.upload
		}
		c.Response().Header()["X-Request-Id"] = []string{ev.id}
		if s.config.ServerTiming {
			ev.timing = &timing{}
			c.Response().Before(func() {
				if value := ev.timing.header(ev.source); value != "" {
					c.Response().Header().Add("Server-Timing", value) // Add: the API may have sent one
				}
			})
		}
		defer func() { s.conclude(c, ev, recover()) }()
		if ev.err = next(c); ev.err != nil {
			s.handleError(ev.err, c)
		}
		return nil
	}
}

// conclude answers a panic, logs the request, and reads the rest of its body. If the
// answer cannot be completed, it panics, so that the connection is closed.
func (s *Server) conclude(c echo.Context, ev *event, panicked any) {
	switch {
	case panicked == http.ErrAbortHandler && ev.answerErr != nil:
		ev.err = fmt.Errorf("the API's answer was cut short: %w", ev.answerErr)
	case panicked == http.ErrAbortHandler:
		ev.err = errors.New("the caller left before the end of the answer")
	case panicked != nil:
		// Not wrapped: problemFor must not find a known error in a panic.
		ev.err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		s.handleError(ev.err, c)
	}
	abandoned := c.Response().Status == statusClientClosed && !c.Response().Committed
	aborted := abandoned || panicked == http.ErrAbortHandler
	if aborted && ev.answerErr == nil && errors.Is(context.Cause(ev.Context), ErrShutdown) {
		ev.err = ErrShutdown // in place of the error that the cancellation caused
	}
	s.finish(c, ev)
	// net/http closes the connection. Without the panic it would send 200.
	if aborted {
		panic(http.ErrAbortHandler)
	}
	readRest(c, ev.upload)
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
	return rand.Text()
}

// isRequestID reports whether id is well formed: it follows the rules of an error code.
func isRequestID(id string) bool { return failure.Code(id) != "" }

// finish measures the request, ends its span and writes its log line.
func (s *Server) finish(c echo.Context, ev *event) {
	r := c.Request()
	done := telemetry.Request{
		Method: r.Method, Route: routeName(c.Path()), Scheme: "http",
		Status: c.Response().Status, API: ev.api, Problem: ev.problem,
	}
	if r.TLS != nil {
		done.Scheme = "https"
	}
	done.Failed = ev.answerErr != nil || ev.outcome(done.Status) >= 500
	if ev.answerErr != nil {
		done.Problem = "downstream-broke-off" // too late for a problem document
	}
	took := time.Since(ev.start)
	s.config.Telemetry.End(ev.Context, done, took, ev.id)
	s.logRequest(c, ev, done.Route, took)
}

// outcome returns the status of the problem, or without one the status of the answer.
// The two differ for gRPC, which gets 200 for every problem.
func (e *event) outcome(status int) int {
	if e.problem == "" {
		return status
	}
	return problemTypes[e.problem].Status
}

// logRequest writes the log line. It holds no token and no secret: the errors of the
// packages below hold none.
func (s *Server) logRequest(c echo.Context, ev *event, route string, took time.Duration) {
	status := c.Response().Status
	level := logLevel(c.Path(), ev.outcome(status), ev)
	r := c.Request()
	if !s.config.Log.Enabled(r.Context(), level) {
		return
	}
	var fields [16]slog.Attr
	attrs := append(fields[:0],
		slog.String("method", truncate(r.Method, maxField)), slog.String("route", route), slog.Int("status", status),
		slog.Float64("latencyMs", float64(took.Microseconds())/1e3), slog.Int64("bytes", c.Response().Size), slog.String("requestId", ev.id))
	for _, a := range [...]slog.Attr{
		slog.String("api", ev.api), slog.String("tokenSource", string(ev.source)), slog.String("problem", ev.problem),
		slog.String("traceId", ev.traceID),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if ev.caller != nil {
		attrs = append(attrs, slog.String("tenant", truncate(ev.caller.TenantID(), maxField)),
			slog.String("client", truncate(ev.caller.ClientID(), maxField)), slog.String("oid", truncate(ev.caller.ObjectID(), maxField)))
	}
	if ev.forgottenUser.oid != "" {
		attrs = append(attrs, slog.String("tenant", ev.forgottenUser.tenant), slog.String("oid", ev.forgottenUser.oid))
	}
	if ev.err != nil {
		attrs = append(attrs, slog.String("error", truncate(ev.err.Error(), maxErrorField)))
	}
	// Not LogAttrs, which looks up the source line: it would always be this one.
	record := slog.NewRecord(time.Now(), level, "request", 0)
	record.AddAttrs(attrs...)
	_ = s.config.Log.Handler().Handle(r.Context(), record) // a failure of the log cannot be logged
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
func logLevel(path string, status int, ev *event) slog.Level {
	switch {
	case ev.answerErr != nil, ev.err == ErrShutdown:
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

// routeName returns the label of an Echo route. The number of labels is bounded.
func routeName(path string) string {
	switch {
	case path == "":
		return "none"
	case strings.HasSuffix(path, "/api/*"), strings.HasSuffix(path, "/app/*"):
		return path[:len(path)-1] + "{name}/{path…}"
	case strings.HasSuffix(path, metadataPath+"/*"):
		return path[:len(path)-1] + "{path…}"
	case strings.Contains(path, "/:"):
		return parameter.ReplaceAllString(path, "/{$1}")
	}
	return path
}

var parameter = regexp.MustCompile(`/:(\w+)`)
