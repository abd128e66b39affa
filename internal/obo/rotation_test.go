package obo_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
	"middletier/internal/obo"
	"middletier/internal/testkit/mounttest"
)

var invalidClient = answer{status: 401, body: `{"error":"invalid_client","error_codes":[7000215],"correlation_id":"c"}`}

// signer returns the thumbprint of the certificate that signed the request's
// assertion.
func signer(r sent) string {
	head, _, _ := strings.Cut(r.form.Get("client_assertion"), ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return ""
	}
	var header map[string]any
	if err := json.Unmarshal(data, &header); err != nil {
		return ""
	}
	text, _ := header["x5t#S256"].(string)
	return strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text) // MSAL's spelling
}

func thumbprint(p pair) string {
	sum := sha256.Sum256(p.certificate.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// startWith is start for a platform and a configuration of the test's own.
func startWith(t *testing.T, p *platform, config obo.Config) kit {
	t.Helper()
	client, err := obo.NewClient(t.Context(), config)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	cache, err := obo.NewCache(obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute}, client)
	if err != nil {
		t.Fatalf("NewCache: %v", err)
	}
	runCache(t, cache)
	return kit{p, t, client, cache}
}

// running keeps the client's credential up to date until the test ends.
func (k kit) running() {
	k.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.client.Run(ctx)
	}()
	k.t.Cleanup(func() {
		stop()
		<-done
	})
}

// logs is a log that tests read.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A plain file is written over, in one go or by a rename.
func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func renameOver(t *testing.T, path, content string) {
	t.Helper()
	overwrite(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// While a credential is replaced, the platform takes the old one and the new
// one, as Entra does; then the new one only. Nobody notices.
func TestCredentialIsReplacedUnderLoad(t *testing.T) {
	rsa, other := rsaPair(), otherPair()
	pem := func(p pair) string { return p.certificatePEM() + p.keyPEM() }
	secretOf := func(r sent) string { return r.form.Get("client_secret") }
	secret := func(path string) credential.Config {
		return credential.Config{SourceType: "ClientSecret", ClientSecretFile: path}
	}
	certificate := func(path string) credential.Config {
		return credential.Config{SourceType: "Path", CertificateDiskPath: path}
	}
	pfx := func(path string) credential.Config {
		c := certificate(path)
		c.CertificatePassword = pfxPassword
		return c
	}
	claims := func(path string) credential.Config {
		c := certificate(path)
		c.ClientClaims = map[string]string{"region": "west"}
		return c
	}
	mounted := func(t *testing.T, content string) (string, func(*testing.T, string)) {
		m := mounttest.New(t, content)
		return m.Path(), func(_ *testing.T, content string) { m.Replace(content) }
	}
	plain := func(replace func(*testing.T, string, string)) func(*testing.T, string) (string, func(*testing.T, string)) {
		return func(t *testing.T, content string) (string, func(*testing.T, string)) {
			path := file(t, content)
			return path, func(t *testing.T, content string) { replace(t, path, content) }
		}
	}
	for _, row := range []struct {
		name       string
		place      func(*testing.T, string) (path string, replace func(*testing.T, string))
		credential func(path string) credential.Config
		old, fresh string // contents of the file
		proof      func(sent) string
		oldProof   string
		freshProof string
	}{
		{"secret, mounted", mounted, secret, ourSecret, "fresh-secret", secretOf, ourSecret, "fresh-secret"},
		{"secret, written over", plain(overwrite), secret, ourSecret, "fresh-secret", secretOf, ourSecret, "fresh-secret"},
		{"secret, renamed", plain(renameOver), secret, ourSecret, "fresh-secret", secretOf, ourSecret, "fresh-secret"},
		{"PEM, mounted", mounted, certificate, pem(rsa), pem(other), signer, thumbprint(rsa), thumbprint(other)},
		{"PFX, renamed", plain(renameOver), pfx, rsa.pfx(), other.pfx(), signer, thumbprint(rsa), thumbprint(other)},
		{"PEM with claims, mounted", mounted, claims, pem(rsa), pem(other), signer, thumbprint(rsa), thumbprint(other)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path, replace := row.place(t, row.old)
			var oldRefused atomic.Bool
			var fresh atomic.Int64
			p := &platform{metadata: goodMetadata, token: func(r sent) answer {
				switch got := row.proof(r); {
				case got == row.freshProof:
					fresh.Add(1)
				case got != row.oldProof || oldRefused.Load():
					return invalidClient
				}
				return numbered(r)
			}}
			config := p.config()
			config.Credentials = []credential.Config{row.credential(path)}
			k := startWith(t, p, config)
			k.running()

			ctx, stop := context.WithCancel(t.Context())
			var load sync.WaitGroup
			var served atomic.Int64
			for worker := range 4 {
				load.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						if _, err := k.cache.OnBehalfOf(context.Background(), user(fmt.Sprint(worker, "-", i)), todo, obo.Challenge{}); err != nil {
							t.Errorf("a request failed: %v", err)
							return
						}
						served.Add(1)
						time.Sleep(time.Millisecond)
					}
				})
			}
			stopLoad := sync.OnceFunc(func() { stop(); load.Wait() })
			defer stopLoad()
			eventually(t, func() bool { return served.Load() > 5 }, func() string { return "not yet served by the old credential" })
			if fresh.Load() > 0 {
				t.Error("the new credential is used before it is there")
			}
			replace(t, row.fresh)
			eventually(t, func() bool { return fresh.Load() > 5 }, func() string { return "not yet served by the new credential" })
			oldRefused.Store(true)
			after := served.Load()
			eventually(t, func() bool { return served.Load() > after+10 }, func() string { return "not yet served after the old one's end" })
		})
	}
}

