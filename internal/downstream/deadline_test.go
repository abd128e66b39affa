package downstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/downstream"
)

// slowBody returns pieces, each after a pause, and then io.EOF; or an error once ended is
// closed.
type slowBody struct {
	pieces int
	pause  time.Duration
	ended  chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.pieces == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(b.pause):
		b.pieces--
		return copy(p, "piece"), nil
	case <-b.ended:
		return 0, os.ErrDeadlineExceeded
	}
}

func (*slowBody) Close() error { return nil }

// apiFunc is an API, as a transport.
type apiFunc func(r *http.Request) (*http.Response, error)

func (f apiFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// takes is an API that reads so many pieces of a body, or all for -1, waits before each,
// and responds after some work.
func takes(pieces int, pause, work time.Duration) apiFunc {
	return func(r *http.Request) (*http.Response, error) {
		taken := make(chan error, 1)
		go func() {
			var err error
			for n := pieces; n != 0 && err == nil; n-- {
				time.Sleep(pause)
				_, err = r.Body.Read(make([]byte, 64))
			}
			if err == io.EOF {
				err = nil
			}
			select {
			case <-time.After(work):
			case <-r.Context().Done():
			}
			taken <- err
		}()
		select {
		case err := <-taken:
			return &http.Response{
				StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("done")), ContentLength: 4, Request: r,
			}, err
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// deadlineRecorder ends reads of a body when a read deadline is set, and counts how often.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	body  *slowBody
	ended int
}

func (r *deadlineRecorder) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		if r.ended++; r.ended == 1 {
			close(r.body.ended)
		}
	}
	return nil
}

// The API's timeout does not run while the API waits for the caller's body. Here it is 10
// seconds, and that of the request 60.
func TestAPIsTimeIsNotTheCallers(t *testing.T) {
	const (
		s   = time.Second
		all = -1
	)
	for _, row := range []struct {
		name  string
		body  slowBody
		api   apiFunc
		want  string // "": a response
		after time.Duration
	}{
		{"a slow caller", slowBody{5, 9 * s, nil}, takes(all, 0, 9*s), "", 54 * s},
		{"a caller slower than the API may be", slowBody{2, 15 * s, nil}, takes(all, 0, s), "", 31 * s},
		{"an API that takes it slowly", slowBody{5, 0, nil}, takes(all, 9*s, 0), "", 54 * s},
		{"a caller that takes too long", slowBody{7, 9 * s, nil}, takes(all, 0, 0), "body", 60 * s},
		{"a caller that stops", slowBody{2, 40 * s, nil}, takes(all, 0, 0), "body", 60 * s},
		{"an API that stops at once", slowBody{5, s, nil}, takes(0, 0, 100*s), "timeout", 10 * s},
		{"an API that stops later", slowBody{5, s, nil}, takes(3, 0, 100*s), "timeout", 13 * s},
		{"an API without an answer", slowBody{5, s, nil}, takes(all, 0, 100*s), "timeout", 15 * s},
		{"an API for which little is left", slowBody{6, 9 * s, nil}, takes(all, 0, 100*s), "timeout", 60 * s},
		{"an answer before the body's end", slowBody{50, s, nil}, takes(2, 0, s), "", 3 * s},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := downstream.New(downstream.Config{
					BaseURL: "http://api.example", Timeout: 10 * s, RequestTimeout: 60 * s, Attempts: 2, Transport: row.api,
				})
				if err != nil {
					t.Fatal(err)
				}
				row.body.ended = make(chan struct{})
				r := httptest.NewRequest("POST", "http://middle.example/x", &row.body)
				r.ContentLength = -1
				w, begun := &deadlineRecorder{httptest.NewRecorder(), &row.body, 0}, time.Now()
				err = client.Forward(w, r, downstream.Call{Token: (&tokens{}).token})
				took := time.Since(begun)
				time.Sleep(200 * s) // what the API still reads changes nothing
				synctest.Wait()
				if whole := row.body.pieces == 0; whole != (w.ended == 0) || w.ended > 1 {
					t.Errorf("the body was read to its end: %v; and its reads were ended %d times", whole, w.ended)
				}
				got, failed := "", new(downstream.Error)
				switch {
				case errors.Is(err, downstream.ErrBody):
					got = "body"
				case errors.As(err, &failed):
					got = failed.Kind.String()
				case err != nil:
					got = err.Error()
				}
				if got != row.want || took != row.after {
					t.Errorf("got %q after %v, want %q after %v", got, took, row.want, row.after)
				}
				if answer := w.Body.String(); row.want == "" && answer != "done" {
					t.Errorf("got the answer %q", answer)
				}
			})
		})
	}
}

// The API's timeout, of 10 seconds, does not run while the token is fetched; the time of the
// request, of 60, does.
func TestTokenTakesTheRequestsTime(t *testing.T) {
	const s = time.Second
	for _, row := range []struct {
		name    string
		token   time.Duration
		rejects time.Duration // that of the API's rejection of the first token
		second  time.Duration // that of the token after it; 0: the API rejects none
		answer  time.Duration
		late    bool
		after   time.Duration
	}{
		{"a slow token", 30 * s, 0, 0, 9 * s, false, 39 * s},
		{"a slow token and an API without an answer", 30 * s, 0, 0, 100 * s, true, 40 * s},
		{"a token that comes late", 55 * s, 0, 0, 100 * s, true, 60 * s},
		{"a token that does not come", 100 * s, 0, 0, 0, true, 60 * s},
		{"a slow second token", s, 0, 30 * s, 9 * s, false, 40 * s},
		{"a slow second token and an API without an answer", s, 0, 30 * s, 100 * s, true, 41 * s},
		{"a second token that does not come", s, 0, 100 * s, 0, true, 60 * s},
		{"a stream that begins late", s, 0, 30 * s, 100 * s, false, 131 * s},
		{"a stream that is rejected after the request's time", s, 70 * s, s, 9 * s, false, 81 * s},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := takes(0, 0, row.answer)
				rejecting := apiFunc(func(r *http.Request) (*http.Response, error) {
					if row.second > 0 && r.Header.Get("Authorization") == "Bearer token" {
						time.Sleep(row.rejects)
						return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
					}
					return api(r)
				})
				client, err := downstream.New(downstream.Config{
					BaseURL: "http://api.example", Timeout: 10 * s, RequestTimeout: 60 * s, Attempts: 1, Transport: rejecting,
				})
				if err != nil {
					t.Fatal(err)
				}
				token := func(ctx context.Context, rejected downstream.Rejection) (string, error) {
					token, takes := "token", row.token
					if rejected.Token != "" {
						token, takes = "second", row.second
					}
					select {
					case <-time.After(takes):
						return token, nil
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				begun := time.Now()
				r := httptest.NewRequest("GET", "/x", nil)
				if strings.HasPrefix(row.name, "a stream") {
					r.Header.Set("Accept", "text/event-stream")
				}
				err = client.Forward(httptest.NewRecorder(), r, downstream.Call{Token: token})
				took := time.Since(begun)
				var failed *downstream.Error
				late := errors.As(err, &failed) && failed.Kind == downstream.Timeout
				if late != row.late || !late && err != nil || took != row.after {
					t.Errorf("got %v after %v, want a timeout: %t, after %v", err, took, row.late, row.after)
				}
			})
		})
	}
}
