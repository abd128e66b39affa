package tokentest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"middletier/internal/validate"
)

// headerRefusals change the header alone, or what signs with it.
var headerRefusals = []Refusal{
	{"alg none", All(Header("alg", "none"), unsigned), validate.Malformed, "alg"},
	{"alg none with a signature", Header("alg", "none"), validate.Malformed, "alg"},
	{"alg nOnE", All(Header("alg", "nOnE"), unsigned), validate.Malformed, "alg"},
	{"alg empty", Header("alg", ""), validate.Malformed, "alg"},
	{"alg missing", NoHeader("alg"), validate.Malformed, "alg"},
	{"alg null", Header("alg", nil), validate.Malformed, "alg"},
	{"alg in an array", Header("alg", []string{"RS256"}), validate.Malformed, "alg"},
	{"alg a number", Header("alg", 256), validate.Malformed, "alg"},
	{"alg in lower case", Header("alg", "rs256"), validate.Malformed, "alg"},
	{"alg with a space", Header("alg", "RS256 "), validate.Malformed, "alg"},
	{"alg with a NUL", Header("alg", "RS256\x00"), validate.Malformed, "alg"},
	{"HS256 with the public key as the secret", All(Header("alg", "HS256"), signedByHMAC), validate.Malformed, "alg"},
	{"RS256 said, HMAC done", signedByHMAC, validate.BadSig, ""},
	{"RS384", All(Header("alg", "RS384"), signedByRSA(crypto.SHA384, false)), validate.Malformed, "alg"},
	{"RS256 said, RS384 done", signedByRSA(crypto.SHA384, false), validate.BadSig, ""},
	{"RS512", All(Header("alg", "RS512"), signedByRSA(crypto.SHA512, false)), validate.Malformed, "alg"},
	{"RS256 said, RS512 done", signedByRSA(crypto.SHA512, false), validate.BadSig, ""},
	{"PS256", All(Header("alg", "PS256"), signedByRSA(crypto.SHA256, true)), validate.Malformed, "alg"},
	{"RS256 said, PS256 done", signedByRSA(crypto.SHA256, true), validate.BadSig, ""},
	{"ES256", Header("alg", "ES256"), validate.Malformed, "alg"},
	{"EdDSA", Header("alg", "EdDSA"), validate.Malformed, "alg"},
	{"alg of an encrypted token", All(Header("alg", "RSA-OAEP"), Header("enc", "A256GCM")), validate.Malformed, "alg"},

	{"crit of something", Header("crit", []string{"exp"}), validate.Malformed, "crit"},
	{"crit empty", Header("crit", []string{}), validate.Malformed, "crit"},
	{"crit null", Header("crit", nil), validate.Malformed, "crit"},
	{"b64 false", Header("b64", false), validate.Malformed, "b64"},
	{"b64 true", Header("b64", true), validate.Malformed, "b64"},
	{"b64 false, as crit says", All(Header("b64", false), Header("crit", []string{"b64"})), validate.Malformed, "crit"},
	{"zip", Header("zip", "DEF"), validate.Malformed, "zip"},
	{"cty", Header("cty", "JWT"), validate.Malformed, "cty"},
	{"typ of an encrypted token", Header("typ", "JWE"), validate.Malformed, "typ"},
	{"typ of a DPoP proof", Header("typ", "dpop+jwt"), validate.Malformed, "typ"},
	{"typ of a logout token", Header("typ", "logout+jwt"), validate.Malformed, "typ"},
	{"typ of a client assertion", Header("typ", "client-authentication+jwt"), validate.Malformed, "typ"},
	{"typ of a security event", Header("typ", "secevent+jwt"), validate.Malformed, "typ"},
	{"typ of a bound token", Header("typ", "pop"), validate.Malformed, "typ"},
	{"typ of a DPoP proof as a media type", Header("typ", "application/dpop+jwt"), validate.Malformed, "typ"},
	{"typ application/ alone", Header("typ", "application/"), validate.Malformed, "typ"},
	{"typ application/ twice", Header("typ", "application/application/at+jwt"), validate.Malformed, "typ"},
	{"typ of another tree", Header("typ", "text/at+jwt"), validate.Malformed, "typ"},
	{"typ with a parameter", Header("typ", "application/at+jwt; v=1"), validate.Malformed, "typ"},
	{"typ with a space", Header("typ", "at+jwt "), validate.Malformed, "typ"},
	{"typ with a Kelvin sign", Header("typ", "application/at+\u212awt"), validate.Malformed, "typ"},
	{"typ a number", Header("typ", 1), validate.Malformed, "typ"},
	{"typ null", Header("typ", nil), validate.Malformed, "typ"},

	{"header with alg twice", EditHeader(Appended(`"alg":"RS256"`)), validate.Malformed, "header: "},
	{"header with kid twice", EditHeader(Appended(`"kid":"other"`)), validate.Malformed, "header: "},
	{"header with kid twice, once escaped", EditHeader(Appended(`"\u006bid":"other"`)), validate.Malformed, "header: "},
	{"header with a nested member twice", EditHeader(Appended(`"x":{"a":1,"a":2}`)), validate.Malformed, "header: "},
	{"header with kid and KID", EditHeader(Appended(`"KID":"other"`)), validate.Malformed, "only in case"},
	{"header with kid and a Kelvin sign", EditHeader(Appended(`"\u212aid":"other"`)), validate.Malformed, `"\u212aid"`},
	{"header with typ and TYP", EditHeader(Appended(`"TYP":"at+jwt"`)), validate.Malformed, `"TYP"`},
	{"header with alg and Alg", EditHeader(Appended(`"Alg":"none"`)), validate.Malformed, "only in case"},
	{"header with KID alone", EditHeader(replaced(`"kid"`, `"KID"`)), validate.Malformed, "kid"},
	{"header with ALG alone", EditHeader(replaced(`"alg"`, `"ALG"`)), validate.Malformed, "alg"},
	{"header an array", EditHeader(func(s string) string { return "[" + s + "]" }), validate.Malformed, "not a JSON object"},
	{"header a string", EditHeader(becomes(`"RS256"`)), validate.Malformed, "not a JSON object"},
	{"header null", EditHeader(becomes(`null`)), validate.Malformed, "not a JSON object"},
	{"header empty", EditHeader(becomes(``)), validate.Malformed, "header: "},
	{"header of no members", EditHeader(becomes(`{}`)), validate.Malformed, "alg"},
	{"header with data after it", EditHeader(after("{}")), validate.Malformed, "header: "},
	{"header with a byte order mark", EditHeader(before("\ufeff")), validate.Malformed, "header: "},
	{"header not UTF-8", EditHeader(Appended("\"x\":\"\xff\"")), validate.Malformed, "header: "},
	{"header nested too deeply", EditHeader(Appended(`"x":` + Nested(8))), validate.Malformed, "too deeply"},
	{"header with too many members", EditHeader(Appended(many(256))), validate.Malformed, "too many"},
}

func unsigned(d *Draft) { d.Sign = func(string) []byte { return nil } }

func signedByRSA(hash crypto.Hash, pss bool) Change {
	return func(d *Draft) {
		key := d.source.IDP.Key()
		d.Sign = func(input string) []byte {
			h := hash.New()
			h.Write([]byte(input))
			signature, err := rsa.SignPKCS1v15(nil, key, hash, h.Sum(nil))
			if pss {
				signature, err = rsa.SignPSS(rand.Reader, key, hash, h.Sum(nil), nil)
			}
			if err != nil {
				panic(err)
			}
			return signature
		}
	}
}

// signedByHMAC takes the public key, as PEM, for a shared secret.
func signedByHMAC(d *Draft) {
	der, err := x509.MarshalPKIXPublicKey(d.source.IDP.Key().Public())
	if err != nil {
		panic(err)
	}
	d.Sign = func(input string) []byte {
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return b.String()[1:]
}
