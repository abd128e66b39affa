package config_test

import (
	"strings"
	"testing"

	"middletier/internal/config"
)

func TestMistakesOfTheFile(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"unknown keys", "server:\n  adress: a\n  zzzzzz: 1\nazure: {}\nMicrosoft.Hosting: 1\n", []string{
			`config.yaml:2: server.adress: unknown key; did you mean "address"?`,
			`config.yaml:3: server.zzzzzz: unknown key`,
			`config.yaml:4: azure: unknown key; did you mean "azureAd"?`,
			`config.yaml:5: Microsoft.Hosting: unknown key`,
		}},
		{"unknown key of a list's entry", "azureAd:\n  clientCredentials:\n    - sourceType: a\n      ClientSecrets: b\n", []string{
			`config.yaml:4: azureAd.clientCredentials[0].ClientSecrets: unknown key; did you mean "clientSecret"?`,
		}},
		{"unknown key of a map's entry", "DOWNSTREAMAPIS:\n  Todo:\n    baseurI: b\n", []string{
			`config.yaml:3: downstreamApis.Todo.baseurI: unknown key; did you mean "baseUrl"?`,
		}},
		{"space missing after a colon", "server:\n  format: text\n    burst:1\nazureAd: {tenantId=x}\n", []string{
			`config.yaml:2: server.format: expected "json" or "text", got text over several lines; is the space after a colon missing?`,
			`config.yaml:4: azureAd.tenantId…: unknown key; did you mean "tenantId"?`,
		}},
		{"twice", "server: {burst: 1}\nServer:\n  burst: 2\n", []string{
			`config.yaml:2: server: given twice, on lines 1 and 2`,
		}},
		{"entry twice", "labels:\n  a: 1\n  b: 2\n  A: 3\n", []string{
			`config.yaml:4: labels.A: given twice, on lines 2 and 4`,
		}},
		{"wrong kinds", lines(
			"server:",
			"  address: [a]",
			"  timeout: {a: b}",
			"  serverTiming: yes",
			"  burst: ten",
			"  ratio: .nan",
			"  maxBodySize: 10MB",
			"  format: xml",
			"azureAd:",
			"  audiences: a",
			"  backoff: [1, x, ~, []]",
			"labels: [a]",
			"downstreamApis: todo",
		), []string{
			`config.yaml:2: server.address: expected a string, got a list`,
			`config.yaml:3: server.timeout: expected a duration such as 30s or 1m30s, got a mapping`,
			`config.yaml:4: server.serverTiming: expected true or false, got "yes"`,
			`config.yaml:5: server.burst: expected a whole number, got "ten"`,
			`config.yaml:6: server.ratio: expected a number, got ".nan"`,
			`config.yaml:7: server.maxBodySize: expected a size such as 64KiB, 10MiB or 1GiB, got "10MB"`,
			`config.yaml:8: server.format: expected "json" or "text", got "xml"`,
			`config.yaml:10: azureAd.audiences: expected a list, got "a"`,
			`config.yaml:11: azureAd.backoff[1]: expected a whole number, got "x"`,
			`config.yaml:11: azureAd.backoff[2]: expected a whole number, got nothing`,
			`config.yaml:11: azureAd.backoff[3]: expected a whole number, got a list`,
			`config.yaml:12: labels: expected a mapping, got a list`,
			`config.yaml:13: downstreamApis: expected a mapping, got "todo"`,
		}},
		{"empty list entry", "azureAd:\n  audiences:\n    - a\n    -\n", []string{
			`config.yaml:4: azureAd.audiences[1]: expected a string, got nothing`,
		}},
		{"long values are cut", "server: {burst: " + strings.Repeat("é", 70) + "}", []string{
			`config.yaml:1: server.burst: expected a whole number, got "` + strings.Repeat("é", 60) + `…"`,
		}},
		{"key that is not text", "{~: d}", []string{`config.yaml:1: a key must be text`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, got := load(t, test.text)
			if wanted := lines(test.want...); got != wanted {
				t.Errorf("got:\n%s\nwant:\n%s", got, wanted)
			}
		})
	}
}

