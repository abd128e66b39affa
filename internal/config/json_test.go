package config_test

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"middletier/internal/config"
)

// loadJSON reads text as a JSON file over the defaults.
func loadJSON(t *testing.T, text string, environ ...string) (settings, string) {
	t.Helper()
	got := defaults()
	doc, err := config.Parse("appsettings.json", []byte(text), config.Input{Environ: environ}, &got)
	if err == nil {
		err = doc.Err()
	}
	if err == nil {
		return got, ""
	}
	return got, err.Error()
}

// inUTF16 returns text in UTF-16 with a byte order mark.
func inUTF16(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func TestJSONIsReadAsByNET(t *testing.T) {
	azureAd := func(change func(*azure)) func(*settings) { return func(s *settings) { change(&s.Azure) } }
	for _, row := range []struct {
		name, text string
		environ    []string
		want       func(*settings)
	}{
		{"empty object", "{}", nil, nil},
		{
			"comments and trailing commas", "// a\n{ /* \"x\": */ \"AzureAd\": { \"TenantId\": \"t//t\", }, // b\n}\n// c", nil,
			azureAd(func(a *azure) { a.TenantID = "t//t" }),
		},
		{"byte order mark", "\ufeff{\"azuread\":{\"tenantid\":\"t\"}}", nil, azureAd(func(a *azure) { a.TenantID = "t" })},
		{"UTF-16, little endian", inUTF16(`{"AzureAd":{"TenantId":"tä😀"}}`, binary.LittleEndian), nil, azureAd(func(a *azure) { a.TenantID = "tä😀" })},
		{"UTF-16, big endian", inUTF16(`{"AzureAd":{"TenantId":"tä😀"}}`, binary.BigEndian), nil, azureAd(func(a *azure) { a.TenantID = "tä😀" })},
		{
			"flat keys", `{"AzureAd:TenantId":"t","AzureAd:Audiences:1":"b","AzureAd:Audiences:0":"a"}`, nil,
			azureAd(func(a *azure) { a.TenantID, a.Audiences = "t", []string{"a", "b"} }),
		},
		{
			"flat key before its section", `{"AzureAd:TenantId":"t","AzureAd":{"Audiences":["a"]}}`, nil,
			azureAd(func(a *azure) { a.TenantID, a.Audiences = "t", []string{"a"} }),
		},
		{
			"two sections that differ in case", `{"AzureAd":{"TenantId":"t"},"AZUREAD":{"Audiences":["a"]}}`, nil,
			azureAd(func(a *azure) { a.TenantID, a.Audiences = "t", []string{"a"} }),
		},
		{
			"objects for lists", `{"AzureAd":{"Audiences":{"10":"k","9":"j","b":"m","A":"l"},"ClientCredentials":{"x":{"SourceType":"s"}}}}`, nil,
			azureAd(func(a *azure) {
				a.Audiences, a.Credentials = []string{"j", "k", "l", "m"}, []credential{{Source: "s"}}
			}),
		},
		{
			"numbers and booleans as text", `{"AzureAd":{"TenantId":12.50,"Audiences":[true,1e3]}}`, nil,
			azureAd(func(a *azure) { a.TenantID, a.Audiences = "12.50", []string{"true", "1e3"} }),
		},
		{
			"text as number and boolean", `{"Server":{"Burst":"7","Ratio":"0.5","ServerTiming":"True"}}`, nil,
			func(s *settings) { s.Server.Burst, s.Server.Ratio, s.Server.Timing = 7, 0.5, true },
		},
		{"null is absent", `{"Server":{"Address":null},"AzureAd":null}`, nil, nil},
		{"escapes", `{"AzureAd":{"\u0054enantId":"\u00e4\n\/"}}`, nil, azureAd(func(a *azure) { a.TenantID = "ä\n/" })},
		{
			"environment over an object for a list", `{"AzureAd":{"Audiences":{"0":"a","1":"b"}}}`,
			[]string{"AzureAd__Audiences__1=c"},
			azureAd(func(a *azure) { a.Audiences = []string{"a", "c"} }),
		},
		{"environment with colons", `{}`, []string{"AzureAd:TenantId=t"}, azureAd(func(a *azure) { a.TenantID = "t" })},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, mistakes := loadJSON(t, row.text, row.environ...)
			if mistakes != "" {
				t.Fatal(mistakes)
			}
			checkSettings(t, got, want(row.want))
		})
	}
}

