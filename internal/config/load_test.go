package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

func TestFileIsReadOverDefaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       func(*settings)
	}{
		{"nothing", "", nil},
		{"comments only", "# nothing\n---\n# here\n", nil},
		{"null root", "~", nil},
		{"null section", "server:\n", nil},
		{"null value keeps the default", "server:\n  address:\n  timeout: ~\n  maxBodySize: null\n", nil},
		{"empty text is a value", `server: {address: ""}`, func(s *settings) { s.Server.Address = "" }},
		{"every kind", lines(
			"server:",
			"  address: 127.0.0.1:80",
			"  timeout: 1m30.5s",
			"  maxBodySize: 64KiB",
			"  burst: -3",
			"  ratio: 0.25",
			"  serverTiming: true",
			"  format: text",
			"  tls: {certFile: /tls.pem}",
		), func(s *settings) {
			s.Server = server{
				"127.0.0.1:80", 90500 * time.Millisecond, 64 << 10, -3, 0.25, true, "text", tlsFiles{"/tls.pem"},
			}
		}},
		{"keys in any case", "AZUREAD:\n  TenantID: a\n", func(s *settings) { s.Azure.TenantID = "a" }},
		{"enum in any case", "server: {format: TEXT}", func(s *settings) { s.Server.Format = "text" }},
		{"numbers as text", "azureAd: {tenantId: 0123}", func(s *settings) { s.Azure.TenantID = "0123" }},
		{"floats as text", "azureAd: {tenantId: 1.0}", func(s *settings) { s.Azure.TenantID = "1.0" }},
		{"booleans as text", "azureAd: {tenantId: True}", func(s *settings) { s.Azure.TenantID = "True" }},
		{"quoted null as text", `azureAd: {tenantId: "null"}`, func(s *settings) { s.Azure.TenantID = "null" }},
		{
			"YAML's own characters in quotes and inside text", `azureAd: {tenantId: "*a", audiences: ['&a', "!a", "<<", a*b&c!d<<e]}`,
			func(s *settings) {
				s.Azure.TenantID, s.Azure.Audiences = "*a", []string{"&a", "!a", "<<", "a*b&c!d<<e"}
			},
		},
		{"double quotes", `azureAd: {tenantId: "a\tb\u00e9"}`, func(s *settings) { s.Azure.TenantID = "a\tbé" }},
		{"single quotes", `azureAd: {tenantId: 'it''s'}`, func(s *settings) { s.Azure.TenantID = "it's" }},
		{"block text", "azureAd:\n  tenantId: |\n    a\n    b\n  audiences: [x]\n", func(s *settings) {
			s.Azure.TenantID, s.Azure.Audiences = "a\nb\n", []string{"x"}
		}},
		{"folded text", "azureAd:\n  tenantId: >-\n    a\n    b\n", func(s *settings) { s.Azure.TenantID = "a b" }},
		{"a list replaces the default", "azureAd: {clientCapabilities: [a, b]}", func(s *settings) {
			s.Azure.Capabilities = []string{"a", "b"}
		}},
		{"an empty list too", "azureAd: {clientCapabilities: []}", func(s *settings) {
			s.Azure.Capabilities = []string{}
		}},
		{"plain bytes", "server: {maxBodySize: 0}", func(s *settings) { s.Server.MaxBody = 0 }},
		{"windows lines and no end", "server:\r\n  address: a\r\n  format: text", func(s *settings) {
			s.Server.Address, s.Server.Format = "a", "text"
		}},
		{"one document with its marks", "%YAML 1.2\n---\nserver: {address: a}\n...\n", func(s *settings) {
			s.Server.Address = "a"
		}},
		{
			"JSON with a byte order mark", "\ufeff{\n\t\"AzureAd\": {\n\t\t\"TenantId\":\"a\\/b\",\"Audiences\": [\"x\",\t\"y\"]\n\t}\n}\n",
			func(s *settings) { s.Azure.TenantID, s.Azure.Audiences = "a/b", []string{"x", "y"} },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, mistakes := load(t, test.text)
			if mistakes != "" {
				t.Fatalf("mistakes: %s", mistakes)
			}
			checkSettings(t, got, want(test.want))
		})
	}
}