func TestScalarsThatAreRefused(t *testing.T) {
	tests := []struct{ key, value, want string }{
		{"timeout", "30", "expected a duration with a unit, such as 30s"},
		{"timeout", "0", "expected a duration with a unit, such as 30s"},
		{"timeout", "-1.5", "expected a duration with a unit, such as 30s"},
		{"timeout", "-5s", "expected a duration that is not negative"},
		{"timeout", "soon", "expected a duration such as 30s or 1m30s"},
		{"timeout", "5 s", "expected a duration such as 30s or 1m30s"},
		{"timeout", "1d", "expected a duration such as 30s or 1m30s"},
		{"timeout", "9999999h", "expected a duration that is not so long"},
		{"timeout", `''`, "expected a duration such as 30s or 1m30s"},
		{"maxBodySize", "-1", "expected a size such as 64KiB, 10MiB or 1GiB"},
		{"maxBodySize", "1.5MiB", "expected a size such as 64KiB, 10MiB or 1GiB"},
		{"maxBodySize", "KiB", "expected a size such as 64KiB, 10MiB or 1GiB"},
		{"maxBodySize", "9999999999GiB", "expected a size that is not so large"},
		{"maxBodySize", "99999999999999999999", "expected a size that is not so large"},
		{"burst", "1.5", "expected a whole number"},
		{"burst", "1_000", "expected a whole number"},
		{"burst", "0x10", "expected a whole number"},
		{"burst", "99999999999999999999", "expected a whole number that is not so large"},
		{"ratio", "half", "expected a number"},
		{"ratio", ".inf", "expected a number"},
		{"ratio", "1e999", "expected a number"},
		{"ratio", "0x1p4", "expected a number"},
		{"serverTiming", "on", "expected true or false"},
		{"serverTiming", "1", "expected true or false"},
		{"format", `''`, `expected "json" or "text"`},
	}
	for _, test := range tests {
		t.Run(test.key+" "+test.value, func(t *testing.T) {
			settings, got := load(t, "server:\n  "+test.key+": "+test.value+"\n")
			wanted := `config.yaml:2: server.` + test.key + `: ` + test.want + `, got "` + strings.Trim(test.value, "'") + `"`
			if got != wanted {
				t.Errorf("got  %s\nwant %s", got, wanted)
			}
			checkSettings(t, settings, defaults())
		})
	}
}

func TestTheRestIsReadDespiteMistakes(t *testing.T) {
	got, mistakes := load(t, "server: {burst: x, format: text}\nnope: 1\nazureAd: {tenantId: t}\n",
		"Server__Ratio=x", "Server__TLS__CertFile=c")
	if n := strings.Count(mistakes, "\n") + 1; n != 3 {
		t.Errorf("got %d mistakes, want 3:\n%s", n, mistakes)
	}
	checkSettings(t, got, want(func(s *settings) {
		s.Server.Format, s.Server.TLS.CertFile, s.Azure.TenantID = "text", "c", "t"
	}))
}

