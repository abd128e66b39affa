package tokentest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"unicode"

	"middletier/internal/validate"
)

// keyRefusals name a key that is none of the provider's, or bring one along.
var keyRefusals = []Refusal{
	{"kid missing", NoHeader("kid"), validate.Malformed, "kid"},
	{"kid empty", Header("kid", ""), validate.Malformed, "kid"},
	{"kid null", Header("kid", nil), validate.Malformed, "kid"},
	{"kid a number", Header("kid", 1), validate.Malformed, "kid"},
	{"kid in an array", func(d *Draft) { d.Header["kid"] = []any{d.Header["kid"]} }, validate.Malformed, "kid"},
	{"kid too long", Header("kid", strings.Repeat("k", 257)), validate.Malformed, "kid"},
	{"kid with a line break", kidEdit(after("\n")), validate.Malformed, "kid"},
	{"kid with a NUL", kidEdit(after("\x00")), validate.Malformed, "kid"},
	{"kid with a space before it", kidEdit(before(" ")), validate.Malformed, "kid"},
	{"kid not ASCII", Header("kid", "schlüssel"), validate.Malformed, "kid"},
	{"kid unknown", Header("kid", "unknown"), validate.BadSig, "no signing key"},
	{"kid of the longest, unknown", Header("kid", strings.Repeat("k", 256)), validate.BadSig, "no signing key"},
	{"kid a path", Header("kid", "../../../dev/null"), validate.BadSig, "no signing key"},
	{"kid a URL", func(d *Draft) { d.Header["kid"] = d.source.Elsewhere + "/keys" }, validate.BadSig, "no signing key"},
	{"kid a query", Header("kid", "'OR'1'='1"), validate.BadSig, "no signing key"},
	{"kid in other case", kidEdit(swapCase), validate.BadSig, "no signing key"},
	{"kid cut short", kidEdit(func(s string) string { return s[:len(s)-1] }), validate.BadSig, "no signing key"},
	{"x5t in place of kid", func(d *Draft) { d.Header["x5t"] = d.Header["kid"]; delete(d.Header, "kid") }, validate.Malformed, "kid"},

	{"jwk brings the key", All(foreign, func(d *Draft) { d.Header["jwk"] = JWK(d.Header["kid"].(string), ForeignKey()) }), validate.BadSig, ""},
	{"jwk brings the key, kid unknown", All(foreign, Header("kid", "mine"), func(d *Draft) { d.Header["jwk"] = JWK("mine", ForeignKey()) }), validate.BadSig, "no signing key"},
	{"jku points elsewhere", All(foreign, pointsElsewhere("jku")), validate.BadSig, ""},
	{"jku points elsewhere, kid unknown", All(foreign, pointsElsewhere("jku"), Header("kid", "mine")), validate.BadSig, "no signing key"},
	{"x5u points elsewhere", All(foreign, pointsElsewhere("x5u")), validate.BadSig, ""},
	{"x5u points elsewhere, kid unknown", All(foreign, pointsElsewhere("x5u"), Header("kid", "mine")), validate.BadSig, "no signing key"},
	{"x5c brings the key", func(d *Draft) {
		der, err := x509.MarshalPKIXPublicKey(ForeignKey().Public())
		if err != nil {
			panic(err)
		}
		d.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(der)}
		d.Sign = SignedWith(ForeignKey())
	}, validate.BadSig, ""},
	{"iss points elsewhere, kid unknown", func(d *Draft) {
		d.Claims["iss"], d.Header["kid"] = d.source.Elsewhere+"/"+d.Claims["tid"].(string)+"/v2.0", "mine"
		d.Sign = SignedWith(ForeignKey())
	}, validate.WrongIssuer, "iss is"},
	{"a foreign key of the same kid", foreign, validate.BadSig, ""},
}

