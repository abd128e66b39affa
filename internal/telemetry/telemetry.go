// Package telemetry counts, times and traces what the service does.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	prometheusexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where metrics and traces go. The keys in its errors are those of
// the telemetry section.
type Config struct {
	// OTLPEndpoint is the base URL of a collector that takes OTLP over HTTP, as
	// http://127.0.0.1:4318; "": none, and no traces.
	OTLPEndpoint string
	// TraceSampleRatio is the part of the requests that are traced, of those that
	// do not say themselves whether they are.
	TraceSampleRatio float64
	// Version is that of the program.
	Version string
	// Log is told when the collector cannot be reached.
	Log *slog.Logger
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	if c.OTLPEndpoint != "" {
		u, err := url.Parse(c.OTLPEndpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			report("otlpEndpoint", "must be an http or https URL without query and user, as http://127.0.0.1:4318")
		}
	}
	if !(c.TraceSampleRatio >= 0 && c.TraceSampleRatio <= 1) { // NaN too
		report("traceSampleRatio", "must be between 0 and 1")
	}
}

// Telemetry takes in what happens, sends it to the collector behind requests, and
// answers scrapes.
type Telemetry struct {
	instruments
	ratio    float64
	registry *prometheus.Registry
	metrics  *sdkmetric.MeterProvider
	traces   *sdktrace.TracerProvider // nil without a collector
	tracer   trace.Tracer             // nil without a collector
}

// scope is the name under which our metrics and spans are made.
const scope = "middletier"

// New returns a Telemetry for c, whose Check must have passed. The collector is
// asked nothing yet. The variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
// and OTEL_EXPORTER_OTLP_* are followed, except for what c says.
func New(c Config) (*Telemetry, error) {
	res, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", scope), attribute.String("service.version", c.Version),
			attribute.String("service.instance.id", rand.Text()),
		),
		resource.WithFromEnv(), // the last one counts
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Telemetry{ratio: c.TraceSampleRatio, registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promReader, err := prometheusexporter.New(prometheusexporter.WithRegisterer(t.registry),
		prometheusexporter.WithoutScopeInfo(), prometheusexporter.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(promReader)}
	if c.OTLPEndpoint != "" {
		exporters, err := newExporters(c)
		if err != nil {
			return nil, fmt.Errorf("telemetry.otlpEndpoint: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporters.metrics)))
		// Whether a request is traced is decided in Begin, at no cost for those
		// that are not. What gets here is.
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(exporters.spans), sdktrace.WithSampler(sdktrace.AlwaysSample()))
		t.tracer = t.traces.Tracer(scope)
	}
	t.metrics = sdkmetric.NewMeterProvider(options...)
	if err := t.create(t.Meter()); err != nil {
		return nil, err
	}
	return t, nil
}

// Meter is for metrics that are read when they are asked for.
func (t *Telemetry) Meter() metric.Meter { return t.metrics.Meter(scope) }

// Handler answers scrapes (Prometheus and OpenMetrics exposition formats).
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// flushTimeout bounds how long the end waits for a collector.
const flushTimeout = 3 * time.Second

// Close sends what is waiting to the collector. That it does not answer is no
// error. Afterwards nothing is taken in.
func (t *Telemetry) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	err := t.metrics.Shutdown(ctx)
	if t.traces != nil {
		err = errors.Join(err, t.traces.Shutdown(ctx))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
