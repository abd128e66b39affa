package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/listener"
	"middletier/internal/mockidp"
	"middletier/internal/testkit/tokentest"
	"middletier/internal/todo"
	"middletier/internal/validate"
)

const (
	testSecret = "a-client-secret-that-must-not-be-seen"
	fabrikam   = "99999999-9999-4999-8999-999999999999" // a tenant that is not ours
	otherApp   = "96666666-6666-4666-8666-666666666666" // an application nobody gave anything
)

// world is the wired program between a real identity platform and a real API,
// all on loopback.
type world struct {
	t    *testing.T
	idp  *mockidp.Server
	api  *upstream
	url  string // of the service
	side string // the URL of the sidecar listener; "" without server.sidecarAddress
	log  *syncBuffer
	file file

	way    *http.Transport        // to the platform; nil: transport()
	detour atomic.Pointer[detour] // nil: none
}

// detour is taken by the service's requests to the token endpoint.
type detour func(r *http.Request, platform http.RoundTripper) (*http.Response, error)

// newWorld starts a world. change may alter the configuration before it starts.
func newWorld(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newStoppedWorld(t, change...)
	w.startReady()
	return w
}

// newStoppedWorld starts platform and API, but not the service.
func newStoppedWorld(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	return newStoppedWorldOf(t, testDirectory(), change...)
}

// testDirectory is the demo's, with a user of another tenant and an application
// that nobody gave anything.
func testDirectory() mockidp.Directory {
	directory := demoDirectory(testSecret)
	for i := range directory.Apps { // so that nobody but us keeps other tenants out
		directory.Apps[i].MultiTenant = true
	}
	directory.Tenants = append(directory.Tenants, mockidp.Tenant{ID: fabrikam})
	directory.Users = append(directory.Users, mockidp.User{
		Name: "mallory", ObjectID: "cccccccc-0000-4000-8000-000000000003",
		TenantID: fabrikam, Username: "mallory@fabrikam.example",
	})
	directory.Apps = append(directory.Apps, mockidp.App{
		Name: "other", TenantID: demoTenant, ClientID: otherApp,
		ObjectID: "96666666-0000-4000-8000-000000000000", IDURIs: []string{"api://other"}, Scopes: []string{"Other.Read"},
	})
	return directory
}

// platformKey signs for the platforms of all worlds, until they rotate it.
var platformKey = tokentest.NewKey(2048)

// newStoppedWorldOf is newStoppedWorld with a directory of the test's own.
func newStoppedWorldOf(t *testing.T, directory mockidp.Directory, change ...func(*file)) *world {
	t.Helper()
	directory.SigningKey = platformKey()
	idp, err := mockidp.New(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(idp.Close)
	w := &world{t: t, idp: idp, api: newUpstream(t), log: &syncBuffer{}}
	w.file = demoConfig(idp.URL(), w.api.URL, testSecret)
	w.file.Server.Address, w.file.Server.ShutdownGrace = "127.0.0.1:0", 0 // nobody waits at the end of a test
	for _, c := range change {
		c(&w.file)
	}
	var mistakes []string
	w.file.check(func(key, problem string) { mistakes = append(mistakes, key+": "+problem) })
	if mistakes != nil {
		t.Fatalf("configuration of the test: %q", mistakes)
	}
	return w
}

func (w *world) start() *program {
	w.t.Helper()
	p, _ := w.startStoppable()
	return p
}

// startStoppable starts the service, with what ends it before the test does.
func (w *world) startStoppable() (p *program, stop func()) {
	w.t.Helper()
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	p, err := build(w.t.Context(), w.file, w.toPlatform(), log)
	if err != nil {
		w.t.Fatal(err)
	}
	listeners := map[net.Listener]http.Handler{}
	open := func(address string, handler http.Handler, limited func(net.Listener) net.Listener) (url string) {
		w.t.Helper()
		if address == "" {
			return ""
		}
		l, err := listener.Listen(address)
		if err != nil {
			w.t.Fatal(err)
		}
		listeners[limited(l)] = handler
		return "http://" + l.Addr().String()
	}
	w.url = open(w.file.Server.Address, p.api, func(l net.Listener) net.Listener { return p.limited(l, w.file.Server, log) })
	if p.certificate != nil {
		w.url = "https" + strings.TrimPrefix(w.url, "http")
	}
	w.side = open(w.file.Server.SidecarAddress, p.sidecar, func(l net.Listener) net.Listener { return l })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, w.file.Server, p, listeners, log)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return p, stop
}

