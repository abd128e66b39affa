package secretfile

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bundle is what a file of certificates and keys holds, in its order.
type Bundle struct {
	Certificates []*x509.Certificate
	Keys         []crypto.Signer
}

// Pair is a key with its certificate.
type Pair struct {
	Key  crypto.Signer
	Leaf *x509.Certificate
	// Chain begins with Leaf. Each issuer that is there follows what it issued;
	// other certificates come last.
	Chain []*x509.Certificate
}

var errNoMatch = errors.New("the private key fits none of the certificates")

// Parse reads PEM, PFX (PKCS #12), or a certificate in DER, and any of them in
// base64. The password is the PFX's.
func Parse(data []byte, password string) (Bundle, error) {
	return parse(data, func(pfx []byte) (Bundle, error) { return parsePFX(pfx, password) })
}

// ParsePEM is Parse for files that cannot have a password.
func ParsePEM(data []byte) (Bundle, error) {
	return parse(data, func([]byte) (Bundle, error) {
		return Bundle{}, errors.New("is a PFX, and PEM is expected: convert it with " + toPEM)
	})
}

func parse(data []byte, parsePFX func([]byte) (Bundle, error)) (Bundle, error) {
	b, err := parseBinary(data, parsePFX)
	if !errors.Is(err, errNotBinary) {
		return b, err
	}
	text, err := plain(data)
	switch {
	case errors.Is(err, errEmpty), errors.Is(err, errUTF16):
		return Bundle{}, err
	case err != nil:
		return Bundle{}, errUnknown
	case strings.Contains(text, "-----BEGIN "):
		return parsePEM(text)
	}
	inner, err := Base64(text)
	if err != nil {
		return Bundle{}, errUnknown
	}
	if b, err = parseBinary(inner, parsePFX); !errors.Is(err, errNotBinary) {
		return b, err
	}
	if text, err = plain(inner); err != nil || !strings.Contains(text, "-----BEGIN ") {
		return Bundle{}, errUnknown
	}
	return parsePEM(text)
}

var (
	errUnknown   = errors.New("holds no certificate: it is neither PEM, nor PFX, nor base64 of one")
	errNotBinary = errors.New("not DER")
)

// parsePEM reads the blocks of text. Lines may be indented, and text between blocks is
// ignored (RFC 7468, section 2).
func parsePEM(text string) (Bundle, error) {
	lines := strings.Split(strings.ReplaceAll(text, mark, ""), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	rest := []byte(strings.Join(lines, "\n"))
	var b Bundle
	var others []string
	for {
		begin := bytes.Index(rest, []byte("-----BEGIN "))
		if begin < 0 {
			return b, b.complaint(others)
		}
		line := len(lines) - bytes.Count(rest[begin:], []byte("\n"))
		next := len(rest)
		if i := bytes.Index(rest[begin+1:], []byte("-----BEGIN ")); i >= 0 {
			next = begin + 1 + i
		}
		block, _ := pem.Decode(rest[begin:next])
		if block == nil {
			return Bundle{}, fmt.Errorf("the PEM block at line %d is damaged or cut off", line)
		}
		if err := b.add(block, &others); err != nil {
			return Bundle{}, fmt.Errorf("the PEM block at line %d %w", line, err)
		}
		rest = rest[next:]
	}
}

const encrypted = "is an encrypted private key: write it in the clear with openssl pkey -in FILE -out KEY.pem"

// add takes what a block holds.
func (b *Bundle) add(block *pem.Block, others *[]string) error {
	if block.Headers["DEK-Info"] != "" {
		return errors.New(encrypted)
	}
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return errors.New("is not a certificate that can be read")
		}
		b.Certificates = append(b.Certificates, certificate)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		key, err := parseKey(block.Bytes)
		if err != nil {
			return err
		}
		b.Keys = append(b.Keys, key)
	case "ENCRYPTED PRIVATE KEY":
		return errors.New(encrypted)
	case "OPENSSH PRIVATE KEY":
		return errors.New("is a key of OpenSSH: convert it with ssh-keygen -p -m PKCS8 -f FILE")
	case "PKCS7", "CMS":
		return errors.New("is PKCS #7, which holds no key: convert it with openssl pkcs7 -in FILE -print_certs -out CERTIFICATES.pem")
	case "TRUSTED CERTIFICATE":
		return errors.New("is a certificate in OpenSSL's own form: convert it with openssl x509 -in FILE -out CERTIFICATE.pem")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		*others = append(*others, "a certificate request, which is not the certificate yet")
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		*others = append(*others, "a public key")
	}
	return nil
}

// complaint says what a file without certificate and key has instead.
func (b *Bundle) complaint(others []string) error {
	switch {
	case len(b.Certificates) > 0 || len(b.Keys) > 0:
		return nil
	case others != nil:
		return errors.New("holds no certificate and no private key, but " + others[0])
	}
	return errors.New("holds no certificate and no private key")
}

// parseKey reads a key in any of its three forms, whatever its PEM label says.
func parseKey(der []byte) (crypto.Signer, error) {
	var key any
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(der)
	}
	if err != nil {
		key, err = x509.ParseECPrivateKey(der)
	}
	if signer, ok := key.(crypto.Signer); ok && err == nil {
		return signer, nil
	}
	return nil, errors.New("is not a private key that can be read")
}

// Pair returns the key whose certificate is valid longest. Certificates that are not
// valid at now count only if there is no other.
func (b Bundle) Pair(now time.Time) (Pair, error) {
	switch {
	case len(b.Keys) == 0 && len(b.Certificates) == 0:
		return Pair{}, errUnknown
	case len(b.Keys) == 0:
		return Pair{}, errors.New("holds a certificate, but not its private key")
	case len(b.Certificates) == 0:
		return Pair{}, errors.New("holds a private key, but not its certificate")
	}
	var best Pair
	for _, key := range b.Keys {
		for _, c := range b.Certificates {
			if matches(c, key) && (best.Leaf == nil || later(c, best.Leaf, now)) {
				best.Key, best.Leaf = key, c
			}
		}
	}
	if best.Leaf == nil {
		return Pair{}, errNoMatch
	}
	best.Chain = b.chain(best)
	return best, nil
}

func matches(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// later reports whether a is the better certificate to use from now on.
func later(a, b *x509.Certificate, now time.Time) bool {
	valid := func(c *x509.Certificate) int {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(valid(a), valid(b)), a.NotAfter.Compare(b.NotAfter), a.NotBefore.Compare(b.NotBefore)) > 0
}

// chain orders the certificates as verifiers expect them (RFC 8446, section 4.4.2).
func (b Bundle) chain(p Pair) []*x509.Certificate {
	left := slices.DeleteFunc(slices.Clone(b.Certificates), func(c *x509.Certificate) bool { return matches(c, p.Key) })
	chain := []*x509.Certificate{p.Leaf}
	for at := p.Leaf; ; {
		i := slices.IndexFunc(left, func(c *x509.Certificate) bool {
			return bytes.Equal(at.RawIssuer, c.RawSubject) && at.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			return append(chain, left...)
		}
		at = left[i]
		chain = append(chain, at)
		left = slices.Delete(left, i, i+1)
	}
}
