package mockidp

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"
)

// certificateLifetime of signing keys and of the platform's own TLS
// certificate; long enough for a mock that someone leaves running.
const certificateLifetime = 365 * 24 * time.Hour

// signingKey is one RSA key of the platform and its self-signed certificate.
type signingKey struct {
	id          string // kid and x5t: the SHA-1 thumbprint, as at Entra
	private     *rsa.PrivateKey
	certificate []byte // DER
}

// newSigningKey certifies a key; nil: a new one.
func newSigningKey(private *rsa.PrivateKey) (*signingKey, error) {
	if private == nil {
		made, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("make a signing key: %w", err)
		}
		private = made
	}
	template := newTemplate("mockidp signing key")
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("certify a signing key: %w", err)
	}
	return &signingKey{thumbprint(certificate), private, certificate}, nil
}

// thumbprint is x5t, which is defined with SHA-1 (RFC 7517, section 4.8).
func thumbprint(certificate []byte) string {
	sum := sha1.Sum(certificate)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sign returns header.claims.signature over these exact bytes.
func (k *signingKey) sign(header, claims []byte) string {
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, digest[:])
	if err != nil {
		panic(fmt.Sprintf("mockidp: sign a token: %v", err)) // a 2048-bit key always can
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// jwk is the key as published; the issuer member is Entra's own and binds the
// key to the tokens of one issuer (access-tokens, "Validate the issuer").
func (k *signingKey) jwk(issuer string) map[string]any {
	exponent := big.NewInt(int64(k.private.E)).Bytes()
	return map[string]any{
		"kty":    "RSA",
		"use":    "sig",
		"kid":    k.id,
		"x5t":    k.id,
		"n":      base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
		"e":      base64.RawURLEncoding.EncodeToString(exponent),
		"x5c":    []string{base64.StdEncoding.EncodeToString(k.certificate)},
		"issuer": issuer,
	}
}

// maxKeys limits the published keys: clients read all of them.
const maxKeys = 50

var errManyKeys = fmt.Errorf("%d keys are published; withdraw the old ones first", maxKeys)

// keyring holds the published keys.
type keyring struct {
	changing sync.Mutex // held by announce, rotate and forgetNext; making a key takes long

	mu      sync.RWMutex  // guards the fields below
	signing *signingKey   // signs
	next    []*signingKey // do not sign yet, oldest first
	old     []*signingKey // have signed, newest first
}

// all returns the published keys, the one that signs first; the caller holds mu.
func (r *keyring) all() []*signingKey {
	return slices.Concat([]*signingKey{r.signing}, r.next, r.old)
}

// announce publishes a new key, which signs after the next rotate, and returns its id.
func (r *keyring) announce() (string, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	key, err := newSigningKey(nil)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all()) >= maxKeys {
		return "", errManyKeys
	}
	r.next = slices.Concat(r.next, []*signingKey{key})
	return key.id, nil
}

// rotate signs from now on with a key, and returns its id; nil: with the one that was
// announced first, or with a new one.
func (r *keyring) rotate(private *rsa.PrivateKey, keepOld bool) (string, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	next := r.next // which only others who hold changing change
	if private != nil || len(next) == 0 {
		made, err := newSigningKey(private)
		if err != nil {
			return "", err
		}
		next = slices.Concat([]*signingKey{made}, next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.old
	if r.signing != nil {
		old = slices.Concat([]*signingKey{r.signing}, old)
	}
	if !keepOld {
		old = nil
	}
	if len(next)+len(old) > maxKeys {
		return "", errManyKeys
	}
	r.signing, r.next, r.old = next[0], next[1:], old
	return r.signing.id, nil
}

// snapshot returns the published keys, as save keeps them.
func (r *keyring) snapshot() (signing *signingKey, next, old []*signingKey) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.signing, r.next, r.old // which are replaced, and not changed
}

// forgetNext withdraws the keys that have not signed yet.
func (r *keyring) forgetNext() {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = nil
}

func (r *keyring) current() *signingKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.signing
}

// find returns the published key with this id, or nil.
func (r *keyring) find(id string) *signingKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, key := range r.all() {
		if key.id == id {
			return key
		}
	}
	return nil
}

func (r *keyring) document(issuer string) map[string]any {
	r.mu.RLock()
	defer r.mu.RUnlock()
	published := []map[string]any{}
	for _, key := range r.all() {
		published = append(published, key.jwk(issuer))
	}
	return map[string]any{"keys": published}
}

// RotateKeys makes a new signing key. The old ones stay published, so that
// tokens they signed stay good, only if keepOld is true.
func (s *Server) RotateKeys(keepOld bool) {
	if _, err := s.nextKey(keepOld); err != nil {
		panic(fmt.Sprintf("mockidp: %v", err))
	}
}

// nextKey changes the signing key, and returns the id of the new one.
func (s *Server) nextKey(keepOld bool) (string, error) {
	id, err := s.keys.rotate(nil, keepOld)
	if err != nil {
		return "", err
	}
	return id, s.save()
}

// announceKey publishes a key that does not sign yet, and returns its id.
func (s *Server) announceKey() (string, error) {
	id, err := s.keys.announce()
	if err != nil {
		return "", err
	}
	return id, s.save()
}

// Key returns the key that signs now.
func (s *Server) Key() *rsa.PrivateKey { return s.keys.current().private }

// KeyID returns the kid of the key that signs now.
func (s *Server) KeyID() string { return s.keys.current().id }

func newTemplate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(fmt.Sprintf("mockidp: no randomness: %v", err))
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), // for clients whose clock is behind
		NotAfter:     time.Now().Add(certificateLifetime),
	}
}
