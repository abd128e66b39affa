package mockidp

import "testing"

func TestPlatformURL(t *testing.T) {
	for _, c := range []struct{ host, port, want string }{
		{"contoso.ciamlogin.com", "443", "https://contoso.ciamlogin.com"},
		{"contoso.ciamlogin.com", "8443", "https://contoso.ciamlogin.com:8443"},
		{"mock", "44", "https://mock:44"},
		{"::1", "443", "https://[::1]"},
	} {
		if got := platformURL(c.host, c.port); got != c.want {
			t.Errorf("%s, port %s: got %s, want %s", c.host, c.port, got, c.want)
		}
	}
}
