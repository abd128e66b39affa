package downstream_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// respond is an API with one fixed response.
func respond(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestResponsesPassThrough(t *testing.T) {
	for _, status := range []int{200, 201, 202, 203, 206, 300, 400, 402, 403, 404, 405, 409, 418, 422, 429, 500, 502, 503, 504, 599, 799} {
		e := startWith(t, respond(status, "the body", "Content-Type", "text/x", "ETag", `"1"`,
			"Retry-After", "7", "WWW-Authenticate", "Basic", "X-A", "1", "X-A", "2"))
		got := e.do("GET", "/x", "")
		if got.status != status || got.body != "the body" || got.err != nil {
			t.Errorf("%d: got %d %q %v", status, got.status, got.body, got.err)
		}
		for name, want := range map[string][]string{
			"Content-Type": {"text/x"}, "Etag": {`"1"`}, "Retry-After": {"7"}, "Www-Authenticate": {"Basic"}, "X-A": {"1", "2"},
		} {
			if !slices.Equal(got.header[name], want) {
				t.Errorf("%d: %s: got %q, want %q", status, name, got.header[name], want)
			}
		}
		if err := e.result(); err != nil {
			t.Errorf("%d: Forward returned %v", status, err)
		}
	}
}

func TestResponsesWithoutABodyPassThrough(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		length string
	}{
		{"GET", 204, ""},
		{"GET", 304, ""},
		{"DELETE", 204, ""},
		{"HEAD", 200, "1234"},
		{"HEAD", 404, ""},
		{"HEAD", 304, ""},
		{"POST", 201, "0"},
	} {
		e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if c.length != "" {
				w.Header().Set("Content-Length", c.length)
			}
			w.WriteHeader(c.status)
		}))
		got := e.do(c.method, "/x", "")
		if got.status != c.status || got.body != "" || got.err != nil ||
			got.header.Get("Etag") == "" || got.header.Get("Content-Length") != c.length {
			t.Errorf("%s answered %d: got %d %q %v %v", c.method, c.status, got.status, got.body, got.header, got.err)
		}
	}
}

func TestRedirectsArePassedBack(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		api := &recorder{next: respond(status, "", "Location", "http://elsewhere.example/?a=%20#b")}
		e := startWith(t, api)
		got := e.do("POST", "/x", "body")
		if got.status != status || got.header.Get("Location") != "http://elsewhere.example/?a=%20#b" || len(api.all()) != 1 {
			t.Errorf("%d: got %d %v after %d requests", status, got.status, got.header, len(api.all()))
		}
	}
}

func TestHeadersThatDoNotReachTheCaller(t *testing.T) {
	dropped := []string{
		"Set-Cookie", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Access-Control-Max-Age",
		"Keep-Alive", "Proxy-Authenticate", "Upgrade", "X-Hop", "X-Dropped",
	}
	var header []string
	for _, name := range append(dropped, "Vary", "X-Kept") {
		header = append(header, name, "value", name, "other")
	}
	header = append(header, "Connection", "x-hop", "X-Request-Id", "the-apis")
	for _, keep := range []bool{false, true} {
		e := start(t, serve(t, respond(200, "", header...)), func(c *downstream.Config) {
			c.DropResponse, c.KeepCookies = []string{"x-dropped"}, keep
		})
		got := e.do("GET", "/x", "").header
		for _, name := range dropped {
			want := keep && name == "Set-Cookie"
			if _, ok := got[name]; ok != want {
				t.Errorf("%s: got %q, with cookies kept: %v", name, got[name], keep)
			}
		}
		for name, want := range map[string][]string{"Vary": {"value", "other"}, "X-Kept": {"value", "other"}, "X-Request-Id": nil} {
			if !slices.Equal(got[name], want) {
				t.Errorf("%s: got %q, want %q", name, got[name], want)
			}
		}
	}
}

// An API sets and clears no cookie of this service, however it writes the name. A cookie
// without a name is sent by browsers as its value alone.
func TestAPIsDoNotSetOwnCookies(t *testing.T) {
	const kept = "theirs=1; Path=/"
	own := []string{
		"ours=1", "ours=1; Path=/; Secure", "ours", "ours=", " ours = 1", "\tours=1", "=ours=1", "= ours=1", "==ours=1", " =\t= ours\t=1", "ours;", "=ours; Max-Age=0",
	}
	var header []string
	for _, value := range append(slices.Clone(own), kept) {
		header = append(header, "Set-Cookie", value)
	}
	header = append(header, "Clear-Site-Data", `"cookies"`)
	for _, keep := range []bool{false, true} {
		for _, only := range []bool{false, true} {
			sent := header
			if only {
				sent = header[:2]
			}
			e := start(t, serve(t, respond(200, "", sent...)), func(c *downstream.Config) {
				c.KeepCookies, c.IsOwnCookie = keep, func(name string) bool { return name == "ours" }
			})
			got := e.do("GET", "/x", "").header
			var want []string
			if keep && !only {
				want = []string{kept}
			}
			if !slices.Equal(got["Set-Cookie"], want) || got["Clear-Site-Data"] != nil {
				t.Errorf("kept: %v: got %q and %q, want %q", keep, got["Set-Cookie"], got["Clear-Site-Data"], want)
			}
		}
	}
	e := start(t, serve(t, respond(200, "", header...)), func(c *downstream.Config) { c.KeepCookies = true })
	if got := e.do("GET", "/x", "").header; len(got["Set-Cookie"]) != len(own)+1 || got["Clear-Site-Data"] == nil {
		t.Errorf("without cookies of ours: got %q and %q", got["Set-Cookie"], got["Clear-Site-Data"])
	}
}

