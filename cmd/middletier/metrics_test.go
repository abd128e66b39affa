package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

// The numbers are on the admin listener, and nowhere else.
func TestMetricsOfTheTokenCache(t *testing.T) {
	w := newStoppedWorld(t)
	p := w.startReady()
	scrape := func() string {
		recorder := httptest.NewRecorder()
		p.api.Admin(new(slog.LevelVar)).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
		if recorder.Code != 200 {
			t.Fatalf("got %d %s", recorder.Code, recorder.Body)
		}
		return recorder.Body.String()
	}
	before := scrape()
	for _, line := range []string{"middletier_cache_entries 0\n", "middletier_cache_evictions_total 0\n", "middletier_redis_errors_total 0\n", "# TYPE middletier_cache_bytes gauge\n"} {
		if !strings.Contains(before, line) {
			t.Errorf("got\n%swant %q in it", before, line)
		}
	}
	if strings.Contains(before, "middletier_credential_expiry_timestamp_seconds ") {
		t.Errorf("a secret has no expiry: got\n%s", before)
	}
	w.call("GET", "/api/todo/items", w.alice(), "")
	w.call("GET", "/app/todo/items", w.daemon(), "")
	if after := scrape(); !strings.Contains(after, "middletier_cache_entries 2\n") {
		t.Errorf("after a user's call and an app's: got\n%swant 2 entries", after)
	}
	if r := w.call("GET", "/metrics", "", ""); r.StatusCode != 404 {
		t.Errorf("on the public listener: got %d, want 404", r.StatusCode)
	}
}
