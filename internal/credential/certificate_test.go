package credential_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
)

// newPair returns a certificate and its key, in PEM.
func newPair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
}

// Whoever renews a certificate writes one file after the other. In between the two do not
// fit, and the last good credential stays in use.
func TestKeyInAFileOfItsOwnIsFollowed(t *testing.T) {
	certificate, key := newPair(t)
	freshCertificate, freshKey := newPair(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	entry := credential.Config{SourceType: "Path", CertificateDiskPath: write("crt", certificate), PrivateKeyDiskPath: write("key", key)}
	synctest.Test(t, func(t *testing.T) {
		var u user
		store := u.start(t, entry)
		go store.Run(t.Context())
		write("key", freshKey)
		time.Sleep(3 * time.Second)
		if u.count() != 1 {
			t.Errorf("with a key that does not fit: %d credentials were used, want the first alone", u.count())
		}
		write("crt", freshCertificate)
		time.Sleep(3 * time.Second)
		if u.count() != 2 {
			t.Errorf("with both files: %d credentials were used, want the second too", u.count())
		}
	})
}
