package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/credential"
	"middletier/internal/door"
	"middletier/internal/mockidp"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/records"
	"middletier/internal/session"
	"middletier/internal/telemetry"
	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

const (
	tenant     = "11111111-1111-4111-8111-111111111111"
	fabrikam   = "99999999-9999-4999-8999-999999999999"
	middleID   = "22222222-2222-4222-8222-222222222222"
	webID      = "33333333-3333-4333-8333-333333333333"
	aliceID    = "aaaaaaaa-0000-4000-8000-000000000001"
	bobID      = "bbbbbbbb-0000-4000-8000-000000000002"
	webSecret  = "a-secret-of-the-web-app"
	public     = "https://app.example/mt"
	loopback   = "http://localhost:8080/mt"
	base       = "/base" // what the gateway puts in place of /mt
	readScope  = "api://middle/Read"
	writeScope = "api://middle/Write"
	todoScope  = "api://todo/Read"
)

var platformKey = tokentest.NewKey(2048)

func directory() mockidp.Directory {
	id := func(n string) string { return "cccccccc-0000-4000-8000-00000000000" + n }
	return mockidp.Directory{
		SigningKey: platformKey(),
		Tenants:    []mockidp.Tenant{{ID: tenant}, {ID: fabrikam}},
		Apps: []mockidp.App{
			{
				Name: "middle", TenantID: tenant, MultiTenant: true, ClientID: middleID, ObjectID: id("1"), IDURIs: []string{"api://middle"},
				Scopes: []string{"Read", "Write"},
			},
			{
				Name: "web", TenantID: tenant, MultiTenant: true, ClientID: webID, ObjectID: id("2"), Secrets: []string{webSecret},
				RedirectURIs: mockidp.RedirectURIs{Web: []string{
					public + "/signin-oidc", public + "/signout-callback-oidc", loopback + "/signin-oidc",
				}},
				FrontChannelLogoutURI: public + "/signout-oidc",
			},
			{
				Name: "todo", TenantID: tenant, MultiTenant: true, ClientID: id("9"), ObjectID: id("3"), IDURIs: []string{"api://todo"},
				Scopes: []string{"Read"},
			},
		},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: aliceID, TenantID: tenant, Username: "alice@contoso.example"},
			{Name: "bob", ObjectID: bobID, TenantID: tenant, Username: "bob@contoso.example"},
			{Name: "frida", ObjectID: "dddddddd-0000-4000-8000-000000000004", TenantID: fabrikam, Username: "frida@fabrikam.example"},
		},
		Grants: []mockidp.Grant{{Client: "web", Resource: "middle", Scopes: []string{"Read", "Write"}}},
	}
}

// inMemory sends requests to a handler without a network, so that time can be virtual.
type inMemory struct{ http.Handler }

func (m *inMemory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the connection is gone")
		}
	}()
	w := httptest.NewRecorder()
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI = r.URL.RequestURI()
	m.ServeHTTP(w, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	resp = w.Result()
	resp.Request = r
	return resp, nil
}

// kit is the identity platform, and replicas of the service.
type kit struct {
	t   *testing.T
	idp *mockidp.Server
	way *inMemory // to the platform
	log *syncBuffer
}

// syncBuffer is a buffer for a log.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newKit(t *testing.T) *kit {
	t.Helper()
	idp, err := mockidp.New(directory())
	if err != nil {
		t.Fatal(err)
	}
	return &kit{t, idp, &inMemory{idp}, &syncBuffer{}}
}

// replica is one process of the service.
type replica struct {
	*kit
	*session.Manager
	handler http.Handler
	public  string // session.Config.PublicURL
}

