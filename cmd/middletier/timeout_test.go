package main

import (
	"net/http"
	"testing"
	"time"
)

// pauseThen is an API that works for so long before its answer begins.
func pauseThen(pause time.Duration, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(pause):
			answer(w, r)
		case <-r.Context().Done():
		}
	}
}

func answers(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// An API has the time that is configured for it, more or less than that of all.
func TestRequestTimeoutOfOneAPI(t *testing.T) {
	const pause = 1500 * time.Millisecond
	for _, row := range []struct {
		name     string
		all, own time.Duration
		want     int
	}{
		{"less than all", time.Minute, 300 * time.Millisecond, http.StatusGatewayTimeout},
		{"more than all", 300 * time.Millisecond, time.Minute, http.StatusOK},
		{"that of all", 300 * time.Millisecond, 0, http.StatusGatewayTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				f.Server.RequestTimeout, d.RequestTimeout, d.Timeout = row.all, row.own, time.Minute
				f.DownstreamAPIs["todo"] = d
			})
			w.api.handle(pauseThen(pause, answers("late")))
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != row.want {
				t.Errorf("got %d %s, want %d", r.StatusCode, r.body, row.want)
			}
		})
	}
}
