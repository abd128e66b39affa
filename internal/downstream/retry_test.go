package downstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// step is one response of a scripted API: a status with a Retry-After, or an error.
type step struct {
	status     int
	retryAfter string
	err        error
}

// script is an API that responds to each call with the next step, and then with 200. It
// records when each call arrived.
type script struct {
	steps  []step
	bodies []string
	tokens []string
	at     []time.Duration
	begin  time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		read, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(read)
	}
	s.bodies, s.tokens = append(s.bodies, body), append(s.tokens, r.Header.Get("Authorization"))
	s.at = append(s.at, time.Since(s.begin))
	next := step{status: 200}
	if len(s.steps) > 0 {
		next, s.steps = s.steps[0], s.steps[1:]
	}
	if next.err != nil {
		return nil, next.err
	}
	resp := &http.Response{
		StatusCode: next.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("the body")), ContentLength: 8, Request: r,
	}
	if next.retryAfter != "" {
		resp.Header.Set("Retry-After", next.retryAfter)
	}
	return resp, nil
}

// forward makes a call to the script and returns its status, 0 if it failed.
func (s *script) forward(t *testing.T, attempts int, r *http.Request) (int, error) {
	t.Helper()
	client, err := downstream.New(downstream.Config{
		BaseURL: "http://api.example", Timeout: 10 * time.Second, RequestTimeout: 30 * time.Second, Attempts: attempts, Transport: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.begin = time.Now()
	w := httptest.NewRecorder()
	if err := client.Forward(w, r, downstream.Call{Token: (&tokens{}).token}); err != nil {
		return 0, err
	}
	return w.Code, nil
}

var errDial = &net.OpError{Op: "dial", Err: errors.New("connection refused")}

func TestCallsAreRetried(t *testing.T) {
	large := strings.Repeat("x", 64<<10+1)
	unavailable := step{status: 503}
	for _, row := range []struct {
		name, method, body string
		attempts           int
		steps              []step
		calls, status      int // 0: an error
	}{
		{"503", "GET", "", 2, []step{unavailable}, 2, 200},
		{"502", "GET", "", 2, []step{{status: 502}}, 2, 200},
		{"504", "GET", "", 2, []step{{status: 504}}, 2, 200},
		{"cannot be reached", "GET", "", 2, []step{{err: errDial}}, 2, 200},
		{"cannot be reached, said in other words", "GET", "", 2, []step{{err: fmt.Errorf("lookup: %w", errDial)}}, 2, 200},
		{"HEAD", "HEAD", "", 2, []step{unavailable}, 2, 200},
		{"OPTIONS", "OPTIONS", "", 2, []step{unavailable}, 2, 200},
		{"DELETE", "DELETE", "", 2, []step{unavailable}, 2, 200},
		{"PUT with a body", "PUT", "body", 2, []step{unavailable}, 2, 200},
		{"PUT that cannot be connected", "PUT", "body", 2, []step{{err: errDial}}, 2, 200},
		{"as often as is said", "GET", "", 4, []step{unavailable, {err: errDial}, {status: 502}}, 4, 200},
		{"not more often", "GET", "", 3, []step{unavailable, unavailable, unavailable}, 3, 503},
		{"an error at last", "GET", "", 2, []step{unavailable, {err: errDial}}, 2, 0},
		{"repeating with a new token is no retry", "GET", "", 2, []step{{status: 401}, unavailable}, 3, 200},
		{"nor gives it new ones", "GET", "", 2, []step{unavailable, {status: 401}, unavailable}, 3, 503},

		{"switched off", "GET", "", 1, []step{unavailable}, 1, 503},
		{"switched off, cannot be reached", "GET", "", 1, []step{{err: errDial}}, 1, 0},
		{"POST", "POST", "", 2, []step{unavailable}, 1, 503},
		{"POST that cannot be connected", "POST", "", 2, []step{{err: errDial}}, 1, 0},
		{"PATCH", "PATCH", "body", 2, []step{unavailable}, 1, 503},
		{"another method", "PURGE", "", 2, []step{unavailable}, 1, 503},
		{"a body that was not recorded", "PUT", large, 2, []step{unavailable}, 1, 503},
		{"another error", "GET", "", 2, []step{{err: &net.OpError{Op: "read", Err: errors.New("reset")}}}, 1, 0},
		{"500", "GET", "", 2, []step{{status: 500}}, 1, 500},
		{"429", "GET", "", 2, []step{{status: 429, retryAfter: "1"}}, 1, 429},
		{"501", "GET", "", 2, []step{{status: 501}}, 1, 501},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: slices.Clone(row.steps)}
				status, err := s.forward(t, row.attempts, httptest.NewRequest(row.method, "http://middle.example/x", strings.NewReader(row.body)))
				if len(s.bodies) != row.calls || status != row.status {
					t.Errorf("got %d (%v) after %d calls, want %d after %d", status, err, len(s.bodies), row.status, row.calls)
				}
				for i, body := range s.bodies {
					if body != row.body {
						t.Errorf("call %d: got %d bytes of body, want %d", i+1, len(body), len(row.body))
					}
				}
			})
		})
	}
}

