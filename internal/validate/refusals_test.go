package validate_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"middletier/internal/validate"
)

// refusal is a good token of a user with one thing changed.
type refusal struct {
	name   string
	change change
	want   validate.Reason
	says   string // part of the reason's words, so that no row is refused for another fault
}

// flip changes one bit of the signature.
func flip(byteAt int) change {
	return signatureEdit(func(s []byte) []byte { s[(byteAt+len(s))%len(s)] ^= 4; return s })
}

func signatureEdit(f func([]byte) []byte) change {
	return func(d *draft) {
		sign := d.sign
		d.sign = func(input string) []byte { return f(sign(input)) }
	}
}

// parts edits the three parts of the token after it is signed.
func parts(f func(head, body, signature string) string) change {
	return edit(func(token string) string {
		p := strings.Split(token, ".")
		return f(p[0], p[1], p[2])
	})
}

func signedByRSA(hash crypto.Hash, pss bool) change {
	return signedBy(func(input string) []byte {
		h := hash.New()
		h.Write([]byte(input))
		signature, err := rsa.SignPKCS1v15(nil, keyA(), hash, h.Sum(nil))
		if pss {
			signature, err = rsa.SignPSS(rand.Reader, keyA(), hash, h.Sum(nil), nil)
		}
		if err != nil {
			panic(err)
		}
		return signature
	})
}

// signedByHMAC takes the public key, as PEM, for a shared secret.
func signedByHMAC(input string) []byte {
	der, err := x509.MarshalPKIXPublicKey(keyA().Public())
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(input))
	return mac.Sum(nil)
}

