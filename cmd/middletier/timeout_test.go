package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// pauseThen is an API that works for so long before its answer begins.
func pauseThen(pause time.Duration, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(pause):
			answer(w, r)
		case <-r.Context().Done():
		}
	}
}

func answers(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// An API's own timeout counts, whether it is longer or shorter than the server's.
func TestRequestTimeoutOfOneAPI(t *testing.T) {
	t.Parallel()
	const pause = 1500 * time.Millisecond
	for _, row := range []struct {
		name     string
		all, own time.Duration
		want     int
	}{
		{"less than all", time.Minute, 300 * time.Millisecond, http.StatusGatewayTimeout},
		{"more than all", 300 * time.Millisecond, time.Minute, http.StatusOK},
		{"that of all", 300 * time.Millisecond, 0, http.StatusGatewayTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				f.Server.RequestTimeout, d.RequestTimeout, d.Timeout = row.all, row.own, time.Minute
				f.DownstreamAPIs["todo"] = d
			})
			w.api.handle(pauseThen(pause, answers("late")))
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != row.want {
				t.Errorf("got %d %s, want %d", r.StatusCode, r.body, row.want)
			}
		})
	}
}

// hasty gives the API 300 ms for its response headers, and the whole request 600 ms.
func hasty(f *file) {
	d := f.DownstreamAPIs["todo"]
	d.Timeout, d.RequestTimeout, d.Retry.Attempts = 300*time.Millisecond, 600*time.Millisecond, 1
	f.DownstreamAPIs["todo"] = d
}

// fetchToken leaves a token for the API in the cache, however busy the machine is.
func (w *world) fetchToken(token string) {
	w.t.Helper()
	for w.call("GET", "/api/todo/items", token, "").StatusCode != http.StatusOK {
		if w.t.Context().Err() != nil {
			w.t.Fatal("no token was fetched")
		}
	}
}

// A request that accepts a stream has no deadline for the first part of the answer:
// a tool may be silent for long. Its answer need not be a stream.
func TestRequestForAStreamHasNoDeadline(t *testing.T) {
	t.Parallel()
	const pause = 1500 * time.Millisecond
	w := newWorld(t, hasty)
	alice := w.alice()
	w.fetchToken(alice)
	// A known length, and half of it later: the answer is no stream by itself.
	w.api.handle(pauseThen(pause, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "4")
		_, _ = rw.Write([]byte("la"))
		_ = http.NewResponseController(rw).Flush()
		time.Sleep(pause)
		_, _ = rw.Write([]byte("te"))
	}))
	for _, row := range []struct {
		name, method, header, value, body string
		want                              int
	}{
		{"events", "GET", "Accept", "text/event-stream", "", http.StatusOK},
		{"a call of a tool", "POST", "Accept", "application/json, text/event-stream", `{"jsonrpc":"2.0"}`, http.StatusOK},
		{"gRPC", "POST", "Content-Type", "application/grpc+proto", "message", http.StatusOK},
		{"anything", "GET", "Accept", "*/*", "", http.StatusGatewayTimeout},
		{"no events", "GET", "Accept", "application/json, text/event-stream;q=0", "", http.StatusGatewayTimeout},
		{"an upload of events", "POST", "Content-Type", "text/event-stream", "data: x", http.StatusGatewayTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequest(row.method, w.url+"/api/todo/items", strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+alice)
			req.Header.Set(row.header, row.value)
			r := w.do(req)
			if late := r.body == "late"; r.StatusCode != row.want || late != (row.want == http.StatusOK) {
				t.Errorf("got %d %s, want %d", r.StatusCode, r.body, row.want)
			}
		})
	}
}

// A request for a stream that is still waiting ends with its caller, and with the
// service.
func TestWaitingForAStreamEnds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(leave context.CancelFunc, stop func())
	}{
		{"the caller leaves", func(leave context.CancelFunc, _ func()) { leave() }},
		{"the service ends", func(_ context.CancelFunc, stop func()) { stop() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newStoppedWorld(t, hasty)
			p, stop := w.startStoppable()
			if err := p.validator.AwaitKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			alice := w.alice()
			w.fetchToken(alice)
			began, ended := make(chan struct{}), make(chan struct{})
			w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				close(ended)
			})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/todo/items", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+alice)
			req.Header.Set("Accept", "text/event-stream")
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				if resp, err := noRedirects.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			}()
			for _, c := range []chan struct{}{began, ended, answered} {
				select {
				case <-c:
				case <-time.After(time.Minute):
					t.Fatal("it goes on")
				}
				if c == began {
					row.end(leave, stop)
				}
			}
		})
	}
}
