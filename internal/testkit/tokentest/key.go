package tokentest

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
)

// NewKey makes an RSA key once for all tests.
func NewKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	})
}

// ForeignKey is a good key that no provider publishes.
var ForeignKey = NewKey(2048)

// JWK is a key as Entra publishes it, with other members, by pairs of name and
// value, or without those whose value is nil.
func JWK(id string, key *rsa.PrivateKey, members ...any) map[string]any {
	document := map[string]any{
		"kty": "RSA", "use": "sig", "kid": id, "issuer": "https://login.example/{tenantid}/v2.0",
		"n": Base64(string(key.N.Bytes())), "e": Base64(string(big.NewInt(int64(key.E)).Bytes())),
		"x5c": []string{"AA=="}, "x5t": id, "x5u": "https://evil.example/x5u",
	}
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == nil {
			delete(document, members[i].(string))
		} else {
			document[members[i].(string)] = members[i+1]
		}
	}
	return document
}