// What is in the middle of being written is not a credential.
func TestHalfWrittenFilesChangeNothing(t *testing.T) {
	good := rsaPair().certificatePEM() + rsaPair().keyPEM()
	for _, row := range []struct {
		name       string
		credential func(path string) credential.Config
		good       string
		bad        []string
	}{
		{"PEM", func(path string) credential.Config {
			return credential.Config{SourceType: "Path", CertificateDiskPath: path}
		}, good, []string{"", good[:100], good[:len(good)-40], rsaPair().certificatePEM()}},
		{"PFX", func(path string) credential.Config {
			return credential.Config{SourceType: "Path", CertificateDiskPath: path, CertificatePassword: pfxPassword}
		}, rsaPair().pfx(), []string{"", rsaPair().pfx()[:100]}},
		{"secret", func(path string) credential.Config {
			return credential.Config{SourceType: "ClientSecret", ClientSecretFile: path}
		}, ourSecret, []string{"", "\n", "  \n"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t, row.good)
			var log logs
			p := &platform{token: numbered, metadata: goodMetadata}
			config := p.config()
			config.Credentials = []credential.Config{row.credential(m.Path()), {SourceType: "ClientSecret", ClientSecret: "not-this-one"}}
			config.Log = log.logger()
			k := startWith(t, p, config)
			k.running()
			const bad, again = "does not load; the last good one stays in use", "loads again"
			begin := time.Now()
			for i, content := range row.bad {
				m.Replace(content)
				eventually(t, func() bool { return log.count(bad) == i+1 }, func() string { return fmt.Sprintf("not yet told of %q", content) })
				k.want(user(fmt.Sprint(i)), "", fmt.Sprint("token-", i+1), obo.IdentityProvider)
				if got := k.last().form.Get("client_secret"); got == "not-this-one" {
					t.Error("the next credential is used")
				}
				m.Replace(row.good)
				eventually(t, func() bool { return log.count(again) == i+1 }, func() string { return "not yet told that it is well again" })
			}
			// Files are read every second.
			if took := time.Since(begin); took > time.Duration(2*len(row.bad))*2500*time.Millisecond {
				t.Errorf("%d changes were seen in %v: nobody looks", 2*len(row.bad), took)
			}
			if got := log.count(bad); got != len(row.bad) {
				t.Errorf("told %d times, want once each of %d", got, len(row.bad))
			}
			for _, secret := range []string{ourSecret, pfxPassword, "PRIVATE KEY", good[200:240]} {
				if log.count(secret) > 0 {
					t.Errorf("the log holds %q", secret)
				}
			}
		})
	}
}

