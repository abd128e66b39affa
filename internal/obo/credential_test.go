package obo_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

const pfxPassword = "the-pfx-password~1"

// pair is a key and its certificate.
type pair struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// The pairs are made once: an RSA key takes long.
var (
	rsaPair = sync.OnceValue(func() pair {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return certify(key)
	})
	otherPair = sync.OnceValue(func() pair {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return certify(key)
	})
	ecPair = sync.OnceValue(func() pair {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return certify(key)
	})
)

func certify(key crypto.Signer) pair {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "middletier"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return pair{key, certificate}
}

func (p pair) certificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}))
}

func (p pair) keyPEM() string {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (p pair) pfx() string {
	data, err := pkcs12.Modern.Encode(p.key, p.certificate, []*x509.Certificate{otherPair().certificate}, pfxPassword)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func sha1Hex(p pair) string {
	sum := sha1.Sum(p.certificate.Raw)
	return fmt.Sprintf("% X", sum)
}

func sha256Hex(p pair) string {
	sum := sha256.Sum256(p.certificate.Raw)
	return fmt.Sprintf("%x", sum)
}

// file writes a file and returns its name.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCredentialsLoad(t *testing.T) {
	rsa, ec := rsaPair(), ecPair()
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsa.key.(*rsaKey))}))
	secretFile := func(content string) credential.Config {
		return credential.Config{SourceType: "ClientSecret", ClientSecretFile: file(t, content)}
	}
	path := func(content, password string) credential.Config {
		return credential.Config{SourceType: "Path", CertificateDiskPath: file(t, content), CertificatePassword: password}
	}
	passwordIn := func(entry credential.Config, content string) credential.Config {
		entry.CertificatePasswordFile = file(t, content)
		return entry
	}
	encoded := func(content, password string) credential.Config {
		return credential.Config{
			SourceType:          "Base64Encoded",
			Base64EncodedValue:  base64.StdEncoding.EncodeToString([]byte(content)),
			CertificatePassword: password,
		}
	}
	split := func(certificate, key, thumbprint string) credential.Config {
		c := credential.Config{SourceType: "Path", PrivateKeyDiskPath: file(t, key), CertificateThumbprint: thumbprint}
		if certificate != "" {
			c.CertificateDiskPath = file(t, certificate)
		}
		return c
	}
	assertionFile := func(content string) credential.Config {
		return credential.Config{SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: file(t, content)}
	}
	for _, c := range []struct {
		name       string
		credential credential.Config
		problem    string // "": it loads
	}{
		{"secret", credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret}, ""},
		{"secret of spaces", credential.Config{SourceType: "ClientSecret", ClientSecret: "  "}, "clientCredentials[0].clientSecret: is empty"},
		{"file", secretFile(ourSecret), ""},
		{"file that ends in a line", secretFile(ourSecret + "\r\n"), ""},
		{"file with a byte order mark", secretFile("\ufeff" + ourSecret + "\r\n"), ""},
		{"file with white space around", secretFile("\r\n  " + ourSecret + " \n\n"), ""},
		{"file in UTF-16", secretFile("\xff\xfes\x00e\x00"), "clientCredentials[0].clientSecretFile: is in UTF-16: save it as UTF-8"},
		{"file that is not text", secretFile("noise\x00\x01"), "clientCredentials[0].clientSecretFile: is not printable text"},
		{"file too large", secretFile(strings.Repeat("x", 2<<20)), "is larger than 1 MiB"},
		{"file empty", secretFile(""), "clientCredentials[0].clientSecretFile: is empty"},
		{"file of a line end", secretFile("\n"), "clientCredentials[0].clientSecretFile: is empty"},
		{"file missing", credential.Config{SourceType: "ClientSecret", ClientSecretFile: "/nowhere/secret"}, "clientCredentials[0].clientSecretFile: open /nowhere/secret"},
		{"file is a folder", credential.Config{SourceType: "ClientSecret", ClientSecretFile: t.TempDir()}, "is a directory"},
		{"PEM", path(rsa.certificatePEM()+rsa.keyPEM(), ""), ""},
		{"PEM, key first", path(rsa.keyPEM()+rsa.certificatePEM(), ""), ""},
		{"PEM, PKCS #1", path(rsa.certificatePEM()+pkcs1, ""), ""},
		{"PEM with chain", path(otherPair().certificatePEM()+rsa.certificatePEM()+rsa.keyPEM(), ""), ""},
		{"PEM with words", path("Bag Attributes\n"+rsa.certificatePEM()+"Key Attributes\n"+rsa.keyPEM(), ""), ""},
		{"PEM with a byte order mark", path("\ufeff"+rsa.certificatePEM()+rsa.keyPEM(), ""), ""},
		{"PEM without key", path(rsa.certificatePEM(), ""), "holds a certificate, but not its private key"},
		{"PEM without certificate", path(rsa.keyPEM(), ""), "holds a private key, but not its certificate"},
		{"PEM of another key", path(otherPair().certificatePEM()+rsa.keyPEM(), ""), "fits none of the certificates"},
		{"PEM cut off", path(rsa.certificatePEM()+rsa.keyPEM()[:200], ""), "is damaged or cut off"},
		{"PEM with an EC key", path(ec.certificatePEM()+ec.keyPEM(), ""), "RSA key"},
		{"certificate missing", credential.Config{SourceType: "Path", CertificateDiskPath: "/nowhere/pem"}, "clientCredentials[0].certificateDiskPath: open /nowhere/pem"},
		{"certificate empty", path("", ""), "is empty"},
		{"certificate of noise", path("\x30\x82noise", ""), "is damaged or cut off"},
		{"PFX", path(rsa.pfx(), pfxPassword), ""},
		{"PFX still in base64", path(base64.StdEncoding.EncodeToString([]byte(rsa.pfx())), pfxPassword), ""},
		{"PFX with a line end behind", path(rsa.pfx()+"\n", pfxPassword), ""},
		{"PFX in BER", path("\x30\x80\x02\x01\x03"+rsa.pfx()[7:], pfxPassword), "openssl pkcs12 -in FILE"},
		{"certificate without its key", path(string(rsa.certificate.Raw), ""), "holds a certificate, but not its private key"},
		{"PFX with another password", path(rsa.pfx(), pfxPassword+"x"), "does not open"},
		{"PFX without password", path(rsa.pfx(), ""), "set certificatePassword"},
		{"PFX with the password in a file", passwordIn(path(rsa.pfx(), ""), pfxPassword+"\r\n"), ""},
		{"PFX with another password in a file", passwordIn(path(rsa.pfx(), ""), "x"), "does not open"},
		{"PFX with an empty file for the password", passwordIn(path(rsa.pfx(), ""), ""), "clientCredentials[0].certificatePasswordFile: "},
		{"PFX in base64 with the password in a file", passwordIn(encoded(rsa.pfx(), ""), pfxPassword), ""},
		{"PFX with an EC key", path(ec.pfx(), pfxPassword), "RSA key"},
		{"PEM with an encrypted key", path(rsa.certificatePEM()+strings.ReplaceAll(rsa.keyPEM(), "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), ""), "is an encrypted private key"},
		{"certificate and key in two files", split(rsa.certificatePEM(), rsa.keyPEM(), ""), ""},
		{"certificate in DER and key in PKCS #1", split(string(rsa.certificate.Raw), pkcs1, ""), ""},
		{"certificate with SHA-1 thumbprint", split(rsa.certificatePEM(), rsa.keyPEM(), "\u200e"+sha1Hex(rsa)), ""},
		{"certificate with SHA-256 thumbprint", split(rsa.certificatePEM(), rsa.keyPEM(), sha256Hex(rsa)), ""},
		{"certificate with another thumbprint", split(rsa.certificatePEM(), rsa.keyPEM(), sha1Hex(otherPair())), "clientCredentials[0].certificateDiskPath"},
		{"certificate of another key's file", split(rsa.certificatePEM(), otherPair().keyPEM(), ""), "fits none of the certificates"},
		{"key file without key", split(rsa.certificatePEM(), rsa.certificatePEM(), ""), "clientCredentials[0].privateKeyDiskPath"},
		{"key file that is encrypted", split(rsa.certificatePEM(), strings.ReplaceAll(rsa.keyPEM(), "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), ""), "openssl pkey"},
		{"key file missing", credential.Config{SourceType: "Path", CertificateDiskPath: file(t, rsa.certificatePEM()), PrivateKeyDiskPath: "/nowhere/key"}, "clientCredentials[0].privateKeyDiskPath: open /nowhere/key"},
		{"key with a thumbprint", split("", rsa.keyPEM(), sha1Hex(rsa)), ""},
		{"EC key with a thumbprint", split("", ec.keyPEM(), sha1Hex(ec)), "clientCredentials[0].privateKeyDiskPath"},
		{"no key with a thumbprint", split("", rsa.certificatePEM(), sha1Hex(rsa)), "must hold one private key"},
		{"base64 of a PFX", encoded(rsa.pfx(), pfxPassword), ""},
		{"base64 of a PEM", encoded(rsa.certificatePEM()+rsa.keyPEM(), ""), ""},
		{"base64 in lines", credential.Config{SourceType: "Base64Encoded", Base64EncodedValue: inLines(base64.StdEncoding.EncodeToString([]byte(rsa.pfx()))), CertificatePassword: pfxPassword}, ""},
		{"base64 of a PFX with another password", encoded(rsa.pfx(), "x"), "clientCredentials[0].base64EncodedValue: "},
		{"base64 of noise", encoded("noise", ""), "clientCredentials[0].base64EncodedValue: "},
		{"not base64", credential.Config{SourceType: "Base64Encoded", Base64EncodedValue: "noise%noise"}, "clientCredentials[0].base64EncodedValue: holds no certificate"},
		{"assertion", assertionFile("\n" + foreignToken(t, nil) + "\n"), ""},
		{"assertion file missing", credential.Config{SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: "/nowhere/token"}, "clientCredentials[0].signedAssertionFileDiskPath: open /nowhere/token"},
		{"assertion file empty", assertionFile(""), "is empty"},
		{"assertion with a byte order mark", assertionFile("\ufeff" + foreignToken(t, nil) + "\r\n"), ""},
		{"assertion in UTF-16", assertionFile("\xff\xfee\x00y\x00"), "is in UTF-16"},
		{"assertion cut off", assertionFile(foreignToken(t, nil)[:60]), "does not hold a signed token"},
		{"unknown type", credential.Config{SourceType: "Vault", ClientSecret: ourSecret}, "sourceType"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := (&platform{}).config()
			config.Credentials = []credential.Config{c.credential}
			_, err := obo.NewClient(t.Context(), config)
			if (err == nil) != (c.problem == "") {
				t.Fatalf("got %v, want %q", err, c.problem)
			}
			if err == nil {
				return
			}
			if text := err.Error(); !strings.Contains(text, c.problem) || !strings.HasPrefix(text, "clientCredentials[0].") {
				t.Errorf("got %q, want %q and the key", text, c.problem)
			}
			wantNoSecrets(t, err)
			key := strings.ReplaceAll(rsa.keyPEM(), "\n", "")
			for _, secret := range []string{pfxPassword, "PRIVATE KEY", key[40:60], "noise"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q holds %q", err, secret)
				}
			}
		})
	}
}

type rsaKey = rsa.PrivateKey

// inLines breaks text as openssl base64 does.
func inLines(text string) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(text), 64) {
		b.Write(append(line[:len(line):len(line)], '\n'))
	}
	return b.String()
}

