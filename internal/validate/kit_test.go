package validate_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

const (
	contoso  = "c0c0c0c0-1111-4111-8111-11111111abcd"
	fabrikam = "fafafafa-2222-4222-8222-22222222abcd"
	apiID    = "aaaaaaaa-0000-4000-8000-000000000001"
	legacyID = "aaaaaaaa-0000-4000-8000-000000000002"
	spaID    = "aaaaaaaa-0000-4000-8000-000000000003"
	daemonID = "aaaaaaaa-0000-4000-8000-000000000004"
	aliceID  = "bbbbbbbb-0000-4000-8000-000000000001"
	daemonSP = "cccccccc-0000-4000-8000-000000000004"
)

// platform is shared by all tests, since its keys take long to make. It does
// not listen: its clients call it in memory, which also works in a bubble.
var platform = sync.OnceValue(func() *mockidp.Server {
	optional := []string{"idtyp", "xms_cc"}
	scopes, roles := []string{"Read", "Write"}, []string{"Read.All", "Write.All"}
	server, err := mockidp.New(mockidp.Directory{
		Tenants: []mockidp.Tenant{{ID: contoso, Domain: "contoso.example"}, {ID: fabrikam}},
		Apps: []mockidp.App{
			{Name: "api", TenantID: contoso, MultiTenant: true, ClientID: apiID, ObjectID: "cccccccc-0000-4000-8000-000000000001", Scopes: scopes, Roles: roles, OptionalClaims: optional},
			{Name: "legacy", TenantID: contoso, ClientID: legacyID, ObjectID: "cccccccc-0000-4000-8000-000000000002", IDURIs: []string{"api://" + legacyID}, TokenVersion: 1, Scopes: scopes, Roles: roles, OptionalClaims: optional},
			{Name: "spa", TenantID: contoso, ClientID: spaID, ObjectID: "cccccccc-0000-4000-8000-000000000003"},
			{Name: "daemon", TenantID: contoso, ClientID: daemonID, ObjectID: daemonSP},
		},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: aliceID, TenantID: contoso, Username: "alice@contoso.example"},
			{Name: "frida", ObjectID: "bbbbbbbb-0000-4000-8000-000000000002", TenantID: fabrikam, Username: "frida@fabrikam.example"},
		},
	})
	if err != nil {
		panic(err)
	}
	return server
})

// transport is an http.Client's way to a provider that is a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// toPlatform is a client of the platform, for which everything else it is asked
// to fetch is an error of the test.
func toPlatform(t testing.TB) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "localhost" || !strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") &&
			!strings.HasSuffix(r.URL.Path, "/keys") {
			t.Errorf("fetched %s", r.URL)
		}
		recorder := httptest.NewRecorder()
		platform().ServeHTTP(recorder, r)
		return recorder.Result(), nil
	})}
}

// start runs a validator of the API at the platform until the test ends, with
// keys. In a bubble, it takes no real time.
func start(t testing.TB, change ...func(*validate.Config)) *validate.Validator {
	t.Helper()
	config := validate.Config{
		Instance: platform().URL(), TenantID: contoso, ClientID: apiID, ClockSkew: time.Minute,
		Client: toPlatform(t), Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&config)
	}
	config.Check(func(key, problem string) { t.Fatalf("config: %s %s", key, problem) })
	v := validate.New(config)
	run(t, v)
	if err := v.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v
}

// run keeps v's keys fresh until the test ends.
func run(t testing.TB, v *validate.Validator) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// source makes tokens of the API.
var source = sync.OnceValue(func() *tokentest.Source {
	return &tokentest.Source{
		IDP:       platform(),
		User:      func() map[string]any { return platform().UserClaims("alice", "spa", "api", "Read") },
		App:       func() map[string]any { return platform().AppClaims("daemon", "api", "Read.All") },
		Elsewhere: "https://evil.example",
	}
})

func userDraft() *draft { return source().UserDraft() }
func appDraft() *draft  { return source().AppDraft() }
func userDraftV1() *draft {
	return source().Draft(platform().UserClaims("alice", "spa", "legacy", "Read"))
}