// withSymbols repeats what signs until the signature is spelled with - or _.
func withSymbols(d *draft) {
	sign := d.sign
	for range 100 {
		d.claims["uti"] = serial()
		if strings.ContainsAny(b64(string(sign(b64(encode(d.header))+"."+b64(encode(d.claims))))), "-_") {
			return
		}
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return b.String()[1:]
}

var headerRefusals = []refusal{
	{"alg none", all(header("alg", "none"), signedBy(func(string) []byte { return nil })), validate.Malformed, "alg"},
	{"alg none with a signature", header("alg", "none"), validate.Malformed, "alg"},
	{"alg nOnE", all(header("alg", "nOnE"), signedBy(func(string) []byte { return nil })), validate.Malformed, "alg"},
	{"alg empty", header("alg", ""), validate.Malformed, "alg"},
	{"alg missing", noHeader("alg"), validate.Malformed, "alg"},
	{"alg null", header("alg", nil), validate.Malformed, "alg"},
	{"alg in an array", header("alg", []string{"RS256"}), validate.Malformed, "alg"},
	{"alg a number", header("alg", 256), validate.Malformed, "alg"},
	{"alg in lower case", header("alg", "rs256"), validate.Malformed, "alg"},
	{"HS256 with the public key as the secret", all(header("alg", "HS256"), signedBy(signedByHMAC)), validate.Malformed, "alg"},
	{"RS256 said, HMAC done", signedBy(signedByHMAC), validate.BadSig, ""},
	{"RS384", all(header("alg", "RS384"), signedByRSA(crypto.SHA384, false)), validate.Malformed, "alg"},
	{"RS256 said, RS384 done", signedByRSA(crypto.SHA384, false), validate.BadSig, ""},
	{"RS512", all(header("alg", "RS512"), signedByRSA(crypto.SHA512, false)), validate.Malformed, "alg"},
	{"PS256", all(header("alg", "PS256"), signedByRSA(crypto.SHA256, true)), validate.Malformed, "alg"},
	{"RS256 said, PS256 done", signedByRSA(crypto.SHA256, true), validate.BadSig, ""},
	{"ES256", header("alg", "ES256"), validate.Malformed, "alg"},
	{"EdDSA", header("alg", "EdDSA"), validate.Malformed, "alg"},

	{"crit of something", header("crit", []string{"exp"}), validate.Malformed, "crit"},
	{"crit empty", header("crit", []string{}), validate.Malformed, "crit"},
	{"crit null", header("crit", nil), validate.Malformed, "crit"},
	{"b64 false", header("b64", false), validate.Malformed, "b64"},
	{"b64 true", header("b64", true), validate.Malformed, "b64"},
	{"zip", header("zip", "DEF"), validate.Malformed, "zip"},
	{"cty", header("cty", "JWT"), validate.Malformed, "cty"},
	{"typ of an encrypted token", header("typ", "JWE"), validate.Malformed, "typ"},
	{"typ of a DPoP proof", header("typ", "dpop+jwt"), validate.Malformed, "typ"},
	{"typ of a logout token", header("typ", "logout+jwt"), validate.Malformed, "typ"},
	{"typ a number", header("typ", 1), validate.Malformed, "typ"},
	{"typ null", header("typ", nil), validate.Malformed, "typ"},

	{"kid missing", noHeader("kid"), validate.Malformed, "kid"},
	{"kid empty", header("kid", ""), validate.Malformed, "kid"},
	{"kid null", header("kid", nil), validate.Malformed, "kid"},
	{"kid a number", header("kid", 1), validate.Malformed, "kid"},
	{"kid in an array", func(d *draft) { d.header["kid"] = []any{d.header["kid"]} }, validate.Malformed, "kid"},
	{"kid too long", header("kid", strings.Repeat("k", 257)), validate.Malformed, "kid"},
	{"kid with a line break", func(d *draft) { d.header["kid"] = d.header["kid"].(string) + "\n" }, validate.Malformed, "kid"},
	{"kid with a space before it", func(d *draft) { d.header["kid"] = " " + d.header["kid"].(string) }, validate.Malformed, "kid"},
	{"kid not ASCII", header("kid", "schlüssel"), validate.Malformed, "kid"},
	{"kid unknown", header("kid", "unknown"), validate.BadSig, "no signing key"},
	{"kid of the longest, unknown", header("kid", strings.Repeat("k", 256)), validate.BadSig, "no signing key"},
	{"kid a path", header("kid", "../../../dev/null"), validate.BadSig, "no signing key"},
	{"kid in other case", func(d *draft) { d.header["kid"] = swapCase(d.header["kid"].(string)) }, validate.BadSig, "no signing key"},
	{"x5t in place of kid", func(d *draft) { d.header["x5t"] = d.header["kid"]; delete(d.header, "kid") }, validate.Malformed, "kid"},

	{"jwk brings the key", func(d *draft) {
		d.header["jwk"] = jwk(d.header["kid"].(string), keyB())
		d.sign = signedWith(keyB())
	}, validate.BadSig, ""},
	{"jwk brings the key, kid unknown", func(d *draft) {
		d.header["kid"], d.header["jwk"] = "mine", jwk("mine", keyB())
		d.sign = signedWith(keyB())
	}, validate.BadSig, "no signing key"},
	{"jku points elsewhere", all(header("jku", "https://evil.example/keys"), header("kid", "mine"), signedBy(func(s string) []byte { return signedWith(keyB())(s) })), validate.BadSig, "no signing key"},
	{"x5u points elsewhere", all(header("x5u", "https://evil.example/cert"), header("kid", "mine"), signedBy(func(s string) []byte { return signedWith(keyB())(s) })), validate.BadSig, "no signing key"},
	{"x5c brings the key", func(d *draft) {
		der, err := x509.MarshalPKIXPublicKey(keyB().Public())
		if err != nil {
			panic(err)
		}
		d.header["x5c"] = []string{base64.StdEncoding.EncodeToString(der)}
		d.sign = signedWith(keyB())
	}, validate.BadSig, ""},

	{"header with alg twice", editHeader(behind(`"alg":"RS256"`)), validate.Malformed, "header: "},
	{"header with kid twice", editHeader(behind(`"kid":"other"`)), validate.Malformed, "header: "},
	{"header with kid and KID", editHeader(behind(`"KID":"other"`)), validate.Malformed, "only in case"},
	{"header with alg and Alg", editHeader(behind(`"Alg":"none"`)), validate.Malformed, "only in case"},
	{"header with KID alone", editHeader(func(s string) string { return strings.Replace(s, `"kid"`, `"KID"`, 1) }), validate.Malformed, "kid"},
	{"header an array", editHeader(func(s string) string { return "[" + s + "]" }), validate.Malformed, "not a JSON object"},
	{"header a string", editHeader(becomes(`"RS256"`)), validate.Malformed, "not a JSON object"},
	{"header null", editHeader(becomes(`null`)), validate.Malformed, "not a JSON object"},
	{"header empty", editHeader(becomes(``)), validate.Malformed, "header: "},
	{"header of no members", editHeader(becomes(`{}`)), validate.Malformed, "alg"},
	{"header with data behind it", editHeader(func(s string) string { return s + "{}" }), validate.Malformed, "header: "},
	{"header with a byte order mark", editHeader(func(s string) string { return "\ufeff" + s }), validate.Malformed, "header: "},
	{"header not UTF-8", editHeader(behind("\"x\":\"\xff\"")), validate.Malformed, "header: "},
	{"header nested too deeply", editHeader(behind(`"x":` + nested(8))), validate.Malformed, "too deeply"},
	{"header with too many members", editHeader(behind(many(256))), validate.Malformed, "too many"},
}

var claimRefusals = []refusal{
	{"aud twice", editClaims(behind(`"aud":"` + apiID + `"`)), validate.Malformed, "claims: "},
	{"exp twice", editClaims(behind(`"exp":4102444800`)), validate.Malformed, "claims: "},
	{"roles twice", editClaims(behind(`"roles":[],"roles":["Read.All"]`)), validate.Malformed, "claims: "},
	{"aud twice, once escaped", editClaims(behind(`"\u0061ud":"` + apiID + `"`)), validate.Malformed, "claims: "},
	{"a nested member twice", editClaims(behind(`"x":{"a":1,"a":2}`)), validate.Malformed, "claims: "},
	{"a member nested in an array twice", editClaims(behind(`"x":[{"a":1,"a":2}]`)), validate.Malformed, "claims: "},
	{"aud and Aud", editClaims(behind(`"Aud":"` + apiID + `"`)), validate.Malformed, "only in case"},
	{"scp and SCP", editClaims(behind(`"SCP":"Admin"`)), validate.Malformed, "only in case"},
	{"iss and iſs", editClaims(behind(`"iſs":"x"`)), validate.Malformed, "only in case"},
	{"unread members that differ in case", editClaims(behind(`"wids":1,"WIDS":2`)), validate.Malformed, "only in case"},
	{"an unread member with a Kelvin sign", editClaims(behind(`"key":1,"\u212aey":2`)), validate.Malformed, "only in case"},
	{"EXP alone", all(noClaim("exp"), claim("EXP", 4102444800)), validate.Malformed, "exp is missing"},
	{"AUD alone", all(noClaim("aud"), claim("AUD", apiID)), validate.Malformed, "aud is missing"},
	{"SCP alone", all(noClaim("scp"), claim("SCP", "Read")), validate.NotAccess, "without scp"},
	{"Roles alone, of an app", all(appForm, noClaim("roles"), claim("Roles", []string{"Read.All"})), validate.NotAccess, "without roles"},
	{"trailing object", editClaims(func(s string) string { return s + "{}" }), validate.Malformed, "claims: "},
	{"trailing text", editClaims(func(s string) string { return s + "x" }), validate.Malformed, "claims: "},
	{"trailing comma", editClaims(func(s string) string { return strings.TrimSuffix(s, "}") + ",}" }), validate.Malformed, "claims: "},
	{"trailing NUL", editClaims(func(s string) string { return s + "\x00" }), validate.Malformed, "claims: "},
	{"leading byte order mark", editClaims(func(s string) string { return "\ufeff" + s }), validate.Malformed, "claims: "},
	{"a comment", editClaims(func(s string) string { return s + "/**/" }), validate.Malformed, "claims: "},
	{"cut short", editClaims(func(s string) string { return strings.TrimSuffix(s, "}") }), validate.Malformed, "claims: "},
	{"single quotes", editClaims(behind(`'x':1`)), validate.Malformed, "claims: "},
	{"NaN", editClaims(behind(`"x":NaN`)), validate.Malformed, "claims: "},
	{"a number with a leading zero", editClaims(behind(`"x":01`)), validate.Malformed, "claims: "},
	{"not UTF-8", editClaims(behind("\"x\":\"\xc3\x28\"")), validate.Malformed, "claims: "},
	{"not UTF-8, nested", editClaims(behind("\"x\":{\"y\":[\"\xff\"]}")), validate.Malformed, "claims: "},
	{"half a surrogate pair", editClaims(behind(`"x":"\ud800"`)), validate.Malformed, "claims: "},
	{"a control character in a string", editClaims(behind("\"x\":\"\n\"")), validate.Malformed, "claims: "},
	{"nested too deeply", editClaims(behind(`"x":` + nested(8))), validate.Malformed, "too deeply"},
	{"nested in objects too deeply", editClaims(behind(`"x":` + strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8))), validate.Malformed, "too deeply"},
	{"nested 9,000 deep", editClaims(behind(`"x":` + nested(9000))), validate.Malformed, "too deeply"},
	{"too many members", editClaims(behind(many(256))), validate.Malformed, "too many"},
	{"claims an array", editClaims(func(s string) string { return "[" + s + "]" }), validate.Malformed, "not a JSON object"},
	{"claims a token", editClaims(func(string) string { return userDraft().token() }), validate.Malformed, "claims: "},
	{"claims empty", editClaims(becomes("")), validate.Malformed, "claims: "},
	{"claims of no members", editClaims(becomes("{}")), validate.Malformed, "is missing"},

	{"exp missing", noClaim("exp"), validate.Malformed, "exp is missing"},
	{"exp in milliseconds", func(d *draft) { d.claims["exp"] = time.Now().Add(time.Hour).UnixMilli() }, validate.Malformed, `"exp"`},
	{"exp 1e308", claim("exp", 1e308), validate.Malformed, `"exp"`},
	{"exp beyond float64", all(noClaim("exp"), editClaims(behind(`"exp":1e999`))), validate.Malformed, `"exp"`},
	{"exp beyond int64", claim("exp", uint64(math.MaxUint64)), validate.Malformed, `"exp"`},
	{"exp beyond the year 9999", claim("exp", 253402300800), validate.Malformed, `"exp"`},
	{"exp negative", claim("exp", -1), validate.Malformed, `"exp"`},
	{"exp zero", claim("exp", 0), validate.Expired, ""},
	{"exp long ago", ahead("exp", -time.Hour), validate.Expired, ""},
	{"exp as long ago as the skew", ahead("exp", -time.Minute), validate.Expired, ""},
	{"exp a fraction more than the skew ago", func(d *draft) { d.claims["exp"] = float64(time.Now().Unix()-60) - 0.25 }, validate.Expired, ""},
	{"nbf ahead", ahead("nbf", time.Hour), validate.NotYetValid, ""},
	{"nbf ahead by a second more than the skew", ahead("nbf", 61*time.Second), validate.NotYetValid, ""},
	{"nbf 1e308", claim("nbf", 1e308), validate.Malformed, `"nbf"`},
	{"nbf in milliseconds", func(d *draft) { d.claims["nbf"] = time.Now().UnixMilli() }, validate.Malformed, `"nbf"`},
	{"nbf negative", claim("nbf", -1), validate.Malformed, `"nbf"`},
	{"iat ahead", ahead("iat", time.Hour), validate.NotYetValid, ""},
	{"iat ahead by a second more than the skew", ahead("iat", 61*time.Second), validate.NotYetValid, ""},
	{"iat 1e308", claim("iat", 1e308), validate.Malformed, `"iat"`},

	{"iss missing", noClaim("iss"), validate.Malformed, "iss is missing"},
	{"iss empty", claim("iss", ""), validate.Malformed, "iss is missing"},
	{"iss elsewhere", claim("iss", "https://evil.example/"+contoso+"/v2.0"), validate.WrongIssuer, "iss is"},
	{"iss of v1.0 in a v2.0 token", claim("iss", "https://localhost/"+contoso+"/"), validate.WrongIssuer, "iss is"},
	{"ver 1.0 with iss of v2.0", claim("ver", "1.0"), validate.WrongIssuer, "iss is"},
	{"ver 3.0", claim("ver", "3.0"), validate.WrongIssuer, "iss is"},
	{"ver 2", claim("ver", "2"), validate.WrongIssuer, "iss is"},
	{"iss of another tenant", claim("iss", "https://localhost/"+fabrikam+"/v2.0"), validate.WrongIssuer, "iss is"},
	{"iss with a slash at the end", claim("iss", "https://localhost/"+contoso+"/v2.0/"), validate.WrongIssuer, "iss is"},
	{"iss in upper case", claim("iss", "HTTPS://LOCALHOST/"+contoso+"/v2.0"), validate.WrongIssuer, "iss is"},
	{"iss with http", claim("iss", "http://localhost/"+contoso+"/v2.0"), validate.WrongIssuer, "iss is"},
	{"iss with a query", claim("iss", "https://localhost/"+contoso+"/v2.0?x"), validate.WrongIssuer, "iss is"},
	{"iss with a space", claim("iss", "https://localhost/"+contoso+"/v2.0 "), validate.WrongIssuer, "iss is"},
	{"iss a template", claim("iss", "https://localhost/{tenantid}/v2.0"), validate.WrongIssuer, "iss is"},

	{"aud missing", noClaim("aud"), validate.Malformed, "aud is missing"},
	{"aud empty", claim("aud", ""), validate.Malformed, "aud is missing"},
	{"aud an array of ours", claim("aud", []string{apiID}), validate.Malformed, `"aud"`},
	{"aud of another API", claim("aud", legacyID), validate.WrongAud, ""},
	{"aud of Graph", claim("aud", "https://graph.microsoft.com"), validate.WrongAud, ""},
	{"aud with a slash", claim("aud", "api://"+apiID+"/"), validate.WrongAud, ""},
	{"aud with a scope behind it", claim("aud", "api://"+apiID+"/Read"), validate.WrongAud, ""},
	{"aud a prefix", claim("aud", apiID[:35]), validate.WrongAud, ""},
	{"aud in upper case", claim("aud", strings.ToUpper(apiID)), validate.WrongAud, ""},
	{"aud with a space", claim("aud", apiID+" "), validate.WrongAud, ""},
	{"aud two in one", claim("aud", apiID+" "+legacyID), validate.WrongAud, ""},

	{"tid missing", noClaim("tid"), validate.Malformed, "tid is missing"},
	{"tid not a GUID", claim("tid", "contoso.example"), validate.Malformed, "not a GUID"},
	{"tid a GUID in braces", claim("tid", "{"+contoso+"}"), validate.Malformed, "not a GUID"},
	{"tid a GUID without hyphens", claim("tid", strings.ReplaceAll(contoso, "-", "")), validate.Malformed, "not a GUID"},
	{"tid a GUID of other digits", claim("tid", "g"+contoso[1:]), validate.Malformed, "not a GUID"},
	{"tid another tenant", claim("tid", fabrikam), validate.WrongIssuer, "tid is"},
	{"tid and iss another tenant", all(claim("tid", fabrikam), claim("iss", "https://localhost/"+fabrikam+"/v2.0")), validate.WrongIssuer, "iss is"},
	{"a token of another tenant", func(d *draft) { d.claims = platform().UserClaims("frida", "spa", "api", "Read") }, validate.WrongIssuer, "iss is"},
	{"sub and oid missing", noClaim("sub", "oid"), validate.Malformed, "sub or oid is missing"},

	{"an ID token", all(noClaim("scp", "azp", "azpacr", "xms_cc", "idtyp"), claim("nonce", "n")), validate.NotAccess, "without scp"},
	{"an ID token with app roles", all(noClaim("scp", "azp", "azpacr", "xms_cc", "idtyp"), claim("roles", []string{"Read.All"})), validate.NotAccess, "without scp"},
	{"an ID token with app roles and nothing of the user's", all(noClaim("scp", "azp", "azpacr", "xms_cc", "idtyp", "oid", "name", "preferred_username"), claim("roles", []string{"Read.All"})), validate.NotAccess, "without azp"},
	{"a user's token without scp", noClaim("scp"), validate.NotAccess, "without scp"},
	{"a user's token without scp and idtyp", noClaim("scp", "idtyp"), validate.NotAccess, "without scp"},
	{"a user's token with roles, without scp", all(noClaim("scp"), claim("roles", []string{"Read.All"})), validate.NotAccess, "without scp"},
	{"a user's token with roles, without scp and idtyp", all(noClaim("scp", "idtyp"), claim("roles", []string{"Read.All"})), validate.NotAccess, "without scp"},
	{"scp empty", claim("scp", ""), validate.NotAccess, "without scp"},
	{"scp of spaces", claim("scp", "  "), validate.NotAccess, "without scp"},
	{"idtyp device", claim("idtyp", "device"), validate.NotAccess, "device"},
	{"idtyp empty", claim("idtyp", ""), validate.NotAccess, "idtyp"},
	{"idtyp in upper case", claim("idtyp", "USER"), validate.NotAccess, "idtyp"},
	{"idtyp app with scp", claim("idtyp", "app"), validate.NotAccess, "with scp"},
	{"idtyp app with scp and roles", all(claim("idtyp", "app"), claim("roles", []string{"Read.All"})), validate.NotAccess, "with scp"},
	{"an app's token without roles", all(appForm, noClaim("roles")), validate.NotAccess, "without roles"},
	{"an app's token without roles and idtyp", all(appForm, noClaim("roles", "idtyp")), validate.NotAccess, "without scp"},
	{"an app's token with empty roles", all(appForm, claim("roles", []string{})), validate.NotAccess, "without roles"},
	{"an app's token without azp", all(appForm, noClaim("azp")), validate.NotAccess, "without azp"},
	{"an app's token that says user", all(appForm, claim("idtyp", "user")), validate.NotAccess, "without scp"},
}