// signatureRefusals are signed in another way, or changed after they were.
var signatureRefusals = []Refusal{
	{"the first bit of the signature flipped", Flip(0), validate.BadSig, ""},
	{"a middle bit of the signature flipped", Flip(128), validate.BadSig, ""},
	{"the last bit of the signature flipped", Flip(-1), validate.BadSig, ""},
	{"signature empty", unsigned, validate.BadSig, ""},
	{"signature all zero", SignedBy(func(string) []byte { return make([]byte, 256) }), validate.BadSig, ""},
	{"signature of the number one", SignedBy(func(string) []byte { return append(make([]byte, 255), 1) }), validate.BadSig, ""},
	{"signature cut", signatureEdit(func(s []byte) []byte { return s[:255] }), validate.BadSig, ""},
	{"signature with a byte after it", signatureEdit(func(s []byte) []byte { return append(s, 0) }), validate.BadSig, ""},
	{"signature with a zero before it", signatureEdit(func(s []byte) []byte { return append([]byte{0}, s...) }), validate.BadSig, ""},
	{"signature twice", signatureEdit(func(s []byte) []byte { return append(s, s...) }), validate.BadSig, ""},
	{"signature backwards", signatureEdit(func(s []byte) []byte {
		for i := range len(s) / 2 {
			s[i], s[len(s)-1-i] = s[len(s)-1-i], s[i]
		}
		return s
	}), validate.BadSig, ""},
	{"signature with the modulus added", arithmetic((*big.Int).Add), validate.BadSig, ""},
	{"signature taken from the modulus", arithmetic(func(z, s, n *big.Int) *big.Int { return z.Sub(n, s) }), validate.BadSig, ""},
	{"signature of another token", SignedAs(func(string) string { return "a.b" }), validate.BadSig, ""},
	{"signature of the claims alone", SignedAs(func(s string) string { return s[strings.Index(s, ".")+1:] }), validate.BadSig, ""},
	{"signature of the decoded text", SignedAs(func(s string) string {
		head, body, _ := strings.Cut(s, ".")
		return decode(head) + "." + decode(body)
	}), validate.BadSig, ""},
	{"signature with SHA-1's prefix", signedAsDigest(crypto.SHA1), validate.BadSig, ""},
	{"signature without the hash's name", signedAsDigest(0), validate.BadSig, ""},
	{"another scope after signing", parts(func(h, b, s string) string {
		return h + "." + Base64(strings.Replace(decode(b), `"scp":"`, `"scp":"Admin `, 1)) + "." + s
	}), validate.BadSig, ""},
	{"another expiry after signing", parts(func(h, b, s string) string {
		return h + "." + Base64(strings.Replace(decode(b), `"exp":`, `"exp":2`, 1)) + "." + s
	}), validate.BadSig, ""},
	{"another header after signing", parts(func(h, b, s string) string {
		return Base64(strings.Replace(decode(h), `"typ":"JWT"`, `"typ":"jwt"`, 1)) + "." + b + "." + s
	}), validate.BadSig, ""},
	{"a space in the JSON after signing", parts(func(h, b, s string) string { return h + "." + Base64(decode(b)+" ") + "." + s }), validate.BadSig, ""},
	{"the header's nonce hashed under the signature, as Graph's", func(d *Draft) {
		d.Header["nonce"] = "n"
		good := d.Sign
		d.Sign = func(s string) []byte {
			head, body, _ := strings.Cut(s, ".")
			digest := sha256.Sum256([]byte("n"))
			return good(Base64(strings.Replace(decode(head), `"nonce":"n"`, fmt.Sprintf(`"nonce":%q`, Base64(string(digest[:]))), 1)) + "." + body)
		}
	}, validate.BadSig, ""},
}

func foreign(d *Draft) { d.Sign = SignedWith(ForeignKey()) }

func pointsElsewhere(name string) Change {
	return func(d *Draft) { d.Header[name] = d.source.Elsewhere + "/" + name }
}

func kidEdit(f func(string) string) Change {
	return func(d *Draft) { d.Header["kid"] = f(d.Header["kid"].(string)) }
}

func signatureEdit(f func([]byte) []byte) Change {
	return func(d *Draft) {
		sign := d.Sign
		d.Sign = func(input string) []byte { return f(sign(input)) }
	}
}

// Flip changes one bit of a byte of the signature, counted from its end where
// byteAt is negative.
func Flip(byteAt int) Change {
	return signatureEdit(func(s []byte) []byte { s[(byteAt+len(s))%len(s)] ^= 4; return s })
}

// SignedAs signs something else than what the token holds.
func SignedAs(f func(input string) string) Change {
	return func(d *Draft) {
		sign := d.Sign
		d.Sign = func(input string) []byte { return sign(f(input)) }
	}
}

// arithmetic makes another number of a signature and the modulus, of the same
// length.
func arithmetic(f func(z, signature, modulus *big.Int) *big.Int) Change {
	return func(d *Draft) {
		modulus := d.source.IDP.Key().N
		d.Sign = func(input string) []byte {
			digest := sha256.Sum256([]byte(input))
			signature, err := rsa.SignPKCS1v15(nil, d.source.IDP.Key(), crypto.SHA256, digest[:])
			if err != nil {
				panic(err)
			}
			return f(new(big.Int), new(big.Int).SetBytes(signature), modulus).Bytes()
		}
	}
}

// signedAsDigest names another hash, or none, in the padding.
func signedAsDigest(hash crypto.Hash) Change {
	return func(d *Draft) {
		d.Sign = func(input string) []byte {
			digest := sha512.Sum512([]byte(input))
			size := 32
			if hash != 0 {
				size = hash.Size()
			}
			signature, err := rsa.SignPKCS1v15(nil, d.source.IDP.Key(), hash, digest[:size])
			if err != nil {
				panic(err)
			}
			return signature
		}
	}
}

func decode(part string) string {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}
