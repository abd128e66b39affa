package main

import (
	"testing"
)

// Only the hosts of the list are served, however a client spells them; probes come by
// the replica's own address.
func TestAllowedHosts(t *testing.T) {
	allow := func(hosts ...string) func(*file) {
		return func(f *file) {
			f.Server.AllowedHosts, f.Server.CORS.AllowedOrigins = hosts, []string{"https://app.example"}
		}
	}
	usual := newWorld(t, allow("API.Contoso.example", "*.apps.example.", "[2001:DB8:0::1]", "192.0.2.7", "xn--bcher-kva.example"))
	address := newWorld(t, allow("2001:db8::1"))
	star := newWorld(t, allow("*", "api.contoso.example"))
	none := newWorld(t, allow())
	const get = "GET /api/todo/items HTTP/1.1"
	for _, row := range []struct {
		name   string
		w      *world
		line   string
		lines  string // more header lines
		status int
	}{
		{"a listed name", usual, get, "Host: api.contoso.example", 200},
		{"in another case", usual, get, "Host: Api.CONTOSO.example", 200},
		{"with a port", usual, get, "Host: api.contoso.example:8443", 200},
		{"with an empty port", usual, get, "Host: api.contoso.example:", 200},
		{"with a dot at the end", usual, get, "Host: api.contoso.example.:443", 200},
		{"below a wildcard", usual, get, "Host: one.apps.example", 200},
		{"far below a wildcard", usual, get, "Host: two.One.apps.example.:1", 200},
		{"IPv6", usual, get, "Host: [2001:db8::1]", 200},
		{"IPv6 with a port, written otherwise", usual, get, "Host: [2001:DB8:0:0::0001]:8080", 200},
		{"IPv6, configured without brackets", address, get, "Host: [2001:db8::1]", 200},
		{"IPv4", usual, get, "Host: 192.0.2.7:80", 200},
		{"Punycode", usual, get, "Host: XN--bcher-kva.example", 200},
		{"absolute form", usual, "GET http://api.contoso.example/api/todo/items HTTP/1.1", "Host: evil.example", 200},
		{"HTTP/1.0 without Host", usual, "GET /api/todo/items HTTP/1.0", "X: y", 200},
		{"an empty Host", usual, get, "Host: ", 200},

		{"another name", usual, get, "Host: evil.example", 400},
		{"HTTP/1.0 with another", usual, "GET /api/todo/items HTTP/1.0", "Host: evil.example", 400},
		{"absolute form of another", usual, "GET http://evil.example/api/todo/items HTTP/1.1", "Host: api.contoso.example", 400},
		{"the wildcard's own name", usual, get, "Host: apps.example", 400},
		{"a name that ends like the wildcard", usual, get, "Host: evilapps.example", 400},
		{"a dot before the wildcard's name", usual, get, "Host: .apps.example", 400},
		{"a listed name as a label", usual, get, "Host: api.contoso.example.evil.example", 400},
		{"below a listed name", usual, get, "Host: x.api.contoso.example", 400},
		{"the wildcard itself", usual, get, "Host: *", 400},
		{"two dots at the end", usual, get, "Host: api.contoso.example..", 400},
		{"what is no port", usual, get, "Host: api.contoso.example:x", 400},
		{"two ports", usual, get, "Host: api.contoso.example:80:80", 400},
		{"another IPv6", usual, get, "Host: [2001:db8::2]", 400},
		{"IPv6 without brackets", usual, get, "Host: 2001:db8::1", 400},
		{"IPv6 half open", usual, get, "Host: [2001:db8::1", 400},
		{"IPv6 and more", usual, get, "Host: [2001:db8::1].evil.example", 400},
		{"a name in brackets", usual, get, "Host: [api.contoso.example]", 400},
		{"another, forwarded by anybody", usual, get, "Host: evil.example\r\nX-Forwarded-Host: api.contoso.example", 400},
		{"a preflight to another", usual, "OPTIONS /api/todo/items HTTP/1.1", "Host: evil.example\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET", 400},
		{"the metadata of another", usual, "GET /.well-known/oauth-protected-resource HTTP/1.1", "Host: evil.example", 400},
		{"nothing there, of another", usual, "GET /nothing HTTP/1.1", "Host: evil.example", 400},

		{"health", usual, "GET /healthz HTTP/1.1", "Host: 10.1.2.3:8080", 200},
		{"readiness", usual, "HEAD /readyz HTTP/1.1", "Host: 10.1.2.3:8080", 200},
		{"not health", usual, "GET /healthz/x HTTP/1.1", "Host: 10.1.2.3:8080", 400},
		{"any, by a star", star, get, "Host: evil.example", 200},
		{"any, by no list", none, get, "Host: evil.example", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(row.w.api.seen())
			r := rawRequest(t, row.w, row.line+"\r\n"+row.lines+"\r\nAuthorization: Bearer "+row.w.alice()+"\r\nConnection: close\r\n\r\n")
			if r.StatusCode != row.status {
				t.Errorf("got %d, want %d", r.StatusCode, row.status)
			}
			if row.status == 400 && (r.Header.Get("Cache-Control") != "no-store" || len(row.w.api.seen()) != before) {
				t.Errorf("the answer is %v, the API got %d requests", r.Header, len(row.w.api.seen())-before)
			}
		})
	}
	if r := usual.call("GET", "/docs", "", ""); r.StatusCode != 400 || r.kind() != "invalid-request" { // by 127.0.0.1
		t.Errorf("got %d %s, want 400 invalid-request", r.StatusCode, r.body)
	}
}

// Behind a trusted proxy, the host that the client called counts, whatever the proxy calls.
func TestAllowedHostsBehindATrustedProxy(t *testing.T) {
	w := withProxies(t, []string{"127.0.0.0/8", "10.0.0.0/8"}, func(f *file) {
		f.Server.AllowedHosts = []string{"api.contoso.example", "127.0.0.1"}
	})
	for _, row := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"the proxy's own host", nil, 200},
		{"a listed host", []string{"X-Forwarded-Host: API.contoso.example:443"}, 200},
		{"another host", []string{"X-Forwarded-Host: evil.example"}, 400},
		{"the last counts", []string{"X-Forwarded-Host: api.contoso.example, evil.example"}, 400},
		{"the last counts, listed", []string{"X-Forwarded-Host: evil.example, api.contoso.example"}, 200},
		{"Forwarded, a listed host", []string{`Forwarded: for=203.0.113.7;host="api.contoso.example:443"`}, 200},
		{"Forwarded, another host", []string{"Forwarded: for=203.0.113.7;host=evil.example"}, 400},
		{"Forwarded by the client, another host before", []string{"Forwarded: host=evil.example, for=203.0.113.7;host=api.contoso.example"}, 200},
		{"what is no host", []string{"X-Forwarded-Host: evil.example/x"}, 200},
	} {
		if r := w.say("/api/todo/items", w.alice(), row.lines...); r.StatusCode != row.status {
			t.Errorf("%s: got %d %s, want %d", row.name, r.StatusCode, r.body, row.status)
		}
	}
}
