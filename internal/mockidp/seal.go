package mockidp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// sealer makes texts that only this platform can read and make: what it gives to clients
// to bring back, such as refresh tokens. So it need not remember them.
type sealer struct {
	key  []byte
	aead cipher.AEAD
}

var errNotSealed = errors.New("not sealed by this platform")

const sealingKeySize = 32 // for AES-256

// newSealer returns a sealer with a key of sealingKeySize bytes.
func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &sealer{key, aead}, nil
}

// seal encrypts the record. Only open with the same kind reads it.
func (s *sealer) seal(kind string, record any) string {
	plain, err := json.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("mockidp: seal a %s: %v", kind, err)) // records of ours always encode
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(kind)))
}

// open reads what seal made.
func (s *sealer) open(kind, text string, record any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return errNotSealed
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(kind))
	if err != nil {
		return errNotSealed
	}
	return json.Unmarshal(plain, record)
}

func newSealingKey() []byte {
	key := make([]byte, sealingKeySize)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return key
}
