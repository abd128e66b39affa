package tokentest

import (
	"slices"
	"strings"
	"time"

	"middletier/internal/validate"
)

// Acceptance is a good token of a user that is good still when it is changed, also
// to be traded: it has the scope or app permission that it had, and perhaps more.
type Acceptance struct {
	Name   string
	Change Change
	App    bool // it is an application's
}

// Acceptances are the kinds of tokens that Entra issues, and what a token may
// hold besides.
func Acceptances() []Acceptance {
	return slices.Concat(kindAcceptances, claimAcceptances, timeAcceptances, jsonAcceptances, typeAcceptances())
}

var kindAcceptances = []Acceptance{
	{"v2.0 user", All(), false},
	{"v2.0 app", appForm, true},
	{"v1.0 user", V1, false},
	{"v1.0 app", All(appForm, V1), true},
	{"v1.0 user, as Entra has it", All(V1, noneIdtyp, Claim("acr", "1"), Claim("amr", []string{"pwd", "mfa"}), Claim("ipaddr", "192.0.2.1"), Claim("unique_name", "alice@contoso.example"), Claim("upn", "alice@contoso.example"), Claim("appidacr", "0"), xms), false},
	{"v2.0 user, as Entra has it", All(noneIdtyp, Claim("aio", "AXQAi/8X"), Claim("azpacr", "0"), Claim("sid", "s"), xms), false},
	{"a user without idtyp", noneIdtyp, false},
	{"v1.0 user without idtyp", All(V1, noneIdtyp), false},
	{"an app without idtyp, oid the same as sub", All(appForm, noneIdtyp), true},
	{"an app without idtyp, with a name, oid the same as sub", All(appForm, noneIdtyp, Claim("name", "Daemon")), true},
	{"an app without idtyp, another sub, no claim of a user", All(appForm, noneIdtyp, Claim("sub", "other")), true},
	{"v1.0 app without idtyp", All(appForm, V1, noneIdtyp), true},
	{"a user without ver", NoClaim("ver"), false},
	{"v1.0 user, aud the URI", All(V1, rewritten("aud", before("api://"))), false},
	{"v2.0 user, aud the URI", rewritten("aud", before("api://")), false},
	{"v1.0 user, aud the URI with a slash", All(V1, rewritten("aud", func(s string) string { return "api://" + s + "/" })), false},
	{"v2.0 user, aud the URI with a slash", rewritten("aud", func(s string) string { return "api://" + s + "/" }), false},
	{"a guest", All(Claim("idp", "https://sts.windows.net/"+otherTenant+"/"), Claim("email", "frida@fabrikam.example")), false},
	{"a guest of personal accounts", All(Claim("idp", "live.com"), Claim("altsecid", "1:live.com:0003"), Claim("email", "frida@example.com")), false},
	{"a user without azp", NoClaim("azp"), false},
	{"a user that cannot answer claims challenges", NoClaim("xms_cc"), false},
	{"a user whose app can answer claims challenges", Claim("xms_cc", []string{"CP1"}), false},
	{"a user with groups", Claim("groups", []string{otherTenant}), false},
	{"a user with more groups than fit", All(Claim("_claim_names", map[string]any{"groups": "src1"}), Claim("_claim_sources", map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/x/users/y/getMemberObjects"}})), false},
	{"a user with more groups than fit, of the implicit flow", Claim("hasgroups", true), false},
	{"a token of 18 KB", Length(18_003), false},
	{"of the greatest length", Length(validate.MaxTokenSize), false},
}

var claimAcceptances = []Acceptance{
	{"several scopes", rewritten("scp", after(" openid profile")), false},
	{"the scope in the middle", rewritten("scp", func(s string) string { return "openid " + s + " profile" }), false},
	{"scopes with spaces between and around", rewritten("scp", func(s string) string { return "  openid  " + s + " " }), false},
	{"a scope twice", rewritten("scp", func(s string) string { return s + " " + s }), false},
	{"a scope with dots, slashes and colons", rewritten("scp", after(" https://api.example/Files.Read:all")), false},
	{"a user with roles too", Claim("roles", []string{"Admin"}), false},
	{"a user with roles too, without idtyp", All(Claim("roles", []string{"Admin"}), noneIdtyp), false},
	{"a user with roles too, without idtyp and any claim of a user", All(Claim("roles", []string{"Admin"}), noneIdtyp, NoClaim("name", "preferred_username")), false},
	{"a user with no roles", Claim("roles", []string{}), false},
	{"an app with several roles", All(appForm, func(d *Draft) { d.Claims["roles"] = append([]string{"Other.All"}, d.Claims["roles"].([]string)...) }), true},
	{"an app with directory roles and a role that is empty", All(appForm, Claim("wids", []string{otherTenant}), func(d *Draft) { d.Claims["roles"] = append([]string{""}, d.Claims["roles"].([]string)...) }), true},
	{"arrays that Entra emits", All(Claim("wids", []string{otherTenant}), Claim("acrs", []string{"c1", "p1"}), Claim("amr", []string{"pwd", "rsa"}), Claim("ssm", "1")), false},
	{"arrays with one value, and with none", All(Claim("xms_cc", []string{}), Claim("groups", []any{}), Claim("acrs", []string{"c1"})), false},
	{"tid in upper case", rewritten("tid", strings.ToUpper), false},
	{"typ missing", NoHeader("typ"), false},
	{"typ in lower case", Header("typ", "jwt"), false},
	{"typ at+jwt", Header("typ", "at+jwt"), false},
	{"typ application/at+jwt", Header("typ", "application/at+jwt"), false},
	{"typ Application/AT+JWT", Header("typ", "Application/AT+JWT"), false},
	{"typ application/jwt", Header("typ", "application/jwt"), false},
	{"x5t, as v1.0 has it", func(d *Draft) { d.Header["x5t"] = d.Header["kid"] }, false},
	{"jku, x5u and jwk, which are not looked at", All(pointsElsewhere("jku"), pointsElsewhere("x5u"), Header("jwk", 1), Header("x5c", []string{"AA=="})), false},
	{"claims repeated in the header, which are not looked at", All(Header("iss", "x"), Header("aud", "x"), Header("exp", 1)), false},
}

var timeAcceptances = []Acceptance{
	{"iat ahead by the skew", Ahead("iat", time.Minute), false},
	{"no nbf and iat", NoClaim("nbf", "iat"), false},
	{"exp with a fraction", func(d *Draft) { d.Claims["exp"] = float64(time.Now().Unix()) + 3600.5 }, false},
	{"exp as 1e10", All(NoClaim("exp"), EditClaims(Appended(`"exp":1e10`))), false},
	{"exp at the end of the year 9999", Claim("exp", 253402300799), false},
	{"exp in a day, as of continuous access evaluation", Ahead("exp", 28*time.Hour), false},
}

var jsonAcceptances = []Acceptance{
	{"white space in the JSON", EditClaims(func(s string) string { return " \r\n\t" + strings.Replace(s, ",", " ,\n ", 1) + " \n" }), false},
	{"white space in the header", EditHeader(func(s string) string { return strings.ReplaceAll(s, ",", ",\n\t") }), false},
	{"members of every type that are not read", EditClaims(Appended(`"x":null,"y":[1,[{"a":{"b":[true,1e999]}}]],"z":{"aud":["x"],"AUD":1}`)), false},
	{"xms_cc in two spellings", EditClaims(Appended(`"XMS_CC":["cp1"]`)), false},
	{"name in two spellings, and extension claims", EditClaims(Appended(`"Name":7,"extn_Dept":"a","extn_dept":["b"],"\u212aey":1,"key":2`)), false},
	{"header members that decide nothing in two spellings", EditHeader(Appended(`"x5t":"a","X5T":"b","nonce":1,"Nonce":2`)), false},
	{"the same name in two objects", EditClaims(Appended(`"x":{"a":1},"y":{"a":1}`)), false},
	{"nested as deep as can be", EditClaims(Appended(`"x":` + Nested(7))), false},
	{"escaped text", EditClaims(replaced(`"scp":"`, `"\u0073cp":"\u0020`)), false},
	{"text that is not ASCII", All(Claim("name", "Алиса 爱丽丝 \U0001f407"), Claim("family_name", "Ƶ")), false},
}

var (
	noneIdtyp = NoClaim("idtyp")
	xms       = All(Claim("xms_tcdt", 1700000000), Claim("xms_idrel", "1 2"), Claim("xms_ftd", "x"))
)
