// Package certtest makes certificates for tests.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"time"
)

// Pair is a certificate with its key.
type Pair struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
}

// NewRSA returns a key of 2048 bits, which takes long to make.
func NewRSA() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

// NewEC returns a key on the curve P-256.
func NewEC() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// New certifies a key by itself, from an hour ago for an hour.
func New(name string, key crypto.Signer) Pair {
	return Sign(Template(name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)), key, nil)
}

// Template returns a certificate with a name and a lifetime, for Sign.
func Template(name string, from, to time.Time) *x509.Certificate {
	serial := must(rand.Int(rand.Reader, big.NewInt(1<<60)))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
}

// Sign returns the certificate of key that template describes. Without an issuer it is
// signed with key.
func Sign(template *x509.Certificate, key crypto.Signer, issuer *Pair) Pair {
	parent := Pair{key, template}
	if issuer != nil {
		parent = *issuer
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.Key))
	return Pair{key, must(x509.ParseCertificate(der))}
}

// CertificatePEM returns the certificate in PEM.
func (p Pair) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate.Raw})
}

// KeyPEM returns the key in PEM, as PKCS #8.
func (p Pair) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p.Key))})
}

// Loopback returns the certificate that all servers of httptest have, for loopback
// addresses and example.com.
func Loopback() Pair {
	lender := httptest.NewTLSServer(nil)
	defer lender.Close()
	return Pair{lender.TLS.Certificates[0].PrivateKey.(crypto.Signer), lender.Certificate()}
}

// TLS returns the pair for the configuration of a server.
func (p Pair) TLS() []tls.Certificate {
	return []tls.Certificate{{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key}}
}

// Pool returns a pool with the certificate alone.
func (p Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)
	return pool
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