func TestFirstCredentialThatLoadsIsUsed(t *testing.T) {
	missing := credential.Config{SourceType: "Path", CertificateDiskPath: "/nowhere/pem"}
	second := credential.Config{SourceType: "ClientSecret", ClientSecretFile: file(t, "second\n")}
	third := credential.Config{SourceType: "ClientSecret", ClientSecret: "third"}
	k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.Credentials = []credential.Config{missing, second, third} })
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	if got := k.last().form.Get("client_secret"); got != "second" {
		t.Errorf("client_secret: got %q, want the second credential's, without the line end", got)
	}
	config := k.config()
	config.Credentials = []credential.Config{missing, missing}
	_, err := obo.NewClient(t.Context(), config)
	for _, want := range []string{"clientCredentials[0].certificateDiskPath", "clientCredentials[1].certificateDiskPath"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no credential loads: got %v, want %s in it", err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	secret := credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret}
	with := func(credentials ...credential.Config) obo.Config {
		c := (&platform{}).config()
		c.Credentials = credentials
		return c
	}
	inRegion := func(c obo.Config, region string) obo.Config {
		c.Region = region
		return c
	}
	noTimeout, noTurns := with(secret), with(secret)
	noTimeout.Timeout, noTurns.MaxConcurrent = 0, 0
	for _, c := range []struct {
		name   string
		config obo.Config
		want   []string // the keys
	}{
		{"good", with(secret), nil},
		{"two good ones", with(secret, credential.Config{SourceType: "Path", CertificateDiskPath: "x", CertificatePassword: pfxPassword}), nil},
		{"none", with(), []string{"clientCredentials"}},
		{"no type", with(credential.Config{ClientSecret: ourSecret}), []string{"clientCredentials[0].sourceType"}},
		{"unknown type", with(secret, credential.Config{SourceType: "clientsecret", ClientSecret: ourSecret}), []string{"clientCredentials[1].sourceType"}},
		{"secret without source", with(credential.Config{SourceType: "ClientSecret"}), []string{"clientCredentials[0]"}},
		{"secret twice", with(credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret, ClientSecretFile: "x"}), []string{"clientCredentials[0]"}},
		{"path without source", with(credential.Config{SourceType: "Path", CertificatePassword: pfxPassword}), []string{"clientCredentials[0].certificateDiskPath"}},
		{"secret and certificate", with(credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret, CertificateDiskPath: "x"}), nil},
		{"certificate and secret", with(credential.Config{SourceType: "Path", CertificateDiskPath: "x", ClientSecret: ourSecret, ClientSecretFile: "y"}), nil},
		{"secret with a password", with(credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret, CertificatePassword: pfxPassword}), nil},
		{"one of each kind", with(
			credential.Config{
				SourceType: "Base64Encoded", Base64EncodedValue: ourSecret, CertificatePassword: pfxPassword,
				ClientClaims: map[string]string{"a": "b"},
			},
			credential.Config{SourceType: "KeyVault", KeyVaultURL: "https://contoso.vault.azure.net/", KeyVaultCertificateName: "middle-tier"},
			credential.Config{SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: "x"},
			credential.Config{SourceType: "SignedAssertionFromManagedIdentity"},
			credential.Config{SourceType: "SignedAssertionFromManagedIdentity", ManagedIdentityClientID: "x"},
		), nil},
		{"each kind without its own", with(
			credential.Config{SourceType: "Base64Encoded"}, credential.Config{SourceType: "KeyVault"},
			credential.Config{SourceType: "SignedAssertionFilePath"},
		), []string{
			"clientCredentials[0].base64EncodedValue", "clientCredentials[1].keyVaultCertificateName", "clientCredentials[1].keyVaultUrl",
			"clientCredentials[2].signedAssertionFileDiskPath",
		}},
		{"a managed identity with all that is another kind's", with(credential.Config{
			SourceType: "SignedAssertionFromManagedIdentity", ClientSecret: ourSecret, ClientSecretFile: "x", CertificateDiskPath: "x", Base64EncodedValue: ourSecret,
			CertificatePassword: pfxPassword, KeyVaultURL: "https://x.example", KeyVaultCertificateName: "x", SignedAssertionFileDiskPath: "x", ClientClaims: map[string]string{"a": "b"},
		}), nil},
		{"an identity in a vault's entry", with(credential.Config{SourceType: "KeyVault", KeyVaultURL: "https://x.example", KeyVaultCertificateName: "x", ManagedIdentityClientID: "x"}), nil},
		{"no type and keys of two kinds", with(credential.Config{ClientSecret: ourSecret, CertificateDiskPath: "x"}), []string{"clientCredentials[0].sourceType"}},
		{"key without certificate and thumbprint", with(credential.Config{SourceType: "Path", PrivateKeyDiskPath: "x"}), []string{"clientCredentials[0].certificateThumbprint"}},
		{"thumbprint alone", with(credential.Config{SourceType: "Path", CertificateThumbprint: strings.Repeat("AB:", 20)}), []string{"clientCredentials[0].certificateDiskPath"}},
		{"key and thumbprint", with(credential.Config{SourceType: "Path", PrivateKeyDiskPath: "x", CertificateThumbprint: strings.Repeat("AB:", 20)}), nil},
		{"thumbprint of no length", with(credential.Config{SourceType: "Path", CertificateDiskPath: "x", CertificateThumbprint: "abcd"}), []string{"clientCredentials[0].certificateThumbprint"}},
		{"thumbprint of no digits", with(credential.Config{SourceType: "Path", CertificateDiskPath: "x", CertificateThumbprint: strings.Repeat("x", 40)}), []string{"clientCredentials[0].certificateThumbprint"}},
		{"skipped", with(secret, credential.Config{Skip: true, SourceType: "Vault"}), nil},
		{"all skipped", with(credential.Config{Skip: true, SourceType: "ClientSecret", ClientSecret: ourSecret}), []string{"clientCredentials"}},
		{"region by its displayed name", inRegion(with(secret), "West Europe"), nil},
		{"detected region", inRegion(with(secret), "tryautodetect"), nil},
		{"region that is a host", inRegion(with(secret), "evil.example/"), []string{"azureRegion"}},
		{"vault without TLS", with(credential.Config{SourceType: "KeyVault", KeyVaultURL: "http://x.example", KeyVaultCertificateName: "x"}), []string{"clientCredentials[0].keyVaultUrl"}},
		{"vault with a path", with(credential.Config{SourceType: "KeyVault", KeyVaultURL: "https://x.example/secrets/x", KeyVaultCertificateName: "x"}), []string{"clientCredentials[0].keyVaultUrl"}},
		{"certificate of no name", with(credential.Config{SourceType: "KeyVault", KeyVaultURL: "https://x.example", KeyVaultCertificateName: "../x"}), []string{"clientCredentials[0].keyVaultCertificateName"}},
		{"a claim that is the assertion's own", with(credential.Config{SourceType: "Path", CertificateDiskPath: "x", ClientClaims: map[string]string{"aud": "x", "": "y", "z": "z"}}), []string{"clientCredentials[0].clientClaims", "clientCredentials[0].clientClaims"}},
		{"no timeout", noTimeout, []string{"timeout"}},
		{"no turns", noTurns, []string{"maxConcurrentExchanges"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var keys []string
			c.config.Check(func(key, problem string) {
				keys = append(keys, key)
				if strings.Contains(problem, ourSecret) || strings.Contains(problem, pfxPassword) {
					t.Errorf("%s: %q holds a secret", key, problem)
				}
			})
			slices.Sort(keys)
			if !slices.Equal(keys, c.want) {
				t.Errorf("keys: got %q, want %q", keys, c.want)
			}
		})
	}
}