func TestElementsStartFromTheirDefaults(t *testing.T) {
	got, mistakes := load(t, lines(
		"downstreamApis:",
		"  todo:",
		"    baseUrl: https://todo",
		"    access: [{methods: [get]}]",
		"  Mail: {retry: {attempts: 5}}",
		"  bare:",
		"labels: {a.b: c, n: 1, e: }",
	))
	if mistakes != "" {
		t.Fatalf("mistakes: %s", mistakes)
	}
	checkSettings(t, got, want(func(s *settings) {
		s.APIs = map[string]api{
			"todo": newAPI(func(a *api) {
				a.BaseURL, a.Access = "https://todo", []access{{[]string{"GET"}, []string{"/**"}}}
			}),
			"Mail": newAPI(func(a *api) { a.Retry.Attempts = 5 }),
			"bare": newAPI(func(*api) {}),
		}
		s.Labels = map[string]string{"a.b": "c", "n": "1", "e": ""}
	}))
}

func TestMapKeepsDefaultsThatTheFileDoesNotName(t *testing.T) {
	got := settings{Labels: map[string]string{"Kept": "1", "Changed": "2"}}
	doc, err := config.Parse("config.yaml", []byte("labels: {changed: 3, new: 4}"), config.Input{}, &got)
	if err != nil || doc.Err() != nil {
		t.Fatalf("mistakes: %v %v", err, doc.Err())
	}
	checkSettings(t, got, settings{Labels: map[string]string{"Kept": "1", "changed": "3", "new": "4"}})
}

// What YAML offers to say a thing once and mean it twice is refused before any
// of it is read, wherever it stands.
func TestAnchorsAliasesMergeKeysAndTagsAreRefused(t *testing.T) {
	const problem = "YAML anchors (&), aliases (*), merge keys (<<) and tags (!) are not supported; " +
		"a text that begins with one of these needs quotes"
	tests := []struct{ name, text, at string }{
		{"anchor", "server:\n  address: &a :80\n", "2:12"},
		{"anchor of a mapping", "server: &s\n  address: a\n", "1:9"},
		{"anchor of a key", "&k server: {}\n", "1:1"},
		{"alias", "labels:\n  a: b\nserver: {address: *a}\n", "3:19"},
		{"alias of a key", "{*x : c}", "1:2"},
		{"alias in a list", "azureAd:\n  audiences:\n    - *a\n", "3:7"},
		{"alias within its anchor", "server: &s\n  address: *s\n", "1:9"},
		{"merge key", "server:\n  <<: {address: a}\n", "2:3"},
		{"tag", "azureAd: {tenantId: !!str 12}\n", "1:21"},
		{"tag of our own", "server: {address: !env HOME}\n", "1:19"},
		{"tag of a mapping", "server: !!map\n  address: a\n", "1:9"},
		{"tag of a key", "!!str server: {}\n", "1:1"},
		{"billion laughs", billionLaughs(), "1:5"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, mistakes := load(t, test.text)
			if want := "config.yaml:" + test.at + ": " + problem; mistakes != want {
				t.Errorf("got  %s\nwant %s", mistakes, want)
			}
			checkSettings(t, got, defaults())
		})
	}
}

func TestLoadReadsAFileOrNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("server: {address: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		files []string
		want  string
	}{{[]string{path}, "a"}, {nil, ":8080"}} {
		got := defaults()
		doc, err := config.Load(config.Input{Files: test.files}, &got)
		if err != nil || doc.Err() != nil || got.Server.Address != test.want {
			t.Errorf("Load(%q): got %q, %v, %v; want %q", test.files, got.Server.Address, err, doc.Err(), test.want)
		}
	}
}

