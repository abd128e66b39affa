package tokentest

import (
	"fmt"
	"strings"

	"middletier/internal/validate"
)

// jsonRefusals are claims that two readers of JSON could understand differently,
// or that cost too much to read.
var jsonRefusals = []Refusal{
	{"aud twice", EditClaims(Appended(`"aud":"x"`)), validate.Malformed, `"/aud" occurs twice`},
	{"exp twice", EditClaims(Appended(`"exp":4102444800`)), validate.Malformed, "claims: "},
	{"roles twice", EditClaims(Appended(`"roles":[],"roles":["Admin"]`)), validate.Malformed, "claims: "},
	{"aud twice, once escaped", EditClaims(Appended(`"\u0061ud":"x"`)), validate.Malformed, "claims: "},
	{"an unread member twice", EditClaims(Appended(`"x":1,"x":1`)), validate.Malformed, `"/x" occurs twice`},
	{"name twice", EditClaims(Appended(`"name":"x","name":"x"`)), validate.Malformed, `"/name" occurs twice`},
	{"a nested member twice", EditClaims(Appended(`"x":{"a":1,"a":2}`)), validate.Malformed, "claims: "},
	{"a member nested in an array twice", EditClaims(Appended(`"x":[{"a":1,"a":2}]`)), validate.Malformed, "claims: "},
	{"aud and Aud", EditClaims(Appended(`"Aud":"x"`)), validate.Malformed, "only in case"},
	{"scp and SCP", EditClaims(Appended(`"SCP":"Admin"`)), validate.Malformed, "only in case"},
	{"iss and iſs", EditClaims(Appended(`"iſs":"x"`)), validate.Malformed, "only in case"},
	{"idtyp and IdTyp", EditClaims(Appended(`"IdTyp":"app"`)), validate.Malformed, `"IdTyp"`},
	{"exp and eXp", EditClaims(Appended(`"eXp":4102444800`)), validate.Malformed, `"eXp"`},
	{"roles and Roles", EditClaims(Appended(`"roles":[],"Roles":["Admin"]`)), validate.Malformed, `"Roles"`},
	{"azp and Azp", EditClaims(Appended(`"Azp":"x"`)), validate.Malformed, `"Azp"`},
	{"EXP alone", All(NoClaim("exp"), Claim("EXP", 4102444800)), validate.Malformed, "exp is missing"},
	{"AUD alone", renamed("aud", "AUD"), validate.Malformed, "aud is missing"},
	{"ISS alone", renamed("iss", "Iss"), validate.Malformed, "iss is missing"},
	{"TID alone", renamed("tid", "tId"), validate.Malformed, "tid is missing"},
	{"SCP alone", renamed("scp", "SCP"), validate.NotAccess, "without scp"},
	{"Roles alone, of an app", All(appForm, renamed("roles", "Roles")), validate.NotAccess, "without roles"},
	{"trailing object", EditClaims(after("{}")), validate.Malformed, "claims: "},
	{"trailing text", EditClaims(after("x")), validate.Malformed, "claims: "},
	{"trailing comma", EditClaims(func(s string) string { return strings.TrimSuffix(s, "}") + ",}" }), validate.Malformed, "claims: "},
	{"trailing NUL", EditClaims(after("\x00")), validate.Malformed, "claims: "},
	{"leading byte order mark", EditClaims(before("\ufeff")), validate.Malformed, "claims: "},
	{"leading comma", EditClaims(replaced("{", "{,")), validate.Malformed, "claims: "},
	{"a comment", EditClaims(after("/**/")), validate.Malformed, "claims: "},
	{"cut short", EditClaims(func(s string) string { return strings.TrimSuffix(s, "}") }), validate.Malformed, "claims: "},
	{"single quotes", EditClaims(Appended(`'x':1`)), validate.Malformed, "claims: "},
	{"a name without quotes", EditClaims(Appended(`x:1`)), validate.Malformed, "claims: "},
	{"NaN", EditClaims(Appended(`"x":NaN`)), validate.Malformed, "claims: "},
	{"a number with a leading zero", EditClaims(Appended(`"x":01`)), validate.Malformed, "claims: "},
	{"a hexadecimal number", EditClaims(Appended(`"x":0x1`)), validate.Malformed, "claims: "},
	{"not UTF-8", EditClaims(Appended("\"x\":\"\xc3\x28\"")), validate.Malformed, "claims: "},
	{"not UTF-8, nested", EditClaims(Appended("\"x\":{\"y\":[\"\xff\"]}")), validate.Malformed, "claims: "},
	{"UTF-16", EditClaims(func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			b.Write([]byte{c, 0})
		}
		return b.String()
	}), validate.Malformed, "claims: "},
	{"an overlong slash", EditClaims(Appended("\"x\":\"\xc0\xaf\"")), validate.Malformed, "claims: "},
	{"half a surrogate pair", EditClaims(Appended(`"x":"\ud800"`)), validate.Malformed, "claims: "},
	{"a control character in a string", EditClaims(Appended("\"x\":\"\n\"")), validate.Malformed, "claims: "},
	{"nested too deeply", EditClaims(Appended(`"x":` + Nested(8))), validate.Malformed, "too deeply"},
	{"nested in objects too deeply", EditClaims(Appended(`"x":` + strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8))), validate.Malformed, "too deeply"},
	{"nested 9,000 deep", EditClaims(Appended(`"x":` + Nested(9000))), validate.Malformed, "too deeply"},
	{"too many members", EditClaims(Appended(many(256))), validate.Malformed, "too many"},
	{"claims an array", EditClaims(func(s string) string { return "[" + s + "]" }), validate.Malformed, "not a JSON object"},
	{"claims a string", EditClaims(func(s string) string { return Encode(s) }), validate.Malformed, "not a JSON object"},
	{"claims null", EditClaims(becomes("null")), validate.Malformed, "not a JSON object"},
	{"claims a token", func(d *Draft) { inner := d.source.UserDraft().Token(); d.EditClaims = becomes(inner) }, validate.Malformed, "claims: "},
	{"claims empty", EditClaims(becomes("")), validate.Malformed, "claims: "},
	{"claims of no members", EditClaims(becomes("{}")), validate.Malformed, "is missing"},
	{"claims one level down", EditClaims(func(s string) string { return `{"claims":` + s + `}` }), validate.Malformed, "is missing"},
}

