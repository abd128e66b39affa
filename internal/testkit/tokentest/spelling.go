package tokentest

import (
	"encoding/base64"
	"fmt"
	"strings"

	"middletier/internal/validate"
)

// spellingRefusals are other spellings of a good token, and what is none.
var spellingRefusals = []Refusal{
	{"spare bits in the signature", Edit(SpareBits), validate.Malformed, "signature: "},
	{"spare bits in the header", spareBitsIn(0), validate.Malformed, "header: "},
	{"spare bits in the claims", spareBitsIn(1), validate.Malformed, "claims: "},
	{"padding after the signature", Edit(after("==")), validate.Malformed, "signature: "},
	{"one padding character", Edit(after("=")), validate.Malformed, "signature: "},
	{"padding after the header", parts(func(h, b, s string) string { return h + "=." + b + "." + s }), validate.Malformed, "header: "},
	{"padding after the claims", parts(func(h, b, s string) string { return h + "." + b + "=." + s }), validate.Malformed, "claims: "},
	{"standard base64", All(withSymbols, parts(func(h, b, s string) string {
		return h + "." + b + "." + strings.NewReplacer("-", "+", "_", "/").Replace(s)
	})), validate.Malformed, "signature: "},
	{"percent-encoded", Edit(replaced(".", "%2E")), validate.Malformed, "three parts"},
	{"one character missing in the signature", Edit(func(s string) string { return s[:len(s)-1] }), validate.Malformed, "signature: "},
	{"one character more in the signature", Edit(after("A")), validate.BadSig, ""},
	{"one character more in the header", Edit(before("e")), validate.Malformed, "header: "},
	{"encoded twice", Edit(Base64), validate.Malformed, "three parts"},
	{"in quotes", Edit(func(s string) string { return `"` + s + `"` }), validate.Malformed, "header: "},
	{"in angle brackets", Edit(func(s string) string { return "<" + s + ">" }), validate.Malformed, "header: "},
	{"letters of another alphabet", Edit(replaced("A", "Α")), validate.Malformed, ""},

	{"one part", Edit(becomes("token")), validate.Malformed, "three parts"},
	{"two parts", parts(func(h, b, _ string) string { return h + "." + b }), validate.Malformed, "three parts"},
	{"two parts and nothing", parts(func(h, b, _ string) string { return h + "." + b + "." }), validate.BadSig, ""},
	{"three empty parts", Edit(becomes("..")), validate.Malformed, "header: "},
	{"header and signature only", parts(func(h, _, s string) string { return h + ".." + s }), validate.Malformed, "claims: "},
	{"the parts in another order", parts(func(h, b, s string) string { return s + "." + b + "." + h }), validate.Malformed, "header: "},
	{"four parts", Edit(after(".AAAA")), validate.Malformed, "three parts"},
	{"four parts, the last empty", Edit(after(".")), validate.Malformed, "three parts"},
	{"five parts, as if encrypted", Edit(after(".AAAA.AAAA")), validate.Malformed, "tokenEncryptionKeyId"},
	{"five parts, four of them empty", parts(func(h, _, _ string) string { return h + "...." }), validate.Malformed, "tokenEncryptionKeyId"},
	{"six parts", Edit(after(".AAAA.AAAA.AAAA")), validate.Malformed, "three parts"},
	{"a dot before it", Edit(before(".")), validate.Malformed, "three parts"},
	{"two dots between parts", Edit(replaced(".", "..")), validate.Malformed, "three parts"},
	{"two tokens in one", Edit(func(s string) string { return s + "." + s }), validate.Malformed, "three parts"},
	{"an opaque token", Edit(becomes("0.AXEAq83v-opaque_refresh~token")), validate.Malformed, "three parts"},
	{"a SAML assertion", Edit(becomes(base64.StdEncoding.EncodeToString([]byte("<saml:Assertion/>")))), validate.Malformed, "three parts"},
}

