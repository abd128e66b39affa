package main

import (
	"strings"
	"testing"
)

// withProxies is a world that trusts these proxies.
func withProxies(t *testing.T, trusted []string, change ...func(*file)) *world {
	t.Helper()
	return newWorld(t, append(change, func(f *file) { f.Server.TrustedProxies = trusted })...)
}

// say makes a request with header lines, as "Name: value".
func (w *world) say(path, token string, lines ...string) *reply {
	w.t.Helper()
	return w.send("GET", w.url+path, token, nil, lines...)
}

// Headers of trusted proxies are continued; those of others are replaced.
func TestTrustedProxies(t *testing.T) {
	proxied := withProxies(t, []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48"})
	alice := proxied.alice()
	self := strings.TrimPrefix(proxied.url, "http://")
	alone := `for=127.0.0.1;host="` + self + `";proto=http`
	for _, row := range []struct {
		name      string
		lines     []string
		addrs     string // X-Forwarded-For at the API
		host      string // "": the service's own
		proto     string
		forwarded string
	}{
		{"nothing", nil, "127.0.0.1", "", "http", alone},
		{
			"a gateway",
			[]string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Host: api.example", "X-Forwarded-Proto: https"},
			"203.0.113.7, 127.0.0.1", "api.example", "https", `for=203.0.113.7;host="api.example";proto=https, for=127.0.0.1`,
		},
		{
			"two gateways",
			[]string{"X-Forwarded-For: 203.0.113.7, 10.1.2.3"},
			"203.0.113.7, 10.1.2.3, 127.0.0.1", "", "http", `for=203.0.113.7;host="` + self + `";proto=http, for=10.1.2.3, for=127.0.0.1`,
		},
		{
			"in several lines",
			[]string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3,10.1.2.4", "X-Forwarded-Proto: http", "X-Forwarded-Proto: http, https"},
			"203.0.113.7, 10.1.2.3, 10.1.2.4, 127.0.0.1", "", "https", `for=203.0.113.7;host="` + self + `";proto=https, for=10.1.2.3, for=10.1.2.4, for=127.0.0.1`,
		},
		{
			"what the client said of itself is dropped",
			[]string{"X-Forwarded-For: 10.9.9.9, 6.6.6.6, 203.0.113.7, 10.1.2.3"},
			"203.0.113.7, 10.1.2.3, 127.0.0.1", "", "http", `for=203.0.113.7;host="` + self + `";proto=http, for=10.1.2.3, for=127.0.0.1`,
		},
		{
			"all trusted",
			[]string{"X-Forwarded-For: 10.1.2.2, 10.1.2.3"},
			"10.1.2.2, 10.1.2.3, 127.0.0.1", "", "http", `for=10.1.2.2;host="` + self + `";proto=http, for=10.1.2.3, for=127.0.0.1`,
		},
		{
			"with ports, as Azure's gateways write it",
			[]string{"X-Forwarded-For: 203.0.113.7:51234"},
			"203.0.113.7, 127.0.0.1", "", "http", `for=203.0.113.7;host="` + self + `";proto=http, for=127.0.0.1`,
		},
		{
			"IPv6",
			[]string{"X-Forwarded-For: 2001:DB8::7, [2001:db8:1::1], [2001:db8:1::2]:443, ::ffff:10.1.1.1"},
			"2001:db8::7, 2001:db8:1::1, 2001:db8:1::2, 10.1.1.1, 127.0.0.1", "", "http",
			`for="[2001:db8::7]";host="` + self + `";proto=http, for="[2001:db8:1::1]", for="[2001:db8:1::2]", for=10.1.1.1, for=127.0.0.1`,
		},
		{"an address that is none ends it", []string{"X-Forwarded-For: 203.0.113.7, unknown, 10.1.2.3"}, "10.1.2.3, 127.0.0.1", "", "http", `for=10.1.2.3;host="` + self + `";proto=http, for=127.0.0.1`},
		{"nonsense", []string{"X-Forwarded-For: a\";b, 1.2.3.4.5", "X-Forwarded-Host: a b", "X-Forwarded-Proto: gopher"}, "127.0.0.1", "", "http", alone},
		{"hosts that are none", []string{`X-Forwarded-Host: evil.example/x`, "X-Forwarded-Proto: HTTPS"}, "127.0.0.1", "", "https", `for=127.0.0.1;host="` + self + `";proto=https`},
		{"host with user", []string{"X-Forwarded-Host: user@evil.example"}, "127.0.0.1", "", "http", alone},
		{"host with a port", []string{"X-Forwarded-Host: [2001:db8::1]:8443"}, "127.0.0.1", "[2001:db8::1]:8443", "http", `for=127.0.0.1;host="[2001:db8::1]:8443";proto=http`},
		{"empty values", []string{"X-Forwarded-For: ", "X-Forwarded-Host: ", "X-Forwarded-Proto: "}, "127.0.0.1", "", "http", alone},
		{
			"Forwarded",
			[]string{`Forwarded: for=203.0.113.7;host=api.example;proto=https`},
			"203.0.113.7, 127.0.0.1", "api.example", "https", `for=203.0.113.7;host="api.example";proto=https, for=127.0.0.1`,
		},
		{
			"Forwarded of two gateways",
			[]string{`Forwarded: For="203.0.113.7:80" ; Proto=HTTPS;host="api.example:8443";by=_x , ,for="[2001:db8:1::1]";host=inner;proto=http`, `forwarded: for=10.1.2.3;ext="a,b;\"c"`},
			"203.0.113.7, 2001:db8:1::1, 10.1.2.3, 127.0.0.1", "api.example:8443", "https",
			`for=203.0.113.7;host="api.example:8443";proto=https, for="[2001:db8:1::1]", for=10.1.2.3, for=127.0.0.1`,
		},
		{
			"Forwarded by a client, continued",
			[]string{`Forwarded: for=6.6.6.6;host=evil.example;proto=https, for=203.0.113.7;host=api.example`},
			"203.0.113.7, 127.0.0.1", "api.example", "http", `for=203.0.113.7;host="api.example";proto=http, for=127.0.0.1`,
		},
		{
			"Forwarded by a client who is not named",
			[]string{`Forwarded: for=6.6.6.6;host=evil.example, for=_hidden;host=api.example;proto=https`},
			"127.0.0.1", "api.example", "https", `for=127.0.0.1;host="api.example";proto=https`,
		},
		{"Forwarded without for", []string{`Forwarded: for=6.6.6.6;host=evil.example, proto=https`}, "127.0.0.1", "", "https", `for=127.0.0.1;host="` + self + `";proto=https`},
		{"malformed Forwarded", []string{`Forwarded: for=203.0.113.7;host="api.example`}, "127.0.0.1", "", "http", alone},
		{"Forwarded with a pair twice", []string{`Forwarded: for=203.0.113.7;for=6.6.6.6`}, "127.0.0.1", "", "http", alone},
		{"Forwarded with more after a quote", []string{`Forwarded: for="203.0.113.7"x=y`}, "127.0.0.1", "", "http", alone},
		{"Forwarded without a value", []string{`Forwarded: for`}, "127.0.0.1", "", "http", alone},
		{
			"both: the client's Forwarded does not count",
			[]string{"X-Forwarded-For: 203.0.113.7", `Forwarded: for=6.6.6.6;host=evil.example;proto=https`},
			"203.0.113.7, 127.0.0.1", "", "http", `for=203.0.113.7;host="` + self + `";proto=http, for=127.0.0.1`,
		},
		{"both, of one only the scheme", []string{"X-Forwarded-Proto: https", `Forwarded: for=6.6.6.6;host=evil.example`}, "127.0.0.1", "", "https", `for=127.0.0.1;host="` + self + `";proto=https`},
	} {
		t.Run(row.name, func(t *testing.T) {
			host := row.host
			if host == "" {
				host = self
			}
			if r := proxied.say("/api/todo/items", alice, row.lines...); r.StatusCode != 200 {
				t.Fatalf("got %d %s", r.StatusCode, r.body)
			}
			header := proxied.api.last(t).Header
			for name, want := range map[string]string{
				"X-Forwarded-For": row.addrs, "X-Forwarded-Host": host, "X-Forwarded-Proto": row.proto, "Forwarded": row.forwarded,
			} {
				if got := header[name]; len(got) != 1 || got[0] != want {
					t.Errorf("%s: got  %q\nwant %q", name, got, want)
				}
			}
			r := proxied.say("/api/todo/items", "", row.lines...)
			base := row.proto + "://" + host
			if want := base + "/problems/missing-token"; r.problem.Type != want {
				t.Errorf("type: got %s, want %s", r.problem.Type, want)
			}
			want := `, resource_metadata="` + base + `/.well-known/oauth-protected-resource/api/todo", `
			if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, want) {
				t.Errorf("WWW-Authenticate: got %s, want %s in it", got, want)
			}
		})
	}
}

