package obo_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

const (
	ourTenant   = "11111111-1111-4111-8111-111111111111"
	guestTenant = "22222222-2222-4222-8222-222222222222"
	ourClient   = "aaaaaaaa-0000-4000-8000-000000000001"
	ourSecret   = "the-client-secret~1"
)

var todo = []string{"api://todo/Read", "api://todo/Write"}

// platform plays the identity platform in memory, so that time can be virtual.
// What it answers may be changed until the first request.
type platform struct {
	token    func(r sent) answer
	metadata func(tenant string) answer

	mu         sync.Mutex // guards what follows
	sent       []sent
	metadatas  int
	running    int
	maxRunning int
}

// sent is a request to the token endpoint. n counts from 1.
type sent struct {
	n      int
	tenant string
	form   url.Values
}

// answer is what the platform answers, after delay.
type answer struct {
	status int // 0: 200
	header http.Header
	body   string
	reader io.Reader // in place of body
	delay  time.Duration
	err    error
}

const hangs = 1000 * time.Hour

// granted is a good answer.
func granted(token string, expiresIn int) answer {
	return answer{body: fmt.Sprintf(
		`{"token_type":"Bearer","scope":"%s","expires_in":%d,"access_token":%q}`, strings.Join(todo, " "), expiresIn, token)}
}

// numbered grants token-1, token-2, … for an hour.
func numbered(r sent) answer { return granted(fmt.Sprintf("token-%d", r.n), 3600) }

func slowly(delay time.Duration, answers func(sent) answer) func(sent) answer {
	return func(r sent) answer {
		a := answers(r)
		a.delay = delay
		return a
	}
}

func goodMetadata(tenant string) answer {
	base := "https://login.example/" + tenant
	return answer{body: fmt.Sprintf(
		`{"issuer":"%s/v2.0","authorization_endpoint":"%s/oauth2/v2.0/authorize","token_endpoint":"%s/oauth2/v2.0/token"}`, base, base, base)}
}

func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	tenant, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var a answer
	switch {
	case r.URL.Host != "login.example" || r.URL.Scheme != "https":
		return nil, fmt.Errorf("a request to another host: %s", r.URL)
	case r.Method == "GET" && path == "v2.0/.well-known/openid-configuration":
		p.mu.Lock()
		p.metadatas++
		p.mu.Unlock()
		a = p.metadata(tenant)
	case r.Method == "POST" && path == "oauth2/v2.0/token":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		request := sent{len(p.sent) + 1, tenant, form}
		p.sent = append(p.sent, request)
		p.running++
		p.maxRunning = max(p.maxRunning, p.running)
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			p.running--
			p.mu.Unlock()
		}()
		a = p.token(request)
	default:
		return nil, fmt.Errorf("no such endpoint: %s %s", r.Method, r.URL)
	}
	return a.send(r)
}

func (a answer) send(r *http.Request) (*http.Response, error) {
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	resp := &http.Response{StatusCode: max(a.status, 200), Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	if resp.Header == nil {
		resp.Header = http.Header{"Content-Type": {"application/json"}}
	}
	if a.reader != nil {
		resp.Body = io.NopCloser(a.reader)
	}
	if body, ok := a.reader.(stalled); ok {
		body.ctx = r.Context()
		resp.Body = io.NopCloser(body)
	}
	return resp, nil
}

// stalled is a body that never comes.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (p *platform) exchanges() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

// last returns the last request to the token endpoint.
func (p *platform) last() sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[len(p.sent)-1]
}

// kit is a cache in front of a client of the platform.
type kit struct {
	*platform
	t      testing.TB
	client *obo.Client
	cache  *obo.Cache
}

