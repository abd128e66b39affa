package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// startTraced starts the service, waits for its keys, and returns what ends it.
func (w *world) startTraced() (stop func()) {
	w.t.Helper()
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return stop
}

// traced makes a GET request that belongs to a trace.
func (w *world) traced(path, token, flags string) *reply {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Traceparent", "00-"+traceID+"-"+parentID+"-"+flags)
	req.Header.Set("Tracestate", "vendor=value")
	return w.do(req)
}

// A caller's trace continues through validation, exchange and API.
func TestTraceGoesOn(t *testing.T) {
	c := newCollector(t)
	w := newStoppedWorld(t, func(f *file) { f.Telemetry.OTLPEndpoint, f.Telemetry.TraceSampleRatio = c.URL, 0 })
	t.Setenv("OTEL_SERVICE_NAME", "middletier-of-this-test")
	stop := w.startTraced()
	w.traced("/api/todo/items", w.alice(), "01")
	sent := w.api.last(t)
	line := w.log.lines(t)[0]
	stop() // what was taken in is sent by now

	server := c.span(t, "GET /api/{name}/{path…}")
	call := c.span(t, "GET todo")
	token := c.span(t, "token")
	for _, row := range []struct {
		span   *tracepb.Span
		parent []byte
		kind   tracepb.Span_SpanKind
		want   map[string]string
	}{
		{server, unhex(t, parentID), tracepb.Span_SPAN_KIND_SERVER, map[string]string{"http.request.method": "GET", "http.route": "/api/{name}/{path…}", "http.response.status_code": "200", "middletier.api": "todo"}},
		{c.span(t, "validate"), server.SpanId, tracepb.Span_SPAN_KIND_INTERNAL, map[string]string{"result": "accepted"}},
		{token, server.SpanId, tracepb.Span_SPAN_KIND_INTERNAL, map[string]string{"flow": "on_behalf_of", "source": "identity_provider", "outcome": "ok"}},
		{c.span(t, "POST identity provider"), token.SpanId, tracepb.Span_SPAN_KIND_CLIENT, map[string]string{"server.address": "127.0.0.1"}},
		{call, server.SpanId, tracepb.Span_SPAN_KIND_CLIENT, map[string]string{"middletier.api": "todo", "server.address": "127.0.0.1"}},
	} {
		if !bytes.Equal(row.span.TraceId, unhex(t, traceID)) || !bytes.Equal(row.span.ParentSpanId, row.parent) || row.span.Kind != row.kind {
			t.Errorf("%s: got trace %x, parent %x, %v, want %s, %x, %v",
				row.span.Name, row.span.TraceId, row.span.ParentSpanId, row.span.Kind, traceID, row.parent, row.kind)
		}
		got := attributesOf(row.span.Attributes)
		for name, want := range row.want {
			if got[name] != want {
				t.Errorf("%s: %s is %q, want %q", row.span.Name, name, got[name], want)
			}
		}
	}
	if got, want := sent.Header.Get("Traceparent"), "00-"+traceID+"-"+hex.EncodeToString(call.SpanId)+"-01"; got != want ||
		sent.Header.Get("Tracestate") != "vendor=value" {
		t.Errorf("the API got traceparent %q, tracestate %q, want %q and the caller's", got, sent.Header.Get("Tracestate"), want)
	}
	if line["traceId"] != traceID {
		t.Errorf("logged trace: got %v, want %s", line["traceId"], traceID)
	}
	if c.service != "middletier-of-this-test" {
		t.Errorf("service.name: got %q", c.service)
	}
	for _, name := range []string{
		"http.server.request.duration", "http.client.request.duration",
		"middletier_token_requests_total", "middletier_token_exchange_duration_seconds",
		"middletier_token_validations_total", "middletier_cache_entries",
	} {
		if !slices.Contains(c.metrics, name) {
			t.Errorf("the collector got the metrics %q, want %s among them", c.metrics, name)
		}
	}
}

