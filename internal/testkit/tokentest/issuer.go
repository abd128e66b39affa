package tokentest

import (
	"strings"

	"middletier/internal/validate"
)

// otherTenant is one that is not the API's.
const otherTenant = "fafafafa-2222-4222-8222-22222222abcd"

// V1 makes a v2.0 token one of v1.0.
var V1 = All(
	rewritten("iss", func(s string) string { return strings.TrimSuffix(s, "v2.0") }),
	Claim("ver", "1.0"),
	renamed("azp", "appid"), renamed("azpacr", "appidacr"),
)

// issuerRefusals are of another issuer or tenant, or do not say of which.
var issuerRefusals = []Refusal{
	{"iss missing", NoClaim("iss"), validate.Malformed, "iss is missing"},
	{"iss empty", Claim("iss", ""), validate.Malformed, "iss is missing"},
	{"iss on another host", rewritten("iss", replaced("https://", "https://evil.example/")), validate.WrongIssuer, "iss is"},
	{"iss with another host before it", rewritten("iss", before("https://evil.example/")), validate.WrongIssuer, "iss is"},
	{"iss with a user before the host", rewritten("iss", replaced("https://", "https://evil@")), validate.WrongIssuer, "iss is"},
	{"iss of the real cloud", func(d *Draft) {
		d.Claims["iss"] = "https://login.microsoftonline.com/" + d.Claims["tid"].(string) + "/v2.0"
	}, validate.WrongIssuer, "iss is"},
	{"iss of v1.0 in a v2.0 token", rewritten("iss", func(s string) string { return strings.TrimSuffix(s, "v2.0") }), validate.WrongIssuer, "iss is"},
	{"ver 1.0 with iss of v2.0", Claim("ver", "1.0"), validate.WrongIssuer, "iss is"},
	{"a v1.0 token with ver 2.0", All(V1, Claim("ver", "2.0")), validate.WrongIssuer, "iss is"},
	{"a v1.0 token without the slash in iss", All(V1, rewritten("iss", func(s string) string { return strings.TrimSuffix(s, "/") })), validate.WrongIssuer, "iss is"},
	{"ver 3.0", Claim("ver", "3.0"), validate.WrongIssuer, "iss is"},
	{"ver 2", Claim("ver", "2"), validate.WrongIssuer, "iss is"},
	{"ver with a space", Claim("ver", "2.0 "), validate.WrongIssuer, "iss is"},
	{"iss of another tenant", tenantEdit("iss", becomes(otherTenant)), validate.WrongIssuer, "iss is"},
	{"iss of organizations", tenantEdit("iss", becomes("organizations")), validate.WrongIssuer, "iss is"},
	{"iss with a slash at the end", rewritten("iss", after("/")), validate.WrongIssuer, "iss is"},
	{"iss with two slashes in it", rewritten("iss", replaced("/v2.0", "//v2.0")), validate.WrongIssuer, "iss is"},
	{"iss with dots in its path", rewritten("iss", replaced("/v2.0", "/x/../v2.0")), validate.WrongIssuer, "iss is"},
	{"iss percent-encoded", rewritten("iss", replaced("/v2.0", "/v2%2E0")), validate.WrongIssuer, "iss is"},
	{"iss with its scheme in upper case", rewritten("iss", replaced("https", "HTTPS")), validate.WrongIssuer, "iss is"},
	{"iss with http", rewritten("iss", replaced("https", "http")), validate.WrongIssuer, "iss is"},
	{"iss with a query", rewritten("iss", after("?x")), validate.WrongIssuer, "iss is"},
	{"iss with a fragment", rewritten("iss", after("#x")), validate.WrongIssuer, "iss is"},
	{"iss with a space", rewritten("iss", after(" ")), validate.WrongIssuer, "iss is"},
	{"iss with a NUL", rewritten("iss", after("\x00")), validate.WrongIssuer, "iss is"},
	{"iss a template", tenantEdit("iss", becomes("{tenantid}")), validate.WrongIssuer, "iss is"},

	{"tid missing", NoClaim("tid"), validate.Malformed, "tid is missing"},
	{"tid not a GUID", Claim("tid", "contoso.example"), validate.Malformed, "not a GUID"},
	{"tid a GUID in braces", rewritten("tid", func(s string) string { return "{" + s + "}" }), validate.Malformed, "not a GUID"},
	{"tid a GUID without hyphens", rewritten("tid", func(s string) string { return strings.ReplaceAll(s, "-", "") }), validate.Malformed, "not a GUID"},
	{"tid a GUID of other digits", rewritten("tid", func(s string) string { return "g" + s[1:] }), validate.Malformed, "not a GUID"},
	{"tid with a space", rewritten("tid", after(" ")), validate.Malformed, "not a GUID"},
	{"tid a path", rewritten("tid", after("/..")), validate.Malformed, "not a GUID"},
	{"tid and iss a template", tenantEverywhere("{tenantid}"), validate.Malformed, "not a GUID"},
	{"tid and iss a domain", tenantEverywhere("contoso.example"), validate.Malformed, "not a GUID"},
	{"tid and iss organizations", tenantEverywhere("organizations"), validate.Malformed, "not a GUID"},
	{"tid and iss empty", tenantEverywhere(""), validate.Malformed, "tid is missing"},
	{"v1.0, tid and iss a template", All(V1, tenantEverywhere("{tenantid}")), validate.Malformed, "not a GUID"},
	{"tid another tenant", Claim("tid", otherTenant), validate.WrongIssuer, "tid is"},
	{"tid and iss another tenant", tenantEverywhere(otherTenant), validate.WrongIssuer, "iss is"},
	{"v1.0, tid another tenant", All(V1, Claim("tid", otherTenant)), validate.WrongIssuer, "tid is"},
	{"v1.0, tid and iss another tenant", All(V1, tenantEverywhere(otherTenant)), validate.WrongIssuer, "iss is"},
	{"sub and oid missing", NoClaim("sub", "oid"), validate.Malformed, "sub or oid is missing"},
	{"sub and oid empty", All(Claim("sub", ""), Claim("oid", "")), validate.Malformed, "sub or oid is missing"},
}

// tenantEverywhere puts another tenant in the place of the token's.
func tenantEverywhere(tenant string) Change {
	return All(tenantEdit("iss", becomes(tenant)), Claim("tid", tenant))
}

// tenantEdit changes the tenant's GUID where it stands in another claim.
func tenantEdit(name string, f func(string) string) Change {
	return func(d *Draft) {
		tenant := d.Claims["tid"].(string)
		d.Claims[name] = strings.Replace(d.Claims[name].(string), tenant, f(tenant), 1)
	}
}