func appDraftV1() *draft {
	return source().Draft(platform().AppClaims("daemon", "legacy", "Read.All"))
}

// Short names for what these tests say often.
type (
	draft  = tokentest.Draft
	change = tokentest.Change
)

var (
	all, ahead             = tokentest.All, tokentest.Ahead
	claim, noClaim         = tokentest.Claim, tokentest.NoClaim
	signedBy, signedWith   = tokentest.SignedBy, tokentest.SignedWith
	b64, encode, jwk, flip = tokentest.Base64, tokentest.Encode, tokentest.JWK, tokentest.Flip
)

var (
	keyA  = sync.OnceValue(func() *rsa.PrivateKey { return platform().Key() })
	keyB  = tokentest.ForeignKey
	short = tokentest.NewKey(1024)
)

// provider is an identity provider whose answers a test writes itself.
type provider struct {
	mu    sync.Mutex // guards what follows
	keys  []any      // of the JWKS
	fails func(*http.Request) (*http.Response, error)
	hits  map[string]int // by path
}

func newProvider(keys ...any) *provider { return &provider{keys: keys, hits: map[string]int{}} }

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.hits[r.URL.Path]++
	fails, keys := p.fails, p.keys
	p.mu.Unlock()
	if fails != nil {
		if resp, err := fails(r); resp != nil || err != nil {
			return resp, err
		}
	}
	switch r.URL.Path {
	case "/" + contoso + "/v2.0/.well-known/openid-configuration":
		return respond(r, 200, encode(map[string]any{
			"issuer":   "https://login.example/" + contoso + "/v2.0",
			"jwks_uri": "https://login.example/keys2",
		})), nil
	case "/" + contoso + "/.well-known/openid-configuration":
		return respond(r, 200, encode(map[string]any{
			"issuer":   "https://sts.example/" + contoso + "/",
			"jwks_uri": "https://login.example/keys1",
		})), nil
	case "/keys1", "/keys2":
		return respond(r, 200, encode(map[string]any{"keys": keys})), nil
	}
	return nil, fmt.Errorf("no such document: %s", r.URL)
}

// publish changes the keys; fail makes the provider misbehave, until it is nil.
// Where the function returns nothing, the answer is as ever.
func (p *provider) publish(keys ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

func (p *provider) fail(f func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = f
}

// fetches returns how often the v2.0 keys, or another document, were asked for.
func (p *provider) fetches(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[path]
}

// start runs a validator at the provider until the test, which must be in a
// bubble, ends. It waits for what can be done at once, not for keys.
func (p *provider) start(t testing.TB, log io.Writer) *validate.Validator {
	if log == nil {
		log = io.Discard
	}
	v := validate.New(validate.Config{
		Instance: "https://login.example", TenantID: contoso, ClientID: apiID, ClockSkew: time.Minute,
		Client: &http.Client{Transport: p}, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	run(t, v)
	synctest.Wait()
	return v
}

// serial tells tokens apart that are the same otherwise.
var serial = func() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprint(n)
	}
}()

// signed returns a new token of the provider's, good for an hour.
func signed(id string, key *rsa.PrivateKey, changes ...change) string {
	now := time.Now()
	d := &draft{
		Header: map[string]any{"typ": "JWT", "alg": "RS256", "kid": id},
		Claims: map[string]any{
			"iss": "https://login.example/" + contoso + "/v2.0", "ver": "2.0", "aud": apiID, "tid": contoso,
			"oid": aliceID, "sub": "pairwise", "azp": spaID, "scp": "Read", "uti": serial(),
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		},
		Sign: signedWith(key),
	}
	return d.Token(changes...)
}

// v1Form makes a token of v1.0.
var v1Form = all(claim("iss", "https://sts.example/"+contoso+"/"), claim("ver", "1.0"), claim("appid", spaID), noClaim("azp"))

// bubble runs f as a subtest in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// lockedBuffer is a log that may be written and read at once.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