var signatureRefusals = []refusal{
	{"a foreign key of the same kid", signedBy(func(s string) []byte { return signedWith(keyB())(s) }), validate.BadSig, ""},
	{"the first bit of the signature flipped", flip(0), validate.BadSig, ""},
	{"a middle bit of the signature flipped", flip(128), validate.BadSig, ""},
	{"the last bit of the signature flipped", flip(-1), validate.BadSig, ""},
	{"signature empty", signedBy(func(string) []byte { return nil }), validate.BadSig, ""},
	{"signature all zero", signedBy(func(string) []byte { return make([]byte, 256) }), validate.BadSig, ""},
	{"signature cut", signatureEdit(func(s []byte) []byte { return s[:255] }), validate.BadSig, ""},
	{"signature with a byte behind it", signatureEdit(func(s []byte) []byte { return append(s, 0) }), validate.BadSig, ""},
	{"signature with a zero before it", signatureEdit(func(s []byte) []byte { return append([]byte{0}, s...) }), validate.BadSig, ""},
	{"signature of another token", signedBy(func(string) []byte { return signedWith(keyA())("a.b") }), validate.BadSig, ""},
	{"signature of the claims alone", signedBy(func(s string) []byte { return signedWith(keyA())(s[strings.Index(s, ".")+1:]) }), validate.BadSig, ""},
	{"signature of the decoded text", func(d *draft) {
		d.sign = func(string) []byte { return signedWith(keyA())(encode(d.header) + "." + encode(d.claims)) }
	}, validate.BadSig, ""},
	{"signature with SHA-1's prefix", signedBy(func(s string) []byte {
		digest := sha512.Sum512([]byte(s))
		signature, err := rsa.SignPKCS1v15(nil, keyA(), crypto.SHA1, digest[:20])
		if err != nil {
			panic(err)
		}
		return signature
	}), validate.BadSig, ""},
	{"another scope after signing", parts(func(h, _, s string) string {
		return h + "." + b64(encode(userDraft().claims)) + "." + s
	}), validate.BadSig, ""},
	{"another header after signing", parts(func(h, b, s string) string {
		return b64(encode(map[string]any{"alg": "RS256", "kid": platform().KeyID()})) + "." + b + "." + s
	}), validate.BadSig, ""},

	{"spare bits in the signature", edit(spareBits), validate.Malformed, "signature: "},
	{"spare bits in the header", spareBitsIn(0), validate.Malformed, "header: "},
	{"spare bits in the claims", spareBitsIn(1), validate.Malformed, "claims: "},
	{"padding behind the signature", edit(func(s string) string { return s + "==" }), validate.Malformed, "signature: "},
	{"one padding character", edit(func(s string) string { return s + "=" }), validate.Malformed, "signature: "},
	{"padding behind the header", parts(func(h, b, s string) string { return h + "=." + b + "." + s }), validate.Malformed, "header: "},
	{"a line feed behind it", edit(func(s string) string { return s + "\n" }), validate.Malformed, "line break"},
	{"a line feed in the signature", edit(func(s string) string { return s[:len(s)-8] + "\n" + s[len(s)-8:] }), validate.Malformed, "line break"},
	{"a carriage return in the claims", parts(func(h, b, s string) string { return h + "." + b[:4] + "\r" + b[4:] + "." + s }), validate.Malformed, "line break"},
	{"a line break before it", edit(func(s string) string { return "\r\n" + s }), validate.Malformed, "line break"},
	{"a space behind it", edit(func(s string) string { return s + " " }), validate.Malformed, "signature: "},
	{"a space before it", edit(func(s string) string { return " " + s }), validate.Malformed, "header: "},
	{"a tab in the signature", edit(func(s string) string { return s[:len(s)-8] + "\t" + s[len(s)-8:] }), validate.Malformed, "signature: "},
	{"a NUL behind it", edit(func(s string) string { return s + "\x00" }), validate.Malformed, "signature: "},
	{"standard base64", all(withSymbols, parts(func(h, b, s string) string {
		return h + "." + b + "." + strings.NewReplacer("-", "+", "_", "/").Replace(s)
	})), validate.Malformed, "signature: "},
	{"percent-encoded", edit(func(s string) string { return strings.Replace(s, ".", "%2E", 1) }), validate.Malformed, "three parts"},
	{"one character missing in the signature", edit(func(s string) string { return s[:len(s)-1] }), validate.Malformed, "signature: "},

	{"empty", edit(becomes("")), validate.Malformed, "three parts"},
	{"one part", edit(becomes("token")), validate.Malformed, "three parts"},
	{"two parts", parts(func(h, b, _ string) string { return h + "." + b }), validate.Malformed, "three parts"},
	{"two parts and nothing", parts(func(h, b, _ string) string { return h + "." + b + "." }), validate.BadSig, ""},
	{"three empty parts", edit(becomes("..")), validate.Malformed, "header: "},
	{"four parts", edit(func(s string) string { return s + ".AAAA" }), validate.Malformed, "three parts"},
	{"four parts, the last empty", edit(func(s string) string { return s + "." }), validate.Malformed, "three parts"},
	{"five parts, as if encrypted", edit(func(s string) string { return s + ".AAAA.AAAA" }), validate.Malformed, "three parts"},
	{"a dot before it", edit(func(s string) string { return "." + s }), validate.Malformed, "three parts"},
	{"the JSON form of a JWS", parts(func(h, b, s string) string {
		return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, b, s)
	}), validate.Malformed, "three parts"},
	{"one byte longer than 32 KiB", tokenLength(validate.MaxTokenSize + 1), validate.Malformed, "longer than"},
	{"very long", edit(func(s string) string { return s + strings.Repeat("A", 1<<20) }), validate.Malformed, "longer than"},
}

