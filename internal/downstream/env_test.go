package downstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/downstream"
)

// patience bounds every wait of a test that would otherwise hang.
const patience = 20 * time.Second

// seen is a request as the API received it.
type seen struct {
	method, target, host string
	header               http.Header
	body                 string
	length               int64
}

// recorder is an API that records requests, and responds like next.
type recorder struct {
	mu   sync.Mutex // guards seen
	seen []seen
	next http.HandlerFunc // nil: 200 without a body
}

func (a *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // recorded as far as it arrived
	a.mu.Lock()
	a.seen = append(a.seen, seen{r.Method, r.RequestURI, r.Host, r.Header, string(body), r.ContentLength})
	a.mu.Unlock()
	if a.next != nil {
		a.next(w, r)
	}
}

func (a *recorder) all() []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]seen(nil), a.seen...)
}

// env is a service in front of an API. It forwards the paths of requests unchanged.
type env struct {
	t       *testing.T
	config  *downstream.Config
	client  *downstream.Client
	front   *httptest.Server
	token   downstream.TokenFunc
	inspect func(body []byte) error // nil: bodies are not inspected
	maxBody int64                   // 0: no limit
	results chan error              // of Forward; an abortedError if it panicked
}

type abortedError struct{}

func (abortedError) Error() string { return "aborted" }

// start returns an env in front of the API at baseURL. change may be nil.
func start(t *testing.T, baseURL string, change func(*downstream.Config)) *env {
	t.Helper()
	transport := downstream.NewTransport()
	transport.Proxy = nil
	t.Cleanup(transport.CloseIdleConnections)
	config := downstream.Config{BaseURL: baseURL, Timeout: patience, Attempts: 1, RequestTimeout: patience, Transport: transport}
	if change != nil {
		change(&config)
	}
	config.Check(func(key, problem string) { t.Fatalf("Check: %s %s", key, problem) })
	client, err := downstream.New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	e := &env{
		t: t, config: &config, client: client, results: make(chan error, 1000),
		token: func(context.Context, downstream.Rejection) (string, error) { return "token-1", nil },
	}
	e.front = httptest.NewServer(e)
	t.Cleanup(e.front.Close)
	return e
}

// startWith returns an env in front of a handler, below /base.
func startWith(t *testing.T, api http.Handler) *env {
	t.Helper()
	return start(t, serve(t, api)+"/base/", nil)
}

func serve(t *testing.T, api http.Handler) string {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server.URL
}

func (e *env) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			e.results <- abortedError{}
			panic(p)
		}
	}()
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	path, err := downstream.ParsePath(raw)
	if err == nil {
		if e.maxBody > 0 {
			r.Body = http.MaxBytesReader(nil, r.Body, e.maxBody)
		}
		err = e.client.Forward(w, r, downstream.Call{Path: path, Token: e.token, RequestID: "request-1", Inspect: e.inspect})
	}
	e.results <- err
	if err != nil {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(599)
		_, _ = fmt.Fprintln(w, err)
	}
}

// result is what Forward returned.
func (e *env) result() error {
	e.t.Helper()
	select {
	case err := <-e.results:
		return err
	case <-time.After(patience):
		e.t.Fatal("Forward did not return")
		return nil
	}
}

// reply is what a caller of the env gets.
type reply struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error // of reading the body
}

// do sends a request and reads the response, which it does not change.
func (e *env) do(method, target, body string, header ...string) reply {
	e.t.Helper()
	r, err := http.NewRequest(method, e.front.URL+target, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return e.send(r)
}

func (e *env) send(r *http.Request) reply {
	e.t.Helper()
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		e.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, resp.Trailer, string(body), err}
}

// dial opens a connection to the env and sends text on it.
func (e *env) dial(text string) *net.TCPConn {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.front.Listener.Addr().String())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		e.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// read reads one response.
func (e *env) read(conn net.Conn, method string) reply {
	e.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		e.t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, resp.Trailer, string(body), err}
}

// raw sends a request byte for byte.
func (e *env) raw(text string) reply {
	e.t.Helper()
	method, _, _ := strings.Cut(text, " ")
	return e.read(e.dial(text), method)
}

// wait waits until c is closed or receives.
func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}
