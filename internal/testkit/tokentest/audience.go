package tokentest

import (
	"strings"

	"middletier/internal/validate"
)

// audienceRefusals are for another API. Ours goes by its client id, and by api://
// and its client id.
var audienceRefusals = []Refusal{
	{"aud missing", NoClaim("aud"), validate.Malformed, "aud is missing"},
	{"aud empty", Claim("aud", ""), validate.Malformed, "aud is missing"},
	{"aud an array of ours", func(d *Draft) { d.Claims["aud"] = []any{d.Claims["aud"]} }, validate.Malformed, `"aud"`},
	{"aud of another API", Claim("aud", "aaaaaaaa-0000-4000-8000-000000000009"), validate.WrongAud, ""},
	{"aud of Graph", Claim("aud", "https://graph.microsoft.com"), validate.ForGraph, ""},
	{"aud of Graph, with a slash", Claim("aud", "https://graph.microsoft.com/"), validate.ForGraph, ""},
	{"aud of Graph in China", Claim("aud", "https://microsoftgraph.chinacloudapi.cn/"), validate.ForGraph, ""},
	{"aud of Graph, an ID token's claims", All(idToken, Claim("aud", "https://graph.microsoft.com")), validate.ForGraph, ""},
	{"aud of a host that begins like Graph's", Claim("aud", "https://graph.microsoft.com.evil.example"), validate.WrongAud, ""},
	{"aud of Graph, by its GUID", Claim("aud", "00000003-0000-0000-c000-000000000000"), validate.ForGraph, ""},
	{"aud of the client", func(d *Draft) { d.Claims["aud"] = d.Claims["azp"] }, validate.WrongAud, ""},
	{"aud of the issuer", func(d *Draft) { d.Claims["aud"] = d.Claims["iss"] }, validate.WrongAud, ""},
	{"aud with two slashes", rewritten("aud", func(s string) string { return "api://" + s + "//" }), validate.WrongAud, ""},
	{"aud with a slash before it", rewritten("aud", func(s string) string { return "api:///" + s }), validate.WrongAud, ""},
	{"aud with a backslash", rewritten("aud", func(s string) string { return "api://" + s + `\` }), validate.WrongAud, ""},
	{"aud a GUID with a slash", rewritten("aud", after("/")), validate.WrongAud, ""},
	{"aud a slash", Claim("aud", "/"), validate.WrongAud, ""},
	{"aud api:// alone", Claim("aud", "api://"), validate.WrongAud, ""},
	{"aud with a scope after it", rewritten("aud", func(s string) string { return "api://" + s + "/Read" }), validate.WrongAud, ""},
	{"aud with another scheme", rewritten("aud", before("https://")), validate.WrongAud, ""},
	{"aud with its scheme in upper case", rewritten("aud", before("API://")), validate.WrongAud, ""},
	{"aud with spn", rewritten("aud", before("spn:")), validate.WrongAud, ""},
	{"aud on our host", rewritten("aud", before("api://contoso.example/")), validate.WrongAud, ""},
	{"aud a prefix", rewritten("aud", func(s string) string { return s[:35] }), validate.WrongAud, ""},
	{"aud with more after it", rewritten("aud", after("0")), validate.WrongAud, ""},
	{"aud in braces", rewritten("aud", func(s string) string { return "{" + s + "}" }), validate.WrongAud, ""},
	{"aud without hyphens", rewritten("aud", func(s string) string { return strings.ReplaceAll(s, "-", "") }), validate.WrongAud, ""},
	{"aud percent-encoded", rewritten("aud", func(s string) string { return strings.Replace(s, "-", "%2D", 1) }), validate.WrongAud, ""},
	{"aud with other hyphens", rewritten("aud", func(s string) string { return strings.ReplaceAll(s, "-", "‐") }), validate.WrongAud, ""},
	{"aud with a space", rewritten("aud", after(" ")), validate.WrongAud, ""},
	{"aud with a NUL", rewritten("aud", after("\x00")), validate.WrongAud, ""},
	{"aud two in one", rewritten("aud", after(" api://other")), validate.WrongAud, ""},
	{"aud a pattern", Claim("aud", "*"), validate.WrongAud, ""},
}