func renamed(name, other string) Change {
	return func(d *Draft) {
		d.Claims[other] = d.Claims[name]
		delete(d.Claims, name)
	}
}

// values are of every type that JSON has.
var values = []struct {
	kind  string
	value any
}{
	{"null", nil},
	{"a number", 1700000000},
	{"a string", "1700000000"},
	{"true", true},
	{"an array", []any{"a"}},
	{"an array of a number", []any{"a", 1}},
	{"an array of null", []any{nil}},
	{"an array in an array", []any{[]any{"a"}}},
	{"an object", map[string]any{"value": "a"}},
}

// typeAcceptances holds claims that decide nothing, with a value of every type.
func typeAcceptances() []Acceptance {
	var rows []Acceptance
	for _, name := range []string{"name", "xms_cc", "preferred_username", "upn", "groups", "wids", "acrs", "auth_time", "extn.department"} {
		for _, v := range values {
			rows = append(rows, Acceptance{name + " " + v.kind, Claim(name, v.value), false})
		}
	}
	return rows
}

// typeRefusals holds every claim that decides with a value of every other type.
func typeRefusals() []Refusal {
	var rows []Refusal
	for _, claims := range []struct {
		right string
		names []string
	}{
		{"a string", []string{"iss", "aud", "ver", "tid", "oid", "sub", "azp", "appid", "scp", "idtyp"}},
		{"a number", []string{"exp", "nbf", "iat"}},
		{"an array", []string{"roles"}},
	} {
		for _, name := range claims.names {
			for _, v := range values {
				reason := validate.Malformed
				if name == "idtyp" {
					reason = validate.NotAccess
				}
				if v.kind != claims.right {
					rows = append(rows, Refusal{name + " " + v.kind, Claim(name, v.value), reason, fmt.Sprintf("%q is not a", name)})
				}
			}
		}
	}
	return rows
}
