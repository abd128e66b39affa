package downstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/certtest"
)

// withTLS makes a, whose connections do so themselves, an API with TLS that is known to use
// HTTP/1.1.
func (a *http1API) withTLS(roots *x509.CertPool) {
	a.url = strings.Replace(a.url, "http://", "https://", 1)
	a.transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	a.transport.https.http1.Store(true)
	a.pool = &a.transport.http1TLS
}

// heldConn keeps what is written to it while hold is set.
type heldConn struct {
	net.Conn
	hold bool
	held []byte
}

func (c *heldConn) Write(p []byte) (int, error) {
	if !c.hold {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// What TLS has read after a response is not taken for the next response: neither the rest of the
// same record, nor a part of the next one.
func TestHTTP1ConnectionWithARestInTLS(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { testHTTP1ConnectionWithARestInTLS(t, version) })
	}
}

func testHTTP1ConnectionWithARestInTLS(t *testing.T, version uint16) {
	certificate := certtest.Loopback()
	added := map[uint16]int{tls.VersionTLS12: 24, tls.VersionTLS13: 17}[version] // to data, in a record of AES-GCM: RFC 5288, RFC 8446, section 5.2
	large := strings.Repeat("x", 12<<10)                                         // more than what is read with the headers, less than a record
	for name, row := range map[string]struct {
		same, next  string // responses in the same record and in the next one
		part        int    // of the next record, in bytes
		connections int64
	}{
		"nothing":                      {"", "", 0, 1},
		"a response":                   {ok("two"), "", 0, 2},
		"the next record":              {"", ok("two"), 1 << 10, 2},
		"a part of the next's header":  {"", ok("two"), 3, 2},
		"the next record's header":     {"", ok("two"), 5, 2},
		"a part of the next record":    {"", ok("two"), 20, 2},
		"all but one byte of the next": {"", ok(""), len(ok("")) + 5 + added - 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			a := startHTTP1API(t, func(number int, raw *http1Peer) {
				conn := &heldConn{Conn: raw.Conn}
				secured := tls.Server(conn, &tls.Config{Certificates: certificate.TLS(), DynamicRecordSizingDisabled: true, MaxVersion: version})
				peer := &http1Peer{Conn: secured, in: bufio.NewReader(secured)}
				if number == 1 && peer.next() {
					conn.hold = true
					peer.say(ok(large) + row.same)
					end := len(conn.held)
					peer.say(row.next)
					raw.say(string(conn.held[:min(end+row.part, len(conn.held))]))
					conn.hold = false
				}
				for peer.next() {
					peer.say(ok("last"))
				}
			})
			a.withTLS(certificate.Pool())
			if got := a.get("GET", ""); got != "200 "+large {
				t.Fatalf("the first answer: got %q", got)
			}
			if got := a.get("POST", "not sent twice"); got != "200 last" {
				t.Errorf("the second answer: got %q", got)
			}
			if opened := a.opened.Load(); opened != row.connections {
				t.Errorf("%d connections, want %d", opened, row.connections)
			}
		})
	}
}

// An API that has responded over HTTP/1.1 gets the next request through the pool.
func TestHTTP1TLSPoolIsUsedFromTheSecondRequestOn(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") }))
	defer api.Close()
	transport := NewTransport()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	defer transport.CloseIdleConnections()
	for request, kept := range []int{0, 1, 1} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = ""
		r.Header.Set("User-Agent", "test")
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "answer" || err != nil {
			t.Errorf("request %d: got %q, %v", request, body, err)
		}
		_ = resp.Body.Close()
		if got := len(transport.http1TLS.idle); got != kept {
			t.Errorf("request %d: %d connections in the pool, want %d", request, got, kept)
		}
	}
}

// An API that chooses HTTP/2 on a new connection gets the request over HTTP/2, once, with its
// body, and counts as one of HTTP/2 then, also without a response.
func TestHTTP1APIThatChangesToHTTP2(t *testing.T) {
	for name, row := range map[string]struct {
		method, body, want string
		fails              bool
	}{
		"without a body":     {"GET", "", "200 ", false},
		"with a body":        {"POST", "body", "200 ", false},
		"without a response": {"POST", "body", "error: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			api := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				seen = append(seen, r.Method+" "+r.Proto+" "+string(body)) // one after the other
				if row.fails {
					panic(http.ErrAbortHandler)
				}
			}))
			api.EnableHTTP2 = true
			api.StartTLS()
			defer api.Close()
			a := &http1API{t: t, transport: NewTransport(), url: api.URL}
			a.transport.Proxy = nil
			a.withTLS(api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
			defer a.transport.CloseIdleConnections()
			if got := a.get(row.method, row.body); !strings.HasPrefix(got, row.want) {
				t.Fatalf("got %q, want %q", got, row.want)
			}
			if want := row.method + " HTTP/2.0 " + row.body; len(seen) != 1 || seen[0] != want {
				t.Errorf("the API got %q, want %q", seen, want)
			}
			if a.transport.https.http1.Load() {
				t.Error("the API still counts as one of HTTP/1.1")
			}
		})
	}
}

