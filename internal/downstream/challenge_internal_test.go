package downstream

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for header, want := range map[string][]challenge{
		"":                                 {},
		" , ,":                             {},
		"Negotiate":                        {{"Negotiate", params{}}},
		"NTLM TlRM, Bearer":                {{"NTLM", params{}}, {"Bearer", params{}}}, // a token68
		"Negotiate, Bearer a=b, NTLM":      {{"Negotiate", params{}}, {"Bearer", params{"a": "b"}}, {"NTLM", params{}}},
		`Bearer realm="a, b=\"c\"", x=y`:   {{"Bearer", params{"realm": `a, b="c"`, "x": "y"}}},
		`Basic realm="x",Bearer Error="e"`: {{"Basic", params{"realm": "x"}}, {"Bearer", params{"error": "e"}}},
		`Bearer a = "1" , a="2"`:           {{"Bearer", params{"a": "1"}}}, // the first counts
		`Bearer a="open, b="c"`:            {{"Bearer", params{"a": "open, b="}}, {`c`, params{}}},
		`Bearer a="open`:                   {{"Bearer", params{"a": ""}}},
		`a="of nothing", Bearer`:           nil,
		`"x`:                               {},
	} {
		if got := parseChallenges(header); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", header, got, want)
		}
	}
}

// Claims are read in every encoding that the parsers of Microsoft.Identity.Web, MSAL and
// the Azure SDKs accept, and in a few more.
func TestClaimsInEverySpelling(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"x":{"value":"?>~"}}}`
	std := base64.StdEncoding.EncodeToString([]byte(claims))
	escaped := strings.ReplaceAll(claims, `"`, `\"`)
	for name, headers := range map[string][]string{
		"Microsoft's page":        {`Bearer realm="", authorization_uri="https://a/b", error="insufficient_claims", claims="` + std + `"`},
		"Azure Resource Manager":  {`Bearer authorization_uri="https://a/b", error="invalid_token", error_description="User session has been revoked", claims="` + std + `"`},
		"no error":                {`Bearer claims="` + std + `"`},
		"error in another case":   {`bearer Error="Insufficient_Claims", Claims="` + std + `"`},
		"base64url":               {`Bearer claims="` + base64.URLEncoding.EncodeToString([]byte(claims)) + `"`},
		"without padding":         {`Bearer claims="` + strings.TrimRight(std, "=") + `"`},
		"base64url, no padding":   {`Bearer claims="` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `"`},
		"not quoted":              {`Bearer error=insufficient_claims,claims=` + std + `,x=y`},
		"plain JSON":              {`Bearer claims="` + escaped + `", x="y"`},
		"percent-encoded JSON":    {`Bearer claims="` + url.QueryEscape(claims) + `"`},
		"percent-encoded base64":  {`Bearer claims="` + url.QueryEscape(std) + `"`},
		"blanks around":           {`Bearer  claims = "` + std + ` " , x=y`},
		"after another scheme":    {`PoP nonce="x", Bearer claims="` + std + `"`},
		"in front of another":     {`Bearer claims="` + std + `", PoP nonce="x"`},
		"second header":           {`Basic realm="x"`, `Bearer claims="` + std + `"`},
		"second Bearer challenge": {`Bearer error="invalid_token", Bearer error="insufficient_claims", claims="` + std + `"`},
		"first is broken":         {`Bearer claims="%%%", Bearer claims="` + std + `"`},
	} {
		if got := claimsOf(challengesOf(headers)); got != claims {
			t.Errorf("%s: got %q from %q, want %q", name, got, headers, claims)
		}
	}
	for name, header := range map[string]string{
		"another scheme":  `PoP claims="` + std + `"`,
		"not base64":      `Bearer claims="!"`,
		"not an object":   `Bearer claims="W10="`,
		"empty":           `Bearer claims=""`,
		"none":            `Bearer error="insufficient_claims"`,
		"capabilities":    `Bearer claims="` + base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"xms_cc":{"values":["cp1"]}}}`)) + `"`,
		"twice encoded":   `Bearer claims="` + url.QueryEscape(url.QueryEscape(claims)) + `"`,
		"cut off":         `Bearer claims="` + std[:40] + `"`,
		"never closed":    `Bearer claims="` + std,
		"of another name": `Bearer xclaims="` + std + `"`,
	} {
		if got := claimsOf(challengesOf([]string{header})); got != "" {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

func TestOtherSchemesThanBearer(t *testing.T) {
	for _, row := range []struct {
		headers []string
		want    string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"Bearer"}, ""},
		{[]string{`Basic realm="x"`, "bEARER"}, ""},
		{[]string{`AzureApiManagementKey realm="https://a.example",name="Ocp-Apim-Subscription-Key",type="header"`}, "AzureApiManagementKey"},
		{[]string{`DPoP algs="ES256"`, `PoP nonce="x"`}, "DPoP, PoP"},
		{[]string{"Negotiate, NTLM", "NTLM"}, "Negotiate, NTLM"},
		{[]string{"NTLM TlRMTVNTUAAC"}, "NTLM"}, // and nothing of its secret
		{[]string{"Negotiate YIIB=="}, "Negotiate"},
		{[]string{"a\x1b[31mb\u2028"}, "a??31mb?"},
		{[]string{strings.Repeat("x", 100)}, strings.Repeat("x", maxScheme)},
		{[]string{"a, b, c, d, e, f, g, h, i, j"}, "a, b, c, d, e, f, g, h"},
	} {
		if got := otherSchemes(challengesOf(row.headers)); got != row.want {
			t.Errorf("%q: got %q, want %q", row.headers, got, row.want)
		}
	}
}

