package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Requests that nobody sends who means well are refused before they have an effect: the
// platform and the API see nothing of them.
func TestSidecarRefusesHostileRequests(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	const (
		get     = "GET /AuthorizationHeaderUnauthenticated/graph-app"
		forUser = "GET /AuthorizationHeaderUnauthenticated/graph"
		post    = "POST /DownstreamApiUnauthenticated/graph-app"
		host    = " HTTP/1.1\r\nHost: {HOST}\r\n"
		// smuggled is a request within the body of another one, which is refused whole.
		smuggled = get + " HTTP/1.1\r\nHost: evil.example\r\n\r\n"
	)
	for _, row := range []struct {
		name, request string
		status        int
	}{
		{"a path of 100 KB", "GET /AuthorizationHeader/" + strings.Repeat("a", 100<<10) + host + "\r\n", 431},
		{"a query of 100 KB", get + "?optionsOverride.Scopes=" + strings.Repeat("a", 100<<10) + host + "\r\n", 431},
		{"a header of 100 KB", get + host + "X-Filler: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 431},
		{"10,000 headers", get + host + strings.Repeat("X-A: b\r\n", 10_000) + "\r\n", 431},
		{"10,000 parameters", get + "?" + strings.Repeat("a=b&", 10_000) + host + "\r\n", 400},
		{"1,000 scopes", get + "?" + strings.Repeat("optionsOverride.Scopes=a&", 1000) + host + "\r\n", 400},
		{"a body of 11 MiB", post + host + "Content-Type: application/json\r\nContent-Length: 11534336\r\n\r\n", 413},
		{"a target elsewhere", "GET http://evil.example/AuthorizationHeaderUnauthenticated/graph-app" + host + "\r\n", 400},
		{"two hosts", get + host + "Host: evil.example\r\n\r\n", 400},
		{"no Host", get + " HTTP/1.1\r\n\r\n", 400},
		{"two tokens", "GET /AuthorizationHeader/graph" + host + "Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n", 400},
		{"a bad token where none is needed", forUser + host + "Authorization: Bearer {TOKEN}x\r\n\r\n", 401},
		{"another scheme where none is needed", forUser + host + "Authorization: Basic eDp5\r\n\r\n", 401},
		{"proof of possession", "GET /Validate" + host + "Authorization: PoP {TOKEN}\r\n\r\n", 401},
		{"length and chunks", post + host + "Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n" + smuggled, 501},
		{"two lengths", post + host + "Content-Length: 4\r\nContent-Length: 60\r\n\r\n" + smuggled, 400},
		{"a NUL in the path", "GET /AuthorizationHeaderUnauthenticated/graph-app%00" + host + "\r\n", 404},
		{"a slash in the name", "GET /AuthorizationHeaderUnauthenticated/graph%2Dapp%2F" + host + "\r\n", 404},
		{"the route in one segment", "GET /AuthorizationHeaderUnauthenticated%2Fgraph-app" + host + "\r\n", 404},
		{"two slashes", "GET //AuthorizationHeaderUnauthenticated/graph-app" + host + "\r\n", 404},
		{"bytes that are not UTF-8", get + "?AgentIdentity=%ff%fe" + host + "\r\n", 400},
		{"encoding that is none", get + "?AgentIdentity=%zz" + host + "\r\n", 400},
		{"another method", "TRACE" + get[len("GET"):] + host + "\r\n", 405},
		{"a method that changes", "POST" + get[len("GET"):] + host + "Content-Length: 0\r\n\r\n", 405},
		{"another method by a header", "OPTIONS" + get[len("GET"):] + host + "X-HTTP-Method-Override: GET\r\n\r\n", 405},
		{"a proxy's request", "CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 404},
		{"the operator's routes", "GET /metrics" + host + "\r\n", 404},
		{"the cache", "DELETE /cache" + host + "\r\n", 404},
		{"the public routes", "GET /app/graph-app/items" + host + "Authorization: Bearer {TOKEN}\r\n\r\n", 404},
	} {
		if answer := w.sendSidecar(row.request); answer.StatusCode != row.status {
			t.Errorf("%s: got %s %.200s, want %d", row.name, answer.Status, answer.body, row.status)
		}
	}
	if w.exchanges() > 0 || len(w.api.seen()) > 0 {
		t.Errorf("got %d exchanges and %d calls of the API, want none", w.exchanges(), len(w.api.seen()))
	}
}

// localNames are spellings of this machine that a browser may send as Host for an attacker's name, or
// that a lenient comparison takes for local.
var localNames = []string{
	"evil.example", "evil.example:5178", "localhost.evil.example", "localhost.evil.example:5178", "evil-localhost",
	"localhost..", "127.0.0.1.nip.io", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "0.0.0.0", "127.0.0.2",
	"[::]", "[::ffff:127.0.0.1]", "[::1%25lo]", "::1", "localhost@evil.example", "evil.example@localhost", "localhost:evil.example",
	"localhost:99999x", "local%68ost", "localhost\\evil.example", "localhost,evil.example", "xn--localhost-", "lo\u0441alhost",
}

// Only the names of this machine that a client writes are answered.
func TestSidecarComparesHostExactly(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for _, name := range localNames {
		for _, target := range []string{"/AuthorizationHeaderUnauthenticated/graph-app", "/nothing"} {
			answer := w.sendSidecar("GET " + target + " HTTP/1.1\r\nHost: " + name +
				"\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n\r\n")
			if answer.StatusCode != http.StatusBadRequest || strings.Contains(answer.body, "Bearer") {
				t.Errorf("Host %q, %s: got %s %s, want 400", name, target, answer.Status, answer.body)
			}
		}
	}
	for _, name := range []string{"localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:5178"} {
		if answer := w.sendSidecar("GET /nothing HTTP/1.1\r\nHost: " + name + "\r\n\r\n"); answer.StatusCode != http.StatusNotFound {
			t.Errorf("Host %q: got %s, want 404", name, answer.Status)
		}
	}
	if w.exchanges() > 0 {
		t.Errorf("got %d exchanges, want none", w.exchanges())
	}
}

// hostileValues are values of parameters that mean something to a header, a URL, a form or a
// log that they are put into.
var hostileValues = []string{
	"a\r\nX-Injected: yes", "a\nb", "a\x00b", "../../common", "a/../../x", "//evil.example/", "https://evil.example/", "\\evil.example",
	"a?b=c", "a#b", "a&scope=x", "a;b", "%2e%2e/", "%0d%0a", "{}", `{"a":`, `"`, "'", "<script>", "a b", " ", "*", "..", ".",
	"\u202e", "\u2028", "ünï", strings.Repeat("a", 5000),
}

// parameterNames are those that have a meaning, and some that look so.
var parameterNames = []string{
	"AgentIdentity", "AgentUsername", "AgentUserId", "optionsOverride", "optionsOverride.",
	"optionsOverride.Scopes", "optionsOverride.RequestAppToken", "optionsOverride.BaseUrl", "optionsOverride.RelativePath",
	"optionsOverride.HttpMethod", "optionsOverride.AcceptHeader", "optionsOverride.ContentType",
	"optionsOverride.ExtraHeaderParameters.X-Of-Ours", "optionsOverride.ExtraHeaderParameters.Host",
	"optionsOverride.ExtraHeaderParameters.Authorization", "optionsOverride.ExtraHeaderParameters.Cookie",
	"optionsOverride.ExtraHeaderParameters.Content-Length", "optionsOverride.ExtraQueryParameters.q",
	"optionsOverride.AcquireTokenOptions", "optionsOverride.AcquireTokenOptions.Tenant", "optionsOverride.AcquireTokenOptions.Claims",
	"optionsOverride.AcquireTokenOptions.ForceRefresh", "optionsOverride.AcquireTokenOptions.CorrelationId",
	"optionsOverride.AcquireTokenOptions.FmiPath", "optionsOverride.AcquireTokenOptions.LongRunningWebApiSessionKey",
}

// Whatever the parameters say, the service answers, and neither platform nor API is asked for anything
// else than what is configured, or nothing.
func TestSidecarParametersInjectNothing(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", "application/json")
	})
	rest := " HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer " + w.alice() + "\r\nContent-Length: 0\r\n\r\n"
	for _, name := range parameterNames {
		for _, value := range hostileValues {
			query := "?" + name + "=" + url.QueryEscape(value)
			for _, request := range []string{
				"GET /AuthorizationHeaderUnauthenticated/graph-app" + query,
				"POST /DownstreamApi/graph" + query,
			} {
				answer := w.sendSidecar(request + rest)
				unknown := strings.HasSuffix(name, ".Scopes") || strings.HasSuffix(name, ".FmiPath") // to the platform
				refused := unknown && strings.HasSuffix(answer.fields.Type, "/misconfigured")
				if status := answer.StatusCode; status != 200 && status != 400 && status != 401 && !refused {
					t.Errorf("%s=%.40q, %.20s: got %s %.200s, want 200, 400, 401, or a refusal by the platform",
						name, value, request, answer.Status, answer.body)
				}
				if strings.Contains(answer.Header.Get("X-Injected")+answer.body, "X-Injected") {
					t.Errorf("%s=%.40q: the answer holds it: %v %s", name, value, answer.Header, answer.body)
				}
			}
		}
	}
	w.wantNothingInjected()
}

