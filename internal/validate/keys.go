package validate

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxKeys    = 100
	minKeyBits = 2048
	maxKeyBits = 16384 // a longer key would make every signature check dear
)

// signingKey is a key of the provider. A key that is in two answers in a row is
// the same signingKey in both, so that what was verified with it stays known.
type signingKey struct {
	id      string
	public  *rsa.PublicKey
	issuer  string      // Entra's own member: whose tokens it signs; may hold {tenantid}
	retired atomic.Bool // it has left the provider's answer
}

func (k *signingKey) equal(other *signingKey) bool {
	return k.id == other.id && k.issuer == other.issuer && k.public.Equal(other.public)
}

// keySet is what one good answer of the provider held. It never changes.
type keySet struct {
	issuer string
	keys   map[string]*signingKey // :: kid → key
	pick   jwt.Keyfunc
}

// newKeySet makes a set of the keys that can be used, leaving out the others
// one by one. A set without any is an error. A key of another cloud than the
// metadata's, where both say, is none of ours.
func newKeySet(issuer, cloud string, documents []json.RawMessage) (*keySet, error) {
	if len(documents) > maxKeys {
		return nil, fmt.Errorf("keys: %d of them", len(documents))
	}
	set := &keySet{issuer: issuer, keys: map[string]*signingKey{}}
	storage := jwkset.NewMemoryStorage()
	for _, document := range documents {
		jwk, entra, err := parseKey(document)
		id := jwk.Marshal().KID
		if err != nil || cloud != "" && entra.Cloud != "" && entra.Cloud != cloud || set.keys[id] != nil || storage.KeyWrite(context.Background(), jwk) != nil {
			continue
		}
		set.keys[id] = &signingKey{id: id, public: jwk.Key().(*rsa.PublicKey), issuer: entra.Issuer}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("keys: none that can be used")
	}
	pick, err := keyfunc.New(keyfunc.Options{Storage: storage})
	if err != nil {
		return nil, err
	}
	set.pick = pick.Keyfunc
	return set, nil
}

// entraMembers are Entra's own members of a key, which jwkset drops.
type entraMembers struct {
	Issuer string `json:"issuer"`
	Cloud  string `json:"cloud_instance_name"`
}

// parseKey reads one JWK and Entra's members of it. Only what a signature check
// needs is handed on: no certificate is looked at and no URL followed (RFC 7517,
// section 4).
func parseKey(document json.RawMessage) (jwkset.JWK, entraMembers, error) {
	var raw struct {
		jwkset.JWKMarshal
		entraMembers
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return jwkset.JWK{}, entraMembers{}, err
	}
	switch {
	case raw.KTY != jwkset.KtyRSA,
		raw.KID == "",
		raw.USE != "" && raw.USE != jwkset.UseSig,
		raw.ALG != "" && raw.ALG != jwkset.AlgRS256,
		len(raw.KEYOPS) > 0 && !slices.Contains(raw.KEYOPS, jwkset.KeyOpsVerify):
		return jwkset.JWK{}, entraMembers{}, errors.New("not a key that verifies RS256 signatures")
	}
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: raw.KTY, KID: raw.KID, ALG: raw.ALG, USE: raw.USE, KEYOPS: raw.KEYOPS, N: raw.N, E: raw.E,
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, entraMembers{}, err
	}
	public, ok := jwk.Key().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minKeyBits || public.N.BitLen() > maxKeyBits {
		return jwkset.JWK{}, entraMembers{}, errors.New("not of 2048 to 16384 bits")
	}
	if public.N.Bit(0) == 0 || public.E < 3 || public.E%2 == 0 || public.E > math.MaxInt32 {
		return jwkset.JWK{}, entraMembers{}, errors.New("no RSA key")
	}
	return jwk, raw.entraMembers, nil
}
