package telemetry

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// durationBuckets are the bucket boundaries that OpenTelemetry recommends for HTTP, in
// seconds ("Semantic conventions for HTTP metrics").
var durationBuckets = [...]float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// histogram measures durations by their labels. As for a counter, only OpenTelemetry's own
// one has exemplars. Where no request is traced, the durations are counted here, in a fraction
// of its time, and read when metrics are collected.
type histogram[K comparable] struct {
	name, description string
	sets              sets[K]
	exemplars         metric.Float64Histogram // nil where no request is traced
}

func (h *histogram[K]) create(m metric.Meter, name, description string, exemplars bool) (err error) {
	h.name, h.description = name, description
	if exemplars {
		h.exemplars, err = m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(durationBuckets[:]...))
	}
	return err
}

// record counts a duration.
func (h *histogram[K]) record(ctx context.Context, key K, took time.Duration, attributes func() []attribute.KeyValue) {
	set := h.sets.get(key, attributes)
	if h.exemplars != nil {
		h.exemplars.Record(ctx, took.Seconds(), set.record...)
		return
	}
	set.durations.add(took)
}

// collect returns what was counted here, as OpenTelemetry's own histogram would, since start.
// It has no data points if nothing was.
func (h *histogram[K]) collect(start, now time.Time) metricdata.Metrics {
	data := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	if current := h.sets.current.Load(); current != nil && h.exemplars == nil {
		for _, set := range *current {
			data.DataPoints = append(data.DataPoints, set.durations.point(set.attributes, start, now))
		}
	}
	return metricdata.Metrics{Name: h.name, Description: h.description, Unit: "s", Data: data}
}

// durations counts durations by bucket. The last bucket has no upper boundary.
type durations struct {
	buckets [len(durationBuckets) + 1]atomic.Uint64
	sum     atomic.Int64 // in nanoseconds
}

func (d *durations) add(took time.Duration) {
	bucket, _ := slices.BinarySearch(durationBuckets[:], took.Seconds()) // a boundary is in the bucket below it
	d.buckets[bucket].Add(1)
	d.sum.Add(int64(took))
}

func (d *durations) point(attributes attribute.Set, start, now time.Time) metricdata.HistogramDataPoint[float64] {
	p := metricdata.HistogramDataPoint[float64]{
		Attributes: attributes, StartTime: start, Time: now,
		Bounds: durationBuckets[:], BucketCounts: make([]uint64, len(d.buckets)), Sum: time.Duration(d.sum.Load()).Seconds(),
	}
	for i := range d.buckets {
		p.BucketCounts[i] = d.buckets[i].Load()
		p.Count += p.BucketCounts[i]
	}
	return p
}

// producer gives what the histograms of i have counted to the reader of metrics.
type producer struct {
	instruments *instruments
	start       time.Time
}

// Produce returns the histograms that have counted anything.
func (p producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	collected := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope}}
	for _, m := range []metricdata.Metrics{
		p.instruments.requests.collect(p.start, now), p.instruments.calls.collect(p.start, now), p.instruments.exchanges.collect(p.start, now),
	} {
		if len(m.Data.(metricdata.Histogram[float64]).DataPoints) > 0 {
			collected.Metrics = append(collected.Metrics, m)
		}
	}
	return []metricdata.ScopeMetrics{collected}, nil
}
