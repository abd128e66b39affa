package api

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"middletier/internal/telemetry"
)

func newTelemetry(t *testing.T) *telemetry.Telemetry {
	t.Helper()
	watch, err := telemetry.New(telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return watch
}

// A panic is answered and logged, and the process goes on.
func TestPanicIsAnInternalErrorAndLoggedOnce(t *testing.T) {
	var log strings.Builder
	s := New(Config{
		MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, // no validator: a call that needs it panics
		Log: slog.New(slog.NewTextHandler(&log, nil)), Telemetry: newTelemetry(t),
	})
	for range 2 {
		log.Reset()
		r := httptest.NewRequest("GET", "/api/todo/items", nil)
		r.Header.Set("Authorization", "Bearer token")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 500 || !strings.Contains(w.Body.String(), "/problems/internal") || strings.Contains(w.Body.String(), "nil pointer") {
			t.Errorf("got %d %s, want 500 internal with a fixed text", w.Code, w.Body)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "nil pointer") || !strings.Contains(got, "level=ERROR") {
			t.Errorf("log: got %q, want one line with the panic", got)
		}
	}
}

func FuzzSplitTarget(f *testing.F) {
	for _, seed := range []string{"/api/todo/items", "/api/todo", "/api/", "/api", "/x", "/api/todo//", "/api/%74odo/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		name, path, err := splitTarget(escaped, "/api/")
		if err == nil && ("/api/"+name+path != escaped || strings.Contains(name, "/") || path != "" && path[0] != '/') {
			t.Fatalf("%q: got %q and %q", escaped, name, path)
		}
	})
}
