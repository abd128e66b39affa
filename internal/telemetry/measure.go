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

// instruments are the metric instruments. Every attribute set is made once: label
// cardinality is bounded.
type instruments struct {
	requests    histogram[Request]
	calls       histogram[call]
	exchanges   histogram[[2]string] // flow, outcome
	tokens      counter[[3]string]   // flow, source, outcome
	validations counter[string]      // result
	signIns     counter[string]      // outcome
}

// create makes the instruments. exemplars: requests may be traced.
func (i *instruments) create(m metric.Meter, exemplars bool) error {
	var errs [6]error
	errs[0] = i.requests.create(m, "http.server.request.duration", "Duration of requests, to the end of the answer.", exemplars)
	errs[1] = i.calls.create(m, "http.client.request.duration",
		"Duration of requests to the APIs and the identity provider, until the response headers; every attempt counts separately.", exemplars)
	errs[2] = i.tokens.create(m, "middletier_token_requests_total", "Requests for a token for an API, by source and outcome.", exemplars)
	errs[3] = i.exchanges.create(m, "middletier_token_exchange_duration_seconds",
		"Duration of exchanges with the identity provider, including the wait for a free slot and one retry.", exemplars)
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
	t.exchanges.record(context.Background(), [2]string{flow, outcome}, took, func() []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("flow", flow), attribute.String("outcome", outcome)}
	})
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
	current atomic.Pointer[map[K]*set]
	mu      sync.Mutex // serializes writers of current
}

// set is what one combination of labels is recorded with, and what is counted for it if it is
// read when metrics are collected.
type set struct {
	attributes attribute.Set
	record     []metric.RecordOption
	add        []metric.AddOption
	observe    []metric.ObserveOption
	count      atomic.Int64 // of a counter
	durations  durations    // of a histogram
}

// get returns the set for key. If it is new, it is made from attributes.
func (s *sets[K]) get(key K, attributes func() []attribute.KeyValue) *set {
	if current := s.current.Load(); current != nil {
		if set, ok := (*current)[key]; ok {
			return set
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[K]*set{}
	if current := s.current.Load(); current != nil {
		if set, ok := (*current)[key]; ok { // another goroutine made it meanwhile
			return set
		}
		next = maps.Clone(*current)
	}
	made := &set{attributes: attribute.NewSet(attributes()...)}
	option := metric.WithAttributeSet(made.attributes)
	made.record, made.add, made.observe = []metric.RecordOption{option}, []metric.AddOption{option}, []metric.ObserveOption{option}
	next[key] = made
	s.current.Store(&next)
	return made
}
