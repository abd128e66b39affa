package obo_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"software.sslmate.com/src/go-pkcs12"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

const (
	vaultURL   = "https://contoso.vault.azure.net/"
	vaultToken = "token-for-the-vault"
)

// keyVault plays Azure Key Vault, over TLS: it asks for a token of its own and
// then gives its one secret.
type keyVault struct {
	*httptest.Server
	t *testing.T

	mu    sync.Mutex // guards what follows
	value string
	kind  string // the content type
	reads int
}

func startVault(t *testing.T, kind, value string) *keyVault {
	t.Helper()
	v := &keyVault{t: t, kind: kind, value: value}
	v.Server = httptest.NewTLSServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *keyVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Header.Get("Authorization") == "":
		w.Header().Set("WWW-Authenticate",
			`Bearer authorization="https://login.microsoftonline.com/`+ourTenant+`", resource="https://vault.azure.net"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Authorization") != "Bearer "+vaultToken:
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":{"code":"Forbidden","message":"token-for-nobody has no access"}}`))
	case strings.TrimRight(r.URL.Path, "/") != "/secrets/middle-tier":
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":{"code":"SecretNotFound","message":"no such secret"}}`))
	default:
		v.reads++
		body := map[string]any{"value": v.value, "id": vaultURL + "secrets/middle-tier/1"}
		if v.kind != "" {
			body["contentType"] = v.kind
		}
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (v *keyVault) put(kind, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kind, v.value = kind, value
}

// config reaches the vault under its public name, and the platform.
func (v *keyVault) config(p *platform, name string) obo.Config {
	roots := x509.NewCertPool()
	roots.AddCert(v.Certificate())
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, v.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}, // as httptest's certificate says
	}
	v.t.Cleanup(transport.CloseIdleConnections)
	config := p.config()
	config.Client.Transport = byHost{"contoso.vault.azure.net": transport, "login.example": p}
	config.Credentials = []credential.Config{{SourceType: "KeyVault", KeyVaultURL: vaultURL, KeyVaultCertificateName: name}}
	config.VaultCredential = vaultKey{vaultToken, nil}
	return config
}

type byHost map[string]http.RoundTripper

func (b byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	return b[r.URL.Host].RoundTrip(r)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// vaultKey is who opens the vault.
type vaultKey struct {
	token string
	err   error
}

func (k vaultKey) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://vault.azure.net/.default" {
		return azcore.AccessToken{}, errors.New("a token for another resource")
	}
	return azcore.AccessToken{Token: k.token, ExpiresOn: time.Now().Add(time.Hour)}, k.err
}

// vaultPFX is a certificate as a vault exports it: without a password.
func vaultPFX(t *testing.T, p pair) string {
	t.Helper()
	data, err := pkcs12.Legacy.Encode(p.key, p.certificate, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

func TestCertificateFromAVault(t *testing.T) {
	rsa := rsaPair()
	for _, row := range []struct {
		name, kind, value string
		certificate, open string
		denied            error
		problem           string // "": it loads
	}{
		{name: "PFX", kind: "application/x-pkcs12", value: vaultPFX(t, rsa)},
		{name: "PEM", kind: "application/x-pem-file", value: rsa.keyPEM() + rsa.certificatePEM()},
		{name: "PEM without key", kind: "application/x-pem-file", value: rsa.certificatePEM(), problem: "holds a certificate, but not its private key"},
		{name: "PFX of noise", kind: "application/x-pkcs12", value: "bm9pc2U=", problem: "clientCredentials[0].keyVaultCertificateName: "},
		{name: "a password", kind: "text/plain", value: ourSecret, problem: "is not a certificate with its key"},
		{name: "untyped", value: ourSecret, problem: "is not a certificate with its key"},
		{name: "no such certificate", certificate: "other", problem: "the vault answered with status 404 SecretNotFound"},
		{name: "no access", open: "token-for-nobody", problem: "the vault answered with status 403 Forbidden"},
		{name: "nobody to open it", denied: errors.New("DefaultAzureCredential: failed\n\tEnvironmentCredential: no\n\tManagedIdentityCredential: eyJ0.token"), problem: "as EnvironmentCredential"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := startVault(t, row.kind, row.value)
			p := &platform{token: numbered, metadata: goodMetadata}
			if row.certificate == "" {
				row.certificate = "middle-tier"
			}
			config := v.config(p, row.certificate)
			if row.open != "" {
				config.VaultCredential = vaultKey{row.open, nil}
			}
			if row.denied != nil {
				config.VaultCredential = vaultKey{"", row.denied}
			}
			client, err := obo.NewClient(t.Context(), config)
			if row.problem == "" {
				if err != nil {
					t.Fatal(err)
				}
				if expires, ok := client.CredentialExpiry(); !ok || !expires.Equal(rsa.certificate.NotAfter) {
					t.Errorf("expiry: got %v %v, want %v", expires, ok, rsa.certificate.NotAfter)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.problem) ||
				!strings.HasPrefix(err.Error(), "clientCredentials[0].keyVaultCertificateName: ") ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, row.problem)
			}
			wantNoSecrets(t, err)
		})
	}
}

// A vault that renews the certificate is asked again when the old one is
// refused.
func TestCertificateRenewedInAVault(t *testing.T) {
	v := startVault(t, "application/x-pkcs12", vaultPFX(t, rsaPair()))
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if signer(r) != thumbprint(otherPair()) {
			return invalidClient
		}
		return numbered(r)
	}}
	k := startWith(t, p, v.config(p, "middle-tier"))
	v.put("application/x-pem-file", otherPair().keyPEM()+otherPair().certificatePEM())
	k.want(user("alice"), "", "token-2", obo.IdentityProvider)
	k.want(user("bob"), "", "token-3", obo.IdentityProvider)
}

// inMemory answers without a network, so that time can be virtual.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func TestVaultIsReadEveryHour(t *testing.T) {
	first, second := vaultPFX(t, rsaPair()), vaultPFX(t, otherPair())
	synctest.Test(t, func(t *testing.T) {
		v := &keyVault{t: t, kind: "application/x-pkcs12", value: first}
		p := &platform{token: numbered, metadata: goodMetadata}
		config := p.config()
		config.Client.Transport = byHost{"contoso.vault.azure.net": inMemory{v}, "login.example": p}
		config.Credentials = []credential.Config{{SourceType: "KeyVault", KeyVaultURL: vaultURL, KeyVaultCertificateName: "middle-tier"}}
		config.VaultCredential = vaultKey{vaultToken, nil}
		k := startWith(t, p, config)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go k.client.Run(ctx)
		for i, row := range []struct {
			wait   time.Duration
			value  string
			signer string
		}{
			{30 * time.Minute, second, thumbprint(rsaPair())},
			{31 * time.Minute, "bm9pc2U=", thumbprint(otherPair())},
			{time.Hour, first, thumbprint(otherPair())}, // noise changes nothing
			{time.Hour, first, thumbprint(rsaPair())},
		} {
			time.Sleep(row.wait)
			synctest.Wait()
			if _, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint(i)), todo, obo.Challenge{}); err != nil {
				t.Fatal(err)
			}
			if got := signer(k.last()); got != row.signer {
				t.Errorf("after %v more: signed with %s, want %s", row.wait, got, row.signer)
			}
			v.put(v.kind, row.value)
		}
	})
}