// An API has no browser report the requests of this service's pages, sign-ins among them.
func TestAPIsDoNotWatchOurOrigin(t *testing.T) {
	sent := []string{
		"NEL", `{"report_to":"x","max_age":86400,"success_fraction":1}`,
		"Report-To", `{"group":"x","max_age":86400,"endpoints":[{"url":"https://evil.example"}]}`,
	}
	for _, hasSessions := range []bool{true, false} {
		e := start(t, serve(t, respond(200, "", sent...)), func(c *downstream.Config) {
			if hasSessions {
				c.IsOwnCookie = func(string) bool { return false }
			}
		})
		got := e.do("GET", "/x", "").header
		if isGone := got["Nel"] == nil && got["Report-To"] == nil; isGone != hasSessions {
			t.Errorf("sessions: %v: got %v", hasSessions, got)
		}
	}
}

func TestNoContentTypeIsInvented(t *testing.T) {
	url := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
	})
	got := start(t, url, nil).do("GET", "/x", "")
	if kind, ok := got.header["Content-Type"]; ok || got.body != "<html>" {
		t.Errorf("got %q of type %q, want no type", got.body, kind)
	}
}

// An informational response is filtered like others, and nothing of it remains in the
// response that follows.
func TestInformationalResponsesArePassedOn(t *testing.T) {
	next := make(chan struct{}, 1) // the caller has an informational response
	url := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nConnection: X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\r\n")
		<-next
		_, _ = io.WriteString(conn, "HTTP/1.1 102 Processing\r\n\r\n")
		<-next
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
	})
	e := start(t, url, nil)
	e.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Set-Before", "1")
		e.ServeHTTP(w, r)
	})
	r, err := http.NewRequest("GET", e.front.URL+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	var informed []string
	got := e.send(r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			informed = append(informed, fmt.Sprint(code, header))
			next <- struct{}{}
			return nil
		},
	})))
	if want := []string{"103 map[Link:[</style.css>]]", "102 map[]"}; !slices.Equal(informed, want) {
		t.Errorf("the caller got %q before the answer, want %q", informed, want)
	}
	if got.status != 200 || got.body != "body" || got.header.Get("X-Set-Before") != "1" ||
		got.header["Link"] != nil || got.header["Set-Cookie"] != nil {
		t.Errorf("got %d %q with %v", got.status, got.body, got.header)
	}
}

// HTTP/1.0 has no informational responses, and a caller that expects a 100 from this
// service gets no other.
func TestInformationalResponsesThatAreDropped(t *testing.T) {
	url := wiretest.ServeRequests(t, func(conn net.Conn, r *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
	})
	e := start(t, url, nil)
	for _, request := range []string{
		"GET /x HTTP/1.0\r\nHost: h\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
	} {
		answer, err := io.ReadAll(e.dial(request))
		if err != nil || strings.Contains(string(answer), "103") || !strings.HasSuffix(string(answer), "body") {
			t.Errorf("%q: got %q, %v", request, answer, err)
		}
	}
}

// The hints are written in another goroutine, and a response before the end of the upload
// closes the caller's connection: both use the caller's headers.
func TestHintsBeforeAnEarlyResponse(t *testing.T) {
	url := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
		_, _ = io.Copy(io.Discard, conn)
	})
	e := start(t, url, nil)
	for range 200 {
		conn := e.dial("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 103 ") || !strings.HasSuffix(string(answer), "body") {
			t.Fatalf("got %q, %v", answer, err)
		}
	}
}

func TestSwitchingProtocolsIsRefused(t *testing.T) {
	url := wiretest.ServeRequests(t, func(conn net.Conn, r *http.Request) {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") == "Upgrade" {
			t.Errorf("the API was asked to upgrade: %v", r.Header)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes")
	})
	e := start(t, url, nil)
	got := e.do("GET", "/x", "", "Connection", "Upgrade", "Upgrade", "websocket")
	if got.status != 599 {
		t.Errorf("got %d", got.status)
	}
	e.wantKind(downstream.InvalidResponse)
}

