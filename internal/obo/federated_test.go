package obo_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/credential"
	"middletier/internal/obo"
	"middletier/internal/testkit/tokentest"
)

// The platform that signs foreignToken, and who we are there.
const (
	cluster = "https://cluster.example/oidc"
	account = "system:serviceaccount:apps:middletier"
)

// foreignToken is a token of another platform for us, with some claims changed.
func foreignToken(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": cluster, "sub": account, "aud": "api://AzureADTokenExchange",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(otherPair().key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Kubernetes replaces the file; what is in it is used at once, and the last good
// token while there is nothing good.
func TestAssertionFileIsReadAtEveryUse(t *testing.T) {
	tokens := []string{foreignToken(t, nil), foreignToken(t, map[string]any{"jti": "2"})}
	path := file(t, tokens[0])
	k := start(t, func(c *obo.Config, _ *obo.CacheConfig) {
		c.Credentials = []credential.Config{{SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: path}}
	})
	for i, row := range []struct{ content, want string }{
		{tokens[0], tokens[0]},
		{tokens[1] + "\n", tokens[1]},
		{tokens[0][:100], tokens[1]},
		{"", tokens[1]},
		{tokens[0], tokens[0]},
	} {
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		k.want(user(fmt.Sprint("user-", i)), "", fmt.Sprint("token-", i+1), obo.IdentityProvider)
		if got := k.last().form.Get("client_assertion"); got != row.want {
			t.Errorf("row %d: got the assertion %q, want %q", i, got, row.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	k.want(user("last"), "", "token-6", obo.IdentityProvider)
}

// The provider's replicas do not all know a federated credential at once.
func TestFederatedCredentialThatIsNotFoundIsTriedOnceMore(t *testing.T) {
	for _, row := range []struct {
		name   string
		number int
		secret bool // in place of a federated credential
		times  int  // that it is refused
		want   int  // exchanges
	}{
		{"subject, once", 700213, false, 1, 2},
		{"issuer, once", 700211, false, 1, 2},
		{"audience, once", 700212, false, 1, 2},
		{"record, once", 70021, false, 1, 2},
		{"subject, always", 700213, false, 100, 2},
		{"subject in another case", 7002138, false, 100, 1},
		{"a secret", 700213, true, 100, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := file(t, foreignToken(t, nil))
			synctest.Test(t, func(t *testing.T) {
				k := start(t, func(c *obo.Config, _ *obo.CacheConfig) {
					if !row.secret {
						c.Credentials = []credential.Config{{SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: path}}
					}
				})
				k.token = func(r sent) answer {
					if r.n <= row.times {
						return refused(401, "invalid_client", fmt.Sprintf(`"error_codes":[%d],`, row.number))
					}
					return numbered(r)
				}
				begin := time.Now()
				got, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
				var refusal *obo.Error
				switch {
				case row.times == 1 && (err != nil || got.Value != "token-2"):
					t.Errorf("got %v %v, want the token of the second exchange", got, err)
				case row.times > 1 && (!errors.As(err, &refusal) || refusal.Kind != obo.Misconfigured):
					t.Errorf("got %v %v, want misconfigured", got, err)
				}
				k.wantExchanges(row.want)
				if took := time.Since(begin); took != time.Duration(row.want-1)*time.Second {
					t.Errorf("took %v, want a second before the second exchange", took)
				}
			})
		})
	}
}

func TestClientClaimsAreInTheAssertion(t *testing.T) {
	k := start(t, func(c *obo.Config, _ *obo.CacheConfig) {
		c.Credentials = []credential.Config{{
			SourceType: "Path", CertificateDiskPath: file(t, rsaPair().certificatePEM()+rsaPair().keyPEM()),
			ClientClaims: map[string]string{"client_ip": "192.0.2.1", "region": "west"},
		}}
	})
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	k.want(user("bob"), "", "token-2", obo.IdentityProvider)
	ids := map[any]bool{}
	for _, request := range k.sent {
		assertion := request.form.Get("client_assertion")
		claims := tokentest.Read(t, assertion)
		want := map[string]any{
			"client_ip": "192.0.2.1", "region": "west", "iss": ourClient, "sub": ourClient,
			"aud": "https://login.example/" + ourTenant + "/oauth2/v2.0/token",
		}
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("%s: got %v, want %v", name, claims[name], value)
			}
		}
		nbf, _ := claims["nbf"].(float64)
		exp, _ := claims["exp"].(float64)
		if exp-nbf != 600 || time.Since(time.Unix(int64(nbf), 0)).Abs() > time.Minute {
			t.Errorf("valid from %v to %v, want for 10 minutes from now", nbf, exp)
		}
		ids[claims["jti"]] = true
		publicKey := func(*jwt.Token) (any, error) { return rsaPair().certificate.PublicKey, nil }
		token, err := jwt.Parse(assertion, publicKey, jwt.WithValidMethods([]string{"PS256"}))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(rsaPair().certificate.Raw); token.Header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("x5t#S256: got %v", token.Header["x5t#S256"])
		}
	}
	if len(ids) != 2 || ids[nil] {
		t.Errorf("jti: got %v, want a new one each time", ids)
	}
}

