package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/redistest"
)

const (
	sessionSocket = "/bff/api/todo/socket"
	ownOrigin     = "Origin: " + webAppURL
)

// cookie is the header line with which the page's browser brings its session.
func (p *page) cookie() string { return "Cookie: " + sessionName + "=" + p.cookies[sessionName].Value }

// openSocket opens a WebSocket with the page's session.
func (p *page) openSocket(accepted chan *wsPeer) (caller, api *wsPeer) {
	p.w.t.Helper()
	caller, resp := p.w.handshake(sessionSocket, "", p.cookie(), ownOrigin, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: websocket")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		p.w.t.Fatalf("handshake: got %s %s, want 101", resp.Status, body)
	}
	api = <-accepted
	p.w.t.Cleanup(func() { _ = api.conn.Close() }) // it may be closed already
	return caller, api
}

// wantSocket: a WebSocket is open.
func wantSocket(caller, api *wsPeer) {
	caller.t.Helper()
	caller.send(wsFin|wsText, []byte("a question"))
	api.want(wsFin|wsText, []byte("a question"))
	api.send(wsFin|wsText, []byte("an answer"))
	caller.want(wsFin|wsText, []byte("an answer"))
}

// The API gets the handshake of a session as one with a token, without the cookie, and its own
// cookies never replace the session's.
func TestWebSocketsOfSessions(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, withWebSockets, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.ResponseHeaders.KeepCookies = true
		f.DownstreamAPIs["todo"] = d
	})
	accepted := w.acceptSockets("Set-Cookie: "+sessionName+"=stolen; Path=/; Secure", "Set-Cookie: theirs=1", "Sec-WebSocket-Protocol: second")
	page := w.signIn("alice")
	caller, resp := w.handshake(sessionSocket+"?a=b", "", page.cookie()+"; c=d", ownOrigin, "Sec-WebSocket-Protocol: first, second")
	if got := resp.Header["Set-Cookie"]; resp.StatusCode != 101 || len(got) != 1 || got[0] != "theirs=1" {
		t.Fatalf("got %s with Set-Cookie %q, want 101 and the API's own cookie", resp.Status, got)
	}
	api := <-accepted
	wantSocket(caller, api)
	seen := w.api.last(t)
	if h := seen.Header; seen.RequestURI != "/socket?a=b" || h["Cookie"] != nil || h.Get("X-Forwarded-Prefix") != "/bff/api/todo" ||
		h.Get("Sec-WebSocket-Protocol") != "first, second" {
		t.Errorf("the API got %s with %v", seen.RequestURI, h)
	}
	if claims := claimsOf(t, seen); claims["oid"] != objectIDs["alice"] || claims["aud"] != demoToDo {
		t.Errorf("the API's token: got %v, want one for it, of alice", claims)
	}
	_ = api.conn.Close() // it is the end
	caller.wantEnd()
	if line := w.socketLine(t); line["route"] != "/bff/api/{name}/{path…}" || line["oid"] != objectIDs["alice"] {
		t.Errorf("log line: got %v", line)
	}
	if strings.Contains(w.log.String(), page.cookies[sessionName].Value) {
		t.Error("the log holds the cookie")
	}
}

