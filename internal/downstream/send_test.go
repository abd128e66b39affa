package downstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// outgoing returns a call to path with this env's token. header is a list of names and
// values.
func (e *env) outgoing(method, path, body string, header ...string) downstream.Outgoing {
	e.t.Helper()
	parsed, err := downstream.ParsePath(path)
	if err != nil {
		e.t.Fatal(err)
	}
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = append(h[header[i]], header[i+1])
	}
	return downstream.Outgoing{
		Method: method, Path: parsed, Header: h, Body: []byte(body), Token: e.token, RequestID: "request-1", MaxAnswer: 1 << 20,
	}
}

// sent makes the call, which must succeed.
func (e *env) sent(o downstream.Outgoing) *downstream.Answer {
	e.t.Helper()
	answer, err := e.client.Send(e.t.Context(), o)
	if err != nil {
		e.t.Fatalf("Send: %v", err)
	}
	return answer
}

// wantSendKind checks that an error of Send is an *Error of the kind, without a token.
func wantSendKind(t *testing.T, err error, kind downstream.Kind) {
	t.Helper()
	var failure *downstream.Error
	if !errors.As(err, &failure) || failure.Kind != kind {
		t.Errorf("Send returned %v, want %v", err, kind)
	} else if strings.Contains(err.Error(), "token-") {
		t.Errorf("error %q holds a token", err)
	}
}

func TestSentCallArrives(t *testing.T) {
	body := strings.Repeat("abc\x00\xff", 30_000)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"} {
		for _, body := range []string{"", "x", body} {
			api := &recorder{}
			e := startWith(t, api)
			o := e.outgoing(method, "/a%20b/(c)", body, "Accept", "application/json", "Content-Type", "text/x", "X-A", "1", "X-A", "2")
			o.Query = "q=%20&A=b"
			if answer := e.sent(o); answer.Status != 200 {
				t.Errorf("%s: got %d", method, answer.Status)
			}
			got := api.all()[0]
			if got.method != method || got.target != "/base/a%20b/(c)?q=%20&A=b" || got.body != body || got.length != int64(len(body)) ||
				!slices.Equal(got.header["X-A"], []string{"1", "2"}) || got.header.Get("Content-Type") != "text/x" {
				t.Errorf("%s with %d bytes: got %s %s with %d bytes and %v", method, len(body), got.method, got.target, len(got.body), got.header)
			}
		}
	}
}

// No header is sent but those of the call and of this service.
func TestSentHeaders(t *testing.T) {
	api := &recorder{}
	e := start(t, serve(t, api), func(c *downstream.Config) {
		c.DropRequest = []string{"X-Dropped"}
		c.SetRequest = map[string]string{"X-Set": "ours"}
	})
	e.sent(e.outgoing("GET", "/x", ""))
	want := []string{"Authorization", "X-Request-Id", "X-Set"}
	if names := slices.Sorted(maps.Keys(api.all()[0].header)); !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	var header []string
	for _, name := range []string{
		"Authorization", "authorization", "Cookie", "Host", "Connection", "Te", "Trailer", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Content-Length",
		"Forwarded", "X-Forwarded-For", "X_Forwarded_Host", "Proxy-Authorization", "X-Ms-Token-Aad-Id-Token", "X-MS-CLIENT-PRINCIPAL-ID",
		"X-Request-Id", "X-Dropped", "X_Dropped", "x-set",
	} {
		header = append(header, name, "the application's")
	}
	e.sent(e.outgoing("GET", "/x", "", append(header, "x-kept", "1", "User-Agent", "theirs")...))
	got := api.all()[1]
	for name, values := range got.header {
		if slices.Contains(values, "the application's") {
			t.Errorf("%s was sent", name)
		}
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer token-1", "X-Request-Id": "request-1", "X-Set": "ours", "X-Kept": "1", "User-Agent": "theirs",
	} {
		if values := got.header[name]; !slices.Equal(values, []string{want}) {
			t.Errorf("%s: got %q, want %q", name, values, want)
		}
	}
	if strings.Contains(got.host, "application") {
		t.Errorf("Host: got %q", got.host)
	}
}

