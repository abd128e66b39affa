package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/listener"
)

// writeFile writes a file of the test's own and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// onWindows is text as an editor there saves it.
func onWindows(text string) string {
	return "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"
}

func TestFilesMadeOnWindowsAreRead(t *testing.T) {
	w := newWorld(t, func(f *file) {
		pair := writePair(t, t.TempDir(), "server")
		f.Server.TLS = listener.TLSFiles{
			CertFile: writeFile(t, onWindows(contentOf(t, pair.CertFile))),
			KeyFile:  writeFile(t, onWindows(contentOf(t, pair.KeyFile))),
		}
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: writeFile(t, onWindows(" "+testSecret))}}
	})
	req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	resp, err := trustingClient(t, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d, want 200\n%s", resp.StatusCode, w.log)
	}
}

// A file that cannot be read is refused before the service listens, with key, line
// and reason, and without its content.
func TestServeRefusesFilesThatItCannotRead(t *testing.T) {
	pair := writePair(t, t.TempDir(), "server")
	der, _ := pem.Decode([]byte(contentOf(t, pair.CertFile)))
	secretFile := func(text string) string {
		return strings.Replace(goodConfig, "clientSecret: s3cret-value", "clientSecretFile: "+writeFile(t, text), 1)
	}
	certificate := func(text string) string {
		return strings.Replace(goodConfig, "ClientSecret, clientSecret: s3cret-value", "Path, certificateDiskPath: "+writeFile(t, text), 1)
	}
	listener := func(certFile, keyFile string) string {
		return fmt.Sprintf("%sserver:\n  tls: {certFile: %s, keyFile: %s}\n", goodConfig, certFile, keyFile)
	}
	for _, row := range []struct{ name, text, want string }{
		{"secret in UTF-16", secretFile("\xff\xfes\x003\x00"), "config.yaml:5: azureAd.clientCredentials[0].clientSecretFile: is in UTF-16: save it as UTF-8"},
		{"secret of two lines", secretFile("s3cret-value\ns3cret-value"), "config.yaml:5: azureAd.clientCredentials[0].clientSecretFile: holds 2 lines"},
		{"certificate without key", certificate(string(der.Bytes)), "holds a certificate, but not its private key"},
		{"certificate of text", certificate("s3cret-value"), "holds no certificate: it is neither PEM"},
		{"certificate with an EC key", certificate(contentOf(t, pair.CertFile) + contentOf(t, pair.KeyFile)), "the private key is not RSA"},
		{
			"password of Redis", goodConfig + "tokenCache:\n  redis:\n    url: redis://localhost\n    encryptionKeys: [" + strings.Repeat("A", 43) + "=]\n    passwordFile: " + writeFile(t, "s3cret-value\x01"),
			"config.yaml:15: tokenCache.redis.passwordFile: is not printable text: see its character 13",
		},
		{"TLS certificate in UTF-16", listener(writeFile(t, "-\x00-\x00"), pair.KeyFile), "config.yaml:12: server.tls.certFile: "},
		{"TLS key encrypted", listener(pair.CertFile, writeFile(t, strings.ReplaceAll(contentOf(t, pair.KeyFile), "PRIVATE", "ENCRYPTED PRIVATE"))), "is an encrypted private key: write it in the clear with openssl pkey"},
		{"TLS key of another", listener(pair.CertFile, writePair(t, t.TempDir(), "other").KeyFile), "the private key fits none of the certificates of certFile"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // it would serve until then
			defer stop()
			if code := run(ctx, []string{"serve", "--config", writeConfig(t, row.text)}, streams{nil, &stdout, &stderr}); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			text := stderr.String()
			if strings.Count(text, "\n") != 1 || !strings.Contains(text, row.want) || strings.Contains(text, "s3cret") {
				t.Errorf("got\n%swant one line with %q", text, row.want)
			}
		})
	}
}

// Go ignores such files, and the service would wait for keys for ever.
func TestServeRefusesCAFilesThatGoDoesNotRead(t *testing.T) {
	ca := contentOf(t, writePair(t, t.TempDir(), "ca").CertFile)
	der, _ := pem.Decode([]byte(ca))
	for _, row := range []struct{ name, text, want string }{
		{"byte order mark", "\ufeff" + ca, "SSL_CERT_FILE: %s: is not plain PEM, the only form that Go reads there"},
		{"byte order mark before the first of two", "\ufeff" + ca + ca, "SSL_CERT_FILE: %s: is not plain PEM, the only form that Go reads there"},
		{"DER", string(der.Bytes), "openssl x509 -inform DER -in FILE"},
		{"UTF-16", "\xff\xfe-\x00", "SSL_CERT_FILE: %s: is in UTF-16"},
		{"empty", "", "SSL_CERT_FILE: %s: is empty"},
		{"good", ca, ""},
		{"one that Go takes and we would not", ca + "-----BEGIN CERTIFICATE-----\nAA\n", ""},
	} {
		path := writeFile(t, row.text)
		var got []string
		checkRoots([]string{"SSL_CERT_FILE=" + path})(file{}, func(key, problem string) { got = append(got, key+": "+problem) })
		if row.want == "" && got != nil || row.want != "" && (len(got) != 1 ||
			!strings.Contains(got[0], strings.ReplaceAll(row.want, "%s", path))) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	checkRoots([]string{"SSL_CERT_FILE=/nonexistent/ca.pem"})(file{},
		func(key, problem string) { t.Errorf("a file that may still come: %s: %s", key, problem) })

	t.Setenv("SSL_CERT_FILE", writeFile(t, "\ufeff"+ca))
	for _, command := range [][]string{{"serve"}, {"check"}, {"call"}} {
		args := append(command, "--config", writeConfig(t, goodConfig))
		if command[0] == "call" {
			args = append(args, "todo", "/")
		}
		var stderr bytes.Buffer
		if code := run(t.Context(), args, streams{nil, &bytes.Buffer{}, &stderr}); code != 1 ||
			!strings.Contains(stderr.String(), "SSL_CERT_FILE") {
			t.Errorf("%s: got %d %s", command, code, &stderr)
		}
	}
}

// Of two certificates for one key the one that is valid longer is used, and its
// issuer follows it, whatever their order in the file.
func TestListenerShowsTheLongestValidCertificate(t *testing.T) {
	pair := writePair(t, t.TempDir(), "server")
	other := contentOf(t, writePair(t, t.TempDir(), "other").CertFile)
	shown, err := listener.LoadCertificate(listener.TLSFiles{
		CertFile: writeFile(t, other+contentOf(t, pair.CertFile)), KeyFile: pair.KeyFile,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	got, err := shown.Config().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Leaf.Subject.CommonName != "server" || !bytes.Equal(got.Certificate[0], got.Leaf.Raw) || len(got.Certificate) != 2 {
		t.Errorf("got %s of %d, want the key's own certificate first", got.Leaf.Subject, len(got.Certificate))
	}
}