// A request is sent only to an API whose certificate is trusted and has its name.
func TestHTTP1CertificateIsVerified(t *testing.T) {
	for name, row := range map[string]struct {
		change func(a *http1API)
		want   any // a pointer to the error's type; nil: it is sent
	}{
		"trusted":                 {func(*http1API) {}, nil},
		"not trusted":             {func(a *http1API) { a.transport.TLSClientConfig.RootCAs = x509.NewCertPool() }, new(x509.UnknownAuthorityError)},
		"no settings":             {func(a *http1API) { a.transport.TLSClientConfig = nil }, new(x509.UnknownAuthorityError)},
		"of another name":         {func(a *http1API) { a.transport.TLSClientConfig.ServerName = "api.contoso.example" }, new(x509.HostnameError)},
		"of the name that is set": {func(a *http1API) { a.transport.TLSClientConfig.ServerName = "example.com" }, nil},
		"of the host in the URL":  {func(a *http1API) { a.url = strings.Replace(a.url, "127.0.0.1", "localhost", 1) }, new(x509.HostnameError)},
		"a server that has no TLS": {func(a *http1API) {
			a.url = startHTTP1API(a.t, func(_ int, p *http1Peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n") }).url
			a.url = "https" + a.url[4:]
		}, new(tls.RecordHeaderError)},
	} {
		t.Run(name, func(t *testing.T) {
			a := startHTTP1APIOver(t, "https", func(_ int, conn *http1Peer) {
				for conn.next() {
					conn.say(ok("sent"))
				}
			})
			row.change(a)
			resp, err := a.transport.RoundTrip(a.request(t.Context(), "GET", ""))
			switch {
			case row.want == nil && err == nil:
				if _, err := io.ReadAll(resp.Body); err != nil || resp.TLS == nil || resp.TLS.PeerCertificates == nil {
					t.Errorf("got %v, TLS %v", err, resp.TLS)
				}
				_ = resp.Body.Close()
			case row.want == nil || err == nil || !errors.As(err, row.want):
				t.Errorf("got %v, want %T", err, row.want)
			}
			a.idle(map[bool]int{true: 1}[row.want == nil], false)
		})
	}
}

// A handshake that does not go on ends with its time, or with the request's context.
func TestHTTP1HandshakeEnds(t *testing.T) {
	for name, row := range map[string]struct {
		handshake, request time.Duration
		cause              error // of the request's end
	}{
		"its time":    {50 * time.Millisecond, time.Minute, nil},
		"the request": {time.Minute, 50 * time.Millisecond, errTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			a := startHTTP1API(t, func(_ int, conn *http1Peer) { _, _ = io.Copy(io.Discard, conn) })
			a.withTLS(nil)
			a.transport.TLSHandshakeTimeout = row.handshake
			call := &call{}
			call.begin(t.Context())
			defer time.AfterFunc(row.request, func() { call.end(errTimeout) }).Stop()
			_, err := a.transport.RoundTrip(a.request(call, "GET", ""))
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v, want a timeout", err)
			}
			if cause := call.cause(); cause != row.cause {
				t.Errorf("the request ended with %v, want %v", cause, row.cause)
			}
		})
	}
}

// However records are cut, where the last one ends is known.
func FuzzTLSRecords(f *testing.F) {
	f.Add([]byte{23, 3, 3, 0, 2, 1, 2}, 1)
	f.Add([]byte{23, 3, 3, 0, 0, 21, 3, 3, 0, 1, 9, 23}, 6)
	f.Add([]byte{23, 3, 3, 0xff, 0xff, 1}, 5)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		rest := data
		for len(rest) >= 5 && len(rest) >= 5+int(rest[3])<<8+int(rest[4]) {
			rest = rest[5+int(rest[3])<<8+int(rest[4]):]
		}
		var c tlsRecords
		c.Conn = &unreadConn{in: bytes.NewReader(data)}
		for p := make([]byte, max(cut&0xff, 1)); ; {
			if _, err := c.Read(p); err != nil {
				break
			}
		}
		if atEnd := c.known == 0 && c.rest == 0; atEnd != (len(rest) == 0) {
			t.Errorf("%x in parts of %d: at the end of a record: %t, %x is left", data, cut&0xff, atEnd, rest)
		}
	})
}
