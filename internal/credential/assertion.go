package credential

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"
)

// clientAssertionLife is the lifetime of MSAL's own client assertions too.
const clientAssertionLife = 10 * time.Minute

// ClientAssertionError says that there is no client assertion, so that nothing was sent to the
// provider.
type ClientAssertionError struct{ err error }

func (e *ClientAssertionError) Error() string { return "client assertion: " + e.err.Error() }

func (e *ClientAssertionError) Unwrap() error { return e.err }

// assertionSigner signs our client assertions where MSAL cannot ("Microsoft identity platform
// application authentication certificate credentials").
type assertionSigner struct {
	key        *rsa.PrivateKey
	thumbprint thumbprint        // of the certificate
	chain      []string          // for x5c: DER in base64, the certificate first; nil: not sent
	claims     map[string]string // beyond the assertion's own
}

// credential returns a credential that signs an assertion for every exchange.
func (s assertionSigner) credential() confidential.Credential {
	return confidential.NewCredFromAssertionCallback(func(_ context.Context, o confidential.AssertionRequestOptions) (string, error) {
		assertion, err := s.sign(o.ClientID, o.TokenEndpoint, time.Now())
		if err != nil {
			return "", &ClientAssertionError{err}
		}
		return assertion, nil
	})
}

func (s assertionSigner) sign(clientID, audience string, now time.Time) (string, error) {
	claims := jwt.MapClaims{}
	for name, value := range s.claims {
		claims[name] = value
	}
	claims["aud"], claims["iss"], claims["sub"] = audience, clientID, clientID
	claims["jti"] = rand.Text()
	claims["nbf"], claims["exp"] = now.Unix(), now.Add(clientAssertionLife).Unix()
	name, method := s.thumbprint.header()
	token := jwt.NewWithClaims(method, claims)
	token.Header[name] = base64.RawURLEncoding.EncodeToString(s.thumbprint)
	if s.chain != nil {
		token.Header["x5c"] = s.chain
	}
	return token.SignedString(s.key)
}

// thumbprint is the SHA-1 or SHA-256 of a certificate.
type thumbprint []byte

// parseThumbprint reads hexadecimal digits. Colons, white space and case do not matter, nor
// does the invisible mark that Windows' certificate dialog puts before the digits.
func parseThumbprint(text string) (thumbprint, error) {
	digits := strings.Map(func(c rune) rune {
		if c == ':' || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, text)
	t, err := hex.DecodeString(digits)
	if err != nil || len(t) != sha1.Size && len(t) != sha256.Size {
		return nil, errors.New("must be the 40 hexadecimal digits of a SHA-1 thumbprint or the 64 of a SHA-256 one")
	}
	return t, nil
}

func sha256Of(certificate *x509.Certificate) thumbprint {
	sum := sha256.Sum256(certificate.Raw)
	return sum[:]
}

// isOf reports whether t is the thumbprint of a certificate.
func (t thumbprint) isOf(certificate *x509.Certificate) bool {
	if len(t) == sha1.Size {
		sum := sha1.Sum(certificate.Raw)
		return slices.Equal(t, sum[:])
	}
	return slices.Equal(t, sha256Of(certificate))
}

// header returns the name of the header parameter for t (RFC 7515, sections 4.1.7 and 4.1.8),
// and the algorithm that goes with it at Entra.
func (t thumbprint) header() (name string, method jwt.SigningMethod) {
	if len(t) == sha1.Size {
		return "x5t", jwt.SigningMethodRS256
	}
	return "x5t#S256", jwt.SigningMethodPS256
}
