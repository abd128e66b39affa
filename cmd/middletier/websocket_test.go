package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newSocketWorld starts a service whose API accepts every WebSocket.
func newSocketWorld(t *testing.T, change ...func(*file)) (w *world, accepted chan *wsPeer) {
	t.Helper()
	w = newWorld(t, append([]func(*file){withWebSockets}, change...)...)
	return w, w.acceptSockets()
}

// Both sides get what the other sends, frame by frame, whatever it is, and the API gets the
// handshake as it came, but for the token.
func TestWebSocketPassesEverythingAsItComes(t *testing.T) {
	w := newWorld(t, withWebSockets)
	accepted := w.acceptSockets("Sec-WebSocket-Protocol: second", "Sec-WebSocket-Extensions: permessage-deflate", "Set-Cookie: a=b",
		"Access-Control-Allow-Origin: *", "X-Api: yes")
	token := w.alice()
	caller, resp := w.handshake("/api/todo/hub?id=s3cret&access_token=other", token,
		"Sec-WebSocket-Protocol: first", "Sec-WebSocket-Protocol: second, third",
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Cookie: c=d", "X-Request-ID: the-request")
	api := <-accepted
	seen := w.api.last(t)
	for name, want := range map[string]string{
		"Sec-Websocket-Protocol": "first|second, third", "Sec-Websocket-Extensions": "permessage-deflate; client_max_window_bits",
		"Sec-Websocket-Key": wsKey, "Sec-Websocket-Version": "13", "Connection": "Upgrade", "Upgrade": "websocket", "Cookie": "",
		"X-Request-Id": "the-request", "X-Forwarded-Prefix": "/api/todo",
	} {
		if got := strings.Join(seen.Header[name], "|"); got != want {
			t.Errorf("the API got %s: %q, want %q", name, got, want)
		}
	}
	if got := seen.URL.RequestURI(); got != "/hub?id=s3cret&access_token=other" {
		t.Errorf("the API was asked for %s", got)
	}
	if got := seen.Header.Get("Authorization"); got == "" || strings.Contains(got, token) {
		t.Errorf("the API got the token %.20q, want one of its own", got)
	}
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		"Sec-Websocket-Protocol": "second", "Sec-Websocket-Extensions": "permessage-deflate", "X-Request-Id": "the-request",
		"X-Api": "yes", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "Content-Length": "", "Content-Type": "",
	} {
		if got := strings.Join(resp.Header[name], "|"); resp.StatusCode != 101 || got != want {
			t.Errorf("the caller got %d and %s: %q, want 101 and %q", resp.StatusCode, name, got, want)
		}
	}

	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for _, side := range []struct{ from, to *wsPeer }{{caller, api}, {api, caller}} {
		for _, f := range []struct {
			first   byte
			payload []byte
		}{
			{wsFin | wsText, []byte("hello")},
			{wsText, []byte("the first part")},
			{wsFin | wsPing, []byte("are you there?")},
			{wsContinuation, bytes.Repeat([]byte{'x'}, 511)},
			{wsFin | wsPong, nil},
			{wsFin | wsContinuation, nil},
			{wsFin | 0x40 | wsBinary, []byte{0xf2, 0x48, 0xcd}}, // compressed
			{wsFin | wsBinary, bytes.Repeat([]byte{wsFin | wsClose, 0}, 50_000)},
			{0x70 | 0x3, []byte("what no protocol has yet")},
		} {
			side.from.send(f.first, f.payload)
			side.to.want(f.first, f.payload)
		}
		go side.from.send(wsFin|wsBinary, large)
		side.to.want(wsFin|wsBinary, large)
	}
	caller.send(wsFin|wsClose, closePayload(3999, "enough"))
	api.want(wsFin|wsClose, closePayload(3999, "enough"))
	api.send(wsFin|wsClose, closePayload(3999, "as you like"))
	caller.want(wsFin|wsClose, closePayload(3999, "as you like"))
	_ = api.conn.Close() // all was sent
	caller.wantEnd()

	line := w.socketLine(t)
	if line["status"] != 101.0 || line["bytes"].(float64) < 1<<20 || line["error"] != nil || line["level"] != "INFO" || line["api"] != "todo" {
		t.Errorf("log line: got %v", line)
	}
	for _, secret := range []string{token, "s3cret", "access_token", seen.Header.Get("Authorization")} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %.30q: %s", secret, w.log)
		}
	}
}

