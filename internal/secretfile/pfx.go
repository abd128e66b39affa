package secretfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// toPEM converts a PFX to PEM.
const toPEM = "openssl pkcs12 -in FILE -nodes -out FILE.pem (add -legacy where OpenSSL 3 refuses its encryption)"

const tagSequence = 0x30

// version3 is how the content of every PFX begins (RFC 7292, section 4).
var version3 = []byte{asn1.TagInteger, 1, 3}

var errBER = errors.New("is a PFX in BER, of which only DER is read: convert it with " + toPEM)

// parseBinary reads DER. errNotBinary is for data that cannot be: its second byte
// tells text from a sequence that is long enough to be a certificate or a key.
func parseBinary(data []byte, parsePFX func([]byte) (Bundle, error)) (Bundle, error) {
	if len(data) < 2 || data[0] != tagSequence || data[1] < 0x80 {
		return Bundle{}, errNotBinary
	}
	// An indefinite length, which DER does not have (X.690, section 10.1).
	if data[1] == 0x80 && bytes.HasPrefix(data[2:], version3) {
		return Bundle{}, errBER
	}
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(data, &outer)
	if err != nil {
		return Bundle{}, errors.New("is damaged or cut off: its length is not what its first bytes say")
	}
	if bytes.HasPrefix(outer.Bytes, version3) {
		if len(bytes.TrimSpace(rest)) > 0 {
			return Bundle{}, errors.New("is a PFX with other bytes after its end")
		}
		return parsePFX(outer.FullBytes)
	}
	for bytes.HasPrefix(rest, []byte{tagSequence}) { // further certificates: the last byte of one may look like a line end
		next, err := asn1.Unmarshal(rest, &outer)
		if err != nil {
			break
		}
		rest = next
	}
	whole := data[:len(data)-len(rest)+len(bytes.TrimRight(rest, " \t\r\n"))]
	if certificates, err := x509.ParseCertificates(whole); err == nil { // one or several
		return Bundle{Certificates: certificates}, nil
	}
	if key, err := parseKey(whole); err == nil {
		return Bundle{Keys: []crypto.Signer{key}}, nil
	}
	return Bundle{}, errUnknown
}

// parsePFX reads PKCS #12 (RFC 7292).
func parsePFX(data []byte, password string) (Bundle, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	var unsupported pkcs12.NotImplementedError
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		if password == "" {
			return Bundle{}, errors.New("is a PFX with a password: set certificatePassword")
		}
		return Bundle{}, errors.New("is a PFX that certificatePassword does not open")
	case errors.As(err, &unsupported):
		return Bundle{}, errors.New("is a PFX in a form that is not supported: convert it with " + toPEM)
	case err == nil:
		signer, ok := key.(crypto.Signer)
		if !ok {
			return Bundle{}, errors.New("is a PFX whose private key is of no kind that can sign")
		}
		return Bundle{Certificates: append([]*x509.Certificate{leaf}, chain...), Keys: []crypto.Signer{signer}}, nil
	}
	// The library has no other way to tell them apart.
	switch text := err.Error(); {
	case strings.Contains(text, "private key missing"):
		return Bundle{}, errors.New("is a PFX without a private key: export it with the key")
	case strings.Contains(text, "certificate missing"):
		return Bundle{}, errors.New("is a PFX without a certificate")
	case strings.Contains(text, "exactly one key bag"):
		return Bundle{}, errors.New("is a PFX with several private keys: export the one that is to be used")
	case strings.Contains(text, "no MAC"):
		return Bundle{}, errors.New("is a PFX without a password: leave certificatePassword out")
	case strings.Contains(text, "indefinite length"), strings.Contains(text, "explicitly tagged"), strings.Contains(text, "structure error"):
		return Bundle{}, errBER
	}
	return Bundle{}, errors.New("is a PFX that cannot be read: convert it with " + toPEM)
}
