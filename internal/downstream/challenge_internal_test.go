package downstream

import (
	"encoding/base64"
	"encoding/json"
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

// A header of the largest size is read in a time that nobody notices, and its
// claims are too large to be passed on.
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
		if got := claimsOf([]string{header}); got != "" {
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
		for _, headers := range [][]string{{header}, {"Bearer", header}, {`Bearer error="insufficient_claims", claims="` + header + `"`}} {
			claims := claimsOf(headers)
			var object map[string]map[string]any
			if claims != "" && (json.Unmarshal([]byte(claims), &object) != nil || len(object) == 0 || len(claims) > maxClaims) {
				t.Errorf("claims: got %q, want an object of objects", claims)
			}
		}
	})
}
