package redistier

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"

	"middletier/internal/secretfile"
)

// sealer encrypts values so that each opens under its own key name only.
type sealer struct {
	first []byte                 // id of the key that encrypts
	aeads map[string]cipher.AEAD // :: id of the key → its cipher
}

const sealKeyID = 4 // bytes of the id in front of a sealed value

func newSealer(keys []string) (*sealer, error) {
	s := &sealer{aeads: map[string]cipher.AEAD{}}
	for _, text := range keys {
		key, err := secretfile.Base64(text)
		if err != nil || len(key) != 32 {
			return nil, errors.New("not 32 bytes in base64")
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("key id "), key...))
		id := sum[:sealKeyID]
		if s.first == nil {
			s.first = id
		}
		s.aeads[string(id)] = aead
	}
	return s, nil
}

func (s *sealer) seal(name string, value []byte) []byte {
	return s.aeads[string(s.first)].Seal(append([]byte(nil), s.first...), nil, value, []byte(name))
}

// open returns the value, or false for anything that was not sealed under one of
// our keys for this very name.
func (s *sealer) open(name string, sealed []byte) ([]byte, bool) {
	if len(sealed) < sealKeyID {
		return nil, false
	}
	aead := s.aeads[string(sealed[:sealKeyID])]
	if aead == nil {
		return nil, false
	}
	value, err := aead.Open(nil, nil, sealed[sealKeyID:], []byte(name))
	return value, err == nil
}
