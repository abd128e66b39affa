package main

import (
	"fmt"
	"strconv"
	"testing"
)

func TestEachCallerHasAQuota(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.RateLimit = rateLimit{RequestsPerSecond: 0.01, Burst: 3} })
	const full = 300 // seconds until three calls are allowed again
	limits := func(r *reply) (left, reset int) {
		t.Helper()
		if _, err := fmt.Sscanf(r.Header.Get("RateLimit"), `"caller";r=%d;t=%d`, &left, &reset); err != nil {
			t.Errorf("RateLimit: got %q: %v", r.Header.Get("RateLimit"), err)
		}
		if got, want := r.Header.Get("RateLimit-Policy"), fmt.Sprintf(`"caller";q=3;w=%d`, full); got != want {
			t.Errorf("RateLimit-Policy: got %s, want %s", got, want)
		}
		return left, reset
	}
	for i, path := range []string{"/api/todo/items", "/api/unknown", "/api/todo/items"} { // a refused call counts too
		left, reset := limits(w.call("GET", path, w.alice(), "")) // a token of hers each
		if most := 100 * (i + 1); left != 2-i || reset > most || reset < most-60 {
			t.Errorf("call %d: %d left, full in %d s; want %d, in %d s", i+1, left, reset, 2-i, most)
		}
	}
	sent := len(w.api.seen())
	for _, path := range []string{"/api/todo/items", "/app/todo/items"} { // whatever she calls
		r := w.call("GET", path, w.alice(), "")
		after, err := strconv.Atoi(r.Header.Get("Retry-After"))
		if r.StatusCode != 429 || r.kind() != "rate-limited" || err != nil || after < 1 || after > 100 {
			t.Errorf("%s: got %d %s, Retry-After %q, want 429 rate-limited within 100 s", path, r.StatusCode, r.body, r.Header.Get("Retry-After"))
		}
		if left, reset := limits(r); left != 0 || reset > full || reset < full-60 {
			t.Errorf("%s: %d left, full in %d s; want 0, in %d s", path, left, reset, full)
		}
	}
	if got := w.call("POST", "/signout", w.alice(), ""); got.StatusCode != 204 || got.Header.Get("RateLimit") != "" {
		t.Errorf("signout: got %d, RateLimit %q, want 204 without", got.StatusCode, got.Header.Get("RateLimit"))
	}
	if len(w.api.seen()) != sent {
		t.Error("a refused call reached the API")
	}
	for name, r := range map[string]*reply{
		"bob": w.call("GET", "/api/todo/items", w.bob(), ""), "daemon": w.call("GET", "/app/todo/items", w.daemon(), ""),
	} {
		if left, _ := limits(r); r.StatusCode != 200 || left != 2 {
			t.Errorf("%s: got %d, %d left, want 200 and 2", name, r.StatusCode, left)
		}
	}
	if r := w.call("GET", "/api/todo/items", w.alice()+"x", ""); r.StatusCode != 401 || r.Header.Get("RateLimit") != "" {
		t.Errorf("a bad token: got %d, RateLimit %q, want 401 without", r.StatusCode, r.Header.Get("RateLimit"))
	}
}

func TestNoQuotaUnlessConfigured(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		r := w.call("GET", "/api/todo/items", w.alice(), "")
		if r.StatusCode != 200 || r.Header.Get("RateLimit") != "" || r.Header.Get("RateLimit-Policy") != "" {
			t.Fatalf("got %d, RateLimit %q, want 200 without", r.StatusCode, r.Header.Get("RateLimit"))
		}
	}
}
