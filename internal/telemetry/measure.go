package telemetry

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// durationBuckets are the bucket boundaries that OpenTelemetry recommends for HTTP, in
// seconds ("Semantic conventions for HTTP metrics").
var durationBuckets = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

// instruments are the metric instruments. Every attribute set is made once: label
// cardinality is bounded.
type instruments struct {
	server, client, exchange metric.Float64Histogram
	requestSets              sets[Request]
	callSets                 sets[call]
	exchangeSets             sets[[2]string]    // flow, outcome
	tokens                   counter[[3]string] // flow, source, outcome
	validations              counter[string]    // result
	signIns                  counter[string]    // outcome
}

// create makes the instruments. exemplars: requests may be traced.
func (i *instruments) create(m metric.Meter, exemplars bool) error {
	var errs [6]error
	i.server, errs[0] = m.Float64Histogram("http.server.request.duration", durationBuckets,
		metric.WithUnit("s"), metric.WithDescription("Duration of requests, to the end of the answer."))
	i.client, errs[1] = m.Float64Histogram("http.client.request.duration", durationBuckets,
		metric.WithUnit("s"), metric.WithDescription(
			"Duration of requests to the APIs and the identity provider, until the response headers; every attempt counts separately."))
	errs[2] = i.tokens.create(m, "middletier_token_requests_total", "Requests for a token for an API, by source and outcome.", exemplars)
	i.exchange, errs[3] = m.Float64Histogram("middletier_token_exchange_duration_seconds", durationBuckets,
		metric.WithUnit("s"), metric.WithDescription(
			"Duration of exchanges with the identity provider, including the wait for a free slot and one retry."))
	errs[4] = i.validations.create(m, "middletier_token_validations_total", "Checks of callers' tokens, by result.", exemplars)
	errs[5] = i.signIns.create(m, "middletier_session_sign_ins_total",
		"Sign-ins of browsers that came back from the identity provider, by outcome.", exemplars)
	return errors.Join(errs[:]...)
}

// Request describes a request to this service. The number of values of each field is
// bounded.
type Request struct {
	Method  string // "" is GET
	Route   string // a pattern
	Scheme  string
	Status  int
	API     string // its name; "" for none
	Problem string // what went wrong; "" for nothing
	Failed  bool   // because of this service, the provider or an API
}

func (r Request) attributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("http.request.method", r.Method), attribute.String("url.scheme", r.Scheme),
		attribute.String("http.route", r.Route), attribute.Int("http.response.status_code", r.Status),
	}
	if r.API != "" {
		attrs = append(attrs, attribute.String("middletier.api", r.API))
	}
	switch {
	case r.Problem != "":
		attrs = append(attrs, attribute.String("error.type", r.Problem))
	case r.Status >= 500: // the API's own answer
		attrs = append(attrs, attribute.String("error.type", strconv.Itoa(r.Status)))
	}
	return attrs
}

// call describes a request to an API or to the identity provider.
type call struct {
	method string
	target Target
	status int    // 0 if there was no answer
	failed string // why there was no answer
}

func (c call) attributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("http.request.method", c.method),
		attribute.String("server.address", c.target.Address), attribute.Int("server.port", c.target.Port),
	}
	if c.target.API != "" {
		attrs = append(attrs, attribute.String("middletier.api", c.target.API))
	}
	switch {
	case c.status == 0:
		attrs = append(attrs, attribute.String("error.type", c.failed))
	case c.status >= 400:
		attrs = append(attrs, attribute.String("error.type", strconv.Itoa(c.status)))
		fallthrough
	default:
		attrs = append(attrs, attribute.Int("http.response.status_code", c.status))
	}
	return attrs
}

// Token counts a token request for an API.
func (t *Telemetry) Token(ctx context.Context, flow, source, outcome string) {
	t.tokens.add(ctx, [3]string{flow, source, outcome}, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("flow", flow), attribute.String("source", source), attribute.String("outcome", outcome)}
	})
}

// Exchange measures an exchange with the identity provider.
func (t *Telemetry) Exchange(flow, outcome string, took time.Duration) {
	t.exchange.Record(context.Background(), took.Seconds(), t.exchangeSets.get([2]string{flow, outcome}, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("flow", flow), attribute.String("outcome", outcome)}
	}).record...)
}

// Validation counts a validation of a caller's token.
func (t *Telemetry) Validation(ctx context.Context, result string) {
	t.validations.add(ctx, result, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("result", result)}
	})
}

// SignIn counts a sign-in of a browser, which the identity provider has sent back.
func (t *Telemetry) SignIn(ctx context.Context, outcome string) {
	t.signIns.add(ctx, outcome, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("outcome", outcome)}
	})
}

// method returns one of the known methods, or _OTHER: the set of labels must be bounded.
func method(m string) string {
	switch m {
	case "":
		return "GET"
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY":
		return m
	}
	return "_OTHER"
}

// counter counts events by their labels. An event of a request that is traced becomes an
// exemplar, which only OpenTelemetry's own counter can have. Where no request is traced, the
// events are counted here, in a fraction of its time, and read when metrics are collected.
type counter[K comparable] struct {
	sets      sets[K]
	exemplars metric.Int64Counter // nil where no request is traced
}

func (c *counter[K]) create(m metric.Meter, name, description string, exemplars bool) (err error) {
	if exemplars {
		c.exemplars, err = m.Int64Counter(name, metric.WithDescription(description))
		return err
	}
	_, err = m.Int64ObservableCounter(name, metric.WithDescription(description),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			if current := c.sets.current.Load(); current != nil {
				for _, set := range *current {
					o.Observe(set.count.Load(), set.observe...)
				}
			}
			return nil
		}))
	return err
}

// add counts an event.
func (c *counter[K]) add(ctx context.Context, key K, attributes func() []attribute.KeyValue) {
	set := c.sets.get(key, attributes)
	if c.exemplars != nil {
		c.exemplars.Add(ctx, 1, set.add...)
		return
	}
	set.count.Add(1)
}

// sets caches attribute sets, so that recording with one needs no allocation.
type sets[K comparable] struct {
	current atomic.Pointer[map[K]options]
	mu      sync.Mutex // serializes writers of current
}

type options struct {
	record  []metric.RecordOption
	add     []metric.AddOption
	observe []metric.ObserveOption
	count   *atomic.Int64 // of a counter that is read when metrics are collected
}

// get returns the set for key. If it is new, it is made from attributes.
func (s *sets[K]) get(key K, attributes func() []attribute.KeyValue) options {
	if current := s.current.Load(); current != nil {
		if o, ok := (*current)[key]; ok {
			return o
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[K]options{}
	if current := s.current.Load(); current != nil {
		if o, ok := (*current)[key]; ok { // another goroutine made it meanwhile
			return o
		}
		next = maps.Clone(*current)
	}
	set := metric.WithAttributeSet(attribute.NewSet(attributes()...))
	next[key] = options{[]metric.RecordOption{set}, []metric.AddOption{set}, []metric.ObserveOption{set}, new(atomic.Int64)}
	s.current.Store(&next)
	return next[key]
}
