package telemetry_test

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"middletier/internal/telemetry"
)

func newTelemetry(t *testing.T, c telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	c.Check(func(key, problem string) { t.Fatalf("%s: %s", key, problem) })
	watch, err := telemetry.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := watch.Close(); err != nil {
			t.Error(err)
		}
	})
	return watch
}

func TestMistakesAreReportedByKey(t *testing.T) {
	for _, row := range []struct {
		config telemetry.Config
		key    string
	}{
		{telemetry.Config{}, ""},
		{telemetry.Config{OTLPEndpoint: "https://collector.example:4318/base", TraceSampleRatio: 1}, ""},
		{telemetry.Config{OTLPEndpoint: "collector:4318"}, "otlpEndpoint"},
		{telemetry.Config{OTLPEndpoint: "grpc://collector:4317"}, "otlpEndpoint"},
		{telemetry.Config{OTLPEndpoint: "http://user:password@collector"}, "otlpEndpoint"},
		{telemetry.Config{OTLPEndpoint: "http://collector?key=1"}, "otlpEndpoint"},
		{telemetry.Config{TraceSampleRatio: -0.1}, "traceSampleRatio"},
		{telemetry.Config{TraceSampleRatio: 1.1}, "traceSampleRatio"},
		{telemetry.Config{TraceSampleRatio: math.NaN()}, "traceSampleRatio"},
	} {
		reported := ""
		row.config.Check(func(key, _ string) { reported += key })
		if reported != row.key {
			t.Errorf("%+v: reported %q, want %q", row.config, reported, row.key)
		}
	}
}

// The trace of a request is its traceparent's, if that is well formed; whether
// spans are made, too. Without one, chance decides (W3C Trace Context).
func TestTraceparentDecides(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(collector.Close)
	off := newTelemetry(t, telemetry.Config{TraceSampleRatio: 1})
	never := newTelemetry(t, telemetry.Config{OTLPEndpoint: collector.URL})
	always := newTelemetry(t, telemetry.Config{OTLPEndpoint: collector.URL, TraceSampleRatio: 1})
	for _, row := range []struct {
		name   string
		watch  *telemetry.Telemetry
		parent string
		traced bool
		id     string // "": none; "any": a new one
	}{
		{"sampled", never, "00-" + id + "-b7ad6b7169203331-01", true, id},
		{"not sampled", always, "00-" + id + "-b7ad6b7169203331-00", false, id},
		{"of a later version", never, "cc-" + id + "-b7ad6b7169203331-01-extra", true, id},
		{"without a collector", off, "00-" + id + "-b7ad6b7169203331-01", false, id},
		{"none, by chance", always, "", true, "any"},
		{"none, by chance not", never, "", false, ""},
		{"none, without a collector", off, "", false, ""},
		{"capitals", never, "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false, ""},
		{"zeros", never, "00-00000000000000000000000000000000-b7ad6b7169203331-01", false, ""},
		{"nonsense", never, "00", false, ""},
		{"nonsense, by chance", always, "00_" + id + "-b7ad6b7169203331-01", true, "any"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if row.parent != "" {
			r.Header.Set("Traceparent", row.parent)
		}
		ctx, got := row.watch.Begin(r)
		traced := trace.SpanFromContext(ctx).IsRecording()
		row.watch.End(ctx, telemetry.Request{}, time.Second, "")
		if traced != row.traced || got != row.id && !(row.id == "any" && len(got) == 32 && got != id) {
			t.Errorf("%s: got trace %q, traced %v, want %q, %v", row.name, got, traced, row.id, row.traced)
		}
	}
}

// What every request pays for allocates nothing where the request is not traced.
func TestUntracedRequestsCostNoAllocation(t *testing.T) {
	watch := newTelemetry(t, telemetry.Config{TraceSampleRatio: 1})
	target, err := telemetry.NewTarget("todo", "http://todo.example/v1")
	if err != nil {
		t.Fatal(err)
	}
	answer := &http.Response{StatusCode: 200}
	calls := watch.Transport(transportFunc(func(*http.Request) (*http.Response, error) { return answer, nil }), target)
	r := httptest.NewRequest("GET", "/", nil)
	done := telemetry.Request{Method: "GET", Route: "/api/{name}/{path…}", Scheme: "http", Status: 200, API: "todo"}
	request := func() {
		ctx, _ := watch.Begin(r)
		ctx, span := telemetry.Start(ctx, "validate")
		watch.Validation(ctx, "accepted")
		span.End()
		watch.Token(ctx, "on_behalf_of", "memory", "ok")
		if _, err := calls.RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		watch.End(ctx, done, time.Millisecond, "request")
	}
	request()
	var got float64
	for range 50 { // what earlier tests left behind may still end, and allocates too
		if got = testing.AllocsPerRun(100, request); got == 0 {
			return
		}
	}
	t.Errorf("%v allocations a request, want none", got)
}

// Counters read the same whether requests may be traced or not.
func TestCountersAreReadWithAndWithoutACollector(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(collector.Close)
	for name, config := range map[string]telemetry.Config{
		"without": {}, "with": {OTLPEndpoint: collector.URL, TraceSampleRatio: 1},
	} {
		watch := newTelemetry(t, config)
		ctx, _ := watch.Begin(httptest.NewRequest("GET", "/", nil))
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 100 {
					watch.Validation(ctx, "accepted")
				}
			})
		}
		group.Wait()
		watch.Validation(ctx, "expired")
		watch.Token(ctx, "on_behalf_of", "memory", "ok")
		for range 2 { // a scrape takes nothing away
			w := httptest.NewRecorder()
			watch.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			for _, line := range []string{
				"# HELP middletier_token_validations_total Checks of callers' tokens, by result.\n",
				"# TYPE middletier_token_validations_total counter\n",
				"middletier_token_validations_total{result=\"accepted\"} 800\n",
				"middletier_token_validations_total{result=\"expired\"} 1\n",
				"# TYPE middletier_token_requests_total counter\n",
				"middletier_token_requests_total{flow=\"on_behalf_of\",outcome=\"ok\",source=\"memory\"} 1\n",
			} {
				if !strings.Contains(w.Body.String(), line) {
					t.Errorf("%s a collector: no %q", name, line)
				}
			}
		}
	}
}