// A handshake with a cookie must say that a page of this origin sends it: a browser cannot send
// X-CSRF with it.
func TestRefusedHandshakesOfSessions(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, withWebSockets, func(f *file) {
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
		d := f.DownstreamAPIs["todo"]
		d.WebSockets = false
		f.DownstreamAPIs["plain"] = d
	})
	accepted := w.acceptSockets()
	cookie := w.signIn("alice").cookie()
	const csrf = "X-CSRF: 1"
	for name, row := range map[string]struct {
		path   string
		lines  []string
		status int
		kind   string
	}{
		"accepted":                        {sessionSocket, []string{cookie, ownOrigin}, 101, ""},
		"with what browsers say":          {sessionSocket, []string{cookie, ownOrigin, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: websocket"}, 101, ""},
		"no origin":                       {sessionSocket, []string{cookie}, 403, "cross-site-request"},
		"no origin, with the header":      {sessionSocket, []string{cookie, csrf, "Sec-Fetch-Site: same-origin"}, 403, "cross-site-request"},
		"an empty origin":                 {sessionSocket, []string{cookie, "Origin: "}, 403, "cross-site-request"},
		"another origin":                  {sessionSocket, []string{cookie, csrf, "Origin: https://evil.example"}, 403, "cross-site-request"},
		"a sibling's":                     {sessionSocket, []string{cookie, "Origin: https://evil.contoso.example"}, 403, "cross-site-request"},
		"ours over http":                  {sessionSocket, []string{cookie, "Origin: http://app.contoso.example"}, 403, "cross-site-request"},
		"the host that the request names": {sessionSocket, []string{cookie, "Origin: " + w.url}, 403, "cross-site-request"},
		"an origin of server.cors":        {sessionSocket, []string{cookie, "Origin: https://listed.example"}, 403, "cross-site-request"},
		"an opaque origin":                {sessionSocket, []string{cookie, "Origin: null"}, 403, "cross-site-request"},
		"two origins":                     {sessionSocket, []string{cookie, ownOrigin, ownOrigin}, 403, "cross-site-request"},
		"another site":                    {sessionSocket, []string{cookie, ownOrigin, "Sec-Fetch-Site: cross-site"}, 403, "cross-site-request"},
		"another origin of our site":      {sessionSocket, []string{cookie, ownOrigin, "Sec-Fetch-Site: same-site"}, 403, "cross-site-request"},
		"no page":                         {sessionSocket, []string{cookie, ownOrigin, "Sec-Fetch-Site: none"}, 403, "cross-site-request"},
		"the protocol twice":              {sessionSocket, []string{cookie, ownOrigin, "Upgrade: websocket"}, 400, "invalid-request"},
		"another origin, no session":      {sessionSocket, []string{"Origin: https://evil.example"}, 403, "cross-site-request"},
		"a token beside the cookie":       {sessionSocket, []string{cookie, ownOrigin, "Authorization: Bearer " + w.alice()}, 400, "invalid-request"},
		"a token":                         {sessionSocket, []string{ownOrigin, "Authorization: Bearer " + w.alice()}, 401, "session-required"},
		"no session":                      {sessionSocket, []string{ownOrigin}, 401, "session-required"},
		"an unknown session":              {sessionSocket, []string{ownOrigin, "Cookie: " + sessionName + "=" + strings.Repeat("A", 32)}, 401, "session-required"},
		"not allowed for the API":         {"/bff/api/plain/socket", []string{cookie, ownOrigin}, 501, "upgrade-not-supported"},
		"another route of sessions":       {"/bff/user", []string{cookie, ownOrigin}, 501, "upgrade-not-supported"},
		"a path that leaves the API":      {"/bff/api/todo/%2e%2e/x", []string{cookie, ownOrigin}, 400, "invalid-request"},
		"a body":                          {sessionSocket, []string{cookie, ownOrigin, "Content-Length: 1"}, 400, "invalid-request"},
		"the route for tokens":            {"/api/todo/socket", []string{cookie, "Origin: https://listed.example"}, 401, "missing-token"},
	} {
		before := len(w.api.seen())
		peer, resp := w.handshake(row.path, "", row.lines...)
		body := ""
		if resp.StatusCode == 101 {
			_ = (<-accepted).conn.Close()
		} else {
			b, _ := io.ReadAll(resp.Body)
			body = string(b)
		}
		_ = peer.conn.Close() // it was answered
		if resp.StatusCode != row.status || row.kind != "" && !strings.Contains(body, "/problems/"+row.kind+`"`) {
			t.Errorf("%s: got %d %s, want %d %s", name, resp.StatusCode, body, row.status, row.kind)
		}
		if row.status == 401 && row.kind == "session-required" && !strings.Contains(body, `"loginUrl"`) {
			t.Errorf("%s: got %s, want a loginUrl", name, body)
		}
		if row.status != 101 && len(w.api.seen()) != before {
			t.Errorf("%s: the API was asked", name)
		}
	}

	off := newWorld(t, withWebSockets)
	if _, resp := off.handshake(sessionSocket, "", cookie, "Origin: "+off.url); resp.StatusCode != 501 {
		t.Errorf("without sessions: got %s", resp.Status)
	}
}

// sessionClaim returns a claim of the page's user.
func (p *page) sessionClaim(name string) string {
	p.w.t.Helper()
	r := p.call("GET", "/bff/user?slide=false", "")
	_, value, ok := strings.Cut(r.body, `"`+name+`","value":"`)
	if !ok {
		p.w.t.Fatalf("no claim %s in %d %s", name, r.StatusCode, r.body)
	}
	return value[:strings.IndexByte(value, '"')]
}

// A WebSocket ends with its session, whoever ends it, and with no other one, also of the same
// user: on the replica that is told, and on others.
func TestWebSocketEndsWithItsSession(t *testing.T) {
	admin := func(p *page, service *program, path string) {
		recorder := httptest.NewRecorder()
		service.api.Admin(new(slog.LevelVar)).ServeHTTP(recorder, httptest.NewRequest("DELETE", "http://localhost"+path, nil))
		if recorder.Code != http.StatusNoContent {
			p.w.t.Errorf("DELETE %s: got %d %s", path, recorder.Code, recorder.Body)
		}
	}
	get := func(p *page, path string, status int) {
		p.w.t.Helper()
		if r := p.send("GET", path, ""); r.StatusCode != status {
			p.w.t.Errorf("%s: got %d %s, want %d", path, r.StatusCode, r.body, status)
		}
	}
	for _, row := range []struct {
		name       string
		end        func(p *page, service *program)
		endsOthers bool // sessions of the same user
		endsAll    bool
	}{
		{"sign-out", func(p *page, _ *program) { get(p, p.sessionClaim("bff:logout_url"), 302) }, false, false},
		{"sign-out at the provider", func(p *page, _ *program) { get(p, "/signout-oidc?sid="+p.sessionClaim("sid"), 200) }, false, false},
		{"a new sign-in", func(p *page, _ *program) { p.follow("/bff/login", "alice") }, false, false},
		{"an operator ends the user's", func(p *page, service *program) {
			admin(p, service, "/cache/users/"+demoTenant+"/"+objectIDs["alice"])
		}, true, false},
		{"an operator ends all", func(p *page, service *program) { admin(p, service, "/cache") }, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newStoppedSessionWorld(t, withWebSockets, withRedis(redistest.Start(t)), patientWithRedis)
			accepted := w.acceptSockets()
			service := w.startReady()
			first := w.url
			w.startReady()
			second := w.url
			ended, elsewhere, bob := w.signIn("alice"), w.signIn("alice"), w.signIn("bob")
			var ending, staying [][2]*wsPeer // caller and API
			open := func(list *[][2]*wsPeer, p *page) {
				caller, api := p.openSocket(accepted)
				*list = append(*list, [2]*wsPeer{caller, api})
			}
			for _, url := range []string{first, second, second} {
				w.url = url
				open(&ending, ended)
			}
			if row.endsOthers {
				open(&ending, elsewhere)
			} else {
				open(&staying, elsewhere)
			}
			if row.endsAll {
				open(&ending, bob)
			} else {
				open(&staying, bob)
			}
			w.url = first
			row.end(ended, service)
			for _, ends := range ending {
				ends[0].wantClose(1008)
				ends[1].wantClose(1008)
			}
			for _, stays := range staying {
				wantSocket(stays[0], stays[1])
			}
			caller, api := ending[0][0], ending[0][1]
			caller.send(wsFin|wsClose, closePayload(1008, ""))
			api.send(wsFin|wsClose, closePayload(1008, ""))
			caller.wantEnd()
			if line := w.socketLine(t); line["level"] != "INFO" || !strings.Contains(line["error"].(string), "the session has ended") {
				t.Errorf("log line: got %v", line)
			}
		})
	}
}