// socketLine waits for the log line of a WebSocket.
func (w *world) socketLine(t *testing.T) map[string]any {
	t.Helper()
	for end := time.Now().Add(wsPatience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, line := range w.log.lines(t) {
			if line["status"] == 101.0 {
				return line
			}
		}
	}
	t.Fatalf("no log line of a WebSocket: %s", w.log)
	return nil
}

// A WebSocket ends with the caller's right, and both sides are told.
func TestWebSocketEndsWithTheRightOfItsCaller(t *testing.T) {
	soon := func(w *world) string {
		claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
		claims["exp"] = time.Now().Add(2 * time.Second).Unix()
		return w.idp.Sign(claims)
	}
	admin := func(w *world, p *program, path string) {
		recorder := httptest.NewRecorder()
		req := httptest.NewRequest("DELETE", "http://localhost"+path, nil)
		if p.api.Admin(new(slog.LevelVar)).ServeHTTP(recorder, req); recorder.Code != 204 {
			w.t.Errorf("DELETE %s: got %d %s", path, recorder.Code, recorder.Body)
		}
	}
	for name, row := range map[string]struct {
		token  func(w *world) string
		end    func(w *world, p *program, token string)
		reason string
	}{
		"token expires": {soon, func(*world, *program, string) {}, "expired"},
		"sign-out": {(*world).alice, func(w *world, _ *program, token string) {
			if r := w.call("POST", "/signout", token, ""); r.StatusCode != 204 {
				w.t.Errorf("sign-out: got %d %s", r.StatusCode, r.body)
			}
		}, "signed out"},
		"operator drops the user": {(*world).alice, func(w *world, p *program, _ string) {
			admin(w, p, "/cache/users/"+demoTenant+"/"+w.idp.UserClaims("alice", "app", "middletier")["oid"].(string))
		}, "signed out"},
		"operator drops all": {(*world).alice, func(w *world, p *program, _ string) { admin(w, p, "/cache") }, "signed out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoppedWorld(t, withWebSockets)
			p := w.startReady()
			accepted := w.acceptSockets()
			token := row.token(w)
			caller, api := w.open(token, accepted)
			bobs, bobsAPI := w.open(w.bob(), accepted)
			row.end(w, p, token)
			caller.wantClose(1008)
			api.wantClose(1008)
			api.send(wsFin|wsText, []byte("too late"))
			caller.send(wsFin|wsText, []byte("too late"))
			caller.send(wsFin|wsClose, closePayload(1008, ""))
			api.send(wsFin|wsClose, closePayload(1008, ""))
			caller.wantEnd()
			api.wantEnd()
			if line := w.socketLine(t); line["level"] != "INFO" || !strings.Contains(line["error"].(string), row.reason) {
				t.Errorf("log line: got %v, want that it names %q", line, row.reason)
			}
			if name == "operator drops all" {
				bobs.wantClose(1008)
				return
			}
			bobsAPI.send(wsFin|wsText, []byte("still here"))
			bobs.want(wsFin|wsText, []byte("still here"))
		})
	}
}