// Each of these is easily written by someone who forgets quotes or indents
// wrongly. Qz7Kw9Xv is the secret.
func TestSecretsAreNeverQuoted(t *testing.T) {
	credential := "azureAd:\n  clientCredentials:\n    - sourceType: ClientSecret\n      "
	tests := []struct{ name, text, environ string }{
		{"list", credential + "clientSecret: [Qz7Kw9Xv]\n", ""},
		{"mapping", credential + "clientSecret: {Qz7Kw9Xv: Qz7Kw9Xv}\n", ""},
		{"mapping with a key twice", credential + "clientSecret: {Qz7Kw9Xv: 1, Qz7Kw9Xv: 2}\n", ""},
		{"number", credential + "pin: Qz7Kw9Xv\n", ""},
		{"list of secrets", "azureAd: {keys: Qz7Kw9Xv}\n", ""},
		{"list in a list of secrets", "azureAd: {keys: [[Qz7Kw9Xv]]}\n", ""},
		{"one level too high", "azureAd: {clientCredentials: [Qz7Kw9Xv]}\n", ""},
		{"two levels too high", "azureAd: {clientCredentials: Qz7Kw9Xv}\n", ""},
		{"three levels too high", "azureAd: Qz7Kw9Xv\n", ""},
		{"alias", credential + "clientSecret: *Qz7Kw9Xv\n", ""},
		{"anchor", credential + "clientSecret: &Qz7Kw9Xv\n", ""},
		{"tag", credential + "clientSecret: !Qz7Kw9Xv\n", ""},
		{"tag with a value", credential + "clientSecret: !Qz7Kw9Xv Qz7Kw9Xv\n", ""},
		{"tag with brackets", credential + "clientSecret: !!Qz7Kw9Xv [}\n", ""},
		{"tag with a bad character", credential + "clientSecret: !Qz7Kw9Xv{\n", ""},
		{"colon", credential + "clientSecret: a: Qz7Kw9Xv\n", ""},
		{"reserved", credential + "clientSecret: @Qz7Kw9Xv\n", ""},
		{"percent", "labels: %Qz7Kw9Xv\n", ""},
		{"unclosed double quote", credential + "clientSecret: \"Qz7Kw9Xv\n", ""},
		{"unclosed single quote", credential + "clientSecret: 'Qz7Kw9Xv\n", ""},
		{"after a quote", credential + "clientSecret: 'a' Qz7Kw9Xv\n", ""},
		{"unknown escape", credential + "clientSecret: \"\\qQz7Kw9Xv\"\n", ""},
		{"unclosed list", credential + "clientSecret: [Qz7Kw9Xv\n", ""},
		{"unclosed mapping", credential + "clientSecret: {Qz7Kw9Xv\n", ""},
		{"space missing", "server:\n  format: text\n    clientSecret:Qz7Kw9Xv\n", ""},
		{"equals sign in braces", "azureAd: {clientSecret=Qz7Kw9Xv}\n", ""},
		{"other field's block text", "server:\n  burst: |\n    clientSecret: Qz7Kw9Xv\n", ""},
		{"block header", credential + "clientSecret: |Qz7Kw9Xv\n", ""},
		{"outdented", credential + "clientSecret:\n  Qz7Kw9Xv\n", ""},
		{"directive", "%YAML Qz7Kw9Xv\n---\n" + credential + "clientSecret: x\n", ""},
		{"environment number", "", "AzureAd__ClientCredentials__0__PIN=Qz7Kw9Xv"},
		{"environment one level too high", "", "AzureAd__ClientCredentials__0=Qz7Kw9Xv"},
		{"environment two levels too high", "", "AzureAd__ClientCredentials=Qz7Kw9Xv"},
		{"environment list of secrets", "", "AzureAd__Keys=Qz7Kw9Xv"},
		{"environment unknown key", "", "AzureAd__ClientCredentials__0__ClientSecre=Qz7Kw9Xv"},
		{"environment gap", "", "AzureAd__Keys__7=Qz7Kw9Xv"},
		{"environment below a secret", "", "AzureAd__ClientCredentials__0__ClientSecret__0=Qz7Kw9Xv"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, got := load(t, test.text, test.environ)
			if got == "" {
				t.Fatal("no mistake, want one")
			}
			for i := range len("Qz7Kw9Xv") - 1 {
				if part := "Qz7Kw9Xv"[i : i+2]; strings.Contains(got, part) {
					t.Errorf("the report holds %q: %s", part, got)
				}
			}
		})
	}
}

func TestConflictingVariablesDoNotShowTheirValues(t *testing.T) {
	_, got := load(t, "", "azuread__tenantid=Qz7Kw9Xv", "AZUREAD__TENANTID=Qz7Kw9Xy", "azuread__tenantid=Qz7Kw9Xv")
	wanted := "environment variable azuread__tenantid: azuread.tenantid: conflicts with AZUREAD__TENANTID: " +
		"the names differ at most in case, the values differ"
	if got != wanted {
		t.Errorf("got  %s\nwant %s", got, wanted)
	}
}

