package forwarded_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"testing"

	"middletier/internal/forwarded"
)

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// What one replica writes, the next one reads: from X-Forwarded headers
// and from Forwarded alike.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	proxies := forwarded.NewProxies([]string{"10.0.0.0/8", "192.0.2.1/32", "2001:db8:1::/48"},
		func(path string) bool { return path == "" || path == "/middle" },
		func(key, problem string) { t.Fatal(key, problem) })
	for _, row := range []struct {
		name, peer string
		client     forwarded.Client
		want       []netip.Addr
	}{
		{"a client", "203.0.113.7:1234", forwarded.Client{Host: "api.example", Proto: "https"}, addrs("203.0.113.7")},
		{"IPv6", "[2001:db8::7]:1234", forwarded.Client{Host: "[2001:db8::1]:8443", Proto: "http"}, addrs("2001:db8::7")},
		{
			"through gateways", "[2001:db8:1::1]:1234",
			forwarded.Client{For: addrs("203.0.113.7", "10.1.2.3"), Host: "api.example:8443", Proto: "https", Prefix: "/middle"},
			addrs("203.0.113.7", "10.1.2.3", "2001:db8:1::1"),
		},
		{"without a host", "203.0.113.7:1234", forwarded.Client{Proto: "http"}, addrs("203.0.113.7")},
		{"from a Unix socket", "@", forwarded.Client{Host: "api.example", Proto: "http"}, nil},
		{"a prefix that is none", "203.0.113.7:1234", forwarded.Client{Proto: "http", Prefix: "/a/../b"}, addrs("203.0.113.7")},
	} {
		t.Run(row.name, func(t *testing.T) {
			written := http.Header{}
			row.client.Write(written.Set, row.peer)
			for name := range written {
				if !forwarded.IsHeader(name) {
					t.Errorf("wrote %s, which IsHeader does not know", name)
				}
			}
			want := row.client
			want.For = row.want
			if want.Prefix != "/middle" {
				want.Prefix = ""
			}
			for kind, dropped := range map[string][]string{
				"X-Forwarded": {"Forwarded"}, "Forwarded": {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"},
			} {
				r := httptest.NewRequest("GET", "/", nil) // from 192.0.2.1
				r.Header = written.Clone()
				for _, name := range dropped {
					r.Header.Del(name)
				}
				if got := proxies.Client(r); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %+v, want %+v, from %v", kind, got, want, r.Header)
				}
			}
		})
	}
}

func TestClientIsCompletedByTheRequest(t *testing.T) {
	for target, want := range map[string]forwarded.Client{
		"http://api.example/x":  {Host: "api.example", Proto: "http"},
		"https://api.example/x": {Host: "api.example", Proto: "https"},
	} {
		r := httptest.NewRequest("GET", target, nil)
		if got := (forwarded.Client{}).Complete(r); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", target, got, want)
		}
		said := forwarded.Client{Host: "said.example", Proto: "https", Prefix: "/said"}
		if got := said.Complete(r); !reflect.DeepEqual(got, said) {
			t.Errorf("%s: got %+v, want %+v", target, got, said)
		}
	}
}