// startReady starts the service and waits until it has signing keys.
func (w *world) startReady() *program {
	w.t.Helper()
	p := w.start()
	if err := p.validator.AwaitKeys(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// transport trusts the platform's CA.
func (w *world) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.idp.CertPool()}}
}

// toPlatform is the service's own way to the platform.
func (w *world) toPlatform() http.RoundTripper {
	direct := cmp.Or(w.way, w.transport())
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if d := w.detour.Load(); d != nil && r.Method == http.MethodPost {
			return (*d)(r, direct)
		}
		return direct.RoundTrip(r)
	})
}

// withTodo puts the real ToDo API behind the service.
func withTodo(t *testing.T, w *world) {
	t.Helper()
	validator := validate.New(validate.Config{
		Instance: w.idp.URL(), TenantID: demoTenant, ClientID: demoToDo, ClockSkew: time.Minute,
		Client: &http.Client{Transport: w.transport()}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		validator.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	if err := validator.AwaitKeys(ctx); err != nil {
		t.Fatal(err)
	}
	api := todo.New(validator)
	w.api.handle(api.ServeHTTP)
}

func (w *world) alice() string {
	return w.idp.UserToken("alice", "app", "middletier", "ToDoList.ReadWrite")
}

func (w *world) bob() string { return w.idp.UserToken("bob", "app", "middletier", "ToDoList.Read") }

func (w *world) daemon() string { return w.idp.AppToken("daemon", "middletier", "ToDoList.Read.All") }

// leadsTo is the parameter of challenges that names the metadata of a resource, by its
// path: "" is the service itself.
func (w *world) leadsTo(resource string) string {
	return `, resource_metadata="` + w.url + "/.well-known/oauth-protected-resource" + resource + `"`
}

// dial opens a connection to the service, to be used for so long at the most.
func (w *world) dial(t *testing.T, patience time.Duration) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	body    string
	problem struct {
		Type, Title, Detail, Instance, RequestID, Error, Suberror, CorrelationID, ConsentURI, LoginURL string
		Status                                                                                         int
		ErrorCodes                                                                                     []int
		Scopes                                                                                         []string
	}
}

// kind is the last part of a problem's type.
func (r *reply) kind() string { return r.problem.Type[strings.LastIndex(r.problem.Type, "/")+1:] }

// call makes a request with a token ("" for none) and reads the answer.
func (w *world) call(method, path, token, body string) *reply {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	return w.send(method, w.url+path, token, reader)
}

// send makes a request to a URL with a token ("" for none) and header lines, as "Name: value".
func (w *world) send(method, url, token string, body io.Reader, lines ...string) *reply {
	w.t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	return w.do(req)
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (w *world) do(req *http.Request) *reply {
	w.t.Helper()
	return w.doAs(noRedirects, req)
}

// doAs is do by a client of the test's own.
func (w *world) doAs(client *http.Client, req *http.Request) *reply {
	w.t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	r := &reply{Response: resp, body: string(body)}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(body, &r.problem); err != nil {
			w.t.Fatalf("%s %s: %v in %s", req.Method, req.URL.Path, err, body)
		}
	}
	return r
}

// exchanges counts the requests to the token endpoint.
func (w *world) exchanges() int {
	return w.idp.Count("on_behalf_of") + w.idp.Count("client_credentials")
}

// upstream is an API that remembers what it was asked.
type upstream struct {
	*httptest.Server

	mu       sync.Mutex // guards the rest
	requests []*http.Request
	handler  http.HandlerFunc
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{handler: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":true}`)
	}}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.requests = append(u.requests, r)
		handler := u.handler
		u.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) handle(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handler = h
}

// seen returns the requests that arrived.
func (u *upstream) seen() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*http.Request(nil), u.requests...)
}

// last returns the newest request.
func (u *upstream) last(t *testing.T) *http.Request {
	t.Helper()
	seen := u.seen()
	if len(seen) == 0 {
		t.Fatal("the API got no request")
	}
	return seen[len(seen)-1]
}

// syncBuffer is a buffer that a server writes and a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines returns the log lines of requests.
func (b *syncBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(b.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // the rest of a process's line is about to come
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if fields["msg"] == "request" {
			lines = append(lines, fields)
		}
	}
	return lines
}

// secretCredential is a client secret given by value.
func secretCredential(secret string) []credential.Config {
	return []credential.Config{{SourceType: "ClientSecret", ClientSecret: secret}}
}
