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
// nonce included, of the owner, the length of since, since, and the value. A record of several
// owners has another layout: their number comes first, then owner and since of each.
const (
	layoutOfOne  = 1
	layoutOfMany = 2
	keyIDLen     = 4
)

// layoutData is what is sealed along with a layout, so that one is not read as the other.
func layoutData(layout byte) []byte {
	if layout == layoutOfMany {
		return []byte{layoutOfMany}
	}
	return nil
}

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

var (
	errTooLarge = errors.New("a record's value is too large")
	errOwners   = errors.New("a record must have 1 to 8 owners")
)

func (s sealer) seal(key Key, r Record) ([]byte, error) {
	if len(r.Value) > MaxValue {
		return nil, errTooLarge
	}
	aead, err := cipherFor(s.keys[0], key)
	if err != nil {
		return nil, err
	}
	how, plain := byte(layoutOfOne), []byte(nil)
	if many := len(r.mark.owners); many > 1 {
		how, plain = layoutOfMany, []byte{byte(many)}
	}
	for i, owner := range r.mark.owners {
		plain = binary.BigEndian.AppendUint16(append(plain, owner[:]...), uint16(len(r.mark.since[i])))
		plain = append(plain, r.mark.since[i]...)
	}
	head := append([]byte{how}, keyID(s.keys[0])...)
	return aead.Seal(head, nil, append(plain, r.Value...), layoutData(how)), nil
}

// open returns a record, or false for anything that was not sealed with one of our keys for
// this very key.
func (s sealer) open(key Key, sealed []byte) (Record, bool) {
	if len(sealed) < 1+keyIDLen || sealed[0] != layoutOfOne && sealed[0] != layoutOfMany {
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
		plain, err := aead.Open(nil, nil, sealed[1+keyIDLen:], layoutData(sealed[0]))
		if err != nil {
			return Record{}, false
		}
		return parse(sealed[0], plain)
	}
	return Record{}, false
}

// parse reads what seal wrote in a layout.
func parse(layout byte, plain []byte) (r Record, ok bool) {
	many := 1
	if layout == layoutOfMany {
		if len(plain) == 0 || plain[0] < 2 || plain[0] > maxOwners {
			return Record{}, false
		}
		many, plain = int(plain[0]), plain[1:]
	}
	const head = len(Owner{}) + 2
	for range many {
		if len(plain) < head {
			return Record{}, false
		}
		owner, since := Owner(plain[:len(Owner{})]), int(binary.BigEndian.Uint16(plain[len(Owner{}):]))
		if plain = plain[head:]; len(plain) < since {
			return Record{}, false
		}
		r.mark.owners, r.mark.since = append(r.mark.owners, owner), append(r.mark.since, string(plain[:since]))
		plain = plain[since:]
	}
	r.Value = plain
	return r, len(plain) <= MaxValue
}