func TestAnswerOfASentCall(t *testing.T) {
	e := startWith(t, respond(418, "the body\x00\xff", "Content-Type", "text/x", "ETag", `"1"`, "Location", "/base/y", "Retry-After", "7",
		"X-A", "1", "X-A", "2", "Set-Cookie", "a=b", "Set_Cookie", "a=b", "Connection", "X-Hop", "X-Hop", "1", "Keep-Alive", "timeout=5",
		"Access-Control-Allow-Origin", "*", "X-Dropped", "1"))
	e.config.DropResponse, e.config.KeepCookies = []string{"x-dropped"}, true
	client, err := downstream.New(*e.config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Send(t.Context(), e.outgoing("GET", "/x", ""))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != 418 || string(answer.Body) != "the body\x00\xff" {
		t.Errorf("got %d %q", answer.Status, answer.Body)
	}
	delete(answer.Header, "Date")
	want := []string{"Access-Control-Allow-Origin", "Content-Length", "Content-Type", "Etag", "Location", "Retry-After", "X-A"}
	if names := slices.Sorted(maps.Keys(answer.Header)); !slices.Equal(names, want) || !slices.Equal(answer.Header["X-A"], []string{"1", "2"}) {
		t.Errorf("got %v, want %q", answer.Header, want)
	}
}

func TestSentCallFollowsNoRedirectAndKeepsNoCookie(t *testing.T) {
	api := &recorder{next: respond(302, "", "Location", "/elsewhere", "Set-Cookie", "a=b")}
	e := startWith(t, api)
	for range 2 {
		if answer := e.sent(e.outgoing("GET", "/x", "")); answer.Status != 302 || answer.Header.Get("Location") != "/elsewhere" {
			t.Errorf("got %d with %v, want the redirect", answer.Status, answer.Header)
		}
	}
	all := api.all()
	if len(all) != 2 || all[1].header["Cookie"] != nil || all[1].target != "/base/x" {
		t.Errorf("got %+v, want two calls without a cookie", all)
	}
}

// A 401 is answered with a new token once. The last one is an answer like any other.
func TestSentCallWithARejectedToken(t *testing.T) {
	for _, row := range []struct {
		name, challenge, accepted string
		same                      bool // the second token is the first one
		status, calls             int
		rejected                  []string
	}{
		{"once", `Bearer error="invalid_token"`, "token-2", false, 200, 2, []string{"", "token-1"}},
		{"twice", `Bearer error="invalid_token"`, "another", false, 401, 2, []string{"", "token-1"}},
		{"without a challenge", "", "token-2", false, 200, 2, []string{"", "token-1"}},
		{"no other token", `Bearer error="invalid_token"`, "another", true, 401, 1, []string{"", "token-1"}},
		{"another scheme", "Basic", "another", false, 401, 1, []string{""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := &recorder{next: func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+row.accepted {
					w.Header().Set("WWW-Authenticate", row.challenge)
					w.WriteHeader(401)
				}
				_, _ = io.WriteString(w, "the API's words")
			}}
			e, source := startWith(t, api), &tokens{}
			e.token = source.token
			if row.same {
				e.token = func(ctx context.Context, rejected downstream.Rejection) (string, error) {
					_, err := source.token(ctx, rejected)
					return "token-1", err
				}
			}
			answer := e.sent(e.outgoing("POST", "/x", "the request"))
			if answer.Status != row.status || string(answer.Body) != "the API's words" ||
				row.status == 401 && answer.Header.Get("WWW-Authenticate") != row.challenge {
				t.Errorf("got %d %q with %v, want %d", answer.Status, answer.Body, answer.Header, row.status)
			}
			if !slices.Equal(source.rejected, row.rejected) || len(api.all()) != row.calls {
				t.Errorf("%d calls with tokens after %q, want %d after %q", len(api.all()), source.rejected, row.calls, row.rejected)
			}
			for _, arrived := range api.all() {
				if arrived.body != "the request" {
					t.Errorf("got the body %q", arrived.body)
				}
			}
		})
	}
}

func TestSentCallAnswersAClaimsChallenge(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	refused := errors.New("the user must act")
	e := startWith(t, respond(401, "", "WWW-Authenticate",
		`Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`))
	var asked downstream.Rejection
	e.token = func(_ context.Context, rejected downstream.Rejection) (string, error) {
		if asked = rejected; rejected.Token != "" {
			return "", refused
		}
		return "token-1", nil
	}
	if _, err := e.client.Send(t.Context(), e.outgoing("GET", "/x", "")); err != refused {
		t.Errorf("got %v, want the error as it was", err)
	}
	if want := (downstream.Rejection{Token: "token-1", Claims: claims}); asked != want {
		t.Errorf("a token was asked for with %+v, want %+v", asked, want)
	}
}

