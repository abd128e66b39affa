package downstream_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"middletier/internal/downstream"
)

func TestTargetIsForwardedByteForByte(t *testing.T) {
	targets := []string{
		"/", "/?", "/?x", "/lists/1", "/lists/1/", "/a%20b", "/a+b", "/%41%7e~", "/%c3%a4", "/%C3%A4", "/a;v=1/b;w", "/a%3Bb", "/~u/!$&'()*,:@=",
		`/a"b<c>d{e}f|g^h` + "`i", "/[x]", "/50%25", "/a%3Fb",
		"/a?x=1&x=2", "/a?", "/a??", "/a?b?c", "/a?x=%20+%2B", "/a?a=1;b=2;c", "/a?%zz&%", "/a?&&=&=1", "/a?x=/../..//", "/a?x=http://evil/", "/a?#f",
		"/a?x=" + strings.Repeat("y", 4000), "/a?\xe4\xff", "/a?x=\"<>|\\",
	}
	for base, prefix := range map[string]string{"": "", "/": "", "/base": "/base", "/base/": "/base", "/v%201.0/x": "/v%201.0/x"} {
		api := &recorder{}
		server := serve(t, api)
		e := start(t, server+base, nil)
		for _, target := range targets {
			got := e.raw("GET " + target + " HTTP/1.1\r\nHost: middle.example\r\nConnection: close\r\n\r\n")
			if got.status != 200 {
				t.Errorf("GET %s: got %d %s", target, got.status, got.body)
				continue
			}
			arrived := api.all()[len(api.all())-1]
			if arrived.target != prefix+target {
				t.Errorf("below %q: got %q, want %q", base, arrived.target, prefix+target)
			}
			if arrived.host != strings.TrimPrefix(server, "http://") {
				t.Errorf("host: got %s, want the API's own, %s", arrived.host, server)
			}
		}
	}
}

func TestPathMayBeEmpty(t *testing.T) {
	for base, want := range map[string]string{"": "/?q", "/": "/?q", "/base": "/base?q", "/base/": "/base?q"} {
		api := &recorder{}
		e := start(t, serve(t, api)+base, nil)
		forwardDirectly(t, e, httptest.NewRequest("GET", "http://middle.example/api/todo?q", nil))
		if got := api.all(); len(got) != 1 || got[0].target != want {
			t.Errorf("below %q: got %+v, want %s", base, got, want)
		}
	}
}

// forwardDirectly forwards a request without a server in front, with an empty path.
func forwardDirectly(t *testing.T, e *env, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := e.client.Forward(w, r, downstream.Call{Token: e.token, RequestID: "request-1"}); err != nil {
		t.Fatalf("Forward: %v", err)
	}
	return w
}

// The values of the caller's headers are sent without a copy; none of them changes.
func TestCallersRequestStaysAsItIs(t *testing.T) {
	api := &recorder{}
	e := startWith(t, api)
	r := httptest.NewRequest("GET", "http://middle.example/api/todo", nil)
	r.Header = http.Header{"X-Spaces": {" a ", "b", "\tc"}, "Authorization": {"Bearer theirs"}, "Connection": {"x-hop"}, "X-Hop": {"1"}}
	before := r.Header.Clone()
	forwardDirectly(t, e, r)
	if !reflect.DeepEqual(r.Header, before) {
		t.Errorf("the caller's headers became %q, want %q", r.Header, before)
	}
	got := api.all()[0].header
	if want := []string{"a", "b", "c"}; !slices.Equal(got["X-Spaces"], want) || got["X-Hop"] != nil {
		t.Errorf("the API got %q, want X-Spaces %q and no X-Hop", got, want)
	}
}

func TestHTTPProxyGetsTheWholeURL(t *testing.T) {
	proxy := &recorder{}
	proxyURL, err := url.Parse(serve(t, proxy))
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, "http://api.example/base", func(c *downstream.Config) {
		transport := downstream.NewTransport()
		transport.Proxy = http.ProxyURL(proxyURL)
		t.Cleanup(transport.CloseIdleConnections)
		c.Transport = transport
	})
	got := e.do("GET", "/a%20b/%41;c?d=%zz", "")
	if all := proxy.all(); got.status != 200 || len(all) != 1 || all[0].target != "http://api.example/base/a%20b/%41;c?d=%zz" {
		t.Errorf("the proxy got %+v", all)
	}
}

