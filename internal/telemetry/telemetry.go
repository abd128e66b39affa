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

// Config says where metrics and traces are sent. The keys in its errors are those of the
// telemetry section.
type Config struct {
	// OTLPEndpoint is the base URL of a collector (OTLP over HTTP), such as
	// http://127.0.0.1:4318. If it is empty, nothing is sent and there are no traces.
	OTLPEndpoint string
	// TraceSampleRatio is the fraction of requests that are traced. It does not apply to
	// requests with a traceparent header.
	TraceSampleRatio float64
	// Version is the version of the program.
	Version string
	// Log gets a line when the collector cannot be reached.
	Log *slog.Logger
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	if c.OTLPEndpoint != "" {
		u, err := url.Parse(c.OTLPEndpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			report("otlpEndpoint", "must be an http or https URL without query and user, such as http://127.0.0.1:4318")
		}
	}
	if !(c.TraceSampleRatio >= 0 && c.TraceSampleRatio <= 1) { // NaN too
		report("traceSampleRatio", "must be between 0 and 1")
	}
}

// Telemetry records metrics and traces, sends them to the collector in the background,
// and answers scrapes.
type Telemetry struct {
	instruments
	ratio    float64
	registry *prometheus.Registry
	metrics  *sdkmetric.MeterProvider
	traces   *sdktrace.TracerProvider // nil without a collector
	tracer   trace.Tracer             // nil without a collector
}

// scope is the name of our meter and tracer.
const scope = "middletier"

// New returns a Telemetry for c, whose Check must have passed. It does not contact the
// collector yet. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_*
// apply unless c sets the same.
func New(c Config) (*Telemetry, error) {
	res, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", scope), attribute.String("service.version", c.Version),
			attribute.String("service.instance.id", rand.Text()),
		),
		resource.WithFromEnv(), // overrides the options before it
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Telemetry{ratio: c.TraceSampleRatio, registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promReader, err := prometheusexporter.New(prometheusexporter.WithRegisterer(t.registry),
		prometheusexporter.WithoutScopeInfo(), prometheusexporter.WithoutTargetInfo(),
		prometheusexporter.WithProducer(producer{&t.instruments, time.Now()}))
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
		// Begin decides which requests are traced, so that the others cost nothing.
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(res),
			sdktrace.WithBatcher(exporters.spans), sdktrace.WithSampler(sdktrace.AlwaysSample()))
		t.tracer = t.traces.Tracer(scope)
		tracing.Store(true)
	}
	t.metrics = sdkmetric.NewMeterProvider(options...)
	if err := t.create(t.Meter(), t.tracer != nil); err != nil {
		return nil, err
	}
	return t, nil
}

// Meter is for metrics that are read when they are collected.
func (t *Telemetry) Meter() metric.Meter { return t.metrics.Meter(scope) }

// Handler answers scrapes (Prometheus and OpenMetrics exposition formats).
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// flushTimeout is how long Close waits for the collector.
const flushTimeout = 3 * time.Second

// Close sends the pending metrics and spans. It is no error if the collector does not
// answer. Later events are not recorded.
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
