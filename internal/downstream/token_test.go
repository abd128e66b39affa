package downstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// tokens returns token-1, token-2, …, a new one after each rejection.
type tokens struct {
	mu       sync.Mutex // guards what follows
	n        int
	rejected []string // what it was called with
}

func (s *tokens) token(_ context.Context, refused downstream.Rejection) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.rejected = append(s.rejected, refused.Token)
	return fmt.Sprintf("token-%d", s.n), nil
}

// accepts is an API that accepts one token only.
func accepts(token string) *recorder {
	return &recorder{next: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="the API's words"`)
			w.Header().Set("Set-Cookie", "a=b")
			http.Error(w, "the API's words", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "welcome")
	}}
}

// What a token is fetched with has informational responses of its own, which are not the
// API's.
func TestHintsOfTheProviderReachNobody(t *testing.T) {
	provider := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </provider.css>\r\n\r\n"+
			"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	source := &tokens{}
	e := startWith(t, accepts("token-2"))
	e.token = func(ctx context.Context, refused downstream.Rejection) (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, provider, nil)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		_ = resp.Body.Close()
		return source.token(ctx, refused)
	}
	answer, err := io.ReadAll(e.dial("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
	if err != nil || strings.Contains(string(answer), "103") || !strings.HasSuffix(string(answer), "welcome") {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	for _, c := range []struct {
		method string
		length int
	}{{"GET", 0}, {"HEAD", 0}, {"DELETE", 0}, {"OPTIONS", 0}, {"POST", 0}, {"POST", 1}, {"PUT", 1000}, {"PATCH", 64 << 10}, {"GET", 10}} {
		t.Run(fmt.Sprint(c.method, c.length), func(t *testing.T) {
			body := strings.Repeat("abc\x00\xff", c.length)[:c.length]
			api, source := accepts("token-2"), &tokens{}
			e := startWith(t, api)
			e.token = source.token
			got := e.do(c.method, "/x?y=%20", body, "X-Kept", "1", "Cookie", "a=b")
			want := "welcome"
			if c.method == "HEAD" {
				want = ""
			}
			if got.status != 200 || got.body != want || got.header["Www-Authenticate"] != nil {
				t.Errorf("got %d %q with %v", got.status, got.body, got.header)
			}
			all := api.all()
			if len(all) != 2 || !slices.Equal(source.rejected, []string{"", "token-1"}) {
				t.Fatalf("%d calls with tokens after %q, want two", len(all), source.rejected)
			}
			for i, arrived := range all {
				if arrived.method != c.method || arrived.target != "/base/x?y=%20" || arrived.body != body || arrived.length != int64(c.length) ||
					arrived.header.Get("X-Kept") != "1" || arrived.header["Cookie"] != nil ||
					!slices.Equal(arrived.header["Authorization"], []string{fmt.Sprintf("Bearer token-%d", i+1)}) {
					t.Errorf("call %d: got %+v", i+1, arrived)
				}
			}
			if err := e.result(); err != nil {
				t.Errorf("Forward returned %v", err)
			}
		})
	}
}

func TestBodyThatWasNotPrefetchedIsNotSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		length  int
		chunked bool
	}{"large": {64<<10 + 1, false}, "chunked": {10, true}, "large and chunked": {1 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			api, source := accepts("token-2"), &tokens{}
			e := startWith(t, api)
			e.token = source.token
			r, err := http.NewRequest("POST", e.front.URL+"/x", strings.NewReader(strings.Repeat("x", c.length)))
			if err != nil {
				t.Fatal(err)
			}
			if c.chunked {
				r.ContentLength = -1
			}
			if got := e.send(r); got.status != 599 {
				t.Errorf("got %d %s", got.status, got.body)
			}
			e.wantKind(downstream.RejectedToken)
			if len(api.all()) != 1 || !slices.Equal(source.rejected, []string{"", "token-1"}) {
				t.Errorf("%d calls with tokens after %q, want one, and the token dropped", len(api.all()), source.rejected)
			}
		})
	}
}

func TestTokenRejectedTwice(t *testing.T) {
	api, source := accepts("another"), &tokens{}
	e := startWith(t, api)
	e.token = source.token
	got := e.do("POST", "/x", "body")
	if got.status != 599 || strings.Contains(got.body, "the API's words") ||
		got.header["Www-Authenticate"] != nil || got.header["Set-Cookie"] != nil {
		t.Errorf("got %d %q with %v", got.status, got.body, got.header)
	}
	e.wantKind(downstream.RejectedToken)
	if len(api.all()) != 2 || len(source.rejected) != 2 {
		t.Errorf("%d calls with tokens after %q, want two", len(api.all()), source.rejected)
	}
}

func TestRejectionBeforeTheBodyIsRead(t *testing.T) {
	calls := 0
	url := wiretest.ServeRequests(t, func(conn net.Conn, r *http.Request) {
		if calls++; calls == 1 {
			_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	})
	e := start(t, url, nil)
	source := &tokens{}
	e.token = source.token
	if got := e.do("POST", "/x", "the body"); got.status != 200 || got.body != "the body" {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

func TestErrorOfTheTokenComesBack(t *testing.T) {
	refused := errors.New("refused")
	for _, failing := range []string{"", "token-1"} {
		api, source := accepts("token-2"), &tokens{}
		e := startWith(t, api)
		e.token = func(ctx context.Context, rejected downstream.Rejection) (string, error) {
			if rejected.Token == failing {
				return "", refused
			}
			return source.token(ctx, rejected)
		}
		for _, body := range []string{"", "body", strings.Repeat("x", 100<<10)} {
			source.n = 0
			e.do("POST", "/x", body)
			if err := e.result(); err != refused {
				t.Errorf("token after %q: Forward returned %v, want the error as it was", failing, err)
			}
		}
		if failing == "" && len(api.all()) != 0 {
			t.Errorf("%d calls without a token", len(api.all()))
		}
	}
}

func TestOtherRefusalsPassThrough(t *testing.T) {
	source := &tokens{}
	e := startWith(t, respond(403, "no"))
	e.token = source.token
	if got := e.do("GET", "/x", ""); got.status != 403 || got.body != "no" || len(source.rejected) != 1 {
		t.Errorf("got %d %q after tokens %q", got.status, got.body, source.rejected)
	}
}
