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

// event is what the one log line of a request says. Middleware and handlers fill
// it in. It is the request's context itself, so that it is found without a
// search and costs no allocation of its own.
type event struct {
	context.Context
	id            string // request id
	traceID       string
	start         time.Time
	caller        *validate.Caller
	forgottenUser user // whose tokens an operator has dropped
	api           string
	source        obo.TokenOrigin
	trial         *obo.Trial // nil: the token is on none
	problem       string
	err           error
	answerErr     error   // that ended the API's answer before its end
	timing        *timing // nil where Server-Timing is off

	forwarded bool // or was about to be

	upload *downstream.Upload // nil for none
}

// user is a user of a tenant, by their GUIDs.
type user struct{ tenant, oid string }

type eventKey struct{}

// Value returns the event for its own key, and else what the server's context
// has.
func (e *event) Value(key any) any {
	if key == (eventKey{}) {
		return e
	}
	return e.Context.Value(key)
}

// eventOf returns the event of a request. Every route has one.
func eventOf(r *http.Request) *event { return r.Context().Value(eventKey{}).(*event) }

// ErrShutdown is the cause that a request's context ends with where the service ends
// first.
var ErrShutdown error = shutdownError{}

type shutdownError struct{}

func (shutdownError) Error() string { return "the service ended before the end of the answer" }

// Is makes it a cancellation: nobody is answered.
func (shutdownError) Is(target error) bool { return target == context.Canceled }

// observe gives a request its id, answers its errors and panics, and logs it
// once. It is the outermost middleware, so what goes wrong anywhere is in the
// line.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ProtoMajor == 2 { // outermost, so that errors have its limit too
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
					c.Response().Header().Add("Server-Timing", value) // the API's own stays
				}
			})
		}
		defer func() {
			panicked := recover()
			switch {
			case panicked == http.ErrAbortHandler && ev.answerErr != nil:
				ev.err = fmt.Errorf("the API's answer broke off: %w", ev.answerErr)
			case panicked == http.ErrAbortHandler:
				ev.err = errors.New("the caller left before the end of the answer")
			case panicked != nil:
				// Not wrapped: a panicked error must not pass for a deliberate answer.
				ev.err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
				s.handleError(ev.err, c)
			}
			abandoned := c.Response().Status == statusClientClosed && !c.Response().Committed
			aborted := abandoned || panicked == http.ErrAbortHandler
			if aborted && ev.answerErr == nil && errors.Is(context.Cause(ev.Context), ErrShutdown) {
				ev.err = ErrShutdown // whatever it interrupted
			}
			s.finish(c, ev)
			// net/http breaks the connection. It would make a good answer of none.
			if aborted {
				panic(http.ErrAbortHandler)
			}
			readRest(c, ev.upload)
		}()
		if ev.err = next(c); ev.err != nil {
			s.handleError(ev.err, c)
		}
		return nil
	}
}

// readRest lets a caller that still sends read its answer. It comes after the log
// line, so that the time for it counts as nobody's. A stream's answer has no end
// before: one with trailers, or to gRPC, ends at once.
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

// requestID returns the caller's X-Request-ID if it is well formed, else a new
// one. It names a request in logs and decides nothing.
func requestID(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) == 1 && isRequestID(ids[0]) {
		return ids[0]
	}
	return rand.Text()
}

// isRequestID reports whether id has the form that a code has.
func isRequestID(id string) bool { return failure.Code(id) != "" }

// finish measures the request, ends its span and writes its line.
func (s *Server) finish(c echo.Context, ev *event) {
	r := c.Request()
	done := telemetry.Request{Method: r.Method, Route: routeName(c.Path()), Scheme: "http", Status: c.Response().Status, API: ev.api, Problem: ev.problem}
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

// outcome returns the status that the problem has by itself: callers by gRPC are
// answered 200 for each. Without a problem it is the answer's.
func (e *event) outcome(status int) int {
	if e.problem == "" {
		return status
	}
	return problemTypes[e.problem].Status
}

// logRequest writes the line. Nothing in it is a token or a secret: errors from
// below are made so that they hold none.
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
	// Not LogAttrs: it looks up its caller, which is always this line.
	record := slog.NewRecord(time.Now(), level, "request", 0)
	record.AddAttrs(attrs...)
	_ = s.config.Log.Handler().Handle(r.Context(), record) // nowhere to report that the log is broken
}

// What comes from outside must not make a line long: the log holds so many bytes for
// a slow reader, and drops others' lines beyond. An error may be a panic's stack.
const (
	maxField      = 128
	maxErrorField = 8 << 10
)

// truncate returns the beginning of s, of limit bytes at the most.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// logLevel is error for what is this service's, the provider's or an API's fault,
// and debug for probes and scrapes that go well. Not to be ready is no fault: it
// is so at every start and every end.
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

// routeName writes an Echo route as the contract does. There are few, whatever
// is requested.
func routeName(path string) string {
	switch {
	case path == "":
		return "none"
	case strings.HasSuffix(path, "/api/*"), strings.HasSuffix(path, "/app/*"):
		return path[:len(path)-1] + "{name}/{path…}"
	case strings.Contains(path, "/:"):
		return parameter.ReplaceAllString(path, "/{$1}")
	}
	return path
}

var parameter = regexp.MustCompile(`/:(\w+)`)
