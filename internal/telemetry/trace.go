package telemetry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// propagator reads and writes traceparent and tracestate (W3C Trace Context).
var propagator propagation.TraceContext

// Begin returns the context of a request to this service. The context holds a span if the
// request is traced: if its traceparent says so or, without one, by sampling. traceID is
// the ID of its trace, or "".
func (t *Telemetry) Begin(r *http.Request) (ctx context.Context, traceID string) {
	ctx = r.Context()
	sampled := false
	if r.Header["Traceparent"] != nil {
		remote := propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
		if parent := trace.SpanContextFromContext(remote); parent.IsValid() {
			if !parent.IsSampled() || t.tracer == nil {
				return ctx, parent.TraceID().String()
			}
			ctx, sampled = remote, true
		}
	}
	if t.tracer == nil || !sampled && (t.ratio == 0 || rand.Float64() >= t.ratio) {
		return ctx, ""
	}
	ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	return ctx, span.SpanContext().TraceID().String()
}

// End measures a request to this service, and ends the span that Begin may have started.
// The request ID is an attribute of the span only.
func (t *Telemetry) End(ctx context.Context, r Request, took time.Duration, id string) {
	r.Method = method(r.Method)
	t.requests.record(t.recording(ctx), r, took, r.attributes)
	span := spanOf(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetName(r.Method + " " + r.Route)
	span.SetAttributes(r.attributes()...)
	span.SetAttributes(attribute.String("middletier.request_id", id))
	if r.Failed { // the HTTP status may be below 500
		span.SetStatus(codes.Error, r.Problem)
	}
	span.End()
}

// recording returns the context to record a measurement with. Its span becomes an exemplar.
func (t *Telemetry) recording(ctx context.Context) context.Context {
	if t.tracer == nil { // there is no span to look for
		return context.Background()
	}
	return ctx
}

var untraced trace.Span = noop.Span{}

// tracing says whether any Telemetry of this process has a collector. Without one, looking
// for spans would only cost time: contexts of requests are deep.
var tracing atomic.Bool

// spanOf returns the span in ctx, or one that does nothing.
func spanOf(ctx context.Context) trace.Span {
	if !tracing.Load() {
		return untraced
	}
	return trace.SpanFromContext(ctx)
}

// Start starts a child of the span in ctx. If there is none, it does nothing.
func Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := spanOf(ctx)
	if !parent.IsRecording() {
		return ctx, untraced
	}
	return parent.TracerProvider().Tracer(scope).Start(ctx, name, options...)
}

// Target is the destination of a request that this service sends.
type Target struct {
	API     string // its name; "" for the identity provider
	Address string // the configured host
	Port    int
}

// NewTarget returns the target of a base URL, which must be an http, https or h2c URL.
func NewTarget(api, baseURL string) (Target, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return Target{}, err
	}
	port := map[string]int{"http": 80, "h2c": 80, "https": 443}[u.Scheme]
	if u.Port() != "" {
		port, err = strconv.Atoi(u.Port())
	}
	return Target{api, u.Hostname(), port}, err
}

// Transport measures and traces the requests through next. APIs get the trace context; the
// identity provider does not, as it takes no part in the trace.
func (t *Telemetry) Transport(next http.RoundTripper, target Target) http.RoundTripper {
	return &transport{next, t, target}
}

type transport struct {
	next      http.RoundTripper
	telemetry *Telemetry
	target    Target
}

// clientSpan is shared: most requests are not traced, and must not allocate it.
var clientSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	measured := call{method: method(r.Method), target: t.target}
	ctx, span := Start(r.Context(), "call", clientSpan...)
	if span.IsRecording() && t.target.API != "" {
		r = r.Clone(ctx)
		propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	start := time.Now()
	resp, err := t.next.RoundTrip(r)
	took := time.Since(start)
	if err != nil {
		measured.failed = errorType(ctx, err)
	} else {
		measured.status = resp.StatusCode
	}
	t.telemetry.calls.record(t.telemetry.recording(ctx), measured, took, measured.attributes)
	if span.IsRecording() {
		span.SetName(measured.name())
		span.SetAttributes(measured.attributes()...)
		if measured.failed != "" || measured.status >= 400 {
			span.SetStatus(codes.Error, measured.failed)
		}
		span.End()
	}
	return resp, err
}

// name is the name of the call's span.
func (c call) name() string {
	if c.target.API != "" {
		return c.method + " " + c.target.API
	}
	return c.method + " identity provider"
}

// errorType is the label for a request without an answer.
func errorType(ctx context.Context, err error) string {
	var network net.Error
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return "canceled"
	case ctx.Err() != nil, errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "unreachable"
}