func TestSentCallsAreRetried(t *testing.T) {
	for _, row := range []struct {
		method        string
		step          step
		calls, status int // 0: an error
	}{
		{"GET", step{status: 503}, 2, 200},
		{"GET", step{err: errDial}, 2, 200},
		{"PUT", step{status: 502}, 2, 200},
		{"POST", step{status: 503}, 1, 503},
		{"POST", step{err: errDial}, 1, 0},
	} {
		t.Run(fmt.Sprint(row.method, row.step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: []step{row.step}}
				client, err := downstream.New(downstream.Config{
					BaseURL: "http://api.example", Timeout: 10 * time.Second, RequestTimeout: 30 * time.Second, Attempts: 2, Transport: s,
				})
				if err != nil {
					t.Fatal(err)
				}
				answer, err := client.Send(t.Context(), downstream.Outgoing{
					Method: row.method, Body: []byte("body"), Token: (&tokens{}).token, MaxAnswer: 1 << 10,
				})
				status := 0
				if err == nil {
					status = answer.Status
				}
				if status != row.status || len(s.bodies) != row.calls {
					t.Errorf("got %d (%v) after %d calls, want %d after %d", status, err, len(s.bodies), row.status, row.calls)
				}
				for _, body := range s.bodies {
					if body != "body" {
						t.Errorf("got the body %q", body)
					}
				}
			})
		})
	}
}

func TestAnswerTooLarge(t *testing.T) {
	for name, known := range map[string]bool{"of known length": true, "chunked": false} {
		t.Run(name, func(t *testing.T) {
			e := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if !known {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = io.WriteString(w, "1234567890")
			}))
			o := e.outgoing("GET", "/x", "")
			o.MaxAnswer = 10
			if answer := e.sent(o); string(answer.Body) != "1234567890" {
				t.Errorf("at the limit: got %q", answer.Body)
			}
			o.MaxAnswer = 9
			_, err := e.client.Send(t.Context(), o)
			wantSendKind(t, err, downstream.ResponseTooLarge)
		})
	}
}

// Nothing makes a response a stream, which may take any time.
func TestSentCallEndsInTime(t *testing.T) {
	over := make(chan struct{}) // net/http does not see a client leave whose body it has not read
	silent := func(http.ResponseWriter, *http.Request) { <-over }
	events := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
	}
	for name, row := range map[string]struct {
		api    http.HandlerFunc
		change func(*downstream.Config)
	}{
		"no response in the API's time":  {silent, func(c *downstream.Config) { c.Timeout = 50 * time.Millisecond }},
		"nor in that of the request":     {silent, func(c *downstream.Config) { c.RequestTimeout = 50 * time.Millisecond }},
		"a response that does not end":   {events, func(c *downstream.Config) { c.RequestTimeout = 200 * time.Millisecond }},
		"a token that does not arrive":   {nil, func(c *downstream.Config) { c.RequestTimeout = 50 * time.Millisecond }},
		"an upload that is not received": {silent, func(c *downstream.Config) { c.Timeout = 100 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			over = make(chan struct{})
			e := start(t, serve(t, row.api), row.change)
			t.Cleanup(func() { close(over) })
			body := ""
			if strings.Contains(name, "upload") {
				body = strings.Repeat("x", 10<<20)
			}
			if row.api == nil {
				e.token = func(ctx context.Context, _ downstream.Rejection) (string, error) {
					<-ctx.Done()
					return "", ctx.Err()
				}
			}
			_, err := e.client.Send(t.Context(), e.outgoing("GET", "/x", body, "Accept", "text/event-stream"))
			wantSendKind(t, err, downstream.Timeout)
		})
	}
}