func TestUnreadableFileIsAnErrorWithTheEnvironmentStillChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	got := defaults()
	doc, err := config.Load(config.Input{Files: []string{path}, Environ: []string{"Server__Adress=x", "Server__Format=text"}}, &got)
	wanted := lines(
		path+": cannot be read: no such file or directory",
		`environment variable Server__Adress: server.Adress: unknown key; did you mean "address"?`,
	)
	if err == nil || err.Error() != wanted {
		t.Errorf("got  %v\nwant %s", err, wanted)
	}
	if got.Server.Format != "text" {
		t.Errorf("format: got %q, want text", got.Server.Format)
	}
	doc.Report("azureAd.tenantId", "is required")
	if err := doc.Err(); err == nil || !strings.HasSuffix(err.Error(), "\nazureAd.tenantId: is required") {
		t.Errorf("after Report: got %v", err)
	}
}

// A file that is broken as a whole is Parse's error, in one line.
func TestBrokenFile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"text", "hello", "config.yaml:1: expected a mapping of keys to values, got text"},
		{"list", "\n- a\n", "config.yaml:2: expected a mapping of keys to values, got a list"},
		{"tab", "server:\n\taddress: a\n", "config.yaml:2:1: is not valid YAML: found character tab that cannot start any token"},
		{"unclosed", "server: {address: [a\n", "config.yaml:1:19: is not valid YAML: sequence end token ']' not found"},
		{"mapping in a value", "a: 1\nb: c: d\n", "config.yaml:2:4: is not valid YAML: mapping value is not allowed in this context"},
		{"reserved", "a: @b\n", "config.yaml:1:4: is not valid YAML: a value cannot begin with this character unless it is in quotes"},
		{"two documents", "server: {}\n---\nserver: {}\n", "config.yaml:2:1: a second YAML document begins here; only one is read"},
		{"empty first document", "---\n---\nserver: {}\n", "config.yaml:2:1: a second YAML document begins here; only one is read"},
		{"document after an end mark", "server: {}\n...\nserver: {}\n", "config.yaml:3:1: a second YAML document begins here; only one is read"},
		{"not UTF-8", "server:\n  address: \xff\n", "config.yaml:2: is not valid UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "config.yaml:1: is not valid UTF-8"},
		{"too large", strings.Repeat("# padding\n", 1<<17), "config.yaml: is larger than 1 MiB"},
		{"too large after a mark", "\ufeff" + strings.Repeat("#", 1<<20-2), "config.yaml: is larger than 1 MiB"},
		{"too deep", strings.Repeat("[", 50_000), "config.yaml:1:101: is nested more than 100 levels deep"},
		{"too deep without brackets", strings.Repeat("- ", 50_000), "config.yaml:1:201: is nested more than 100 levels deep"},
		{"too many values", strings.Repeat("- a\n", 60_000), "config.yaml: holds more than 100000 values"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := defaults()
			doc, err := config.Parse("config.yaml", []byte(test.text), config.Input{}, &got)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if doc == nil || doc.Err() == nil {
				t.Error("the document does not know of the mistake")
			}
		})
	}
}

func billionLaughs() string {
	text := "a0: &a0 [x, x]\n"
	for i := range 20 {
		n, m := string(rune('a'+i))+"0", string(rune('b'+i))+"0"
		text += m + ": &" + m + " [*" + n + ", *" + n + "]\n"
	}
	return text
}

func TestPositionSurvivesALargeFile(t *testing.T) {
	text := strings.Repeat("# padding\n", 1000) + "servr: {}\n"
	_, mistakes := load(t, text)
	if wanted := `config.yaml:1001: servr: unknown key; did you mean "server"?`; mistakes != wanted {
		t.Errorf("got %s, want %s", mistakes, wanted)
	}
}