func TestStreamsAreNotHeldBack(t *testing.T) {
	for _, row := range []struct{ kind, length string }{
		{"text/event-stream", ""},
		{"text/event-stream; charset=utf-8", ""},
		{"application/x-ndjson", ""},
		{"application/octet-stream", ""},
		{"application/octet-stream", "45"},
		{"application/json", "45"},
	} {
		t.Run(row.kind+row.length, func(t *testing.T) {
			next := make(chan struct{})
			e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", row.kind)
				if row.length != "" {
					w.Header().Set("Content-Length", row.length)
				}
				_ = http.NewResponseController(w).Flush()
				for i := range 5 {
					select {
					case <-next:
					case <-r.Context().Done(): // the test has failed
						return
					}
					_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
					_ = http.NewResponseController(w).Flush()
				}
			}))
			client := &http.Client{Timeout: patience / 4}
			resp, err := client.Get(e.front.URL + "/x") // the headers come before any event
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			for i := range 5 {
				next <- struct{}{} // the API waits until the last event has been read
				want := fmt.Sprintf("data: %d\n\n", i)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
					t.Fatalf("got %q %v, want %q", got, err, want)
				}
			}
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
				t.Errorf("at the end: got %q %v", rest, err)
			}
		})
	}
}

func TestCompressionIsTheCallersBusiness(t *testing.T) {
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(writer, strings.Repeat("text ", 1000))
	_ = writer.Close()
	api := &recorder{next: respond(200, compressed.String(), "Content-Encoding", "gzip", "Content-Type", "text/plain")}
	e := startWith(t, api)
	got := e.do("GET", "/x", "", "Accept-Encoding", "br, gzip;q=0.5")
	if got.body != compressed.String() || got.header.Get("Content-Encoding") != "gzip" ||
		got.header.Get("Content-Length") != fmt.Sprint(compressed.Len()) {
		t.Errorf("got %d bytes with %v, want the API's own %d", len(got.body), got.header, compressed.Len())
	}
	if accepted := api.all()[0].header["Accept-Encoding"]; !slices.Equal(accepted, []string{"br, gzip;q=0.5"}) {
		t.Errorf("Accept-Encoding: got %q, want the caller's", accepted)
	}
}

func TestTruncatedResponsesBreakTheCallersConnection(t *testing.T) {
	for name, text := range map[string]string{
		"short of its length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
		"chunks without end":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
		"within a chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
		"malformed chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n",
		"events without end":   "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
		"large, of its length": "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 1_500_000),
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }), nil)
			conn := e.dial("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
			all, _ := io.ReadAll(conn) // any end of the connection
			if err := e.result(); err != (abortedError{}) {
				t.Errorf("Forward returned %v, want it to panic", err)
			}
			if strings.HasSuffix(string(all), "0\r\n\r\n") {
				t.Errorf("the caller got a clean end: %q", all)
			}
			resp, err := http.Get(e.front.URL + "/x")
			if err != nil {
				return // it broke before the headers were sent
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("a client reads %d %q without an error", resp.StatusCode, body)
			}
		})
	}
}

func TestStreamOutlivesTheRequestTimeout(t *testing.T) {
	const limit = 100 * time.Millisecond
	for name, length := range map[string]int{"chunked": -1, "large": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "" {
					t.Error("no token")
				}
				if length > 0 {
					w.Header().Set("Content-Length", fmt.Sprint(length))
				}
				_, _ = io.WriteString(w, "first")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(2*limit + 1100*time.Millisecond) // longer than every limit
				_, _ = io.WriteString(w, strings.Repeat("x", max(length, 10)-5))
			})
			e := start(t, serve(t, api), func(c *downstream.Config) { c.RequestTimeout = limit })
			// With a body, whose reading has a limit too.
			if got := e.do("POST", "/x", "body"); got.err != nil || len(got.body) != max(length, 10) {
				t.Errorf("got %d %d bytes, %v; want all", got.status, len(got.body), got.err)
			}
			if err := e.result(); err != nil {
				t.Errorf("Forward returned %v", err)
			}
		})
	}
}

func TestUnfinishedResponseIsCut(t *testing.T) {
	release := make(chan struct{})
	e := start(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			close(release)
		case <-time.After(patience):
		}
	})), func(c *downstream.Config) { c.RequestTimeout = 100 * time.Millisecond })
	begin := time.Now()
	conn := e.dial("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
	all, _ := io.ReadAll(conn)
	if err := e.result(); err != (abortedError{}) {
		t.Errorf("Forward returned %v after %q, want it to panic", err, all)
	}
	if took := time.Since(begin); took < 100*time.Millisecond || took > patience/2 {
		t.Errorf("took %v", took)
	}
	wait(t, "the end of the API's request", release)
}