func TestReportFindsThePlace(t *testing.T) {
	text := lines(
		"azureAd:",
		"  ClientCredentials:",
		"    - sourceType: a",
		"    - sourceType: b",
		"      clientSecret: c",
		"labels:",
		"  a.b: c",
		"  a: d",
		"downstreamApis:",
		"  todo: {baseUrl: x}",
	)
	environ := []string{"AzureAd__ClientCredentials__2__SourceType=d", "Server__Burst=1"}
	tests := []struct{ key, where string }{
		{"azureAd", "config.yaml:1"},
		{"azuread.clientcredentials", "config.yaml:2"},
		{"azureAd.clientCredentials[0]", "config.yaml:3"},
		{"azureAd.clientCredentials[1].clientSecret", "config.yaml:5"},
		{"azureAd.clientCredentials[0].clientSecret", "config.yaml:3"},
		{"azureAd.clientCredentials[2].clientSecret", "environment variable AzureAd__ClientCredentials__2__SourceType"},
		{"azureAd.clientCredentials[3]", "config.yaml:2"},
		{"azureAd.tenantId", "config.yaml:1"},
		{"labels.a.b", "config.yaml:7"},
		{"labels.a", "config.yaml:8"},
		{"downstreamApis.todo.access[0].paths", "config.yaml:10"},
		{"server.burst", "environment variable Server__Burst"},
		{"nowhere.at.all", ""},
	}
	for _, test := range tests {
		var got settings
		doc, err := config.Parse("config.yaml", []byte(text), config.Input{Environ: environ}, &got)
		if err != nil || doc.Err() != nil {
			t.Fatalf("mistakes: %v %v", err, doc.Err())
		}
		doc.Report(test.key, "is wrong")
		mistakes := doc.Err().(config.Mistakes)
		if want := (config.Mistake{Key: test.key, Where: test.where, Problem: "is wrong"}); len(mistakes) != 1 || mistakes[0] != want {
			t.Errorf("Report(%q): got %+v, want %+v", test.key, mistakes, want)
		}
	}
}

func TestMistakesAreSortedAndToldOnce(t *testing.T) {
	var got settings
	doc, err := config.Parse("config.yaml", []byte("\nserver: {}\nazureAd: {}\n"),
		config.Input{Environ: []string{"Labels__x=1", "Labels__w=1"}}, &got)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"absent", "labels.x", "labels.w", "azureAd.tenantId", "server.burst", "azureAd.tenantId"} {
		doc.Report(key, "is wrong")
	}
	wanted := lines(
		"config.yaml:2: server.burst: is wrong",
		"config.yaml:3: azureAd.tenantId: is wrong",
		"environment variable Labels__w: labels.w: is wrong",
		"environment variable Labels__x: labels.x: is wrong",
		"absent: is wrong",
	)
	if err := doc.Err(); err == nil || err.Error() != wanted {
		t.Errorf("got:\n%v\nwant:\n%s", err, wanted)
	}
}

func TestHas(t *testing.T) {
	var got settings
	doc, err := config.Parse("config.yaml", []byte("server: {address: a, burst: }\nazureAd: {audiences: [x]}\n"),
		config.Input{Environ: []string{"AzureAd__TenantId=", "Server__Timeout=", "Labels__k=v"}}, &got)
	if err != nil || doc.Err() != nil {
		t.Fatalf("mistakes: %v %v", err, doc.Err())
	}
	tests := map[string]bool{
		"server": true, "server.ADDRESS": true, "server.burst": false, "server.timeout": false,
		"azureAd.audiences[0]": true, "azureAd.audiences[1]": false, "azureAd.tenantId": false,
		"labels.k": true, "labels": true, "downstreamApis": false, "serv": false,
	}
	for key, want := range tests {
		if got := doc.Has(key); got != want {
			t.Errorf("Has(%q): got %t, want %t", key, got, want)
		}
	}
}
