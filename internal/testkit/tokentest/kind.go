package tokentest

import "middletier/internal/validate"

// kindRefusals are not what a user or an application calls an API with, or do
// not agree on which of them it is.
var kindRefusals = []Refusal{
	{"an ID token", All(idToken, Claim("nonce", "n")), validate.IDToken, "without scp"},
	{"an ID token with app roles", All(idToken, Claim("roles", []string{"Admin"})), validate.IDToken, "without scp"},
	{"an ID token with app roles and nothing of the user's", All(idToken, NoClaim("oid", "name", "preferred_username"), Claim("roles", []string{"Admin"})), validate.IDToken, "without azp"},
	{"a v1.0 ID token", All(idToken, V1, NoClaim("appid", "appidacr")), validate.IDToken, "without scp"},
	{"an ID token of the client", All(idToken, Claim("aud", "44444444-4444-4444-8444-444444444444")), validate.IDToken, "aud is"},
	{"an ID token of the client that names it", func(d *Draft) {
		client := d.Claims["azp"]
		All(idToken, Claim("aud", client), Claim("azp", client))(d)
	}, validate.IDToken, "aud is"},
	{"an ID token that names us", func(d *Draft) { All(idToken, Claim("azp", d.Claims["aud"]))(d) }, validate.IDToken, "without scp"},
	{"an app's token for itself, without idtyp and roles", func(d *Draft) {
		All(appForm, NoClaim("idtyp", "roles"), Claim("azp", d.Claims["aud"]))(d)
	}, validate.NotAccess, "without roles"},
	{"a client assertion", func(d *Draft) {
		client := d.Claims["azp"]
		d.Claims = map[string]any{"iss": client, "sub": client, "aud": d.Claims["iss"], "jti": "1", "exp": d.Claims["exp"]}
	}, validate.Malformed, "tid is missing"},
	{"a logout token", All(idToken, NoClaim("exp"), Claim("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}})), validate.Malformed, "exp is missing"},
	{"a user's token without scp", NoClaim("scp"), validate.NotAccess, "without scp"},
	{"a user's token without scp and idtyp", NoClaim("scp", "idtyp"), validate.NotAccess, "without scp"},
	{"a user's token with roles, without scp", All(NoClaim("scp"), Claim("roles", []string{"Admin"})), validate.NotAccess, "without scp"},
	{"a user's token with roles, without scp and idtyp", All(NoClaim("scp", "idtyp"), Claim("roles", []string{"Admin"})), validate.NotAccess, "without scp"},
	{"a user's v1.0 token without scp", All(V1, NoClaim("scp")), validate.NotAccess, "without scp"},
	{"scope in place of scp", renamed("scp", "scope"), validate.NotAccess, "without scp"},
	{"scp empty", Claim("scp", ""), validate.NotAccess, "without scp"},
	{"scp of spaces", Claim("scp", "  "), validate.NotAccess, "without scp"},
	{"scp of other white space", Claim("scp", "\t\n\u00a0\u2003"), validate.NotAccess, "without scp"},
	{"idtyp device", Claim("idtyp", "device"), validate.NotAccess, "device"},
	{"idtyp empty", Claim("idtyp", ""), validate.NotAccess, "idtyp"},
	{"idtyp in upper case", Claim("idtyp", "USER"), validate.NotAccess, "idtyp"},
	{"idtyp with a space", Claim("idtyp", "user "), validate.NotAccess, "idtyp"},
	{"idtyp app with scp", Claim("idtyp", "app"), validate.NotAccess, "with scp"},
	{"idtyp app with scp and roles", All(Claim("idtyp", "app"), Claim("roles", []string{"Admin"})), validate.NotAccess, "with scp"},
	{"an app's token without roles", All(appForm, NoClaim("roles")), validate.NotAccess, "without roles"},
	{"an app's token without roles and idtyp", All(appForm, NoClaim("roles", "idtyp")), validate.NotAccess, "without roles"},
	{"an app's token without idtyp, with another sub and a name that is a number", All(appForm, noneIdtyp, Claim("sub", "other"), Claim("name", 7)), validate.NotAccess, "without scp"},
	{"an app's token with empty roles", All(appForm, Claim("roles", []string{})), validate.NotAccess, "without roles"},
	{"an app's token with role in place of roles", All(appForm, renamed("roles", "role")), validate.NotAccess, "without roles"},
	{"an app's token without azp", All(appForm, NoClaim("azp")), validate.NotAccess, "without azp"},
	{"an app's v1.0 token without appid", All(appForm, V1, NoClaim("appid")), validate.NotAccess, "without azp"},
	{"an app's token that says user", All(appForm, Claim("idtyp", "user")), validate.NotAccess, "without scp"},
	{"an app's token with scp", All(appForm, Claim("scp", "Admin")), validate.NotAccess, "with scp"},
	{"an app's token without idtyp that has a user's name and another sub", All(appForm, NoClaim("idtyp"), Claim("sub", "pairwise"), Claim("name", "Alice")), validate.NotAccess, "without scp"},
}

// idToken takes away what an ID token does not have.
var idToken = NoClaim("scp", "azp", "azpacr", "xms_cc", "idtyp")