// A retry is sent with the token of the last attempt.
func TestRetryHasTheNewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 401}, {status: 503}}}
		if status, err := s.forward(t, 2, httptest.NewRequest("GET", "http://middle.example/x", nil)); status != 200 {
			t.Errorf("got %d %v", status, err)
		}
		if want := []string{"Bearer token-1", "Bearer token-2", "Bearer token-2"}; !slices.Equal(s.tokens, want) {
			t.Errorf("tokens: got %q, want %q", s.tokens, want)
		}
	})
}

// The pause is short, or the API's Retry-After if that is short. With a longer one the
// caller gets the response at once.
func TestRetryAfter(t *testing.T) {
	for _, row := range []struct {
		name       string
		retryAfter func() string
		wait       time.Duration // at least; up to 100 ms more
		status     int
	}{
		{"none", func() string { return "" }, 50 * time.Millisecond, 200},
		{"at once", func() string { return "0" }, 50 * time.Millisecond, 200},
		{"seconds", func() string { return "1" }, 1050 * time.Millisecond, 200},
		{"a date", func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }, 2050 * time.Millisecond, 200},
		{"a date that has passed", func() string { return "Sun, 06 Nov 1994 08:49:37 GMT" }, 50 * time.Millisecond, 200},
		{"nonsense", func() string { return "soon" }, 50 * time.Millisecond, 200},
		{"negative", func() string { return "-1" }, 50 * time.Millisecond, 200},
		{"just short enough", func() string { return "2" }, 2050 * time.Millisecond, 200},
		{"too long", func() string { return "3" }, 0, 503},
		{"too long, though there is time", func() string { return "8" }, 0, 503},
		{"far too long", func() string { return "4294967295" }, 0, 503},
		{"a date too late", func() string { return time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) }, 0, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // begins on a whole second
				s := &script{steps: []step{{status: 503, retryAfter: row.retryAfter()}}}
				status, err := s.forward(t, 2, httptest.NewRequest("GET", "http://middle.example/x", nil))
				if status != row.status {
					t.Fatalf("got %d %v, want %d", status, err, row.status)
				}
				last := s.at[len(s.at)-1]
				if last < row.wait || last > row.wait+100*time.Millisecond {
					t.Errorf("waited %v, want %v and a little", last, row.wait)
				}
			})
		})
	}
}

func TestLeavingCallerEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 503, retryAfter: "2"}}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := s.forward(t, 2, httptest.NewRequest("GET", "http://middle.example/x", nil).WithContext(ctx))
		if took := time.Since(s.begin); !errors.Is(err, context.Canceled) || took != time.Second || len(s.at) != 1 {
			t.Errorf("got %v after %v and %d calls, want context.Canceled at once", err, took, len(s.at))
		}
	})
}

// If an API closes an idle connection silently, net/http sends a safe request on another
// connection, and a POST arrives once.
func TestConnectionThatTheAPICloses(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "POST": 599} {
		t.Run(method, func(t *testing.T) {
			arrived := make(chan string, 10)
			url := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
				const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
				_, _ = io.WriteString(conn, ok)
				// The next on this connection is read and not answered.
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					arrived <- r.Method
				}
			})
			e := start(t, url, nil)
			if got := e.do("GET", "/x", ""); got.status != 200 {
				t.Fatalf("first call: got %d %s", got.status, got.body)
			}
			got := e.do(method, "/x", "")
			if len(arrived) != 1 {
				t.Fatalf("%d calls met the closing connection, want 1", len(arrived))
			}
			if got.status != want {
				t.Errorf("got %d %s, want %d", got.status, got.body, want)
			}
		})
	}
}