func TestCacheCheck(t *testing.T) {
	for _, c := range []struct {
		config obo.CacheConfig
		want   string
	}{
		{obo.CacheConfig{MaxSize: 8 << 20}, ""},
		{obo.CacheConfig{MaxSize: 256 << 20, ExpiryBuffer: 5 * time.Minute}, ""},
		{obo.CacheConfig{MaxSize: 8<<20 - 1}, "maxSize"},
		{obo.CacheConfig{MaxSize: -1}, "maxSize"},
		{obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: -1}, "expiryBuffer"},
	} {
		got := ""
		c.config.Check(func(key, _ string) { got += key })
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", c.config, got, c.want)
		}
	}
}

func TestCredentialPrintsItsKindOnly(t *testing.T) {
	c := credential.Config{
		SourceType: "ClientSecret", ClientSecret: ourSecret,
		CertificatePassword: pfxPassword, Base64EncodedValue: ourSecret,
	}
	config := (&platform{}).config()
	config.Credentials = []credential.Config{c}
	client, err := obo.NewClient(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	asJSON, asText := slog.New(slog.NewJSONHandler(&log, nil)), slog.New(slog.NewTextHandler(&log, nil))
	for _, v := range []any{c, &c, config.Credentials, config, &config, client} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
		asJSON.Info("", "value", v)
		asText.Info("", "value", v)
	}
	if text := log.String(); strings.Contains(text, ourSecret) || strings.Contains(text, pfxPassword) ||
		!strings.Contains(text, "ClientSecret") {
		t.Errorf("printed: %s", text)
	}
}