func TestEveryMethodIsForwarded(t *testing.T) {
	api := &recorder{}
	e := startWith(t, api)
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "PROPFIND", "QUERY", "M-SEARCH", "get",
	} {
		for _, body := range []string{"", "a body"} {
			if got := e.do(method, "/x", body); got.status != 200 {
				t.Errorf("%s: got %d %s", method, got.status, got.body)
				continue
			}
			arrived := api.all()[len(api.all())-1]
			if arrived.method != method || arrived.body != body || arrived.length != int64(len(body)) {
				t.Errorf("%s with %q: got %s with %q of length %d", method, body, arrived.method, arrived.body, arrived.length)
			}
		}
	}
}

func TestHeadersThatDoNotReachTheAPI(t *testing.T) {
	dropped := []string{
		"Cookie", "cookie", "Proxy-Authorization", "Proxy-Connection", "Proxy-Foo", "Keep-Alive", "Upgrade",
		"X-MS-TOKEN-AAD-ACCESS-TOKEN", "X-Ms-Token-Aad-Id-Token", "x-ms-token-x",
		"X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-ID", "x-ms-client-principal-name",
		"X_MS_TOKEN_AAD_ACCESS_TOKEN", "x_ms_client_principal", "X-MS_CLIENT-PRINCIPAL_ID", "Proxy_Authorization", "proxy_x", "X_Request_Id", "X_Forwarded_For", "X_FORWARDED_HOST",
		"X-Hop", "X-Hop-2",
	}
	kept := []string{
		"Accept", "Accept-Language", "Content-Type", "If-None-Match", "Range", "Origin", "Referer", "Traceparent", "X-Ms-Client-Request-Id", "X-Ms-Tokens", "Prefer",
		"Consistencylevel", "X_custom", "Dpop", "Te",
	}
	var text strings.Builder
	text.WriteString("POST /x HTTP/1.1\r\nHost: middle.example\r\nContent-Length: 0\r\nAuthorization: Bearer the-callers\r\nConnection: close, X-Hop, Authorization, X-Request-Id\r\nConnection: x-hop-2\r\n")
	for _, name := range dropped {
		text.WriteString(name + ": secret\r\n")
	}
	for _, name := range kept {
		value := "kept"
		if name == "Te" {
			value = "trailers"
		}
		text.WriteString(name + ": " + value + "\r\n" + name + ": " + value + "\r\n")
	}
	text.WriteString("X-Request-Id: the-callers\r\n\r\n")
	api := &recorder{}
	e := startWith(t, api)
	if got := e.raw(text.String()); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	header := api.all()[0].header
	for name, values := range header {
		for _, value := range values {
			if strings.Contains(value, "secret") || strings.Contains(value, "the-callers") {
				t.Errorf("%s: %q reached the API", name, value)
			}
		}
	}
	for _, name := range kept {
		if got := header[http.CanonicalHeaderKey(name)]; !slices.Equal(got, []string{"kept", "kept"}) && name != "Te" {
			t.Errorf("%s: got %q, want both values", name, got)
		}
	}
	for name, want := range map[string]string{"Authorization": "Bearer token-1", "X-Request-Id": "request-1", "Te": "trailers"} {
		if got := header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q once", name, got, want)
		}
	}
}

func TestOwnTokenCannotBeNamedByConnection(t *testing.T) {
	api := &recorder{}
	e := startWith(t, api)
	e.raw("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close, X-Forwarded-For, Forwarded, Authorization\r\n\r\n")
	header := api.all()[0].header
	if header.Get("Authorization") != "Bearer token-1" || header.Get("X-Forwarded-For") != "127.0.0.1" || header.Get("Forwarded") == "" {
		t.Errorf("got %v, want ours all the same", header)
	}
}