// The first entry is used from the moment its file is there, in a folder that
// was not there either.
func TestCredentialThatAppearsIsUsed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "later", "secret")
	p := &platform{token: numbered, metadata: goodMetadata}
	config := p.config()
	config.Credentials = []credential.Config{
		{SourceType: "ClientSecret", ClientSecretFile: path}, {SourceType: "ClientSecret", ClientSecret: "second"},
	}
	k := startWith(t, p, config)
	k.running()
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	if got := k.last().form.Get("client_secret"); got != "second" {
		t.Fatalf("client_secret: got %q, want the second", got)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, "first")
	n := 1
	eventually(t, func() bool {
		n++
		k.want(user(fmt.Sprint(n)), "", fmt.Sprint("token-", n), obo.IdentityProvider)
		return k.last().form.Get("client_secret") == "first"
	}, func() string { return "not yet using the first" })
}

// When the provider refuses the credential, the file is read at once, without
// anybody watching it, and the exchange is made once more.
func TestRefusedCredentialIsReadAgain(t *testing.T) {
	path := file(t, "old")
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if r.form.Get("client_secret") != "fresh" {
			return invalidClient
		}
		return numbered(r)
	}}
	config := p.config()
	config.Credentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: path}}
	k := startWith(t, p, config)
	overwrite(t, path, "fresh")
	k.want(user("alice"), "", "token-2", obo.IdentityProvider)
	k.want(user("bob"), "", "token-3", obo.IdentityProvider)
	got, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
	if err != nil {
		t.Errorf("as an application: %v %v", got, err)
	}
}

func TestRefusedCredentialIsReadAgainForAllWhoWait(t *testing.T) {
	path := file(t, "old")
	var arrived sync.WaitGroup
	arrived.Add(20)
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if r.form.Get("client_secret") == "fresh" {
			return numbered(r)
		}
		arrived.Done()
		arrived.Wait()
		return invalidClient
	}}
	config := p.config()
	config.Credentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: path}}
	k := startWith(t, p, config)
	overwrite(t, path, "fresh")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint(i)), todo, obo.Challenge{}); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	all.Wait()
	k.wantExchanges(40)
}

// A credential that stays wrong is not read for every request.
func TestRefusedCredentialIsReadSeldom(t *testing.T) {
	v := startVault(t, "application/x-pkcs12", vaultPFX(t, rsaPair()))
	p := &platform{metadata: goodMetadata, token: func(sent) answer { return invalidClient }}
	k := startWith(t, p, v.config(p, "middle-tier"))
	for i := range 5 {
		if refusal := k.fails(user(fmt.Sprint(i))); refusal.Kind != obo.Misconfigured || refusal.Code != "invalid_client" {
			t.Errorf("got %+v, want misconfigured", refusal)
		}
	}
	k.wantExchanges(5) // none was repeated: the credential is the same
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reads != 2 {
		t.Errorf("the vault was read %d times, want at the start and once in 10 s", v.reads)
	}
}

// An Azure host that has never answered would use up the exchange's time.
func TestRefusalDoesNotWaitForWhatNeverWorked(t *testing.T) {
	host := startAzureHost(t, func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) })
	path := file(t, "old")
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if r.form.Get("client_secret") != "fresh" {
			return invalidClient
		}
		return numbered(r)
	}}
	config := p.config()
	config.Credentials = []credential.Config{managed("never"), {SourceType: "ClientSecret", ClientSecretFile: path}}
	k := startWith(t, p, config)
	overwrite(t, path, "fresh")
	k.want(user("alice"), "", "token-2", obo.IdentityProvider)
	if got := len(host.requests()); got != 1 {
		t.Errorf("the host was asked %d times, want once, at the start", got)
	}
}

// lasting returns a credential in base64 whose certificate expires after life.
func lasting(t *testing.T, life time.Duration) credential.Config {
	t.Helper()
	key := rsaPair().key
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{key, certificate}
	return credential.Config{
		SourceType:         "Base64Encoded",
		Base64EncodedValue: base64.StdEncoding.EncodeToString([]byte(p.certificatePEM() + p.keyPEM())),
	}
}