func TestSentCallEndsWithItsContext(t *testing.T) {
	arrived, ended := make(chan struct{}), make(chan struct{})
	e := startWith(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := e.client.Send(ctx, e.outgoing("GET", "/x", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	wait(t, "the end of the API's request", ended)
}

func TestSentCallThatFails(t *testing.T) {
	for _, row := range []struct {
		name, wire string
		kind       downstream.Kind
	}{
		{"closed without a response", "", downstream.Unreachable},
		{"no HTTP", "nonsense\r\n\r\n", downstream.Unreachable},
		{"truncated", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", downstream.Unreachable},
		{"truncated chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", downstream.Unreachable},
		{"a status below 100", "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", downstream.InvalidResponse},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", downstream.InvalidResponse},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := start(t, wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
				_, _ = io.WriteString(conn, row.wire)
				_ = conn.Close()
			}), nil)
			_, err := e.client.Send(t.Context(), e.outgoing("POST", "/x", "body"))
			wantSendKind(t, err, row.kind)
		})
	}
	t.Run("no API", func(t *testing.T) {
		gone := httptest.NewServer(nil)
		gone.Close()
		e := start(t, gone.URL, nil)
		_, err := e.client.Send(t.Context(), e.outgoing("POST", "/x", ""))
		wantSendKind(t, err, downstream.Unreachable)
	})
	e := startWith(t, &recorder{})
	for name, values := range map[string]string{"a control character": "a\x01b", "not UTF-8": "\xff"} {
		t.Run(name, func(t *testing.T) {
			if _, err := e.client.Send(t.Context(), e.outgoing("GET", "/x", "", "X-A", values)); !errors.Is(err, downstream.ErrHeader) {
				t.Errorf("got %v, want %v", err, downstream.ErrHeader)
			}
		})
	}
	t.Run("a large header", func(t *testing.T) {
		_, err := e.client.Send(t.Context(), e.outgoing("GET", "/x", "", "X-A", strings.Repeat("x", 33<<10)))
		wantSendKind(t, err, downstream.HeadersTooLarge)
	})
}

// An HTTP/2 server that did not process a request gets it again, whatever its body.
func TestUnprocessedSentCallIsSentAgain(t *testing.T) {
	server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
		switch {
		case c.Number == 1:
			_ = c.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil)
			return false
		case s.Ended:
			c.Reply(s)
		}
		return true
	})
	e := startHTTP2(t, server)
	if answer := e.sent(e.outgoing("POST", "/x", "body")); answer.Status != 200 || string(answer.Body) != `4 bytes, trailer ""` {
		t.Errorf("got %d %q, want 200 and the whole body received", answer.Status, answer.Body)
	}
}

// The time that a request has taken before the call counts.
func TestSentCallHasWhatRemainsOfTheRequestsTime(t *testing.T) {
	api := &recorder{}
	e := start(t, serve(t, api), nil)
	o := e.outgoing("GET", "/x", "")
	o.Begin = time.Now().Add(-time.Hour)
	o.Token = func(ctx context.Context, _ downstream.Rejection) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	_, err := e.client.Send(t.Context(), o)
	wantSendKind(t, err, downstream.Timeout)
	if len(api.all()) != 0 {
		t.Error("the API was called")
	}
}

// uploads returns the URL of a service that reads each body into memory, and the results.
func uploads(t *testing.T, limit, readLimit int64, patience time.Duration) (url string, results chan string) {
	results = make(chan string, 10)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := downstream.NewUpload(w, r, limit)
		u.ShortenReadDeadline()
		body, err := u.ReadAll(readLimit, time.Now().Add(patience))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			results <- "too large"
		case errors.Is(err, downstream.ErrBody):
			results <- "ended early"
		case r.Context().Err() != nil:
			results <- "the caller left"
		default:
			results <- string(body)
		}
	})), results
}

func TestBodyIsReadIntoMemory(t *testing.T) {
	for limit, readLimit := range map[int64]int64{10: 1000, 1000: 10} {
		url, results := uploads(t, limit, readLimit, patience)
		for body, want := range map[string]string{"": "", "1234567890": "1234567890", "12345678901": "too large"} {
			for _, known := range []bool{true, false} {
				reader := io.Reader(strings.NewReader(body))
				if !known {
					reader = io.MultiReader(reader)
				}
				resp, err := http.Post(url, "text/plain", reader)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if got := <-results; got != want {
					t.Errorf("%q, of known length: %v: got %q, want %q", body, known, got, want)
				}
			}
		}
	}
}

func TestBodyThatDoesNotArriveIsNotAwaited(t *testing.T) {
	url, results := uploads(t, 10, 10, 50*time.Millisecond)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	if got := <-results; got != "ended early" {
		t.Errorf("got %q, want the read to end", got)
	}
}
