package downstream_test

import (
	"bufio"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"middletier/internal/downstream"
)

func TestPathsThatAreForwarded(t *testing.T) {
	for raw, decoded := range map[string]string{
		"":                        "",
		"/":                       "/",
		"/lists":                  "/lists",
		"/lists/":                 "/lists/",
		"/lists/1/items":          "/lists/1/items",
		"/a%20b":                  "/a b",
		"/a+b":                    "/a+b",
		"/%C3%A4":                 "/ä",
		"/%c3%a4":                 "/ä",
		"/%41%42":                 "/AB",
		"/~user/!$&'()*,:@=":      "/~user/!$&'()*,:@=",
		"/a;v=1/b":                "/a;v=1/b",
		"/a;/b":                   "/a;/b",
		"/a%3Bv=1":                "/a;v=1",
		"/a%3Fb%23c":              "/a?b#c",
		"/50%25":                  "/50%",
		"/50%25off":               "/50%off",
		"/%25zz":                  "/%zz",
		"/a.b/.c/d./..e/f..":      "/a.b/.c/d./..e/f..",
		"/...":                    "/...",
		"/.well-known/x":          "/.well-known/x",
		"/users('a%20b')":         "/users('a b')",
		`/a"b<c>d{e}f|g^h` + "`i": `/a"b<c>d{e}f|g^h` + "`i",
		"/[x]":                    "/[x]",
		"/a:b@c":                  "/a:b@c",
		"/http:":                  "/http:",
	} {
		got, err := downstream.ParsePath(raw)
		if err != nil || got.Decoded() != decoded {
			t.Errorf("%q: got %q %v, want %q", raw, got.Decoded(), err, decoded)
		}
	}
}

func TestPathsThatAreRefused(t *testing.T) {
	for _, raw := range []string{
		"lists", "http://evil.example/", "*", "@evil.example/", ":8080/",
		"//", "//evil.example/x", "/a//b", "/a///", "//a",
		"/.", "/..", "/./a", "/../a", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/../../b", "/a/b/../../../c",
		"/..;/a", "/..;x=1/a", "/.;/a", "/a/..;", "/..%3Ba/b", "/..%3ba/b",
		"/;/admin", "/;x/admin", "/a/;x=1/b", "/%3Bx/admin",
		"/%2e", "/%2E%2e/a", "/.%2e/a", "/%2e./a", "/a%2Eb",
		"/%2f", "/a%2Fb", "/a%2f..%2fb", "/%2f%2fevil.example",
		"/%5c", "/a%5C..%5cb", `/a\b`, `/\evil.example`,
		"/%252e%252e/a", "/%252f", "/%252F", "/%255c", "/%2500", "/%25%32%65", "/%25%32f", "/%2%35%32e",
		"/%00", "/a%00b", "/a\x00b", "/%0a", "/%0d%0aX:1", "/a\nb", "/a\tb", "/%1f", "/%7f", "/a\x7f",
		"/a b", "/a?b", "/a#b", "/ä",
		"/%", "/%2", "/%zz", "/%u002e%u002e/a", "/a%",
		"/%ff", "/%c0%ae%c0%ae/a", "/%c0%af", "/%e0%80%af", "/%ed%a0%80",
	} {
		if got, err := downstream.ParsePath(raw); !errors.Is(err, downstream.ErrPath) {
			t.Errorf("%q: got %q %v, want ErrPath", raw, got.Decoded(), err)
		}
	}
}