// wantNothingInjected checks what platform and API got.
func (w *world) wantNothingInjected() {
	w.t.Helper()
	for _, r := range w.api.seen() {
		authorization, _, _ := strings.Cut(r.Header.Get("Authorization"), ".")
		switch {
		case r.Host != strings.TrimPrefix(w.api.URL, "http://"),
			len(r.Header["Authorization"]) != 1, !strings.HasPrefix(authorization, "Bearer ey"),
			r.Header["X-Injected"] != nil, r.Header["Cookie"] != nil, strings.Contains(r.URL.Path, ".."), r.ContentLength > 0:
			w.t.Errorf("the API got %s %s of %s with %v", r.Method, r.RequestURI, r.Host, r.Header)
		}
	}
	for _, r := range w.idp.Requests() {
		if r.Method != http.MethodPost {
			continue
		}
		if r.Path != "/"+demoTenant+"/oauth2/v2.0/token" || len(r.Form["scope"]) != 1 || len(r.Form["client_id"]) != 1 {
			w.t.Errorf("the platform got %s with %v", r.Path, r.Form)
		}
	}
}

// A request whose body ends early never reaches the API.
func TestSidecarForwardsNoBodyThatIsCutOff(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for name, body := range map[string]string{
		"a length":    "Content-Length: 100\r\n\r\n{\"title\":",
		"chunks":      "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"title\":\r\n",
		"a bad chunk": "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		conn := w.dialSidecar(t)
		_, _ = fmt.Fprintf(conn, "POST /DownstreamApiUnauthenticated/graph-app?optionsOverride.HttpMethod=POST HTTP/1.1\r\nHost: localhost\r\n"+
			"Content-Type: application/json\r\n%s", body)
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s, want 400 or a closed connection", name, resp.Status)
		}
		_ = conn.Close()
	}
	if n := len(w.api.seen()); n > 0 {
		t.Errorf("the API got %d requests, want none", n)
	}
}

// dialSidecar opens a connection to the sidecar listener.
func (w *world) dialSidecar(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.side, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Clients that send their request slowly, or half of it, or never read, hold up nobody else.
func TestSidecarServesOthersBesideSlowClients(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for i := range 200 {
		conn := w.dialSidecar(t)
		t.Cleanup(func() { _ = conn.Close() })
		part := []string{
			"", "GET /Auth", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
			"POST /DownstreamApiUnauthenticated/graph-app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
		}[i%4]
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		answer := w.sendSidecar("GET /AuthorizationHeaderUnauthenticated/graph-app HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("got %s %s, want 200", answer.Status, answer.body)
		}
	}
	if n := len(w.api.seen()); n > 0 {
		t.Errorf("the API got %d requests of which only half was sent", n)
	}
}
