package validate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"unsafe"
)

// tokenTag stands for a token in the cache of verified tokens.
type tokenTag [16]byte

// tagger computes the tags of one Validator's tokens: GMACs, which are GCM's tags of data that
// is not encrypted (NIST SP 800-38D, sections 3 and 6.4), under a random key.
//
// Two different tokens have the same tag for at most one in 2^116 keys, whatever a sender
// chooses: each tag is a polynomial in a secret value, with a term for each of at most 2,048
// blocks and one for the length, and two polynomials are equal in no more points than the
// greater degree. The length is a term of its own, so two tokens that differ only in zeros at
// the end have different polynomials. A nonce that is used again reveals the secret value to
// those who see tags, and no tag leaves the process. How long a look-up takes tells little
// of a tag: what chooses a shard and a slot of its table hashes the tag with a random seed, and only
// held tags that share the slot are compared.
type tagger struct {
	gmac cipher.AEAD // nil: refused. Its Seal changes nothing in it, so goroutines share it
}

// newTagger returns a tagger with a key of its own. With GODEBUG=fips140=only, cipher.NewGCM
// refuses, since nonces that callers choose are not approved. Tags are the first half of the
// SHA-256 then: a new token is hashed twice, once for its tag.
func newTagger() tagger {
	key := make([]byte, 16)
	rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return tagger{}
	}
	gmac, err := cipher.NewGCM(block)
	if err != nil {
		return tagger{}
	}
	return tagger{gmac}
}

var (
	// tagPool has memory of the heap for what Seal writes: since it is called through an interface,
	// the compiler leaves nothing of that on the stack.
	tagPool = sync.Pool{New: func() any { return new(tokenTag) }}

	// tagNonce is the nonce of all tags. It is never written to.
	tagNonce = make([]byte, 12)
)

// of returns the tag of a token.
func (t tagger) of(token string) tokenTag {
	if t.gmac == nil {
		digest := digestOf(token)
		return tokenTag(digest[:len(tokenTag{})])
	}
	tag := tagPool.Get().(*tokenTag)
	defer tagPool.Put(tag)
	t.gmac.Seal(tag[:0], tagNonce, nil, unsafe.Slice(unsafe.StringData(token), len(token))) // Seal only reads the token
	return *tag
}

// digestOf returns the SHA-256 of a token.
func digestOf(token string) [32]byte {
	var buf [4 << 10]byte // on the stack, for tokens of the usual size
	return sha256.Sum256(append(buf[:0], token...))
}