func TestRelativePathsStayBelowTheBaseURL(t *testing.T) {
	for _, row := range []struct{ base, relative, want string }{
		{"https://api.example", "", "https://api.example"},
		{"https://api.example/", "", "https://api.example/"},
		{"https://api.example/v1", "", "https://api.example/v1"},
		{"https://api.example/v1/", "", "https://api.example/v1/"},
		{"https://api.example/v1", "a/b", "https://api.example/v1/a/b"},
		{"https://api.example/v1/", "/a/b/", "https://api.example/v1/a/b/"},
		{"https://api.example/v1/", "//evil.example/a", "https://api.example/v1/evil.example/a"},
		{"https://api.example/v1/", "?a=b", "https://api.example/v1/?a=b"},
		{"https://api.example/v1", "?a=b&A=/../x?", "https://api.example/v1?a=b&A=/../x?"},
		{"https://api.example/v1", "a#b?c", "https://api.example/v1/a"},
		{"https://api.example/v1", "a?b=c#d", "https://api.example/v1/a?b=c"},
		{"https://api.example/v1", "users('ü b')?$filter=a eq 'ü'&x={|}", "https://api.example/v1/users('%C3%BC%20b')?$filter=a%20eq%20'%C3%BC'&x=%7B%7C%7D"},
		{"https://api.example/v1", "a%20b?c=%2F", "https://api.example/v1/a%20b?c=%2F"},
	} {
		client, err := downstream.New(downstream.Config{BaseURL: row.base})
		if err != nil {
			t.Fatal(err)
		}
		path, query, err := client.ParseRelative(row.relative)
		if got := client.URL(path, query).String(); err != nil || got != row.want {
			t.Errorf("%q under %s: got %s %v, want %s", row.relative, row.base, got, err, row.want)
		}
	}
	client, err := downstream.New(downstream.Config{BaseURL: "https://api.example/v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, relative := range []string{
		"..", "../x", "/../x", "a/../../x", "a/..", ".", "a//b", "https://evil.example/x", "%2e%2e/x", "a%2fb", `..\x`,
		"a\nb", "a\x00", "a%", "\xff", "..;/..;/x",
	} {
		if path, _, err := client.ParseRelative(relative); !errors.Is(err, downstream.ErrPath) {
			t.Errorf("%q: got %q %v, want ErrPath", relative, path.Decoded(), err)
		}
	}
	if _, _, err := client.ParseRelative("a?b\r\nc"); !errors.Is(err, downstream.ErrQuery) {
		t.Errorf("a line break in the query: got %v, want ErrQuery", err)
	}
}

// encodedSlashes returns a client of an API that may have encoded slashes in its paths.
func encodedSlashes(t testing.TB) *downstream.Client {
	t.Helper()
	client, err := downstream.New(downstream.Config{BaseURL: "https://api.example/base", EncodedSlashes: true})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestPathsWithEncodedSlashes(t *testing.T) {
	client := encodedSlashes(t)
	for raw, decoded := range map[string]string{
		"/a%2Fb":               "/a/b",
		"/a%2fb%2Fc/d":         "/a/b/c/d",
		"/Photos('x%2Fy.png')": "/Photos('x/y.png')",
		"/a%2F":                "/a/",
		"/a%2F..b%2F.c":        "/a/..b/.c",
		"/a%2Fb;v=1%2Fc":       "/a/b;v=1/c",
		"/50%25%2Foff":         "/50%/off",
		"/plain":               "/plain",
	} {
		if got, err := client.ParsePath(raw); err != nil || got.Decoded() != decoded {
			t.Errorf("%q: got %q %v, want %q", raw, got.Decoded(), err, decoded)
		} else if u := client.URL(got, "").RequestURI(); u != "/base"+raw {
			t.Errorf("%q: sent as %q", raw, u)
		}
	}
	for _, raw := range []string{
		"%2Fa", "/%2F", "/%2Fevil.example", "/a%2F%2Fb", "/a/%2Fb", "/a%2F/b", "/%2f%2fevil.example",
		"/a%2F..%2Fb", "/%2F..%2Fb", "/a%2F..", "/..%2Fa", "/.%2Fa", "/a%2f.%2fb", "/a%2F../b", "/a/..%2Fb",
		"/a%2F%2e%2e%2Fb", "/a%2F.%2e%2Fb", "/%2e%2e%2Fa", "/a%2F%2eb", "/a%2Eb",
		"/a%2F..;%2Fb", "/a%2F..;x/b", "/a%2F..%3Bx%2Fb", "/..;x%2Fa", "/a%2F;x%2Fb", "/;x%2Fadmin",
		"/a%252Fb", "/a%252fb", "/a%25%32%46b", "/a%25%32fb", "/a%2%46b", "/a%2F%252e%252e%2Fb", "/a%2F..%252Fb",
		"/a%5Cb", "/a%2F..%5Cb", "/a%255Cb", `/a%2F\b`, "/a%2F%00", "/a%2F%2500", "/a%2F%0d%0a", "/a%2F%c0%af", "/a%2F?b", "/a%2F#b",
	} {
		if got, err := client.ParsePath(raw); !errors.Is(err, downstream.ErrPath) {
			t.Errorf("%q: got %q %v, want ErrPath", raw, got.Decoded(), err)
		}
	}
}

// FuzzParsePath checks that other parsers read an accepted path as ParsePath does.
func FuzzParsePath(f *testing.F) {
	for _, raw := range []string{
		"", "/", "/lists/1", "/a%20b", "/..;x/a", "/%2e%2e/a", "/%252e/a", "//evil", `/a\b`, "/%25%32%65", "/;x/a", "/%c0%ae", "/ä", "/a?b#c",
		"/a%00", "/a%2Fb", "/a%2F..%2fb", "/\"<>{}|^`[]", "/50%25", "/a;v=1/b", "/@h:1/..",
	} {
		f.Add(raw)
	}
	slashes := encodedSlashes(f)
	f.Fuzz(func(t *testing.T, raw string) {
		// Encoded slashes are accepted if plain ones are, and read as those.
		read, readErr := slashes.ParsePath(raw)
		plain, plainErr := downstream.ParsePath(strings.NewReplacer("%2F", "/", "%2f", "/").Replace(raw))
		if raw[:min(len(raw), 1)] != "%" && ((readErr == nil) != (plainErr == nil) || read.Decoded() != plain.Decoded()) {
			t.Errorf("%q: got %q %v, want %q %v", raw, read.Decoded(), readErr, plain.Decoded(), plainErr)
		}
		p, err := downstream.ParsePath(raw)
		if err != nil {
			if !errors.Is(err, downstream.ErrPath) || p != (downstream.Path{}) {
				t.Fatalf("%q: got %v %v, want ErrPath and nothing else", raw, p, err)
			}
			return
		}
		decoded := p.Decoded()
		if !utf8.ValidString(decoded) {
			t.Errorf("%q is decoded to %q, which is not UTF-8", raw, decoded)
		}
		// The same without parameters, and when it is decoded twice.
		readings := []string{decoded}
		if again, err := url.PathUnescape(decoded); err == nil {
			readings = append(readings, again)
		}
		for _, reading := range readings {
			for segment := range strings.SplitSeq(strings.ReplaceAll(reading, `\`, "/"), "/") {
				if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
					t.Errorf("%q is read as %q, which has dot segments", raw, reading)
				}
			}
			if strings.Count(reading, "/") != strings.Count(raw, "/") {
				t.Errorf("%q is read as %q, with other segments", raw, reading)
			}
		}
		for _, base := range []string{"", "/base", "/base/v1.0"} {
			if clean := path.Clean(base + decoded); base != "" && clean != base && !strings.HasPrefix(clean, base+"/") {
				t.Errorf("%q leaves %s: %s", raw, base, clean)
			}
			whole := base + raw
			if whole == "" {
				whole = "/"
			}
			// What a Go server reads from the request line.
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + whole + " HTTP/1.1\r\nHost: api.example\r\n\r\n")))
			if err != nil {
				t.Fatalf("%q: a server cannot read it: %v", raw, err)
			}
			if r.RequestURI != whole || r.Host != "api.example" || r.URL.Host != "" ||
				r.URL.RawQuery != "" || r.URL.ForceQuery || r.URL.Fragment != "" ||
				r.URL.Path != base+decoded && whole != "/" {
				t.Errorf("%q: a server reads %q, path %q, host %q, want path %q", raw, r.RequestURI, r.URL.Path, r.Host, base+decoded)
			}
			// And from the whole URL.
			u, err := url.Parse("http://api.example" + base + raw)
			if err != nil {
				t.Fatalf("%q: not part of a URL: %v", raw, err)
			}
			if u.Host != "api.example" || u.User != nil || u.Path != base+decoded || u.RawQuery != "" || u.Fragment != "" {
				t.Errorf("%q: the URL is read as %#v", raw, u)
			}
		}
	})
}

// FuzzTargetStaysBelowTheBaseURL checks what is sent for any path and query: the
// API's own host, its base path, and the rest byte for byte.
func FuzzTargetStaysBelowTheBaseURL(f *testing.F) {
	for _, path := range []string{
		"", "/", "/a/b", "//evil.example", "/@evil.example", "/..;/", "/%2e%2e/%2f", `/\"<>^{|}`, "/%c3%a4;x", "/a:80", "/a?b#c",
	} {
		f.Add(path, "")
		f.Add(path, "x=/../%2e%2e#@evil.example:1?")
	}
	clients := map[string]*downstream.Client{}
	for _, base := range []string{"", "/", "/base", "/base/", "/v%201.0/x;y"} {
		client, err := downstream.New(downstream.Config{BaseURL: "https://api.example" + base})
		if err != nil {
			f.Fatal(err)
		}
		clients[base] = client
	}
	f.Fuzz(func(t *testing.T, raw, query string) {
		p, err := downstream.ParsePath(raw)
		if err != nil || strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r == 0x7f }) { // net/http accepts neither
			return
		}
		for base, client := range clients {
			u := client.URL(p, query)
			if u.Scheme != "https" || u.Host != "api.example" || u.User != nil || u.Fragment != "" {
				t.Errorf("%q below %q: %#v", raw, base, u)
			}
			var wire strings.Builder
			if err := (&http.Request{Method: "GET", URL: u, Header: http.Header{}}).Write(&wire); err != nil {
				t.Fatalf("%q below %q: %v", raw, base, err)
			}
			want := strings.TrimSuffix(base, "/") + raw
			if want == "" {
				want = "/"
			}
			if query != "" {
				want += "?" + query
			}
			if head := "GET " + want + " HTTP/1.1\r\nHost: api.example\r\n"; !strings.HasPrefix(wire.String(), head) {
				t.Errorf("%q below %q: got %q, want %q", raw, base, wire.String(), head)
			}
		}
	})
}