// A session lasts as long as its requests say, whatever its WebSockets carry. Without Redis
// nobody knows of further requests, so it ends then too, and no earlier.
func TestWebSocketDoesNotKeepItsSession(t *testing.T) {
	const idle = 10 * time.Second
	for name, disturb := range map[string]func(*redistest.Server){
		"with Redis": func(*redistest.Server) {}, "Redis is dead": (*redistest.Server).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			w := newSessionWorld(t, withWebSockets, withRedis(redis), patientWithRedis, func(f *file) { f.Session.IdleTimeout = idle })
			accepted := w.acceptSockets()
			page := w.signIn("alice")
			start := time.Now()
			caller, api := page.openSocket(accepted)
			disturb(redis)
			stop := make(chan struct{})
			sending := make(chan struct{})
			go func() {
				defer close(sending)
				ticks := time.NewTicker(200 * time.Millisecond)
				defer ticks.Stop()
				for {
					select {
					case <-stop:
						return
					case <-ticks.C:
					}
					_, _ = caller.conn.Write(caller.rawFrame(wsFin|wsText, []byte("hello"))) // it may have ended
				}
			}()
			caller.wantClose(1008)
			// The use of a session is written in whole steps of a tenth.
			if took := time.Since(start); took < idle-idle/10-time.Second {
				t.Errorf("the WebSocket ended after %v, want %v", took, idle)
			}
			close(stop)
			<-sending
			_ = api.conn.Close() // it was read until here
		})
	}
}

// The session's own token is replaced, so its expiry ends nothing.
func TestWebSocketOutlivesTheSessionsToken(t *testing.T) {
	t.Parallel()
	const life = 3 * time.Second
	directory := sessionDirectory()
	for i := range directory.Apps {
		if app := &directory.Apps[i]; app.ClientID == demoMiddleTier {
			app.TokenLifetime = life
		}
	}
	w := newStoppedSessionWorldOf(t, directory, withWebSockets)
	w.startReady()
	accepted := w.acceptSockets()
	caller, api := w.signIn("alice").openSocket(accepted)
	expired := time.NewTimer(2 * life)
	defer expired.Stop()
	<-expired.C
	wantSocket(caller, api)
}

// While the service drains, WebSockets of sessions are closed with 1001 as all others.
func TestWebSocketOfASessionEndsWhenTheServiceStops(t *testing.T) {
	t.Parallel()
	w := newStoppedSessionWorld(t, withWebSockets)
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	accepted := w.acceptSockets()
	caller, api := w.signIn("alice").openSocket(accepted)
	go stop()
	caller.wantClose(1001)
	api.wantClose(1001)
}