// So do histograms, to the byte.
func TestHistogramsAreReadWithAndWithoutACollector(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(collector.Close)
	target, err := telemetry.NewTarget("todo", "http://todo.example/v1")
	if err != nil {
		t.Fatal(err)
	}
	scrape := func(config telemetry.Config) (empty, full string) {
		watch := newTelemetry(t, config)
		read := func() string {
			w := httptest.NewRecorder()
			watch.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			var lines []string
			for line := range strings.Lines(w.Body.String()) {
				isOurs := strings.Contains(line, "http_") || strings.Contains(line, "middletier_")
				if isOurs && !strings.HasPrefix(line, "http_client_") { // no test decides how long a call takes
					lines = append(lines, line)
				}
			}
			return strings.Join(lines, "")
		}
		empty = read()
		calls := watch.Transport(transportFunc(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }), target)
		if _, err := calls.RoundTrip(httptest.NewRequest("GET", "/", nil)); err != nil {
			t.Fatal(err)
		}
		for _, took := range []time.Duration{0, 5 * time.Millisecond, 5*time.Millisecond + 1, 10 * time.Second, 10*time.Second + 1, time.Hour} {
			watch.Exchange("on_behalf_of", took.String(), took) // a set for each, as sums of floats depend on the order
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 100 {
					for _, took := range []time.Duration{500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 16 * time.Second} {
						watch.End(t.Context(), telemetry.Request{Method: "GET", Route: "/", Scheme: "http", Status: 200}, took, "request")
					}
				}
			})
		}
		group.Wait()
		if full = read(); read() != full {
			t.Error("a scrape takes something away")
		}
		return empty, full
	}
	ownEmpty, own := scrape(telemetry.Config{})
	emptyOfOTel, ofOTel := scrape(telemetry.Config{OTLPEndpoint: collector.URL, TraceSampleRatio: 0})
	if own != ofOTel || ownEmpty != emptyOfOTel {
		t.Errorf("without a collector:\n%s%s\nwith one:\n%s%s", ownEmpty, own, emptyOfOTel, ofOTel)
	}
	for _, line := range []string{
		"http_server_request_duration_seconds_bucket{http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/\",url_scheme=\"http\",le=\"0.5\"} 800\n",
		"http_server_request_duration_seconds_sum{http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/\",url_scheme=\"http\"} 16000\n",
		"# TYPE http_client_request_duration_seconds histogram\n",
	} {
		if !strings.Contains(own, line) {
			t.Errorf("no %q in\n%s", line, own)
		}
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A collector that hangs holds nobody up, and the end not for long.
func TestCollectorThatHangs(t *testing.T) {
	hanging := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hanging:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(hanging) })
	watch, err := telemetry.New(telemetry.Config{OTLPEndpoint: collector.URL, TraceSampleRatio: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 { // more than the exporter queues
		ctx, _ := watch.Begin(httptest.NewRequest("GET", "/", nil))
		watch.End(ctx, telemetry.Request{Method: "GET", Status: 200}, time.Millisecond, "")
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got %v, want nil", err)
		}
	case <-time.After(20 * time.Second): // it should take 3
		t.Error("it does not end")
	}
}

func BenchmarkUntraced(b *testing.B) {
	watch, err := telemetry.New(telemetry.Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, done := context.Background(), telemetry.Request{Method: "GET", Route: "/api/{name}/{path…}", Scheme: "http", Status: 200, API: "todo"}
	for b.Loop() {
		watch.Validation(ctx, "accepted")
		watch.Token(ctx, "on_behalf_of", "memory", "ok")
		watch.End(ctx, done, time.Millisecond, "request")
	}
}