func (p *platform) config() obo.Config {
	return obo.Config{
		Instance: "https://login.example/", TenantID: ourTenant, ClientID: ourClient,
		Credentials:  []credential.Config{{SourceType: "ClientSecret", ClientSecret: ourSecret}},
		Capabilities: []string{"cp1"}, Timeout: 5 * time.Second, MaxConcurrent: 64,
		Client: &http.Client{
			Transport:     p,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// start returns a kit whose platform gives numbered tokens at once. change may
// be nil.
func start(t testing.TB, change func(*obo.Config, *obo.CacheConfig)) kit {
	t.Helper()
	return (&platform{token: numbered, metadata: goodMetadata}).start(t, change)
}

// start returns another kit of the same platform.
func (p *platform) start(t testing.TB, change func(*obo.Config, *obo.CacheConfig)) kit {
	t.Helper()
	config, cacheConfig := p.config(), obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute}
	if change != nil {
		change(&config, &cacheConfig)
	}
	client, err := obo.NewClient(t.Context(), config)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	cache, err := obo.NewCache(cacheConfig, client)
	if err != nil {
		t.Fatalf("NewCache: %v", err)
	}
	runCache(t, cache)
	return kit{p, t, client, cache}
}

// runCache runs a cache until the test ends.
func runCache(t testing.TB, cache *obo.Cache) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- cache.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// userOf returns a user's assertion in a tenant, good for a day.
func userOf(tenant, name string) obo.Assertion {
	token := "eyJhbGciOiJSUzI1NiJ9." + name + ".signature"
	return obo.Assertion{
		Token: token, Digest: sha256.Sum256([]byte(token)),
		TenantID: tenant, ObjectID: name, Expires: time.Now().Add(24 * time.Hour),
	}
}

func user(name string) obo.Assertion { return userOf(ourTenant, name) }

// want asks for a user's token and checks which one comes, and from where.
func (k kit) want(a obo.Assertion, rejected, value string, source obo.TokenOrigin) {
	k.t.Helper()
	got, err := k.cache.OnBehalfOf(k.t.Context(), a, todo, obo.Challenge{RejectedToken: rejected})
	if err != nil || got.Value != value || got.Origin != source {
		k.t.Fatalf("token, after %q was rejected: got %v %v, want %s from %s", rejected, got, err, value, source)
	}
}

func (k kit) wantExchanges(n int) {
	k.t.Helper()
	if got := k.exchanges(); got != n {
		k.t.Errorf("exchanges: got %d, want %d", got, n)
	}
}

// fails asks for a user's token, which must be refused with an *obo.Error.
func (k kit) fails(a obo.Assertion) *obo.Error {
	k.t.Helper()
	got, err := k.cache.OnBehalfOf(k.t.Context(), a, todo, obo.Challenge{})
	var refusal *obo.Error
	if !errors.As(err, &refusal) || got.Value != "" {
		k.t.Fatalf("token: got %v, %T %v, want an *obo.Error", got, err, err)
	}
	wantNoSecrets(k.t, err)
	if text := err.Error(); len(text) > 2000 {
		k.t.Errorf("error of %d bytes: %.80s…", len(text), text)
	}
	return refusal
}

// wantNoSecrets looks for the client secret, assertions and access tokens in an
// error and all it wraps. Tests' access tokens begin with "token-".
func wantNoSecrets(t testing.TB, err error) {
	t.Helper()
	for _, text := range append(texts(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%s", err)) {
		for _, secret := range []string{ourSecret, "eyJ", "signature", "token-"} {
			if strings.Contains(text, secret) {
				t.Errorf("error %q holds the secret %q", text, secret)
			}
		}
	}
}

func texts(err error) []string {
	if err == nil {
		return nil
	}
	all := []string{err.Error(), fmt.Sprintf("%+v", err)}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, texts(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, texts(inner)...)
		}
	}
	return all
}

// askedFor are requests on behalf of a user, for Forget.
func askedFor(scopes ...[]string) (requests []obo.Request) {
	for _, s := range scopes {
		requests = append(requests, obo.Request{Scopes: s})
	}
	return requests
}
