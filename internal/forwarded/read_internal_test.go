package forwarded

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// FuzzOrigin checks that what is believed can be written into URLs and headers,
// and that nothing left of the first hop that is not trusted is believed.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"", "203.0.113.7, 10.1.2.3", "[2001:db8::1]:80", `for="[2001:db8::1]:80";host="a\"b";proto=https, for=_x`, "for=1.2.3.4;;,,for=", `"`, "a=\"\\"} {
		f.Add(s, s, "")
		f.Add("", "api.example:80", s)
	}
	trusted := NewProxies([]string{"10.0.0.0/8", "192.0.2.1/32"}, func(string) bool { return true }, func(key, problem string) { f.Fatal(key, problem) })
	f.Fuzz(func(t *testing.T, nodes, host, forwarded string) {
		for _, header := range []http.Header{
			{"X-Forwarded-For": {nodes, nodes}, "X-Forwarded-Host": {host}, "X-Forwarded-Proto": {host}},
			{"Forwarded": {forwarded, nodes}},
		} {
			r := httptest.NewRequest("GET", "/", nil) // from 192.0.2.1
			r.Header = header
			o := trusted.Origin(r)
			if o.Host != "" && !isHost(o.Host) || o.Proto != "" && o.Proto != "http" && o.Proto != "https" {
				t.Errorf("%q: host %q, proto %q", header, o.Host, o.Proto)
			}
			for i, addr := range o.For {
				if !addr.IsValid() || addr.Zone() != "" || i > 0 && !trusted.trust(addr) {
					t.Errorf("%q: hops %v", header, o.For)
				}
			}
		}
	})
}
