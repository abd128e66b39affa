package main

import (
	"net/http"
	"strings"
	"testing"
)

// withSessions turns sessions on, for a service that browsers reach at its own address.
func withSessions(f *file) {
	f.Session.Enabled = true
	f.Server.PublicURL = "https://app.contoso.example"
}

// ownPage are the headers that a browser sends with a fetch of a page of the service's own
// origin that has the session's header.
var ownPage = []string{"X-CSRF: 1", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Origin: https://app.contoso.example"}

// A request of a session must come from a script of this origin: it has a header that pages
// of others cannot send, and browsers say that it is not theirs.
func TestSessionRequestsComeFromOurOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSessions, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
	})
	const own, csrf = "Origin: https://app.contoso.example", "X-CSRF: 1"
	for _, row := range []struct {
		name  string
		lines []string
		pass  bool // to the check of the session
	}{
		{"no browser", []string{csrf}, true},
		{"a script of our origin", ownPage, true},
		{"a script of our origin, in an old browser", []string{csrf, own}, true},
		{"without Origin, as with GET", []string{csrf, "Sec-Fetch-Site: same-origin"}, true},
		{"without the header", []string{"Sec-Fetch-Site: same-origin", own}, false},
		{"an empty header", []string{"X-CSRF: "}, false},
		{"another value", []string{"X-CSRF: 01"}, false},
		{"true", []string{"X-CSRF: true"}, false},
		{"twice", []string{csrf, csrf}, false},
		{"a list", []string{"X-CSRF: 1, 1"}, false},
		{"another name", []string{"X_CSRF: 1"}, false},
		{"in the query", []string{}, false},
		{"another site", []string{csrf, "Sec-Fetch-Site: cross-site"}, false},
		{"another origin of our site", []string{csrf, "Sec-Fetch-Site: same-site"}, false},
		{"a script that says none", []string{csrf, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: cors"}, false},
		{"an unknown site", []string{csrf, "Sec-Fetch-Site: next-door"}, false},
		{"two sites", []string{csrf, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, false},
		{"another origin", []string{csrf, "Origin: https://evil.example"}, false},
		{"an origin of server.cors", []string{csrf, "Origin: https://listed.example"}, false},
		{"a frame without an origin", []string{csrf, "Origin: null"}, false},
		{"ours over http", []string{csrf, "Origin: http://app.contoso.example"}, false},
		{"ours with another port", []string{csrf, "Origin: https://app.contoso.example:8443"}, false},
		{"an origin that begins like ours", []string{csrf, "Origin: https://app.contoso.example.evil.example"}, false},
		{"a sibling's", []string{csrf, "Origin: https://evil.contoso.example"}, false},
		{"two origins", []string{csrf, own, "Origin: https://evil.example"}, false},
		{"the host that the request names, not publicUrl", []string{csrf, "Origin: " + w.url}, false},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "QUERY"} {
			r := w.send(method, w.url+"/bff/api/todo/items?X-CSRF=1", "", nil, row.lines...)
			status, kind := http.StatusForbidden, "cross-site-request"
			if row.pass {
				status, kind = http.StatusUnauthorized, "session-required"
			}
			if r.StatusCode != status || r.kind() != kind {
				t.Errorf("%s, %s: got %d %s, want %d %s", row.name, method, r.StatusCode, r.body, status, kind)
			}
			wantNoCORS(t, method+", "+row.name, r)
		}
	}
	if seen := w.api.seen(); len(seen) != 0 || w.exchanges() != 0 {
		t.Errorf("the API got %d requests, the provider %d", len(seen), w.exchanges())
	}
}

// wantNoCORS: an answer lets no page of another origin read it.
func wantNoCORS(t *testing.T, what string, r *reply) {
	t.Helper()
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Timing-Allow-Origin" {
			t.Errorf("%s: got %s: %s", what, name, r.Header.Get(name))
		}
	}
}

// Below /bff there is no CORS: a preflight is a request like any other, and is refused.
func TestSessionsHaveNoCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSessions, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
		f.Server.ServerTiming = true
	})
	preflight := []string{"Origin: https://listed.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-csrf"}
	for _, path := range []string{"/bff/api/todo/items", "/bff/user", "/bff/login"} {
		r := w.send("OPTIONS", w.url+path, "", nil, preflight...)
		if r.StatusCode < 400 {
			t.Errorf("%s: got %d, want a refusal", path, r.StatusCode)
		}
		wantNoCORS(t, path, r)
	}
	if r := w.send("OPTIONS", w.url+"/api/todo/items", "", nil, preflight...); r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("/api: got %v, want CORS as ever", r.Header)
	}
}

// Without sessions there is nothing below /bff.
func TestWithoutSessionsThereIsNoRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.send("GET", w.url+"/bff/api/todo/items", "", nil, ownPage...); r.StatusCode != http.StatusNotFound || r.kind() != "not-found" {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
}