// start returns a replica with records, nil for memory of its own. change may be nil.
func (k *kit) start(store *records.Store, change func(*session.Config)) *replica {
	k.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	k.t.Cleanup(func() {
		stop()
		running.Wait()
	})
	log := slog.New(slog.NewJSONHandler(k.log, nil))
	client := &http.Client{Transport: k.way}
	validator := validate.New(validate.Config{Instance: k.idp.URL(), TenantID: tenant, ClientID: middleID, ClockSkew: time.Minute, Client: client})
	running.Go(func() { validator.Run(ctx) })
	if err := validator.AwaitKeys(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	provider := func(clientID string) *obo.Client {
		p, err := obo.NewClient(k.t.Context(), obo.Config{
			Instance: k.idp.URL(), TenantID: tenant, ClientID: clientID,
			Credentials: []credential.Config{{SourceType: "ClientSecret", ClientSecret: webSecret}}, Capabilities: []string{"cp1"},
			Timeout: 5 * time.Second, MaxConcurrent: 64, Client: client,
		})
		if err != nil {
			k.t.Fatal(err)
		}
		return p
	}
	tokens, err := obo.NewCache(obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute}, provider(middleID))
	if err != nil {
		k.t.Fatal(err)
	}
	running.Go(func() { _ = tokens.Run(ctx) })
	if store == nil {
		store = records.NewMemory(records.DefaultMemory)
	}
	config := session.Config{
		ClientID: webID, Scopes: []string{readScope}, OwnScopes: []string{readScope, writeScope}, APIScopes: []string{todoScope},
		PublicURL: public, BasePath: base,
		CallbackPath: "/signin-oidc", SignedOutCallbackPath: "/signout-callback-oidc", RemoteSignOutPath: "/signout-oidc",
		Lifetime: 8 * time.Hour, IdleTimeout: 30 * time.Minute, Authority: k.idp.URL() + "/" + tenant,
		LoginKeys: [][]byte{bytes.Repeat([]byte{7}, 32)},
		Provider:  provider(webID), Validator: validator, Records: store, Tokens: tokens, Log: log,
	}
	if change != nil {
		change(&config)
	}
	config.Check(func(key, problem string) { k.t.Errorf("%s %s", key, problem) })
	m := session.New(config)
	return &replica{k, m, k.handler(m, validator, log), config.PublicURL}
}

// handler serves m's routes, and one that answers with the session's access token.
func (k *kit) handler(m *session.Manager, validator *validate.Validator, log *slog.Logger) http.Handler {
	watch, err := telemetry.New(telemetry.Config{})
	if err != nil {
		k.t.Fatal(err)
	}
	d := door.New(door.Config{
		MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, Log: log, Telemetry: watch, Validator: validator, Fixed: true,
		TrustsPeer: func(*http.Request) bool { return false }, BaseURL: func(*http.Request) string { return public },
		Challenge: func(problem.Problem, *http.Request, string) string { return "" },
		RouteName: func(path string) string { return path },
	})
	e := d.NewEcho()
	g := e.Group(base)
	m.AddRoutes(g, func(r *http.Request) bool {
		marks := r.Header["X-Csrf"]
		return len(marks) == 1 && marks[0] == "1"
	})
	g.GET("/bff/api/token", func(c echo.Context) error {
		s, err := m.Token(c.Request())
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, s.AccessToken)
	})
	return e
}

// browser is a user's browser.
type browser struct {
	*replica
	cookies map[string]*http.Cookie // of the service
	atIDP   map[string]string       // of the platform
}

func (r *replica) browser() *browser {
	return &browser{r, map[string]*http.Cookie{}, map[string]string{}}
}

// on returns the same browser, whose requests another replica gets.
func (b *browser) on(r *replica) *browser { return &browser{r, b.cookies, b.atIDP} }

// answer is what a browser got.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem is the type of a problem document.
func (a answer) problem() string {
	var doc struct{ Type string }
	_ = json.Unmarshal([]byte(a.body), &doc) // another body is no problem
	return doc.Type[strings.LastIndex(doc.Type, "/")+1:]
}

// get sends a request of a page of the service's own; path is below its public URL.
func (b *browser) get(path string, headers ...string) answer {
	return b.send("GET", path, false, headers...)
}

