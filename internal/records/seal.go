package records

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"middletier/internal/secretfile"
)

// sealer seals each record with a cipher key of its own, derived from the record's key and
// from one of our encryption keys (HKDF, RFC 5869).
type sealer struct {
	keys [][]byte // the first seals, all open; one that is empty where there are none
}

// newSealer returns the sealer of encryption keys in base64.
func newSealer(keys []string) (sealer, error) {
	var s sealer
	for _, text := range keys {
		key, err := secretfile.Base64(text)
		if err != nil || len(key) != 32 {
			return sealer{}, errors.New("not 32 bytes in base64")
		}
		s.keys = append(s.keys, key)
	}
	if s.keys == nil {
		s.keys = [][]byte{nil}
	}
	return s, nil
}

// A sealed record: the layout, the id of the encryption key, and what AES-256-GCM made, its
// nonce included, of the owner, the length of since, since, and the value.
const (
	layout   = 1
	keyIDLen = 4
)

// keyID tells encryption keys apart.
func keyID(encryptionKey []byte) []byte {
	sum := sha256.Sum256(append([]byte("record key id "), encryptionKey...))
	return sum[:keyIDLen]
}

// cipherFor returns the cipher for the record under key.
func cipherFor(encryptionKey []byte, key Key) (cipher.AEAD, error) {
	secret := append(append([]byte(nil), encryptionKey...), key.text...)
	derived, err := hkdf.Key(sha256.New, secret, nil, "middletier record", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

var errTooLarge = errors.New("a record's value is too large")

func (s sealer) seal(key Key, r Record) ([]byte, error) {
	if len(r.Value) > MaxValue {
		return nil, errTooLarge
	}
	aead, err := cipherFor(s.keys[0], key)
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint16(r.Owner[:], uint16(len(r.since)))
	plain = append(append(plain, r.since...), r.Value...)
	head := append([]byte{layout}, keyID(s.keys[0])...)
	return aead.Seal(head, nil, plain, nil), nil
}

// open returns a record, or false for anything that was not sealed with one of our keys for
// this very key.
func (s sealer) open(key Key, sealed []byte) (Record, bool) {
	if len(sealed) < 1+keyIDLen || sealed[0] != layout {
		return Record{}, false
	}
	for _, encryptionKey := range s.keys {
		if string(keyID(encryptionKey)) != string(sealed[1:1+keyIDLen]) {
			continue
		}
		aead, err := cipherFor(encryptionKey, key)
		if err != nil {
			return Record{}, false
		}
		plain, err := aead.Open(nil, nil, sealed[1+keyIDLen:], nil)
		if err != nil {
			return Record{}, false
		}
		return parse(plain)
	}
	return Record{}, false
}

// parse reads what seal wrote.
func parse(plain []byte) (r Record, ok bool) {
	const head = len(r.Owner) + 2
	if len(plain) < head {
		return Record{}, false
	}
	copy(r.Owner[:], plain)
	since := int(binary.BigEndian.Uint16(plain[len(r.Owner):]))
	if len(plain) < head+since || len(plain)-head-since > MaxValue {
		return Record{}, false
	}
	r.since, r.Value = string(plain[head:head+since]), plain[head+since:]
	return r, true
}