// For a request that is not traced, the API receives the caller's trace headers.
func TestUntracedRequestsGoOnAsTheyCame(t *testing.T) {
	c := newCollector(t)
	w := newStoppedWorld(t, func(f *file) { f.Telemetry.OTLPEndpoint, f.Telemetry.TraceSampleRatio = c.URL, 1 })
	stop := w.startTraced()
	w.traced("/api/todo/items", w.alice(), "00")
	if got := w.api.last(t).Header.Get("Traceparent"); got != "00-"+traceID+"-"+parentID+"-00" {
		t.Errorf("traceparent of another's trace: got %q", got)
	}
	w.call("GET", "/api/todo/items", w.bob(), "")
	ours := w.api.last(t).Header.Get("Traceparent")
	stop()
	// One server span: Bob's, whose trace began here.
	if server := c.span(t, "GET /api/{name}/{path…}"); len(server.ParentSpanId) != 0 ||
		!strings.HasPrefix(ours, "00-"+hex.EncodeToString(server.TraceId)+"-") {
		t.Errorf("got trace %x, parent %x; the API got %q", server.TraceId, server.ParentSpanId, ours)
	}
}

func TestTraceOfErrors(t *testing.T) {
	c := newCollector(t)
	w := newStoppedWorld(t, func(f *file) {
		f.Telemetry.OTLPEndpoint = c.URL
		api := f.DownstreamAPIs["todo"]
		api.Retry.Attempts = 1 // every attempt has a span of its own
		f.DownstreamAPIs["todo"] = api
	})
	stop := w.startTraced()
	w.api.Close()
	w.traced("/api/todo/items", w.alice(), "01")
	stop()
	server, call := c.span(t, "GET /api/{name}/{path…}"), c.span(t, "GET todo")
	if got := attributesOf(server.Attributes)["error.type"]; got != "downstream-unreachable" ||
		server.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("server span: got error.type %q, status %v", got, server.Status)
	}
	if got := attributesOf(call.Attributes)["error.type"]; got != "unreachable" || call.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("client span: got error.type %q, status %v", got, call.Status)
	}
}

// An answer that its API did not complete is an error, though its status was sent
// before.
func TestTraceOfAnAnswerThatBreaksOff(t *testing.T) {
	c := newCollector(t)
	w := newStoppedWorld(t, func(f *file) { f.Telemetry.OTLPEndpoint, f.Telemetry.TraceSampleRatio = c.URL, 1 })
	stop := w.startTraced()
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "a part")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler) // the connection breaks
	})
	req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	if resp, err := noRedirects.Do(req); err == nil { // else broken even before the headers had come
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	stop()
	server := c.span(t, "GET /api/{name}/{path…}")
	got := attributesOf(server.Attributes)
	if got["error.type"] != "downstream-broke-off" || got["http.response.status_code"] != "200" ||
		server.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("got %v, status %v", got, server.Status)
	}
}

// An unreachable collector is logged once and changes nothing.
func TestCollectorIsGone(t *testing.T) {
	c := newCollector(t)
	c.Close()
	w := newStoppedWorld(t, func(f *file) { f.Telemetry.OTLPEndpoint = c.URL })
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")      // milliseconds
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000") // its retries included
	stop := w.startTraced()
	alice := w.alice()
	for range 20 {
		if r := w.traced("/api/todo/items", alice, "01"); r.StatusCode != 200 {
			t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	eventually(t, func() bool { return strings.Contains(w.log.String(), "traces cannot be sent") },
		func() string { return "the outage is not logged" })
	stop()
	if got := strings.Count(w.log.String(), "traces cannot be sent"); got != 1 {
		t.Errorf("the outage is logged %d times", got)
	}
}

func TestCollectorFromTheEnvironment(t *testing.T) {
	said := writeConfig(t, goodConfig+"\ntelemetry: {otlpEndpoint: \"http://said:4318\"}\n")
	for _, row := range []struct{ path, value, want, mistake string }{
		{writeConfig(t, goodConfig), "http://collector:4318", "http://collector:4318", ""},
		{writeConfig(t, goodConfig), "", "", ""},
		{said, "http://collector:4318", "http://said:4318", ""},
		{writeConfig(t, goodConfig), "collector:4317", "", "telemetry.otlpEndpoint: must be an http or https URL without query and user, such as http://127.0.0.1:4318 (it is from OTEL_EXPORTER_OTLP_ENDPOINT)"},
	} {
		f, err := load(row.path, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + row.value})
		if row.mistake != "" {
			if err == nil || !strings.Contains(err.Error(), row.mistake) {
				t.Errorf("%q: got %v, want %s", row.value, err, row.mistake)
			}
		} else if err != nil || f.Telemetry.OTLPEndpoint != row.want {
			t.Errorf("%q: got %q %v, want %q", row.value, f.Telemetry.OTLPEndpoint, err, row.want)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