// send sends a request. One that another site began has no Strict cookies.
func (b *browser) send(method, path string, crossSite bool, headers ...string) answer {
	b.t.Helper()
	r := httptest.NewRequest(method, base+path, nil)
	r.Host = "app.example"
	for _, c := range b.cookies {
		if !crossSite || c.SameSite != http.SameSiteStrictMode {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c
		secure := strings.HasPrefix(b.public, "https:")
		if strings.HasPrefix(c.Name, "__Host-") != secure || c.Secure != secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			b.t.Errorf("cookie %s: got %+v, want HttpOnly and path /; Secure and the prefix: %t", c.Name, c, secure)
		}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

var (
	actionOf = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	flowOf   = regexp.MustCompile(`name="flow" value="([^"]*)"`)
)

// atPlatform opens a URL of the platform, signs the user in and consents, and returns the URL of
// ours that it is sent to.
func (b *browser) atPlatform(location, objectID string) string {
	b.t.Helper()
	method, form := "GET", url.Values(nil)
	for range 6 {
		r := httptest.NewRequest(method, location, strings.NewReader(form.Encode()))
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", b.idp.URL())
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		for name, value := range b.atIDP {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		b.idp.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			b.atIDP[c.Name] = c.Value
		}
		if next := w.Header().Get("Location"); next != "" {
			if strings.HasPrefix(next, b.public) {
				return next
			}
			b.t.Fatalf("the platform sends the browser to %s", next)
		}
		body := w.Body.String()
		if link := regexp.MustCompile(`id="return" href="([^"]*)"`).FindStringSubmatch(body); link != nil { // a sign-out
			return html.UnescapeString(link[1])
		}
		action, flow := actionOf.FindStringSubmatch(body), flowOf.FindStringSubmatch(body)
		if action == nil || flow == nil {
			b.t.Fatalf("no form in the platform's answer %d: %s", w.Code, body)
		}
		form = url.Values{"flow": {html.UnescapeString(flow[1])}, "action": {"choose"}, "user": {objectID}}
		for _, other := range []string{"consent", "prove"} {
			if strings.Contains(body, `value="`+other+`"`) {
				form.Set("action", other)
			}
		}
		method, location = "POST", b.idp.URL()+html.UnescapeString(action[1])
	}
	b.t.Fatal("the platform asks for ever")
	return ""
}

// begin opens /bff/login and returns where it sends the browser.
func (b *browser) begin(query string) string {
	b.t.Helper()
	a := b.get("/bff/login" + query)
	if a.status != http.StatusFound {
		b.t.Fatalf("GET /bff/login%s: got %d %s, want 302", query, a.status, a.body)
	}
	return a.header.Get("Location")
}

// callbackOf is a sign-in up to the redirect to the callback, as a path.
func (b *browser) callbackOf(objectID, query string) string {
	b.t.Helper()
	return strings.TrimPrefix(b.atPlatform(b.begin(query), objectID), b.public)
}

var refreshOf = regexp.MustCompile(`http-equiv="refresh" content="0;url=([^"]*)"`)

// signIn signs a user in and returns where the browser goes then.
func (b *browser) signIn(objectID, query string) string {
	b.t.Helper()
	a := b.send("GET", b.callbackOf(objectID, query), true)
	next := refreshOf.FindStringSubmatch(a.body)
	if a.status != http.StatusOK || next == nil {
		b.t.Fatalf("the callback: got %d %s, want a page that goes on; log:\n%s", a.status, a.body, b.log)
	}
	return html.UnescapeString(next[1])
}

// user returns the claims of /bff/user, nil without a session.
func (b *browser) user(query ...string) map[string]any {
	b.t.Helper()
	a := b.get("/bff/user"+strings.Join(query, ""), "X-CSRF", "1")
	if a.status == http.StatusUnauthorized && a.problem() == "session-required" {
		return nil
	}
	var list []struct {
		Type  string
		Value any
	}
	if err := json.Unmarshal([]byte(a.body), &list); a.status != http.StatusOK || err != nil {
		b.t.Fatalf("GET /bff/user: got %d %s %v", a.status, a.body, err)
	}
	claims := map[string]any{}
	for _, c := range list {
		claims[c.Type] = c.Value
	}
	return claims
}

// wantUser checks whose session the browser has, "" for nobody's.
func (b *browser) wantUser(objectID string) {
	b.t.Helper()
	if got := b.user("?slide=false"); fmt.Sprint(got["oid"]) != objectID && !(objectID == "" && got == nil) {
		b.t.Errorf("the session's user: got %v, want %q", got, objectID)
	}
}

// token calls an API, and returns the token that it would get, or the problem's type.
func (b *browser) token() (token, problem string) {
	b.t.Helper()
	a := b.get("/bff/api/token", "X-CSRF", "1")
	if a.status == http.StatusOK {
		return a.body, ""
	}
	return "", fmt.Sprint(a.status, " ", a.problem())
}

// wantToken checks that the browser's requests get a token.
func (b *browser) wantToken() string {
	b.t.Helper()
	token, problem := b.token()
	if problem != "" {
		b.t.Errorf("GET /bff/api: got %s, want a token; log:\n%s", problem, b.log)
	}
	return token
}

// wantProblem checks that they get a problem.
func (b *browser) wantProblem(want string) {
	b.t.Helper()
	if token, got := b.token(); token != "" || got != want {
		b.t.Errorf("GET /bff/api: got %s (token: %t), want %s", got, token != "", want)
	}
}

func (b *browser) sessionCookie() string {
	if c := b.cookies["__Host-middletier"]; c != nil {
		return c.Value
	}
	return ""
}

// setCookie gives the browser a session's cookie.
func (b *browser) setCookie(value string) {
	b.cookies["__Host-middletier"] = &http.Cookie{Name: "__Host-middletier", Value: value, SameSite: http.SameSiteStrictMode}
}