// typeRefusals holds every claim with a value of every other type.
func typeRefusals() []refusal {
	values := map[string]any{"null": nil, "a number": 1700000000, "a string": "1700000000", "true": true, "an array": []any{"a"}, "an array of a number": []any{"a", 1}, "an array of null": []any{nil}, "an array in an array": []any{[]any{"a"}}, "an object": map[string]any{"value": "a"}}
	kinds := map[string][]string{
		"a string": {"iss", "aud", "ver", "tid", "oid", "sub", "name", "azp", "appid", "scp", "idtyp"},
		"a number": {"exp", "nbf", "iat"},
		"an array": {"roles", "xms_cc"},
	}
	var rows []refusal
	for right, names := range kinds {
		for _, name := range names {
			for kind, value := range values {
				if kind == right {
					continue
				}
				reason := validate.Malformed
				if name == "idtyp" {
					reason = validate.NotAccess
				}
				rows = append(rows, refusal{name + " " + kind, claim(name, value), reason, fmt.Sprintf("%q is not a", name)})
			}
		}
	}
	return rows
}

// appForm makes the draft an app's.
func appForm(d *draft) { d.claims = appDraft().claims }

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ToUpper(string(r)) == string(r) {
			return []rune(strings.ToLower(string(r)))[0]
		}
		return []rune(strings.ToUpper(string(r)))[0]
	}, s)
}