func TestExpiryIsAnnouncedDaily(t *testing.T) {
	rsaPair() // made outside, where its lock belongs
	const soon, over = `level=WARN msg="the client certificate expires soon"`, `level=ERROR msg="the client certificate has expired"`
	synctest.Test(t, func(t *testing.T) {
		var log logs
		config := (&platform{}).config()
		config.Credentials, config.Log = []credential.Config{lasting(t, 33*24*time.Hour)}, log.logger()
		client, err := obo.NewClient(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if expires, ok := client.CredentialExpiry(); !ok || time.Until(expires).Round(time.Hour) != 33*24*time.Hour {
			t.Errorf("expiry: got %v %v, want in 33 days", expires, ok)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go client.Run(ctx)
		for _, row := range []struct {
			wait       time.Duration
			soon, over int
		}{
			{time.Hour, 0, 0}, {48 * time.Hour, 0, 0}, {24 * time.Hour, 1, 0}, {29 * 24 * time.Hour, 30, 0}, {24 * time.Hour, 30, 1}, {24 * time.Hour, 30, 2},
		} {
			time.Sleep(row.wait)
			synctest.Wait()
			if s, o := log.count(soon), log.count(over); s != row.soon || o != row.over {
				t.Errorf("after %v more: announced %d times, and the end %d times; want %d and %d", row.wait, s, o, row.soon, row.over)
			}
		}
	})
}

func TestExpiryIsAnnouncedAtTheStartAndOnReload(t *testing.T) {
	for life, want := range map[time.Duration]string{
		-time.Minute: "level=ERROR", 29 * 24 * time.Hour: "level=WARN", 31 * 24 * time.Hour: "level=INFO",
	} {
		var log logs
		config := (&platform{}).config()
		config.Credentials, config.Log = []credential.Config{lasting(t, life)}, log.logger()
		if _, err := obo.NewClient(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		for _, level := range []string{"level=ERROR", "level=WARN"} {
			if got := log.count(level); (got == 1) != (level == want) {
				t.Errorf("life of %v: %d lines of %s", life, got, level)
			}
		}
	}
	var log logs
	path := file(t, rsaPair().certificatePEM()+rsaPair().keyPEM())
	p := &platform{token: numbered, metadata: goodMetadata}
	config := p.config()
	config.Credentials, config.Log = []credential.Config{{SourceType: "Path", CertificateDiskPath: path}}, log.logger()
	k := startWith(t, p, config)
	k.running()
	if log.count("expires soon") != 1 {
		t.Error("not announced at the start")
	}
	overwrite(t, path, otherPair().certificatePEM()+otherPair().keyPEM())
	eventually(t, func() bool { return log.count("expires soon") == 2 }, func() string { return "not yet announced on reload" })
}

func TestSecretHasNoExpiry(t *testing.T) {
	client, err := obo.NewClient(t.Context(), (&platform{}).config())
	if err != nil {
		t.Fatal(err)
	}
	if expires, ok := client.CredentialExpiry(); ok {
		t.Errorf("got %v", expires)
	}
}

// A reload that its caller leaves unfinished does not count: the next refusal reads again.
func TestCanceledReloadDoesNotDelayTheNext(t *testing.T) {
	old, fresh := rsaPair(), otherPair()
	v := startVault(t, "application/x-pkcs12", vaultPFX(t, old))
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if signer(r) != thumbprint(fresh) {
			return invalidClient
		}
		return numbered(r)
	}}
	config := v.config(p, "middle-tier")
	hosts := config.Client.Transport.(byHost)
	vault := hosts["contoso.vault.azure.net"]
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var leaves atomic.Bool
	hosts["contoso.vault.azure.net"] = roundTrip(func(r *http.Request) (*http.Response, error) {
		if leaves.Swap(false) {
			leave()
			return nil, r.Context().Err()
		}
		return vault.RoundTrip(r)
	})
	k := startWith(t, p, config)
	leaves.Store(true)
	if _, err := k.client.NewToken(ctx, obo.Request{Scopes: appScopes}); err == nil || leaves.Load() {
		t.Fatalf("got %v, want that the caller left during the reload", err)
	}
	v.put("application/x-pkcs12", vaultPFX(t, fresh))
	k.want(user("alice"), "", "token-3", obo.IdentityProvider)
}
