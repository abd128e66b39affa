package credential

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/secretfile"
)

// clientAssertionLife is the lifetime of MSAL's own client assertions too.
const clientAssertionLife = 10 * time.Minute

// ClientAssertionError says that there is no client assertion, so that nothing was sent to the
// provider.
type ClientAssertionError struct{ err error }

func (e *ClientAssertionError) Error() string { return "client assertion: " + e.err.Error() }

func (e *ClientAssertionError) Unwrap() error { return e.err }

// certificateEntry is a certificate with its key, PEM or PFX.
type certificateEntry struct {
	content
	password string // of the PFX
	claims   map[string]string
}

func openCertificateFile(_ StoreConfig, entry Config) loader {
	file := content{key: "certificateDiskPath", file: entry.CertificateDiskPath}
	return certificateEntry{file, entry.CertificatePassword, entry.ClientClaims}
}

func openEncodedCertificate(_ StoreConfig, entry Config) loader {
	text := content{key: "base64EncodedValue", text: entry.Base64EncodedValue}
	return certificateEntry{text, entry.CertificatePassword, entry.ClientClaims}
}

func (e certificateEntry) parse(data []byte) (confidential.Credential, time.Time, error) {
	c, err := parseCertificate(data, e.password)
	if err != nil {
		return confidential.Credential{}, time.Time{}, errors.New(strings.TrimPrefix(e.file+": "+err.Error(), ": "))
	}
	return c.withClaims(e.claims), c.leaf.NotAfter, nil
}

// certificate is a certificate of ours with its key.
type certificate struct {
	leaf       *x509.Certificate
	key        *rsa.PrivateKey
	credential confidential.Credential // the two, and the chain
}

// parseCertificate reads a certificate, its chain if there is one, and its key
// from PEM or PFX (PKCS #12). Errors do not quote what was read.
func parseCertificate(data []byte, password string) (*certificate, error) {
	bundle, err := secretfile.Parse(data, password)
	if err != nil {
		return nil, err
	}
	pair, err := bundle.Pair(time.Now())
	if err != nil {
		return nil, err
	}
	key, ok := pair.Key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not RSA: Microsoft Entra takes certificates with an RSA key only")
	}
	credential, err := confidential.NewCredFromCert(pair.Chain, key)
	if err != nil {
		return nil, err
	}
	return &certificate{leaf: pair.Leaf, key: key, credential: credential}, nil
}

// withClaims returns the certificate as a credential whose client assertions hold extra
// claims. MSAL signs client assertions too, but does not let us add claims. ("Microsoft
// identity platform application authentication certificate credentials".)
func (c *certificate) withClaims(extra map[string]string) confidential.Credential {
	if len(extra) == 0 {
		return c.credential
	}
	thumbprint := sha256.Sum256(c.leaf.Raw)
	return confidential.NewCredFromAssertionCallback(func(_ context.Context, o confidential.AssertionRequestOptions) (string, error) {
		now := time.Now()
		claims := jwt.MapClaims{}
		for name, value := range extra {
			claims[name] = value
		}
		claims["aud"], claims["iss"], claims["sub"] = o.TokenEndpoint, o.ClientID, o.ClientID
		claims["jti"] = rand.Text()
		claims["nbf"], claims["exp"] = now.Unix(), now.Add(clientAssertionLife).Unix()
		token := jwt.NewWithClaims(jwt.SigningMethodPS256, claims)
		token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumbprint[:])
		assertion, err := token.SignedString(c.key)
		if err != nil {
			return "", &ClientAssertionError{err}
		}
		return assertion, nil
	})
}