// A header of the largest size is parsed quickly, and its claims are too large to be
// passed on.
func TestHugeChallenges(t *testing.T) {
	claims := `{"access_token":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`
	for name, header := range map[string]string{
		"claims":   `Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`,
		"schemes":  strings.Repeat("Bearer ", 150<<10),
		"params":   "Bearer " + strings.Repeat("a=b,", 256<<10),
		"spaces":   "Bearer" + strings.Repeat(" ", 1<<20),
		"quotes":   "Bearer a=" + strings.Repeat(`"`, 1<<20),
		"escapes":  `Bearer a="` + strings.Repeat(`\"`, 512<<10),
		"nothings": strings.Repeat("=", 1<<20),
	} {
		begin := time.Now()
		if got := claimsOf(challengesOf([]string{header})); got != "" {
			t.Errorf("%s: got %d bytes of claims, want none", name, len(got))
		}
		if took := time.Since(begin); took > 5*time.Second { // quadratic would be minutes
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	good := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`))
	for _, seed := range []string{
		`Bearer realm="", error="insufficient_claims", claims="` + good + `"`, `Basic realm="x", Bearer error=insufficient_claims, claims=` + good,
		`Bearer a="\`, `Negotiate abc==`, `=`, `Bearer error="insufficient_claims", claims="bnVsbA=="`, `Bearer error="insufficient_claims", claims="e30"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		size := 0
		for _, c := range parseChallenges(header) {
			if c.scheme == "" || c.params == nil {
				t.Errorf("a challenge without a scheme or parameters: %v", c)
			}
			size += len(c.scheme)
			for name, value := range c.params {
				size += len(name) + len(value)
			}
		}
		if size > 3*len(header) { // in lower case, a byte that is not UTF-8 becomes the three of U+FFFD
			t.Errorf("%d bytes of challenges from %d", size, len(header))
		}
		for name := range strings.SplitSeq(otherSchemes(challengesOf([]string{header})), ", ") {
			if len(name) > maxScheme || strings.ContainsAny(name, "\r\n\x00 \"") {
				t.Errorf("scheme for the log: got %q", name)
			}
		}
		for _, headers := range [][]string{{header}, {"Bearer", header}, {`Bearer error="insufficient_claims", claims="` + header + `"`}} {
			claims := claimsOf(challengesOf(headers))
			var object map[string]map[string]any
			if claims != "" && (json.Unmarshal([]byte(claims), &object) != nil || len(object) == 0 || len(claims) > maxClaims) {
				t.Errorf("claims: got %q, want an object of objects", claims)
			}
		}
	})
}
