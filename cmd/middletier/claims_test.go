package main

import (
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"middletier/internal/testkit/certtest"

	"github.com/golang-jwt/jwt/v5"
)

// claimsOf reads the claims of the bearer token of a request, which the platform
// has just issued.
func claimsOf(t *testing.T, r *http.Request) jwt.MapClaims {
	t.Helper()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); !ok || err != nil {
		t.Fatalf("Authorization is not a bearer JWT: %v", err)
	}
	return claims
}

// newCertificate returns a certificate and the path of a PEM file with it and its
// key.
func newCertificate(t *testing.T) ([]*x509.Certificate, string) {
	t.Helper()
	pair := certtest.New("middletier", certtest.NewRSA())
	path := filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(path, append(pair.CertificatePEM(), pair.KeyPEM()...), 0o600); err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{pair.Certificate}, path
}
