package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"middletier/internal/failure"
)

// exporters send metrics and spans to a collector (OTLP over HTTP).
type exporters struct {
	metrics sdkmetric.Exporter
	spans   sdktrace.SpanExporter
}

func newExporters(c Config) (exporters, error) {
	base, err := url.Parse(c.OTLPEndpoint)
	if err != nil {
		return exporters{}, err
	}
	metrics, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpointURL(base.JoinPath("v1/metrics").String()))
	if err != nil {
		return exporters{}, err
	}
	spans, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(base.JoinPath("v1/traces").String()))
	if err != nil {
		return exporters{}, err
	}
	return exporters{
		metrics: loggedMetrics{metrics, &exportHealth{what: "metrics", log: c.Log}},
		spans:   loggedSpans{spans, &exportHealth{what: "traces", log: c.Log}},
	}, nil
}

// exportHealth logs when exports begin to fail and when they succeed again. The SDK
// would log every failure.
type exportHealth struct {
	what    string
	log     *slog.Logger
	failing atomic.Bool
}

func (o *exportHealth) note(err error) {
	if was := o.failing.Swap(err != nil); was == (err != nil) {
		return
	}
	if err != nil {
		o.log.Warn(fmt.Sprintf("%s cannot be sent to telemetry.otlpEndpoint; they are dropped", o.what), "error", failure.Of(err))
	} else {
		o.log.Info(fmt.Sprintf("%s are sent to telemetry.otlpEndpoint again", o.what))
	}
}

type loggedMetrics struct {
	sdkmetric.Exporter
	exportHealth *exportHealth
}

func (l loggedMetrics) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	l.exportHealth.note(l.Exporter.Export(ctx, m))
	return nil
}

type loggedSpans struct {
	sdktrace.SpanExporter
	exportHealth *exportHealth
}

func (l loggedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	l.exportHealth.note(l.SpanExporter.ExportSpans(ctx, spans))
	return nil
}
