package forwarded

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// FuzzClient checks that the result can be written into URLs and headers, and that
// no hop before the first untrusted one counts.
func FuzzClient(f *testing.F) {
	for _, s := range []string{
		"", "203.0.113.7, 10.1.2.3", "[2001:db8::1]:80", `for="[2001:db8::1]:80";host="a\"b";proto=https, for=_x`,
		"for=1.2.3.4;;,,for=", `"`, "a=\"\\",
	} {
		f.Add(s, s, "")
		f.Add("", "api.example:80", s)
	}
	trusted := NewProxies([]string{"10.0.0.0/8", "192.0.2.1/32"}, func(string) bool { return true },
		func(key, problem string) { f.Fatal(key, problem) })
	f.Fuzz(func(t *testing.T, nodes, host, forwarded string) {
		for _, header := range []http.Header{
			{"X-Forwarded-For": {nodes, nodes}, "X-Forwarded-Host": {host}, "X-Forwarded-Proto": {host}},
			{"Forwarded": {forwarded, nodes}},
		} {
			r := httptest.NewRequest("GET", "/", nil) // from 192.0.2.1
			r.Header = header
			c := trusted.Client(r)
			if c.Host != "" && !isHost(c.Host) || c.Proto != "" && c.Proto != "http" && c.Proto != "https" {
				t.Errorf("%q: host %q, proto %q", header, c.Host, c.Proto)
			}
			for i, addr := range c.For {
				if !addr.IsValid() || addr.Zone() != "" || i > 0 && !trusted.trust(addr) {
					t.Errorf("%q: hops %v", header, c.For)
				}
			}
		}
	})
}