// A Close frame of the service never stands inside another frame. A side that does not finish
// its frame is cut off.
func TestWebSocketIsClosedBetweenFrames(t *testing.T) {
	w, accepted := newSocketWorld(t)
	token := w.alice()
	caller, api := w.open(token, accepted)
	stuck, stuckAPI := w.open(token, accepted)
	frame := api.rawFrame(wsFin|wsBinary, bytes.Repeat([]byte{0x88}, 70_000))
	next := api.rawFrame(wsFin|wsText, []byte("next"))
	api.write(frame[:40_000])
	stuckAPI.write(frame[:40_000])
	for _, peer := range []*wsPeer{caller, stuck} {
		if _, err := io.ReadFull(peer.reader, make([]byte, 40_000)); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.call("POST", "/signout", token, ""); r.StatusCode != 204 {
		t.Fatalf("sign-out: got %d %s", r.StatusCode, r.body)
	}
	api.wantClose(1008)
	api.write(append(frame[40_000:], next...))
	if _, err := io.ReadFull(caller.reader, make([]byte, len(frame)-40_000)); err != nil {
		t.Fatal(err)
	}
	caller.wantClose(1008)
	stuckAPI.wantClose(1008)
	stuck.wantEnd()
}

// While the service drains, WebSockets are closed with 1001, and it waits for them.
func TestWebSocketEndsWhenTheServiceStops(t *testing.T) {
	for name, grace := range map[string]time.Duration{"within the grace": time.Minute, "without grace": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoppedWorld(t, withWebSockets, func(f *file) { f.Server.ShutdownGrace = grace })
			accepted := w.acceptSockets()
			p, stop := w.startStoppable()
			if err := p.validator.AwaitKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			caller, api := w.open(w.alice(), accepted)
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				stop()
			}()
			api.wantClose(1001)
			caller.wantClose(1001)
			if grace > 0 {
				select {
				case <-stopped:
					t.Error("the service did not wait for the end of the WebSocket")
				case <-time.After(500 * time.Millisecond):
				}
			}
			caller.send(wsFin|wsClose, closePayload(1001, ""))
			api.send(wsFin|wsClose, closePayload(1001, ""))
			caller.wantEnd()
			<-stopped
			if line := w.socketLine(t); !strings.Contains(line["error"].(string), "1001") {
				t.Errorf("log line: got %v", line)
			}
		})
	}
}

// What is refused before the API is asked.
func TestRefusedHandshakes(t *testing.T) {
	w, accepted := newSocketWorld(t, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://app.example"}
		f.Server.EasyAuth = true
		d := f.DownstreamAPIs["todo"]
		d.WebSockets = false
		f.DownstreamAPIs["plain"] = d
	})
	host := "Host: " + strings.TrimPrefix(w.url, "http://")
	alice := "Authorization: Bearer " + w.alice()
	unscoped := "Authorization: Bearer " + w.idp.UserToken("alice", "app", "middletier", "Other")
	request := func(target string, lines ...string) []string {
		return append([]string{"GET " + target + " HTTP/1.1", host, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey}, lines...)
	}
	upgrade := []string{"Connection: keep-alive, upgrade", "Upgrade: WebSocket"}
	ask := func(target string, lines ...string) []string { return request(target, append(lines, upgrade...)...) }
	const socket = "/api/todo/socket"
	for name, row := range map[string]struct {
		lines  []string
		status int
		kind   string
	}{
		"accepted":                        {ask(socket, alice), 101, ""},
		"own origin":                      {ask(socket, alice, "Origin: "+w.url), 101, ""},
		"listed origin":                   {ask(socket, alice, "Origin: https://app.example", "Sec-Fetch-Site: cross-site"), 101, ""},
		"other origin":                    {ask(socket, alice, "Origin: https://evil.example"), 403, "cross-site-request"},
		"opaque origin":                   {ask(socket, alice, "Origin: null"), 403, "cross-site-request"},
		"two origins":                     {ask(socket, alice, "Origin: "+w.url, "Origin: https://evil.example"), 403, "cross-site-request"},
		"not allowed for the API":         {ask("/api/plain/socket", alice), 501, "upgrade-not-supported"},
		"unknown API":                     {ask("/api/none/socket", alice), 501, "upgrade-not-supported"},
		"another route":                   {ask("/openapi.json"), 501, "upgrade-not-supported"},
		"no token":                        {ask(socket), 401, "missing-token"},
		"token in the query":              {ask(socket + "?access_token=" + w.alice()), 401, "missing-token"},
		"token of the platform's sign-in": {ask(socket, "X-MS-TOKEN-AAD-ACCESS-TOKEN: "+w.alice()), 401, "missing-token"},
		"no scope":                        {ask(socket, unscoped), 403, "insufficient-scope"},
		"application":                     {ask(socket, "Authorization: Bearer "+w.daemon()), 403, "wrong-token-type"},
		"path that leaves the API":        {ask("/api/todo/%2e%2e/x", alice), 400, "invalid-request"},
		"a body":                          {ask(socket, alice, "Content-Length: 1"), 400, "invalid-request"},
		"a body of unknown length":        {ask(socket, alice, "Transfer-Encoding: chunked"), 400, "invalid-request"},
		"several protocols":               {request(socket, alice, "Connection: Upgrade", "Upgrade: websocket, h2c"), 400, "invalid-request"},
		"no Connection":                   {request(socket, alice, "Upgrade: websocket"), 400, "invalid-request"},
		"POST": {
			append([]string{"POST " + socket + " HTTP/1.1", host, alice, "Content-Length: 0"}, upgrade...),
			400, "invalid-request",
		},
		"HTTP/1.0":                   {append([]string{"GET " + socket + " HTTP/1.0", host, alice}, upgrade...), 400, "invalid-request"},
		"the route for applications": {ask("/app/todo/socket", "Authorization: Bearer "+w.daemon()), 101, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.api.seen())
			peer, resp := w.sendLines(row.lines...)
			body := ""
			if resp.StatusCode != 101 {
				b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
				body = string(b)
			} else {
				_ = (<-accepted).conn.Close()
			}
			_ = peer.conn.Close()
			if resp.StatusCode != row.status || row.kind != "" && !strings.Contains(body, "/problems/"+row.kind+`"`) {
				t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, row.status, row.kind)
			}
			if row.status != 101 && len(w.api.seen()) != before {
				t.Error("the API was asked")
			}
		})
	}
}