func TestNoHeadersAreInvented(t *testing.T) {
	for request, want := range map[string][]string{
		"GET /x HTTP/1.1\r\nHost: middle.example\r\nConnection: close\r\n\r\n": {"Authorization", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"},
		"GET /x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n":                {"Authorization", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"},
		"GET /x HTTP/1.0\r\n\r\n":                                              {"Authorization", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"},
	} {
		api := &recorder{}
		e := startWith(t, api)
		e.raw(request)
		if names := slices.Sorted(maps.Keys(api.all()[0].header)); !slices.Equal(names, want) {
			t.Errorf("headers of %q: got %q, want %q", request, names, want)
		}
	}
}

func TestHeadersOfTheConfiguration(t *testing.T) {
	api := &recorder{}
	e := start(t, serve(t, api), func(c *downstream.Config) {
		c.DropRequest = []string{"origin", "X-Drop", "authorization"}
		c.SetRequest = map[string]string{"x-api-version": "2", "origin": "ours"}
	})
	e.do("GET", "/x", "", "Origin", "theirs", "X-Drop", "1", "X-Api-Version", "1", "X-Api-Version", "3", "X-Keep", "1")
	header := api.all()[0].header
	for name, want := range map[string][]string{
		"Origin": {"ours"}, "X-Drop": nil, "X-Api-Version": {"2"}, "X-Keep": {"1"}, "Authorization": {"Bearer token-1"},
	} {
		if got := header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestForwardedHeadersAreWrittenAfresh(t *testing.T) {
	for _, c := range []struct {
		name, remote, host string
		tls                bool
		want               map[string]string
	}{
		{"IPv4", "192.0.2.1:1234", "middle.example", false, map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "middle.example", "X-Forwarded-Proto": "http",
			"Forwarded": `for=192.0.2.1;host="middle.example";proto=http`,
		}},
		{"IPv6 and TLS", "[2001:db8::1]:1234", "middle.example:8443", true, map[string]string{
			"X-Forwarded-For": "2001:db8::1", "X-Forwarded-Host": "middle.example:8443", "X-Forwarded-Proto": "https",
			"Forwarded": `for="[2001:db8::1]";host="middle.example:8443";proto=https`,
		}},
		{"unix socket", "@", "middle.example", false, map[string]string{
			"X-Forwarded-For": "", "X-Forwarded-Host": "middle.example", "X-Forwarded-Proto": "http",
			"Forwarded": `for=unknown;host="middle.example";proto=http`,
		}},
		{"no host", "192.0.2.1:1234", "", false, map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "", "X-Forwarded-Proto": "http",
			"Forwarded": `for=192.0.2.1;proto=http`,
		}},
		{"hostile host", "192.0.2.1:1234", `a";for=evil;x="\`, false, map[string]string{
			"Forwarded": `for=192.0.2.1;host="a\";for=evil;x=\"\\";proto=http`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := &recorder{}
			e := startWith(t, api)
			target := "http://middle.example/x"
			if c.tls {
				target = "https://middle.example/x"
			}
			r := httptest.NewRequest("GET", target, nil)
			r.RemoteAddr, r.Host = c.remote, c.host
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
				r.Header[name] = []string{"evil", "evil"}
			}
			forwardDirectly(t, e, r)
			header := api.all()[0].header
			for name, want := range c.want {
				if got := header[name]; len(got) > 1 || strings.Join(got, "") != want || want == "" && got != nil {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestUploadIsStreamed(t *testing.T) {
	arrived := make(chan string)
	e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != -1 {
			t.Errorf("length: got %d, want chunked", r.ContentLength)
		}
		buf := make([]byte, 3)
		for {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				close(arrived)
				return
			}
			arrived <- string(buf)
		}
	}))
	in, out := io.Pipe()
	r, err := http.NewRequest("PUT", e.front.URL+"/x", in)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan reply, 1)
	go func() { done <- e.send(r) }()
	for _, part := range []string{"one", "two"} { // two is not sent before one has arrived
		if _, err := io.WriteString(out, part); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; got != part {
			t.Errorf("arrived: %q, want %q", got, part)
		}
	}
	_ = out.Close()
	<-arrived
	if got := <-done; got.status != 200 {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestBodiesArriveUnchanged(t *testing.T) {
	random := make([]byte, 3<<20)
	_, _ = rand.Read(random)
	for _, size := range []int{1, 1000, 64 << 10, 64<<10 + 1, len(random)} {
		for _, chunked := range []bool{false, true} {
			api := &recorder{}
			api.next = func(w http.ResponseWriter, _ *http.Request) {
				if !chunked {
					w.Header().Set("Content-Length", fmt.Sprint(size))
				}
				_, _ = w.Write(random[:size])
			}
			e := startWith(t, api)
			r, err := http.NewRequest("POST", e.front.URL+"/x", bytes.NewReader(random[:size]))
			if err != nil {
				t.Fatal(err)
			}
			if chunked {
				r.ContentLength = -1
			}
			got := e.send(r)
			arrived := api.all()[0]
			if arrived.body != string(random[:size]) || arrived.length != r.ContentLength {
				t.Errorf("upload of %d bytes, length %d: got %d bytes, length %d", size, r.ContentLength, len(arrived.body), arrived.length)
			}
			if got.err != nil || got.body != string(random[:size]) {
				t.Errorf("download of %d bytes: got %d bytes, %v", size, len(got.body), got.err)
			}
		}
	}
}

func TestExpectContinueWorks(t *testing.T) {
	api := &recorder{}
	e := startWith(t, api)
	body := strings.Repeat("x", 100<<10)
	conn := e.dial("POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\n" +
		"Content-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n")
	head := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("got %q %v, want 100", head, err)
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	if got := e.read(conn, "POST"); got.status != 200 || api.all()[0].body != body {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestCheck(t *testing.T) {
	good := downstream.Config{BaseURL: "https://api.example/v1/", Timeout: 1, Attempts: 1}
	for _, c := range []struct {
		change func(*downstream.Config)
		want   string
	}{
		{func(*downstream.Config) {}, ""},
		{func(c *downstream.Config) { c.BaseURL = "http://127.0.0.1:8080" }, ""},
		{func(c *downstream.Config) { c.BaseURL = "http://[::1]:8080/a%20b" }, ""},
		{func(c *downstream.Config) { c.BaseURL = "" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "api.example/v1" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "ftp://api.example/" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "http://:8080/" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https:/v1" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/%zz" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://user:pass@api.example/" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/?x" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/?" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/#x" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/a/../b" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example/a%2Fb" }, "baseUrl"},
		{func(c *downstream.Config) { c.BaseURL = "https://api.example//a" }, "baseUrl"},
		{func(c *downstream.Config) { c.Timeout = 0 }, "timeout"},
		{func(c *downstream.Config) { c.Attempts = 10 }, ""},
		{func(c *downstream.Config) { c.Attempts = 0 }, "retry.attempts"},
		{func(c *downstream.Config) { c.Attempts = 11 }, "retry.attempts"},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"X-Ok": "1"} }, ""},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"authorization": "x"} }, "requestHeaders.set"},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"x_ms_token_x": "x"} }, "requestHeaders.set"},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"host": "x"} }, "requestHeaders.set"},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"x y": "x"} }, "requestHeaders.set"},
		{func(c *downstream.Config) { c.SetRequest = map[string]string{"x-y": "a\r\nb"} }, "requestHeaders.set"},
	} {
		config := good
		c.change(&config)
		got := ""
		config.Check(func(key, problem string) {
			got += key
			if strings.Contains(problem, "pass@") {
				t.Errorf("%s: %q holds the password", key, problem)
			}
		})
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", config, got, c.want)
		}
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, r.URL.Path, " ", r.Header.Get("Authorization"), " ", string(body))
	}))
	e.token = func(ctx context.Context, _ downstream.Rejection) (string, error) { return "token-1", nil }
	done := make(chan string, 100)
	for i := range 100 {
		go func() {
			body := strings.Repeat(fmt.Sprint(i%10), 10_000)
			got := e.do("POST", fmt.Sprintf("/x/%d", i), body)
			if want := fmt.Sprintf("/base/x/%d Bearer token-1 %s", i, body); got.body != want {
				done <- fmt.Sprintf("call %d: got %d %.60s", i, got.status, got.body)
				return
			}
			done <- ""
		}()
	}
	for range 100 {
		if problem := <-done; problem != "" {
			t.Error(problem)
		}
	}
}