// spareBits changes the last character to another that decodes to the same.
func spareBits(s string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	other := s[:len(s)-1] + string(digits[strings.IndexByte(digits, s[len(s)-1])|1])
	if i := strings.LastIndexByte(s, '.') + 1; other == s || !sameBytes(s[i:], other[i:]) {
		panic("no spare bits")
	}
	return other
}

func sameBytes(a, b string) bool {
	x, err1 := base64.RawURLEncoding.DecodeString(a)
	y, err2 := base64.RawURLEncoding.DecodeString(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// spareBitsIn gives a part a length with spare bits, and signs over them.
func spareBitsIn(part int) change {
	return func(d *draft) {
		pad := func(s string) string {
			for len(s)%3 == 0 {
				s += " "
			}
			return s
		}
		d.editHeader, d.editClaims = pad, pad
		sign := d.sign
		d.edit = func(token string) string {
			p := strings.Split(token, ".")
			p[part] = spareBits(p[part])
			return p[0] + "." + p[1] + "." + b64(string(sign(p[0]+"."+p[1])))
		}
	}
}

// tokenLength pads the claims so that the token has a length.
func tokenLength(n int) change {
	return func(d *draft) {
		d.claims["pad"] = ""
		for pad := range 3 { // of the header, whose part then has other lengths
			d.header["pad"] = strings.Repeat("p", pad)
			room := n - len(b64(encode(d.header))) - 1 - 1 - 342
			claims := room * 3 / 4
			if base64.RawURLEncoding.EncodedLen(claims) == room {
				d.claims["pad"] = strings.Repeat("p", claims-len(encode(d.claims)))
				return
			}
		}
		panic("no such length")
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	for _, table := range [][]refusal{headerRefusals, claimRefusals, typeRefusals(), signatureRefusals} {
		for _, row := range table {
			bubble(t, row.name, func(t *testing.T) {
				v := start(t)
				token := userDraft().token(row.change)
				for range 2 { // what was refused is not remembered
					caller, err := v.Validate(context.Background(), token)
					var refused *validate.InvalidTokenError
					if !errors.As(err, &refused) || refused.Reason != row.want || !strings.Contains(fmt.Sprint(refused.Err), row.says) || caller != nil {
						t.Fatalf("Validate: got %v, %v, want %s, with %q", caller, err, row.want, row.says)
					}
				}
			})
		}
	}
}

// A token that has nothing changed is good, so that each row above is refused
// for its difference.
func TestUnchangedTokenIsGood(t *testing.T) {
	bubble(t, "user", func(t *testing.T) { accept(t, start(t), userDraft().token()) })
	bubble(t, "app", func(t *testing.T) { accept(t, start(t), userDraft().token(appForm)) })
}

func accept(t *testing.T, v *validate.Validator, token string) *validate.Caller {
	t.Helper()
	caller, err := v.Validate(context.Background(), token)
	if err != nil {
		t.Fatalf("Validate: got %v, want a caller", err)
	}
	return caller
}

func refuse(t *testing.T, v *validate.Validator, token string, want validate.Reason) {
	t.Helper()
	caller, err := v.Validate(context.Background(), token)
	var refused *validate.InvalidTokenError
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Fatalf("Validate: got %v, %v, want %s", caller, err, want)
	}
}