func TestMistakesInJSON(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", `appsettings.json:2:1: is not valid JSON: the file ends too early`},
		{"a list", "[]", `appsettings.json:1: expected an object of keys and values, got a list`},
		{"a hash", "{\n# a\n}", `appsettings.json:2:1: is not valid JSON: unexpected character at start of value`},
		{"single quotes", "{\n'a': 1}", `appsettings.json:2:1: is not valid JSON: unexpected character at start of value`},
		{"no quotes", "{\n\"a\": yes}", `appsettings.json:2:6: is not valid JSON: expected a text in double quotes, a number, true, false or null`},
		{"two values", "{}\n{}", `appsettings.json:2:1: is not valid JSON: unexpected character after top-level value`},
		{"comma missing", "{\"labels\": {\"a\": \"b\"\n\"c\": 1}}", `appsettings.json:2:1: is not valid JSON: unexpected character after object value (expecting ',' or '}')`},
		{"cut off", "{\"labels\": {", `appsettings.json:2:1: is not valid JSON: the file ends too early`},
		{"cut off comment", "{} /* a", `appsettings.json:1:4: is not valid JSON: the file ends too early`},
		{"twice", "{\"labels\":{\"a\":1,\n\"A\":2}}", `appsettings.json:2: labels.A: given twice, on lines 1 and 2`},
		{
			"twice, once flat", "{\"AzureAd\":{\"TenantId\":\"t\"},\n\"azuread:tenantid\":\"u\"}",
			`appsettings.json:2: azuread.tenantid: given twice, on lines 1 and 2`,
		},
		{"unknown key after a comment", "/*\n\n*/{\"AzureAd\":\n{\"TenentId\":\"t\"}}", `appsettings.json:4: azureAd.TenentId: unknown key; did you mean "tenantId"?`},
		{"not UTF-8", "{\n\"a\":\"\xff\"}", `appsettings.json:2: is neither UTF-8, nor UTF-16 with a byte order mark`},
		{"UTF-16, half a character", "\xff\xfe{", `appsettings.json: is not valid UTF-16`},
		{"deep", strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101), `appsettings.json: is nested more than 100 levels deep`},
		{"very deep", strings.Repeat(`[`, 200_000), `appsettings.json: holds more than 100000 values`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, got := loadJSON(t, row.text); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// Qz7Kw9Xv is the secret.
func TestMistakesInJSONQuoteNoSecret(t *testing.T) {
	for _, text := range []string{
		`{"AzureAd":{"ClientCredentials":[{"ClientSecret":Qz7Kw9Xv}]}}`,
		`{"AzureAd":{"ClientCredentials":[{"ClientSecret":'Qz7Kw9Xv'}]}}`,
		`{"AzureAd":{"ClientCredentials":[{"ClientSecret":"\qQz7Kw9Xv"}]}}`,
		`{"AzureAd":{"ClientCredentials":[{"ClientSecret":"a"Qz7Kw9Xv}]}}`,
		"{\"AzureAd\":{\"ClientCredentials\":[{\"ClientSecret\":\"Qz7Kw9Xv\n\"}]}}",
		`{"AzureAd":{"ClientCredentials":[{"ClientSecret":["Qz7Kw9Xv"]}]}}`,
		`{"AzureAd":{"ClientCredentials":["Qz7Kw9Xv"]}}`,
		`{"AzureAd":{"ClientCredentials":"Qz7Kw9Xv"}}`,
		`{"AzureAd":{"ClientCredentials":{"a":"Qz7Kw9Xv"}}}`,
	} {
		_, got := loadJSON(t, text)
		if got == "" || strings.Contains(got, "Qz") || strings.Contains(got, "7K") {
			t.Errorf("%s: got %q", text, got)
		}
	}
}

func TestDurationsAsByNET(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:00:30": 30 * time.Second, "1:2:3": time.Hour + 2*time.Minute + 3*time.Second,
		"1.00:00:00": 24 * time.Hour, "00:00:00.5": 500 * time.Millisecond, "2.01:00:00.25": 49*time.Hour + 250*time.Millisecond,
	} {
		if got, mistakes := load(t, "server: {timeout: '"+text+"'}"); mistakes != "" || got.Server.Timeout != want {
			t.Errorf("%s: got %v %s, want %v", text, got.Server.Timeout, mistakes, want)
		}
		if got, mistakes := load(t, "server:\n  timeout: "+text+"\n"); mistakes != "" || got.Server.Timeout != want {
			t.Errorf("%s without quotes: got %v %s, want %v", text, got.Server.Timeout, mistakes, want)
		}
	}
	for _, text := range []string{
		"24:00:00", "00:60:00", "00:00:60", "00:30", "1.2.00:00:00", "-00:00:30", "999999.00:00:00", "::", "00:00:30s",
	} {
		if got, mistakes := load(t, "server: {timeout: '"+text+"'}"); !strings.Contains(mistakes, "expected a duration") {
			t.Errorf("%s: got %v %s, want a mistake", text, got.Server.Timeout, mistakes)
		}
	}
}

