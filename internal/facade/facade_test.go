package facade

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMistakesInRedirectURIs(t *testing.T) {
	for uri, problem := range map[string]string{
		"https://app.example/callback":                     "",
		"https://app.example":                              "",
		"https://app.example:8443/a?b=c":                   "",
		"https://claude.ai/api/mcp/auth_callback":          "",
		"http://127.0.0.1/callback":                        "",
		"http://127.0.0.1:6274/oauth/callback":             "",
		"http://[::1]/callback":                            "",
		"http://localhost":                                 "",
		"http://localhost/callback?x=y":                    "",
		"":                                                 "must be a URI",
		"/callback":                                        "must be a URI",
		"https://":                                         "must be a URI",
		"https://app.example/ä":                            "must be a URI",
		"https://app.example/a b":                          "must be a URI",
		"http://app.example/":                              "must be https",
		"http://localhost.evil.example/":                   "must be https",
		"http://user@localhost/":                           "must be https",
		"http://localhost:0/":                              "must be https",
		"cursor://anysphere.cursor-mcp/callback":           "must be https",
		"HTTPS://app.example/":                             "must be https",
		"https://*.example/":                               "must be one URI",
		"https://app.example/*":                            "must be one URI",
		`https://app.example\@evil.example/`:               "",
		"https://user:secret@app.example/":                 "must have no user name",
		"https://app.example/#":                            "must have no fragment",
		"http://localhost/#x":                              "must be https",
		"urn:ietf:wg:oauth:2.0:oob":                        "must be a URI",
		"https://app.example/callback\u202e":               "must be a URI",
		"https://global.consent.azure-apim.net/redirect/x": "",
	} {
		var got []string
		newRedirectURIs([]string{uri}, func(key, problem string) { got = append(got, key+" "+problem) })
		wrong := problem == "" && got != nil
		if strings.Contains(uri, `\`) { // net/url refuses it already
			wrong = got == nil
		} else if problem != "" {
			wrong = len(got) != 1 || !strings.HasPrefix(got[0], "allowedRedirectUris[0] "+problem)
		}
		if wrong {
			t.Errorf("%q: got %q, want %q", uri, got, problem)
		}
	}
	var got []string
	Config{}.Check(func(key, _ string) { got = append(got, key) })
	if !slices.Equal(got, []string{"clientId", "allowedRedirectUris"}) {
		t.Errorf("without any: got %q", got)
	}
}

// Whatever is allowed is one of the list, but for the port of a loopback URI, also for who
// parses it.
func FuzzRedirectURI(f *testing.F) {
	list := []string{"https://app.example/callback?a=b", "http://127.0.0.1/callback", "http://[::1]:1/", "http://localhost"}
	all := newRedirectURIs(list, func(key, problem string) { f.Fatal(key, problem) })
	for _, seed := range list {
		f.Add(seed)
	}
	f.Add("http://127.0.0.1:80@evil.example/callback")
	f.Add("http://localhost:65535")
	f.Fuzz(func(t *testing.T, uri string) {
		if !all.allows(uri) || slices.Contains(list, uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
			t.Fatalf("%q is allowed", uri)
		}
		if place := u.Hostname() + u.Path; !slices.Contains([]string{"127.0.0.1/callback", "::1/", "localhost"}, place) {
			t.Fatalf("%q is allowed: %s", uri, place)
		}
	})
}

// A parameter has the value that every strict reader finds in the text, or none.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b&a=c", "a", "a=&a=", "%61=b", "a=%00", "a=%ff", "a=b;c=d", "=x", "a+b=c+d", "resource=x&resource=y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseParameters(text)
		want, queryErr := url.ParseQuery(text)
		if err != nil {
			if p.values != nil || p.repeated != nil {
				t.Fatalf("%q: %v with %v", text, p, err)
			}
			return
		}
		if queryErr != nil || len(text) > maxBody {
			t.Fatalf("%q: accepted, want %v", text, queryErr)
		}
		for name, value := range p.values {
			if values := want[name]; len(values) != 1 || values[0] != value || !isText(name+value) {
				t.Fatalf("%q: %q is %q, want %q", text, name, value, values)
			}
		}
		repeated := false
		for name, values := range want {
			if values[0] != "" && len(values) == 1 && p.get(name) != values[0] || len(values) > 1 && p.get(name) != "" {
				t.Fatalf("%q: %q is %q, want %q", text, name, p.get(name), values)
			}
			repeated = repeated || len(values) > 1 && name != "resource"
		}
		if p.isRepeated() != repeated {
			t.Fatalf("%q: repeated is %v", text, p.isRepeated())
		}
	})
}

// Whatever a client requests, the provider is asked for scopes of the list.
func FuzzScopes(f *testing.F) {
	s := newScopes([]string{"Read", "Write", "openid"}, "api://x", []string{"x", "api://other"})
	for _, seed := range []string{"", "Read", "api://x/Read x/Write", "openid Read", "Mail.Read", "api://x/.default", "Read\tWrite", "x/Read x/Read"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ours, beside, err := s.read(text)
		if err != nil {
			return
		}
		for i, scope := range ours {
			if scope != "api://x/Read" && scope != "api://x/Write" || slices.Contains(ours[:i], scope) {
				t.Fatalf("%q: asks for %q", text, ours)
			}
		}
		for i, scope := range beside {
			if !slices.Contains(openIDScopes, scope) || slices.Contains(beside[:i], scope) {
				t.Fatalf("%q: asks for %q beside", text, beside)
			}
		}
	})
}

// The table of addresses is bounded, and a limit fills up again.
func TestLimitIsBoundedAndFillsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimit()
		take := func(address string) bool {
			return l.take(netip.MustParseAddr(address), map[string][]string{}) == nil
		}
		for range burst {
			if !take("203.0.113.1") {
				t.Fatal("limited too early")
			}
		}
		if take("203.0.113.1") || !take("203.0.113.2") {
			t.Error("one address is not limited, or another is")
		}
		time.Sleep(time.Second / perSecond)
		if !take("203.0.113.1") || take("203.0.113.1") {
			t.Error("the limit does not fill up")
		}
		for range burst {
			take("2001:db8::1")
		}
		if take("2001:db8::ffff:1") || take("2001:db8::1%eth0") || !take("2001:db8:0:1::1") {
			t.Error("a network of IPv6 does not count as one address")
		}
		for i := range 3 * maxAddresses {
			take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
		}
		if recent, older := l.Len(); recent+older > 2*maxAddresses {
			t.Errorf("%d addresses are remembered", recent+older)
		}
		if l.take(netip.Addr{}, nil) != nil { // of a Unix socket
			t.Error("a client without an address is refused")
		}
	})
}

func TestResourceOfAnotherOrigin(t *testing.T) {
	const base, host = "https://gw.example/a", "inner.example:8080"
	for resource, foreign := range map[string]bool{
		"": false, "https://gw.example": false, "https://gw.example/a/api/x/mcp": false, "https://gw.example:443/": false, "HTTPS://GW.EXAMPLE/x": false,
		"http://inner.example:8080/api/x": false, "https://inner.example:8080/": false, "api://app": false, "5b1bb2a0": false, "urn:x": false,
		"http://gw.example/": true, "https://gw.example:8443/": true, "https://gw.example.evil.example/": true, "https://gw.example@evil.example/": true,
		"https://user@gw.example/": true, "https://evil.example/?https://gw.example": true, "http://inner.example/": true, "https://": true, "https://%zz": true,
		"https:gw.example": true, "https:/gw.example": true, "\x00": true,
	} {
		if got := isForeign(resource, base, host); got != foreign {
			t.Errorf("%q: got %v, want %v", resource, got, foreign)
		}
	}
}
