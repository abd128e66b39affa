package mockidp

import "testing"

// The port of a loopback redirect URI does not count, whatever the platform but a page's.
func TestPortOnLoopback(t *testing.T) {
	app := App{RedirectURIs: RedirectURIs{
		Web: []string{"http://127.0.0.1/web", "https://localhost/tls", "http://localhost:5000/both"}, SPA: []string{"http://localhost:3000/page"},
		Native: []string{"http://localhost/native", "http://localhost/both"},
	}}
	for uri, want := range map[string]string{
		"http://127.0.0.1:51234/web": platformWeb, "http://127.0.0.1/web": platformWeb, "http://localhost:1/native": platformNative,
		"http://localhost:5000/both": platformWeb, "http://localhost:5001/both": platformNative, "http://localhost:3000/page": platformSPA,
		"http://localhost:3001/page": "", "https://localhost:1/tls": "", "http://localhost:51234/web": "", "http://127.0.0.1:51234/web/": "",
		"http://127.0.0.1:1@evil.example/web": "",
	} {
		if got := app.platform(uri); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
}