func TestLaterFilesWinKeyByKey(t *testing.T) {
	folder := t.TempDir()
	var files []string
	for i, text := range []string{
		`{"Server":{"Address":"a","Burst":1},"AzureAd":{"Audiences":["a","b"],"ClientCredentials":[{"SourceType":"s","ClientSecret":"x"}]}}`,
		`{"AzureAd":{"Audiences":{"1":"c","2":"d"},"ClientCredentials":[{"SourceType":"t"}]},"Server":{"Address":null}}`,
	} {
		files = append(files, filepath.Join(folder, strconv.Itoa(i)+".json"))
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files = append(files, filepath.Join(folder, "2.yaml"))
	if err := os.WriteFile(files[2], []byte("azureAd:\n  audiences: [z]\nserver:\n  burst: x\nlabels: {a: b, A: c}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := defaults()
	doc, err := config.Load(config.Input{Files: files, Environ: []string{"AzureAd__Audiences__1=y"}}, &got)
	if err != nil {
		t.Fatal(err)
	}
	mistakes := files[2] + ":4: server.burst: expected a whole number, got \"x\"\n" + files[2] + ":5: labels.A: given twice, on lines 5 and 5"
	if err := doc.Err(); err == nil || err.Error() != mistakes {
		t.Errorf("got  %v\nwant %s", err, mistakes)
	}
	checkSettings(t, got, want(func(s *settings) {
		s.Server.Address = "a"
		s.Azure.Audiences = []string{"z", "y", "d"}
		s.Azure.Credentials = []credential{{Source: "t", Secret: "x"}}
		s.Labels = map[string]string{"a": "b"}
	}))
}

// anything takes every tree of texts that a JSON object can be.
type anything struct {
	Labels map[string]string `yaml:"labels"`
}

// FuzzJSONComments: whatever stands between the tokens of a JSON file, comments and white
// space, changes no value. encoding/json reads the file without them.
func FuzzJSONComments(f *testing.F) {
	f.Add([]byte(`{"a":"b // c","d":"/* e","f":1.5e3,"g":true,"h":null}`), "// x\n")
	f.Add([]byte("{ \"a\" : \"\\\"//\" , \"b\":\"*/\" }"), "/* \" */")
	f.Add([]byte(`{"\u0061":"\\"}`), "/***/ // \"}\r\n")
	f.Fuzz(func(t *testing.T, text []byte, between string) {
		var want map[string]any
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		if !utf8.Valid(text) || !utf8.ValidString(between) || !isComment(between) || decoder.Decode(&want) != nil || decoder.More() {
			return
		}
		labels := map[string]string{}
		for name, value := range want {
			switch value := value.(type) {
			case string:
				labels[name] = value
			case json.Number:
				labels[name] = value.String()
			case bool:
				labels[name] = strconv.FormatBool(value)
			case nil:
				labels[name] = ""
			default:
				return
			}
			if strings.Contains(name, ":") || name == "" {
				return // is a path
			}
		}
		for a := range maps.Keys(want) {
			for b := range maps.Keys(want) {
				if a != b && strings.EqualFold(a, b) {
					return // is given twice
				}
			}
		}
		commented, keys := putBetweenTokens(text, between)
		if keys != len(want) {
			return // encoding/json takes the last of two
		}
		var got anything
		doc, err := config.Parse("x.json", []byte(`{"labels":`+commented+`}`), config.Input{}, &got)
		if err != nil || doc.Err() != nil {
			t.Fatalf("%s: %v %v", commented, err, doc.Err())
		}
		if got.Labels == nil {
			got.Labels = map[string]string{}
		}
		if !reflect.DeepEqual(got.Labels, labels) {
			t.Errorf("%s: got %q, want %q", commented, got.Labels, labels)
		}
	})
}

// isComment reports whether text is nothing but comments and white space.
func isComment(text string) bool {
	for text = strings.TrimLeft(text, " \t\r\n"); text != ""; text = strings.TrimLeft(text, " \t\r\n") {
		end, found := 0, false
		switch {
		case strings.HasPrefix(text, "//") && !strings.ContainsAny(text, "\u2028\u2029"):
			end, found = strings.Index(text, "\n"), true
		case strings.HasPrefix(text, "/*"):
			end, found = strings.Index(text[2:], "*/")+3, strings.Contains(text[2:], "*/")
		}
		if !found || end < 0 {
			return false
		}
		text = text[end+1:]
	}
	return true
}

// putBetweenTokens puts between around every token of a JSON text, and counts the colons.
func putBetweenTokens(text []byte, between string) (string, int) {
	var b strings.Builder
	colons, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			b.WriteByte(c)
			i++
			c = text[i]
		case c == '"':
			quoted = !quoted
			if quoted {
				b.WriteString(between)
			}
		case !quoted && slices.Contains([]byte("{},:"), c):
			b.WriteString(between)
			b.WriteByte(c)
			b.WriteString(between)
			if c == ':' {
				colons++
			}
			continue
		}
		b.WriteByte(c)
	}
	return b.String(), colons
}
