package main

import (
	"testing"
)

// The application is known by where it calls from, never by what a header says.
func TestSidecarCallers(t *testing.T) {
	usual := newSidecar(t)
	bridge := newSidecar(t, func(f *file) { f.Sidecar.AllowedCallers = []string{"172.17.0.0/16"} })
	exact := newSidecar(t, func(f *file) {
		f.Sidecar.AllowedCallers, f.Sidecar.AllowedHosts = []string{"127.0.0.1/32"}, []string{"sidecar", "*.pods.example"}
	})
	for _, row := range []struct {
		name  string
		w     *world
		lines string
		want  int
	}{
		{"this machine", usual, "Host: localhost", 200},
		{"by another port", usual, "Host: localhost:1", 200},
		{"in another case", usual, "Host: LocalHost", 200},
		{"by address", usual, "Host: 127.0.0.1:5178", 200},
		{"by IPv6", usual, "Host: [::1]:5178", 200},
		{"an empty Host", usual, "Host: ", 200},
		{"a page that was typed in", usual, "Host: localhost\r\nSec-Fetch-Site: none", 200},
		{"a page of its own", usual, "Host: localhost\r\nSec-Fetch-Site: same-origin", 200},
		{"listed by its own address", exact, "Host: localhost", 200},
		{"a listed name", exact, "Host: Sidecar:5178", 200},
		{"a name below a listed one", exact, "Host: agent.pods.example", 200},

		{"another machine's name", usual, "Host: evil.example", 400},
		{"a name like localhost", usual, "Host: localhost.evil.example", 400},
		{"another address", usual, "Host: 192.0.2.7", 400},
		{"another loopback address", usual, "Host: 127.0.0.2", 400},
		{"a malformed Host", usual, "Host: localhost:x", 400},
		{"a listed name of another world", usual, "Host: sidecar", 400},
		{"a name that is not listed", exact, "Host: pods.example", 400},
		{"another name, forwarded", usual, "Host: evil.example\r\nX-Forwarded-Host: localhost", 400},

		{"not among the callers", bridge, "Host: localhost", 403},
		{"not among the callers, by their word", bridge, "Host: localhost\r\nX-Forwarded-For: 172.17.0.2\r\nForwarded: for=172.17.0.2", 403},
		{"not among the callers, with another Host", bridge, "Host: evil.example", 403},
		{"a page", usual, "Host: localhost\r\nOrigin: http://localhost:3000", 403},
		{"a sandboxed page", usual, "Host: localhost\r\nOrigin: null", 403},
		{"a page of its own with Origin", usual, "Host: localhost\r\nOrigin: http://localhost", 403},
		{"another site", usual, "Host: localhost\r\nSec-Fetch-Site: cross-site", 403},
		{"another origin of the site", usual, "Host: localhost\r\nSec-Fetch-Site: same-site", 403},
		{"an unknown site", usual, "Host: localhost\r\nSec-Fetch-Site: x", 403},
		{"two sites", usual, "Host: localhost\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			end := row.lines + "\r\nAuthorization: Bearer " + row.w.alice() + "\r\nConnection: close\r\n\r\n"
			for _, path := range []string{"/Validate", "/AuthorizationHeader/todo", "/nothing"} {
				want := row.want
				if path == "/nothing" && want == 200 {
					want = 404
				}
				if r := row.w.rawBeside(t, "GET "+path+" HTTP/1.1\r\n"+end); r.StatusCode != want {
					t.Errorf("%s: got %d, want %d", path, r.StatusCode, want)
				}
			}
			if r := row.w.rawBeside(t, "GET /healthz HTTP/1.1\r\n"+end); r.StatusCode != 200 {
				t.Errorf("/healthz: got %d, want 200", r.StatusCode)
			}
		})
	}
	for name, line := range map[string]string{
		"HTTP/1.0 without Host": "GET /AuthorizationHeader/todo HTTP/1.0\r\n",
		"absolute form":         "GET http://localhost/AuthorizationHeader/todo HTTP/1.1\r\nHost: evil.example\r\n",
	} {
		if r := usual.rawBeside(t, line+"Authorization: Bearer "+usual.alice()+"\r\nConnection: close\r\n\r\n"); r.StatusCode != 200 {
			t.Errorf("%s: got %d, want 200", name, r.StatusCode)
		}
	}
	if r := usual.beside("GET", "/Validate", usual.alice(), "Origin: http://evil.example"); r.kind() != "cross-site-request" {
		t.Errorf("a page: got %s", r.body)
	}
	if r := bridge.beside("GET", "/Validate", bridge.alice()); r.kind() != "caller-not-allowed" {
		t.Errorf("another caller: got %s", r.body)
	}
	if r := bridge.beside("OPTIONS", "/Validate", "", "Origin: http://evil.example"); r.StatusCode != 403 {
		t.Errorf("a preflight: got %d, want 403", r.StatusCode)
	}
	if n := bridge.exchanges(); n != 0 {
		t.Errorf("refused callers cost %d exchanges", n)
	}
}
