package validate

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const maxKeys = 100 // of one document

// signingKey is a key of the provider. A key that is in two answers in a row is
// the same signingKey in both, so that tokens that it verified stay cached.
type signingKey struct {
	id      string
	public  publicKey
	methods map[string]jwt.SigningMethod // that it may verify with, by alg
	issuer  string                       // the issuer whose tokens it signs, a member of Entra's own; may hold {tenantid}
	retired atomic.Bool                  // the provider's last answer does not have it
}

// publicKey is what every public key of the standard library can do.
type publicKey interface {
	Equal(other crypto.PublicKey) bool
}

func (k *signingKey) equal(other *signingKey) bool {
	return k.id == other.id && k.issuer == other.issuer && k.public.Equal(other.public) && maps.Equal(k.methods, other.methods)
}

// verify checks the signature of t (RFC 7515, section 5.2).
func (k *signingKey) verify(t *compact) error {
	method := k.methods[t.alg]
	if method == nil {
		return fmt.Errorf("the key with kid %q is not for %s", k.id, t.alg)
	}
	return method.Verify(t.signed, t.signature, k.public)
}

// keySet is what one good answer of the provider held. It never changes.
type keySet struct {
	issuer string
	keys   map[string]*signingKey // by kid
}

// newKeySet makes a set of the keys that can be used, and leaves out the others
// one by one. A set without any is an error. A key of another cloud than the
// metadata's, where both name one, is left out.
func newKeySet(issuer, cloud string, documents []json.RawMessage) (*keySet, error) {
	if len(documents) > maxKeys {
		return nil, fmt.Errorf("keys: %d, more than %d", len(documents), maxKeys)
	}
	set := &keySet{issuer: issuer, keys: map[string]*signingKey{}}
	for _, document := range documents {
		jwk, entra, err := parseKey(document)
		id := jwk.Marshal().KID
		if err != nil || cloud != "" && entra.Cloud != "" && entra.Cloud != cloud || set.keys[id] != nil {
			continue
		}
		if key, err := newSigningKey(jwk, entra.Issuer); err == nil {
			set.keys[id] = key
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("keys: none that can be used")
	}
	return set, nil
}

// newSigningKey returns jwk with all algorithms that it can be used with. An error
// says that there is none.
func newSigningKey(jwk jwkset.JWK, issuer string) (*signingKey, error) {
	ctx, storage := context.Background(), jwkset.NewMemoryStorage()
	if err := storage.KeyWrite(ctx, jwk); err != nil {
		return nil, err
	}
	lookup, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil, err
	}
	key := &signingKey{id: jwk.Marshal().KID, issuer: issuer, methods: map[string]jwt.SigningMethod{}}
	for alg, a := range algorithms {
		// keyfunc finds the keys of tokens, of which it reads alg and kid only.
		found, err := lookup.Keyfunc(&jwt.Token{Header: map[string]any{"alg": alg, "kid": key.id}})
		public, ok := found.(publicKey)
		if err == nil && ok && a.checkKey(public) == nil {
			key.public, key.methods[alg] = public, a.method
		}
	}
	if len(key.methods) == 0 {
		return nil, errors.New("not a key of an accepted algorithm")
	}
	return key, nil
}

// entraMembers are Entra's own members of a key, which jwkset drops.
type entraMembers struct {
	Issuer string `json:"issuer"`
	Cloud  string `json:"cloud_instance_name"`
}

// parseKey reads one JWK and Entra's members of it. It takes what a signature
// check needs, and ignores certificates and URLs (RFC 7517, section 4).
func parseKey(document json.RawMessage) (jwkset.JWK, entraMembers, error) {
	var raw struct {
		jwkset.JWKMarshal
		entraMembers
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return jwkset.JWK{}, entraMembers{}, err
	}
	switch {
	case raw.KID == "",
		raw.USE != "" && raw.USE != jwkset.UseSig,
		len(raw.KEYOPS) > 0 && !slices.Contains(raw.KEYOPS, jwkset.KeyOpsVerify):
		return jwkset.JWK{}, entraMembers{}, errors.New("not a key that verifies signatures")
	}
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: raw.KTY, KID: raw.KID, ALG: raw.ALG, USE: raw.USE, KEYOPS: raw.KEYOPS,
		N: raw.N, E: raw.E, CRV: raw.CRV, X: raw.X, Y: raw.Y, // no members of private or shared keys
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	return jwk, raw.entraMembers, err
}
