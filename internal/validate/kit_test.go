package validate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
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
		if r.URL.Host != "localhost" || !strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") && !strings.HasSuffix(r.URL.Path, "/keys") {
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
	time.Sleep(10 * time.Millisecond) // also for the keys of v1.0, of which Ready does not tell
	for range 100 {
		if v.Ready() == nil {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(v.Ready())
	return v
}

// run keeps v's keys fresh until the test ends.
func run(t testing.TB, v *validate.Validator) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// draft is a token before it is signed. Each test starts with a good one and
// changes one thing.
type draft struct {
	header, claims map[string]any
	editHeader     func(string) string // the JSON, before it is signed
	editClaims     func(string) string
	edit           func(string) string // the token, after it is signed
	sign           func(input string) []byte
}

type change func(*draft)

func header(name string, value any) change { return func(d *draft) { d.header[name] = value } }
func claim(name string, value any) change  { return func(d *draft) { d.claims[name] = value } }
func noHeader(name string) change          { return func(d *draft) { delete(d.header, name) } }
func noClaim(names ...string) change {
	return func(d *draft) {
		for _, name := range names {
			delete(d.claims, name)
		}
	}
}

func all(changes ...change) change {
	return func(d *draft) {
		for _, c := range changes {
			c(d)
		}
	}
}

// ahead sets a date so far from now.
func ahead(name string, by time.Duration) change {
	return func(d *draft) { d.claims[name] = time.Now().Add(by).Unix() }
}

// behind puts more members behind those of a JSON object.
func behind(members string) func(string) string {
	return func(s string) string { return strings.TrimSuffix(s, "}") + "," + members + "}" }
}

func becomes(s string) func(string) string { return func(string) string { return s } }

func editHeader(f func(string) string) change { return func(d *draft) { d.editHeader = f } }
func editClaims(f func(string) string) change { return func(d *draft) { d.editClaims = f } }
func edit(f func(string) string) change       { return func(d *draft) { d.edit = f } }

func signedBy(sign func(input string) []byte) change { return func(d *draft) { d.sign = sign } }

// signedWith is an RS256 signature by key, under whatever name the header says.
func signedWith(key *rsa.PrivateKey) func(input string) []byte {
	return func(input string) []byte {
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		if err != nil {
			panic(err)
		}
		return signature
	}
}

func newDraft(claims map[string]any) *draft {
	return &draft{
		header: map[string]any{"typ": "JWT", "alg": "RS256", "kid": platform().KeyID()},
		claims: claims,
		sign:   signedWith(platform().Key()),
	}
}

func userDraft() *draft { return newDraft(platform().UserClaims("alice", "spa", "api", "Read")) }
func appDraft() *draft  { return newDraft(platform().AppClaims("daemon", "api", "Read.All")) }
func userDraftV1() *draft {
	return newDraft(platform().UserClaims("alice", "spa", "legacy", "Read"))
}
func appDraftV1() *draft { return newDraft(platform().AppClaims("daemon", "legacy", "Read.All")) }

func (d *draft) token(changes ...change) string {
	for _, c := range changes {
		c(d)
	}
	head, body := encode(d.header), encode(d.claims)
	if d.editHeader != nil {
		head = d.editHeader(head)
	}
	if d.editClaims != nil {
		body = d.editClaims(body)
	}
	input := b64(head) + "." + b64(body)
	token := input + "." + b64(string(d.sign(input)))
	if d.edit != nil {
		token = d.edit(token)
	}
	return token
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// newKey makes an RSA key once for all tests.
func newKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	})
}

var (
	keyA  = sync.OnceValue(func() *rsa.PrivateKey { return platform().Key() })
	keyB  = newKey(2048)
	short = newKey(1024)
)

// jwk is a key of the provider as Entra publishes it.
func jwk(id string, key *rsa.PrivateKey, members ...any) map[string]any {
	document := map[string]any{
		"kty": "RSA", "use": "sig", "kid": id, "issuer": "https://login.example/{tenantid}/v2.0",
		"n": b64(string(key.N.Bytes())), "e": b64(string(big.NewInt(int64(key.E)).Bytes())),
		"x5c": []string{"AA=="}, "x5t": id, "x5u": "https://evil.example/x5u",
	}
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == nil {
			delete(document, members[i].(string))
		} else {
			document[members[i].(string)] = members[i+1]
		}
	}
	return document
}

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
		return respond(r, 200, encode(map[string]any{"issuer": "https://login.example/" + contoso + "/v2.0", "jwks_uri": "https://login.example/keys2"})), nil
	case "/" + contoso + "/.well-known/openid-configuration":
		return respond(r, 200, encode(map[string]any{"issuer": "https://sts.example/" + contoso + "/", "jwks_uri": "https://login.example/keys1"})), nil
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
		header: map[string]any{"typ": "JWT", "alg": "RS256", "kid": id},
		claims: map[string]any{
			"iss": "https://login.example/" + contoso + "/v2.0", "ver": "2.0", "aud": apiID, "tid": contoso,
			"oid": aliceID, "sub": "pairwise", "azp": spaID, "scp": "Read", "uti": serial(),
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		},
		sign: signedWith(key),
	}
	return d.token(changes...)
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