// HTTP/2 has no Upgrade (RFC 9113, section 8.6).
func TestHandshakeOverHTTP2(t *testing.T) {
	w, _ := newSocketWorld(t, func(f *file) { f.Server.H2C = true })
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest("GET", w.url+"/api/todo/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Upgrade": {"websocket"}, "Authorization": {"Bearer " + w.alice()}}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close() // only its status counts
	}
	if err == nil && resp.StatusCode != 400 || len(w.api.seen()) > 0 {
		t.Errorf("got %v %v and %d requests at the API, want 400 or an error of the client, and none", resp, err, len(w.api.seen()))
	}
}

// The quota counts handshakes.
func TestHandshakesAreLimited(t *testing.T) {
	w, accepted := newSocketWorld(t, func(f *file) { f.Server.RateLimit.RequestsPerSecond, f.Server.RateLimit.Burst = 0.01, 1 })
	token := w.alice()
	w.open(token, accepted)
	if _, resp := w.handshake("/api/todo/socket", token); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("second handshake: got %s", resp.Status)
	}
}

// An API that does not accept answers like to any other request, and its 401 is one of our
// token.
func TestHandshakesThatTheAPIRefuses(t *testing.T) {
	w := newWorld(t, withWebSockets)
	challenge := func(rw http.ResponseWriter) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		rw.WriteHeader(401)
	}
	for _, row := range []struct {
		name   string
		answer func(rw http.ResponseWriter, r *http.Request)
		status int
		body   string
	}{
		{"403", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Why", "because")
			rw.WriteHeader(403)
			_, _ = io.WriteString(rw, "not you")
		}, 403, "not you"},
		{"426", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Sec-WebSocket-Version", "8")
			rw.Header().Set("Upgrade", "websocket") // what is required (RFC 9110, section 15.5.22)
			rw.WriteHeader(426)
		}, 426, ""},
		{"200", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "a page") }, 200, "a page"},
		{"another protocol", func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI")
			_ = conn.Close()
		}, 502, "downstream-invalid-response"},
		{"401 always", func(rw http.ResponseWriter, _ *http.Request) { challenge(rw) }, 502, "downstream-rejected-token"},
		{"claims challenge", func(rw http.ResponseWriter, _ *http.Request) {
			const claims = `"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`
			rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims=`+claims)
			rw.WriteHeader(401)
		}, 401, "claims-challenge"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.api.handle(row.answer)
			_, resp := w.handshake("/api/todo/socket", w.bob())
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != row.status || !strings.Contains(string(body), row.body) {
				t.Errorf("got %s %s %v, want %d with %q", resp.Status, body, err, row.status, row.body)
			}
		})
	}

	var tokens []string
	accepted := make(chan *wsPeer, 1)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		if len(tokens) == 1 {
			challenge(rw)
			return
		}
		accepted <- acceptSocket(t, rw, r)
	})
	caller, api := w.open(w.alice(), accepted)
	api.send(wsFin|wsText, []byte("with a new token"))
	caller.want(wsFin|wsText, []byte("with a new token"))
	if len(tokens) != 2 || tokens[0] == tokens[1] {
		t.Errorf("the API got %d tokens, want two different ones", len(tokens))
	}
}

// When one side breaks off, so does the other. The log says which.
func TestBrokenWebSockets(t *testing.T) {
	for name, row := range map[string]struct {
		breaks func(caller, api *wsPeer) (other *wsPeer)
		level  string
		text   string
	}{
		"the caller leaves": {func(caller, api *wsPeer) *wsPeer {
			_ = caller.conn.Close() // it is the test
			return api
		}, "INFO", "the caller's connection"},
		"the API ends": {func(caller, api *wsPeer) *wsPeer {
			_ = api.conn.Close() // it is the test
			return caller
		}, "WARN", "the API's connection"},
		"the API ends in a frame": {func(caller, api *wsPeer) *wsPeer {
			api.write([]byte{wsFin | wsText, 5, 'h', 'e'})
			if _, err := io.ReadFull(caller.reader, make([]byte, 4)); err != nil {
				caller.t.Error(err)
			}
			_ = api.conn.Close() // it is the test
			return caller
		}, "WARN", "the API's connection"},
	} {
		t.Run(name, func(t *testing.T) {
			w, accepted := newSocketWorld(t)
			caller, api := w.open(w.alice(), accepted)
			row.breaks(caller, api).wantEnd()
			if line := w.socketLine(t); line["level"] != row.level || !strings.Contains(line["error"].(string), row.text) {
				t.Errorf("log line: got %v, want %s with %q", line, row.level, row.text)
			}
		})
	}
}

// Nothing is queued for a caller that does not read: the API has to wait.
func TestSlowReaderOfAWebSocketHoldsTheAPIUp(t *testing.T) {
	w, accepted := newSocketWorld(t)
	caller, api := w.open(w.alice(), accepted)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var sent atomic.Int64
	frame := api.rawFrame(wsFin|wsBinary, make([]byte, 64<<10))
	ended := make(chan struct{})
	const enough = 256 << 20
	go func() {
		defer close(ended)
		for sent.Load() < enough {
			n, err := api.conn.Write(frame)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	for last := int64(-1); last != sent.Load(); time.Sleep(500 * time.Millisecond) { // until the buffers of the kernel are full
		last = sent.Load()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); sent.Load() >= enough || grown > 4<<20 {
		t.Errorf("the API could send %d MiB, and the heap grew by %d KiB", sent.Load()>>20, grown>>10)
	}
	for range 10 { // it goes on when it reads
		caller.want(wsFin|wsBinary, make([]byte, 64<<10))
	}
	_ = caller.conn.Close() // it is the end
	select {
	case <-ended:
	case <-time.After(wsPatience):
		t.Error("the API was not cut off")
	}
}

// The time of a request does not count once a WebSocket is open.
func TestWebSocketOutlivesTheRequestTimeout(t *testing.T) {
	const timeout = 300 * time.Millisecond
	w, accepted := newSocketWorld(t, func(f *file) {
		f.Server.RequestTimeout = timeout
		d := f.DownstreamAPIs["todo"]
		d.Timeout = timeout
		f.DownstreamAPIs["todo"] = d
	})
	caller, api := w.open(w.alice(), accepted)
	ctx, stop := context.WithTimeout(t.Context(), 3*timeout)
	defer stop()
	<-ctx.Done()
	caller.send(wsFin|wsText, []byte("hello"))
	api.want(wsFin|wsText, []byte("hello"))
}
