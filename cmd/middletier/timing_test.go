package main

import (
	"net/http"
	"regexp"
	"testing"
	"time"
)

// With server.serverTiming, answers have the times of each step, errors too.
func TestServerTiming(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.ServerTiming = true })
	alice := w.alice()
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		rw.Header().Set("Server-Timing", "database;dur=1")
	})
	const ms = `;dur=\d+\.\d{3}`
	for _, row := range []struct{ name, path, token, want string }{
		{"new user", "/api/todo/items", alice, `^database;dur=1\|validate` + ms + `, token;desc=identity_provider` + ms + `, downstream;dur=([2-9]\d|\d{3,})\.\d{3}$`},
		{"known user", "/api/todo/items", alice, `^database;dur=1\|validate` + ms + `, token;desc=memory` + ms + `, downstream` + ms + `$`},
		{"no token", "/api/todo/items", "", `^$`},
		{"bad token", "/api/todo/items", "x", `^validate` + ms + `$`},
		{"wrong kind", "/app/todo/items", alice, `^validate` + ms + `$`},
		{"health", "/healthz", "", `^$`},
	} {
		r := w.call("GET", row.path, row.token, "")
		got := ""
		for i, value := range r.Header.Values("Server-Timing") {
			if i > 0 {
				got += "|"
			}
			got += value
		}
		if !regexp.MustCompile(row.want).MatchString(got) {
			t.Errorf("%s: got %q, want %s", row.name, got, row.want)
		}
	}

	// Answers to calls that failed have the times of what was done.
	w.api.Close()
	gone := regexp.MustCompile(`^validate` + ms + `, token;desc=memory` + ms + `, downstream` + ms + `$`)
	if r := w.call("GET", "/api/todo/items", alice, ""); !gone.MatchString(r.Header.Get("Server-Timing")) {
		t.Errorf("API gone: got %d, %q", r.StatusCode, r.Header.Get("Server-Timing"))
	}
	w.idp.Stop()
	gone = regexp.MustCompile(`^validate` + ms + `, token;desc=identity_provider` + ms + `$`)
	if r := w.call("GET", "/api/todo/items", w.bob(), ""); !gone.MatchString(r.Header.Get("Server-Timing")) {
		t.Errorf("provider gone: got %d, %q", r.StatusCode, r.Header.Get("Server-Timing"))
	}
}

func TestServerTimingIsOffByDefault(t *testing.T) {
	w := newWorld(t)
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.Header.Get("Server-Timing") != "" {
		t.Errorf("got %q", r.Header.Get("Server-Timing"))
	}
}
