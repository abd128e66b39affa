package obo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"
	"software.sslmate.com/src/go-pkcs12"
)

// assertionLife is that of MSAL's own client assertions.
const assertionLife = 10 * time.Minute

// certificate is a certificate of ours with its key.
type certificate struct {
	leaf       *x509.Certificate
	key        *rsa.PrivateKey
	credential confidential.Credential // the two, and the chain
}

// parseCertificate reads a certificate, its chain if there is one, and its key
// from PEM or PFX (PKCS #12). Errors do not quote what was read.
func parseCertificate(data []byte, password string) (*certificate, error) {
	var all []*x509.Certificate
	var key any
	var err error
	switch {
	case bytes.Contains(data, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")):
		return nil, errors.New("the private key is encrypted: use a PFX, or a PEM with the key in the clear")
	case bytes.Contains(data, []byte("-----BEGIN ")):
		all, key, err = confidential.CertFromPEM(data, "")
	default:
		var leaf *x509.Certificate
		key, leaf, all, err = pkcs12.DecodeChain(data, password)
		all = append([]*x509.Certificate{leaf}, all...)
	}
	if err != nil {
		return nil, err
	}
	credential, err := confidential.NewCredFromCert(all, key)
	if err != nil {
		return nil, err
	}
	c := &certificate{key: key.(*rsa.PrivateKey), credential: credential} // NewCredFromCert takes no other
	for _, candidate := range all {
		if c.key.PublicKey.Equal(candidate.PublicKey) {
			c.leaf = candidate
		}
	}
	return c, nil
}

// decodeBase64 takes base64 with line breaks and spaces, as tools write it.
func decodeBase64(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields([]byte(text)), nil)))
	if err != nil {
		return nil, errors.New("is not base64")
	}
	return data, nil
}

// withClaims returns the certificate as a credential whose assertions hold extra
// claims. MSAL signs assertions too, but lets nobody add to them. ("Microsoft
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
		claims["nbf"], claims["exp"] = now.Unix(), now.Add(assertionLife).Unix()
		token := jwt.NewWithClaims(jwt.SigningMethodPS256, claims)
		token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumbprint[:])
		assertion, err := token.SignedString(c.key)
		if err != nil {
			return "", &assertionError{err}
		}
		return assertion, nil
	})
}
