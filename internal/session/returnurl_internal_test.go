package session

import (
	"net/url"
	"strings"
	"testing"
)

var returnURLs = map[string]bool{
	"/": true, "/page": true, "/a/b?c=d#e": true, "/page?next=https://other.example/": true, "/a//b": true, "/@user": true,
	"/page#//other.example": true, "/a.b": true, "/...": true, "/%C3%A4": true, "/ä?ö=ü": true, "/a b": true, "/?x=%0d%0a": true,
	"/%": false, "/page?x=%": true, "/a;b=c": true, "/:80": true, "/a/https://x": true,

	"": false, "page": false, "//other.example": false, "///other.example": false, "////other.example": false, "/\\other.example": false,
	"\\/other.example": false, "\\\\other.example": false, "/\t/other.example": false, "/\n/other.example": false, "/\r\n/x": false,
	"\t//other.example": false, " //other.example": false, " /page": false, "/%2fother.example": false, "/%2Fother.example": false,
	"/%2f%2fother.example": false, "/%5cother.example": false, "/%5C%5Cother.example": false, "/%252fother.example": false,
	"/%25252f/other.example": false, "/%09/other.example": false, "/%0d/other.example": false, "/%00": false, "/\x00": false,
	"/ /other.example": false, "/%20/other.example": false, "/./other.example": false, "/.//other.example": false,
	"/..//other.example": false, "/a/..//other.example": false, "/%2e%2e//other.example": false, "/%2e//other.example": false,
	"https://other.example": false, "https://app.example/page": false, "http:other.example": false, "https:/other.example": false,
	"javascript:alert(1)": false, "data:text/html,x": false, "@other.example": false, "://other.example": false,
	".//other.example": false, "~/page": false, "?x": false, "#x": false, "/page\\..": false, "/page?x=\\": false,
	"/page\x7f": false, "/page?x=\n": false, "/\u3000/other.example": false,
}

func TestReturnURLsAreOfOurOrigin(t *testing.T) {
	for text, want := range returnURLs {
		if got, ok := localURL(text); ok != want {
			t.Errorf("localURL(%q): got %q %v, want %v", text, got, ok, want)
		}
	}
	if _, ok := localURL("/" + strings.Repeat("x", maxReturnURL)); ok {
		t.Error("localURL of a long path: got true, want false")
	}
	if got, _ := localURL(`/ä b"<'`); got != "/%C3%A4%20b%22%3C'" {
		t.Errorf("localURL: got %s, want it escaped", got)
	}
}

func FuzzReturnURL(f *testing.F) {
	for text := range returnURLs {
		f.Add(text)
	}
	origin := &url.URL{Scheme: "https", Host: "app.example", Path: "/a/page"}
	f.Fuzz(func(t *testing.T, text string) {
		local, ok := localURL(text)
		if !ok {
			return
		}
		for decoded := range 3 { // as a server or a page might read it
			// What browsers do before they parse (URL Standard, section 4.4).
			browsers := strings.ReplaceAll(strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(strings.TrimSpace(local)), "\\", "/")
			if u, err := url.Parse(browsers); err == nil && origin.ResolveReference(u).Host != origin.Host {
				t.Errorf("%q, decoded %d times: goes to %q", text, decoded, u.Host)
			}
			if strings.HasPrefix(browsers, "//") {
				t.Errorf("%q, decoded %d times: %q is another origin's", text, decoded, browsers)
			}
			path, err := url.PathUnescape(local)
			if err != nil {
				return
			}
			local = path
		}
		if local, _ = localURL(text); strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '<' }) {
			t.Errorf("%q: %q cannot stand in a header or an attribute", text, local)
		}
	})
}
