package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/listener"
	"middletier/internal/testkit/certtest"
)

// writePair writes tls.crt and tls.key, of a certificate for 127.0.0.1 with this
// name, as Kubernetes does: into a folder of their own, to which a symbolic link
// then leads. It returns what server.tls says.
func writePair(t *testing.T, dir, name string) listener.TLSFiles {
	t.Helper()
	return writePairOf(t, dir, name, time.Unix(0, 0), time.Now().Add(1000*time.Hour)) // the clock of a test may stand in the year 2000
}

// writePairOf is writePair with the certificate's times.
func writePairOf(t *testing.T, dir, name string, from, to time.Time) listener.TLSFiles {
	t.Helper()
	template := certtest.Template(name, from, to)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	pair := certtest.Sign(template, certtest.NewEC(), nil)
	return swapPair(t, dir, name, pair.CertificatePEM(), pair.KeyPEM())
}

func swapPair(t *testing.T, dir, name string, certificate, key []byte) listener.TLSFiles {
	t.Helper()
	folder, link := filepath.Join(dir, name), filepath.Join(dir, "..data")
	err := os.Mkdir(folder, 0o700)
	for file, text := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, file), text, 0o600)
		}
	}
	if err == nil {
		err = os.Symlink(name, link+".new")
	}
	if err == nil {
		err = os.Rename(link+".new", link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return listener.TLSFiles{CertFile: filepath.Join(link, "tls.crt"), KeyFile: filepath.Join(link, "tls.key")}
}

func TestCertificateIsReplacedAndABrokenOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		log := &syncBuffer{}
		shown, err := listener.LoadCertificate(writePair(t, dir, "first"), slog.New(slog.NewJSONHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go shown.Run(ctx)
		config := shown.Config()
		want := func(name string, replacements, problems int) {
			t.Helper()
			time.Sleep(time.Minute) // many readings
			synctest.Wait()
			pair, err := config.GetCertificate(nil)
			if err != nil || pair.Leaf.Subject.CommonName != name {
				t.Errorf("got %v, %v, want the certificate %q", pair.Leaf.Subject, err, name)
			}
			if got := strings.Count(log.String(), "is in use"); got != replacements {
				t.Errorf("%d certificates are announced, want %d:\n%s", got, replacements, log)
			}
			if got := strings.Count(log.String(), `"level":"ERROR"`); got != problems {
				t.Errorf("%d problems are logged, want %d:\n%s", got, problems, log)
			}
		}
		want("first", 1, 0)
		writePair(t, dir, "second")
		want("second", 2, 0)
		swapPair(t, dir, "broken", []byte("not PEM"), []byte("nor this"))
		want("second", 2, 1)
		if err := os.Remove(filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		want("second", 2, 2)
		writePair(t, dir, "third")
		want("third", 3, 2)
	})
}

func TestServesOverTLS(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.TLS = writePair(t, t.TempDir(), "server") })
	address := strings.TrimPrefix(w.url, "https://")
	for _, row := range []struct {
		name       string
		version    uint16
		protocols  []string
		negotiated string
		refused    bool
	}{
		{"TLS 1.3 and HTTP/2", tls.VersionTLS13, []string{"h2", "http/1.1"}, "h2", false},
		{"TLS 1.2 and HTTP/2", tls.VersionTLS12, []string{"h2"}, "h2", false},
		{"a client without HTTP/2", tls.VersionTLS13, []string{"http/1.1"}, "http/1.1", false},
		{"a client without ALPN", tls.VersionTLS12, nil, "", false},
		{"TLS 1.1", tls.VersionTLS11, nil, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", address, &tls.Config{
				InsecureSkipVerify: true, // its name and versions are looked at
				MinVersion:         tls.VersionTLS10, MaxVersion: row.version, NextProtos: row.protocols,
			})
			if (err != nil) != row.refused {
				t.Fatalf("got %v, want refused: %v", err, row.refused)
			}
			if err != nil {
				return
			}
			defer conn.Close()
			state := conn.ConnectionState()
			if state.NegotiatedProtocol != row.negotiated || state.Version != row.version ||
				state.PeerCertificates[0].Subject.CommonName != "server" {
				t.Errorf("got %q, version %x, %v", state.NegotiatedProtocol, state.Version, state.PeerCertificates[0].Subject)
			}
		})
	}
	for _, http2 := range []bool{true, false} {
		client := trustingClient(t, http2)
		req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.alice())
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor == 2 != http2 {
			t.Errorf("got %s by %s, want 200, by HTTP/2: %v", resp.Status, resp.Proto, http2)
		}
		if got := w.api.last(t).Header.Get("X-Forwarded-Proto"); got != "https" {
			t.Errorf("X-Forwarded-Proto: got %q, want https", got)
		}
	}
}

// trustingClient accepts any certificate.
func trustingClient(t *testing.T, http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// With server.h2c a proxy with prior knowledge may use HTTP/2 without TLS, and
// others HTTP/1.1. It is off by default.
func TestHTTP2WithoutTLSIfConfigured(t *testing.T) {
	for _, on := range []bool{true, false} {
		w := newWorld(t, func(f *file) { f.Server.H2C = on })
		protocols := &http.Protocols{}
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := (&http.Client{Transport: transport}).Get(w.url + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		if on != (err == nil && resp.StatusCode == 200 && resp.ProtoMajor == 2) {
			t.Errorf("h2c: %v: got %v, %v", on, resp, err)
		}
		if r := w.call("GET", "/healthz", "", ""); r.StatusCode != 200 || r.ProtoMajor != 1 {
			t.Errorf("h2c: %v: HTTP/1.1 got %d by %s", on, r.StatusCode, r.Proto)
		}
	}
}