// azureHost plays the managed identity endpoint of Azure App Service.
type azureHost struct {
	answer func(w http.ResponseWriter)

	mu    sync.Mutex // guards asked
	asked []*http.Request
}

// startAzureHost makes this process one that runs on such a host.
func startAzureHost(t *testing.T, answer func(w http.ResponseWriter)) *azureHost {
	t.Helper()
	h := &azureHost{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r)
		h.mu.Unlock()
		h.answer(w)
	}))
	t.Cleanup(server.Close)
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "the-identity-header~1")
	return h
}

func (h *azureHost) requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*http.Request(nil), h.asked...)
}

func givesToken(token string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"access_token": token, "expires_on": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "token_type": "Bearer",
			"resource": "api://AzureADTokenExchange",
		})
	}
}

func managed(clientID string) credential.Config {
	return credential.Config{SourceType: "SignedAssertionFromManagedIdentity", ManagedIdentityClientID: clientID}
}

// The library remembers tokens for the whole process, by identity: each test has
// identities of its own.
func TestManagedIdentitySignsForUs(t *testing.T) {
	for instance, audience := range map[string]string{
		"":                                   "api://AzureADTokenExchange",
		"https://login.microsoftonline.com/": "api://AzureADTokenExchange",
		"https://login.microsoftonline.us/":  "api://AzureADTokenExchangeUSGov",
		"https://Login.Partner.microsoftonline.cn": "api://AzureADTokenExchangeChina",
	} {
		assertion := foreignToken(t, nil)
		host := startAzureHost(t, givesToken(assertion))
		config := (&platform{}).config()
		if instance != "" {
			config.Instance = instance
		}
		id := "signs-" + instance
		config.Credentials = []credential.Config{managed(id)}
		if _, err := obo.NewClient(t.Context(), config); err != nil {
			t.Fatalf("%s: %v", instance, err)
		}
		got := host.requests()
		if len(got) != 1 {
			t.Fatalf("%s: the host was asked %d times, want once", instance, len(got))
		}
		if q := got[0].URL.Query(); q.Get("resource") != audience || q.Get("client_id") != id || got[0].Header.Get("X-Identity-Header") == "" {
			t.Errorf("%s: the host was asked %s, want for %s", instance, got[0].URL, audience)
		}
	}
	assertion := foreignToken(t, nil)
	host := startAzureHost(t, givesToken(assertion))
	config := (&platform{}).config()
	config.Credentials = []credential.Config{managed("signs-elsewhere")}
	config.Credentials[0].TokenExchangeURL = "api://AnotherCloud"
	if _, err := obo.NewClient(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if got := host.requests()[0].URL.Query().Get("resource"); got != "api://AnotherCloud" {
		t.Errorf("the host was asked for %q, want the configured audience", got)
	}
	host = startAzureHost(t, givesToken(assertion))
	r := startReal(t, managed(""))
	for range 3 {
		if _, err := r.cache.OnBehalfOf(t.Context(), r.assertion("alice", ourTenant), todo, obo.Challenge{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := host.requests(); len(got) != 1 || got[0].URL.Query().Has("client_id") {
		t.Errorf("the host was asked %d times (%v), want once, for the system-assigned identity", len(got), got)
	}
}

func TestManagedIdentityThatDoesNotWork(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"unknown identity": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"statusCode":400,"message":"No managed identity was found for the id."}`))
		},
		"nonsense":     func(w http.ResponseWriter) { _, _ = w.Write([]byte(`token-1 eyJhbGciOi.token.signature`)) },
		"no token":     func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{}`)) },
		"sent to Rome": func(w http.ResponseWriter) { w.Header().Set("Location", "http://rome.example/"); w.WriteHeader(302) },
	} {
		t.Run(name, func(t *testing.T) {
			startAzureHost(t, answer)
			config := (&platform{}).config()
			config.Credentials = []credential.Config{managed("fails-" + name)}
			_, err := obo.NewClient(t.Context(), config)
			if err == nil || !strings.HasPrefix(err.Error(), "clientCredentials[0].managedIdentityClientId: ") ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with the key", err)
			}
			wantNoSecrets(t, err)
			if err != nil && strings.Contains(err.Error(), "the-identity-header") {
				t.Errorf("got %v", err)
			}
			config.Credentials = append(config.Credentials, credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret})
			if _, err := obo.NewClient(t.Context(), config); err != nil {
				t.Errorf("with a secret after it: %v", err)
			}
		})
	}
}

// An assertion that cannot be had is nobody's fault but the host's: try later.
func TestManagedIdentityThatFailsLater(t *testing.T) {
	var down atomic.Bool
	startAzureHost(t, func(w http.ResponseWriter) {
		if down.Load() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		// So close to its end, the library does not remember it.
		_ = json.NewEncoder(w).Encode(map[string]string{
			"access_token": foreignToken(t, nil), "expires_on": fmt.Sprint(time.Now().Add(time.Second).Unix()), "token_type": "Bearer",
		})
	})
	k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.Credentials = []credential.Config{managed("fails-later")} })
	down.Store(true)
	if refusal := k.fails(user("alice")); refusal.Kind != obo.Unavailable || refusal.RetryAfter == 0 {
		t.Errorf("got %+v, want unavailable", refusal)
	}
	k.wantExchanges(0)
	down.Store(false)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
}
