package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

// A connection is reused if the request's body was complete, however the request
// ended. Otherwise it is closed with the answer, soon: the rest of the body is
// neither waited for nor read as a request.
func TestConnectionIsKeptOnlyBehindAWholeBody(t *testing.T) {
	t.Parallel()
	const (
		requestTime = time.Second
		apiTime     = 300 * time.Millisecond
		soon        = 20 * time.Second // sooner than ample, and enough on a busy machine
		ample       = 2 * time.Minute
		next        = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
		large       = 100_000
	)
	// A service for each time that is to pass: nothing else is cut off by it.
	type service struct {
		*world
		alice string // her token was exchanged
	}
	start := func(requestTime, apiTime time.Duration) service {
		w := newWorld(t, func(f *file) {
			f.Server.RequestTimeout = requestTime
			f.Server.MaxBodySize = 64 << 20
			d := f.DownstreamAPIs["todo"]
			d.Timeout = ample
			f.DownstreamAPIs["slow"] = d
			d.Timeout = apiTime
			f.DownstreamAPIs["todo"] = d
		})
		s := service{w, w.alice()}
		s.fetchToken(s.alice)
		return s
	}
	services := map[time.Duration]service{0: start(ample, ample), requestTime: start(requestTime, ample), apiTime: start(ample, apiTime)}
	early := func(answer http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(rw).EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			rw.Header().Set("Connection", "close") // else net/http takes the body's rest for a request
			answer(rw, r)
		}
	}
	apis := map[string]http.HandlerFunc{
		"reads": func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
		"stops reading": early(func(_ http.ResponseWriter, r *http.Request) { // and answers much later than it is waited for
			select {
			case <-r.Context().Done():
			case <-time.After(10 * apiTime):
			}
		}),
		"answers early":     early(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "early") }),
		"streams early":     early(func(rw http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(rw).Flush() }),
		"rejects the token": early(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(401) }),
		"breaks off, early": func(rw http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // until the service has seen it: what it had not read would be lost
			_ = conn.Close()
		},
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	const chunked = "Transfer-Encoding: chunked\r\n"
	body := func(n int) string { return strings.Repeat("x", n) }
	for _, row := range []struct {
		api, sends, header, body string // of which rest is missing
		rest                     int
		status                   int
		after                    time.Duration
	}{
		{"reads", "small", length(10), body(10), 0, 200, 0},
		{"reads", "large", length(large), body(large), 0, 200, 0},
		{"reads", "chunked", chunked, "4\r\nbody\r\n0\r\n\r\n", 0, 200, 0},
		{"hangs", "small", length(10), body(10), 0, 504, apiTime},
		{"hangs", "large", length(large), body(large), 0, 504, apiTime},
		{"hangs", "chunked", chunked, "4\r\nbody\r\n0\r\n\r\n", 0, 504, apiTime},

		{"reads", "a part of a small one", length(100), body(100), len(next), 400, requestTime},
		{"reads", "a part of a large one", length(large), body(large), len(next), 400, requestTime},
		{"reads", "a part of a chunk", chunked, "50\r\n" + body(0x50) + "\r\n0\r\n\r\n", 7 + len(next), 400, requestTime},
		{"reads", "no chunk", chunked, "4\r\nbody\r\nx", len("x"), 400, requestTime},
		{"reads", "what is no chunk", chunked, "4\r\nbody\r\nx\r\n", 0, 400, 0},
		{"stops reading", "very large", length(16 << 20), body(16 << 20), len(next), 504, apiTime},
		{"answers early", "a part of a large one", length(large), body(large), len(next), 200, 0},
		{"answers early", "a part of a chunk", chunked, "50\r\n" + body(0x50) + "\r\n0\r\n\r\n", 7 + len(next), 200, 0},
		{"streams early", "a part of a large one", length(large), body(large), len(next), 200, 0},
		{"streams early", "a part of a chunk", chunked, "50\r\n" + body(0x50) + "\r\n0\r\n\r\n", 7 + len(next), 200, 0},
		{"rejects the token", "a part of a large one", length(large), body(large), len(next), 502, 0},
		{"rejects the token", "a part of a chunk", chunked, "50\r\n" + body(0x50) + "\r\n0\r\n\r\n", 7 + len(next), 502, 0},
		{"breaks off, early", "a part of a large one", length(large), body(large), len(next), 200, 0},
		{"breaks off, early", "a part of a chunk", chunked, "50\r\n" + body(0x50) + "\r\n0\r\n\r\n", 7 + len(next), 200, 0},
	} {
		t.Run(row.api+", "+row.sends, func(t *testing.T) {
			w, alice := services[row.after], services[row.after].alice
			w.api.handle(apis[row.api])
			conn := w.dial(t, 3*soon)
			defer conn.Close()
			begun := time.Now()
			go func() { // what is not taken is not all sent
				_, _ = io.WriteString(conn, "POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+alice+"\r\n"+
					row.header+"\r\n"+row.body[:len(row.body)-row.rest])
			}()
			reader := bufio.NewReader(conn)
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, broken := io.Copy(io.Discard, resp.Body)
			if took := time.Since(begun); resp.StatusCode != row.status || took < row.after || took > row.after+soon {
				t.Errorf("got %d after %v, want %d after %v", resp.StatusCode, took, row.status, row.after)
			}
			if breaks := strings.HasPrefix(row.api, "breaks"); breaks != (broken != nil) {
				t.Errorf("the answer ends with %v", broken)
			}
			whole := row.rest == 0 && row.sends != "what is no chunk"
			if resp.Close == whole && broken == nil {
				t.Errorf("it says that the connection closes: %v", resp.Close)
			}
			if row.sends == "very large" {
				return // there is no room for more
			}
			_, _ = io.WriteString(conn, next) // it may be closed
			resp, err = http.ReadResponse(reader, nil)
			if !whole {
				if took := time.Since(begun); err == nil || took > row.after+soon {
					t.Errorf("what followed: got %v %v after %v, want the connection's end", resp, err, took)
				}
				return
			}
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("what followed: got %v %v, want 200", resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			w.api.handle(apis["reads"])
			_, _ = io.WriteString(conn, "GET /api/slow/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+alice+"\r\n\r\n")
			if resp, err = http.ReadResponse(reader, nil); err != nil || resp.StatusCode != 200 {
				t.Errorf("the next call: got %v %v, want 200", resp, err)
			}
		})
	}
}

// What the transport reads of a body while the answer is sent must not change the
// answer. The race detector reports it within a few calls.
func TestBodyGrowsTooLargeBesideTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(f *file) { f.Server.MaxBodySize = 1000 })
	alice := w.alice()
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(rw).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		rw.Header().Set("Connection", "close")
		_, _ = r.Body.Read(make([]byte, 100))
		_, _ = io.WriteString(rw, "early")
	})
	for i := range 30 {
		conn := w.dial(t, 10*time.Second)
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+alice+
			"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n")
		time.Sleep(time.Duration(i) * 50 * time.Microsecond) // so that the rest comes at every moment of the answer
		_, _ = io.WriteString(conn, "400\r\n"+strings.Repeat("x", 0x400)+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 && resp.StatusCode != 413 {
			t.Errorf("got %v %v, want 200 or 413", resp, err)
		}
	}
}

// A caller that requests Connection: close, as nginx does by default, receives the
// answer even if its body is refused unread.
func TestRefusalReachesWhoStillSends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Status: 503})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, row := range []struct {
		path, token   string
		status, times int // one in a hundred failed at the least
	}{
		{"/api/todo/items", "none", 401, 200},
		{"/api/nothing/items", w.alice(), 404, 50},
		{"/api/todo/items", w.alice(), 503, 10}, // of the provider
	} {
		for range row.times {
			req, err := http.NewRequest("POST", w.url+row.path, strings.NewReader(strings.Repeat("x", 100<<10)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+row.token)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s: %v", row.path, err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != row.status {
				t.Fatalf("%s: got %d, want %d", row.path, resp.StatusCode, row.status)
			}
		}
	}
}
