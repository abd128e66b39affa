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

// export is the way to a collector (OTLP over HTTP).
type export struct {
	metrics sdkmetric.Exporter
	spans   sdktrace.SpanExporter
}

func newExport(c Config) (export, error) {
	base, err := url.Parse(c.OTLPEndpoint)
	if err != nil {
		return export{}, err
	}
	metrics, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpointURL(base.JoinPath("v1/metrics").String()))
	if err != nil {
		return export{}, err
	}
	spans, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(base.JoinPath("v1/traces").String()))
	if err != nil {
		return export{}, err
	}
	return export{
		metrics: loggedMetrics{metrics, &outage{what: "metrics", log: c.Log}},
		spans:   loggedSpans{spans, &outage{what: "traces", log: c.Log}},
	}, nil
}

// outage logs when sending begins to fail and when it goes well again. The SDK
// would print every failure.
type outage struct {
	what    string
	log     *slog.Logger
	failing atomic.Bool
}

func (o *outage) note(err error) {
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
	outage *outage
}

func (l loggedMetrics) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	l.outage.note(l.Exporter.Export(ctx, m))
	return nil
}

type loggedSpans struct {
	sdktrace.SpanExporter
	outage *outage
}

func (l loggedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	l.outage.note(l.SpanExporter.ExportSpans(ctx, spans))
	return nil
}