// sizeRefusals are longer than what is read.
var sizeRefusals = []Refusal{
	{"one byte longer than 32 KiB", Length(validate.MaxTokenSize + 1), validate.TooLong, "more than"},
	{"a signature of 32 KiB", Edit(after(strings.Repeat("A", validate.MaxTokenSize))), validate.TooLong, "more than"},
}

// Unsent are refused too, but no HTTP header holds them, or the service takes
// them for several values.
var Unsent = []Refusal{
	{"empty", Edit(becomes("")), validate.Malformed, "three parts"},
	{"a line feed after it", Edit(after("\n")), validate.Malformed, "line break"},
	{"a line feed in the signature", Edit(func(s string) string { return s[:len(s)-8] + "\n" + s[len(s)-8:] }), validate.Malformed, "line break"},
	{"a carriage return in the claims", parts(func(h, b, s string) string { return h + "." + b[:4] + "\r" + b[4:] + "." + s }), validate.Malformed, "line break"},
	{"a line break before it", Edit(before("\r\n")), validate.Malformed, "line break"},
	{"a space after it", Edit(after(" ")), validate.Malformed, "signature: "},
	{"a space before it", Edit(before(" ")), validate.Malformed, "header: "},
	{"a tab in the signature", Edit(func(s string) string { return s[:len(s)-8] + "\t" + s[len(s)-8:] }), validate.Malformed, "signature: "},
	{"a NUL after it", Edit(after("\x00")), validate.Malformed, "signature: "},
	{"the JSON form of a JWS", parts(func(h, b, s string) string {
		return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, b, s)
	}), validate.Malformed, "three parts"},
	{"very long", Edit(after(strings.Repeat("A", 1<<20))), validate.TooLong, "more than"},
}

// parts edits the three parts of the token after it is signed.
func parts(f func(head, body, signature string) string) Change {
	return Edit(func(token string) string {
		p := strings.Split(token, ".")
		return f(p[0], p[1], p[2])
	})
}

// withSymbols changes what is signed until the signature is spelled with - or _.
func withSymbols(d *Draft) {
	for i := range 100 {
		d.Claims["uti"] = fmt.Sprint(i)
		if strings.ContainsAny(Base64(string(d.Sign(Base64(Encode(d.Header))+"."+Base64(Encode(d.Claims))))), "-_") {
			return
		}
	}
}

// SpareBits changes the last character to another that decodes to the same.
func SpareBits(s string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	other := s[:len(s)-1] + string(digits[strings.IndexByte(digits, s[len(s)-1])|1])
	if i := strings.LastIndexByte(s, '.') + 1; other == s || decode(s[i:]) != decode(other[i:]) {
		panic("no spare bits")
	}
	return other
}

// spareBitsIn gives a part a length with spare bits, and signs over them.
func spareBitsIn(part int) Change {
	return func(d *Draft) {
		pad := func(s string) string {
			for len(s)%3 == 0 {
				s += " "
			}
			return s
		}
		d.EditHeader, d.EditClaims = pad, pad
		sign := d.Sign
		d.Edit = func(token string) string {
			p := strings.Split(token, ".")
			p[part] = SpareBits(p[part])
			return p[0] + "." + p[1] + "." + Base64(string(sign(p[0]+"."+p[1])))
		}
	}
}

// Length pads the claims so that the token has a length.
func Length(n int) Change {
	return func(d *Draft) {
		d.Claims["pad"] = ""
		for pad := range 3 { // of the header, whose part then has other lengths
			d.Header["pad"] = strings.Repeat("p", pad)
			room := n - len(Base64(Encode(d.Header))) - 1 - 1 - 342
			claims := room * 3 / 4
			if base64.RawURLEncoding.EncodedLen(claims) == room {
				d.Claims["pad"] = strings.Repeat("p", claims-len(Encode(d.Claims)))
				return
			}
		}
		panic("no such length")
	}
}