// Such headers from anyone else are ignored, in any spelling.
func TestProxiesThatAreNotTrusted(t *testing.T) {
	for name, trusted := range map[string][]string{"by default": nil, "others are trusted": {"10.0.0.0/8", "2001:db8::/32"}} {
		w := withProxies(t, trusted)
		self := strings.TrimPrefix(w.url, "http://")
		lines := []string{
			"X-Forwarded-For: 10.6.6.6", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: for=10.6.6.6;host=evil.example;proto=https",
			"X_Forwarded_For: 10.6.6.6", "X-Forwarded_Host: evil.example",
		}
		if r := w.say("/api/todo/items", w.alice(), lines...); r.StatusCode != 200 {
			t.Fatalf("%s: got %d %s", name, r.StatusCode, r.body)
		}
		for header, values := range w.api.last(t).Header {
			if value := strings.Join(values, " "); strings.Contains(value, "6.6.6") || strings.Contains(value, "evil") {
				t.Errorf("%s: %s: %q reached the API", name, header, value)
			}
		}
		if r := w.say("/api/todo/items", "", lines...); r.problem.Type != "http://"+self+"/problems/missing-token" {
			t.Errorf("%s: type: got %s", name, r.problem.Type)
		}
	}
}

// A gateway may strip the prefix under which clients know the service, or keep it.
func TestPrefixOfTheGateway(t *testing.T) {
	for _, row := range []struct {
		name, publicURL, basePath, path string
		want                            string // how problems' types begin; "": with the service's own address
	}{
		{"stripped", "https://gateway.example/middle/", "", "/api/todo/items", "https://gateway.example/middle"},
		{"kept", "", "/middle", "/middle/api/todo/items", "/middle"},
		{"kept and public", "https://gateway.example/middle", "/middle", "/middle/api/todo/items", "https://gateway.example/middle"},
		{"kept, and not said in public", "https://gateway.example", "/middle", "/middle/api/todo/items", "https://gateway.example/middle"},
		{"kept, and a slash in public", "https://gateway.example/", "/middle", "/middle/api/todo/items", "https://gateway.example/middle"},
		{"kept, and another in public", "https://gateway.example/public/middle", "/middle", "/middle/api/todo/items", "https://gateway.example/public/middle"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := withProxies(t, []string{"127.0.0.1/32"}, func(f *file) { f.Server.PublicURL, f.Server.BasePath = row.publicURL, row.basePath })
			gateway := "X-Forwarded-Host: inner.example"
			want := row.want
			if strings.HasPrefix(want, "/") {
				want = "http://inner.example" + want
			}
			if r := w.say(row.path+"?x", w.alice(), gateway); r.StatusCode != 200 || w.api.last(t).RequestURI != "/items?x" {
				t.Errorf("got %d %s, the API %v", r.StatusCode, r.body, w.api.seen())
			}
			r := w.say(row.path, "", gateway)
			if r.problem.Type != want+"/problems/missing-token" || r.problem.Instance != row.path {
				t.Errorf("problem: got %s, want a type below %s", r.body, want)
			}
			_, metadata, _ := strings.Cut(r.Header.Get("WWW-Authenticate"), `resource_metadata="`)
			metadata, _, _ = strings.Cut(metadata, `"`)
			if host, path, _ := strings.Cut(strings.Replace(want, "://", ":", 1), "/"); metadata !=
				strings.Replace(host, ":", "://", 1)+"/.well-known/oauth-protected-resource/"+path+"/api/todo" {
				t.Errorf("resource_metadata: got %s", metadata)
			}
			if r := w.say(row.basePath+"/.well-known/oauth-protected-resource", "", gateway); !strings.Contains(r.body, `"resource":"`+want+`"`) {
				t.Errorf("metadata: got %s", r.body)
			}
			if r := w.say(row.basePath+"/problems/missing-token", ""); r.StatusCode != 200 {
				t.Errorf("the page of a problem: got %d", r.StatusCode)
			}
			if r := w.say("/readyz", ""); r.StatusCode != 200 {
				t.Errorf("/readyz, which no gateway asks for: got %d", r.StatusCode)
			}
			if row.basePath != "" {
				if r := w.say("/api/todo/items", w.alice()); r.StatusCode != 404 {
					t.Errorf("without the prefix: got %d, want 404", r.StatusCode)
				}
			}
		})
	}
}
