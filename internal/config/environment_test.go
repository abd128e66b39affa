package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

func TestEnvironmentWinsOverFile(t *testing.T) {
	tests := []struct {
		name, text string
		environ    []string
		want       func(*settings)
	}{
		{"not ours", "", []string{
			"PATH=/bin", "SERVER=x", "SERVER_ADDRESS=x", "Other__Key=x", "__=x", "=C:=C:\\", "Server_", "",
		}, nil},
		{"in any case", "server: {address: a}", []string{"SERVER__address=b"}, func(s *settings) { s.Server.Address = "b" }},
		{"value with =", "", []string{"Server__Address=a=b"}, func(s *settings) { s.Server.Address = "a=b" }},
		{"every kind", "", []string{
			"Server__Timeout=5s", "Server__MaxBodySize=1GiB", "Server__Burst=4", "Server__Ratio=.5",
			"Server__ServerTiming=True", "Server__Format=TEXT", "Server__TLS__CertFile=c",
		}, func(s *settings) {
			s.Server = server{":8080", 5 * time.Second, 1 << 30, 4, 0.5, true, "text", tlsFiles{"c"}}
		}},
		{"a wrong value of the file no longer matters", "server: {burst: x}", []string{"Server__Burst=1"}, func(s *settings) {
			s.Server.Burst = 1
		}},
		{"empty text", "server: {address: a}", []string{"Server__Address="}, func(s *settings) { s.Server.Address = "a" }},
		{"empty other kinds", "server: {burst: 2}", []string{
			"Server__Timeout=", "Server__Burst=", "AzureAd__Audiences=", "DownstreamApis__todo__Timeout=", "Labels=",
		}, func(s *settings) { s.Server.Burst = 2 }},
		{"yaml in a value is text", "", []string{"Server__Address=[a, *b]"}, func(s *settings) { s.Server.Address = "[a, *b]" }},
		{"index replaces", "azureAd: {audiences: [a, b]}", []string{"AzureAd__Audiences__0=x"}, func(s *settings) {
			s.Azure.Audiences = []string{"x", "b"}
		}},
		{"index appends", "azureAd: {audiences: [a]}", []string{"AzureAd__Audiences__1=x"}, func(s *settings) {
			s.Azure.Audiences = []string{"a", "x"}
		}},
		{"indices in numeric order", "", []string{
			"AzureAd__Backoff__10=10", "AzureAd__Backoff__2=2", "AzureAd__Backoff__9=9", "AzureAd__Backoff__0=0",
			"AzureAd__Backoff__8=8", "AzureAd__Backoff__1=1", "AzureAd__Backoff__7=7", "AzureAd__Backoff__3=3",
			"AzureAd__Backoff__4=4", "AzureAd__Backoff__6=6", "AzureAd__Backoff__5=5",
		}, func(s *settings) { s.Azure.Backoff = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10} }},
		{"index into a default list replaces", "", []string{"AzureAd__ClientCapabilities__0=x"}, func(s *settings) {
			s.Azure.Capabilities = []string{"x"}
		}},
		{"index after a default list appends", "", []string{"AzureAd__ClientCapabilities__1=x"}, func(s *settings) {
			s.Azure.Capabilities = []string{"cp1", "x"}
		}},
		{
			"a list of the file is not the default", "azureAd: {clientCapabilities: []}",
			[]string{"AzureAd__ClientCapabilities__0=x"},
			func(s *settings) { s.Azure.Capabilities = []string{"x"} },
		},
		{"entries of a list of mappings", "azureAd: {clientCredentials: [{sourceType: a, clientSecret: s}]}", []string{
			"AzureAd__ClientCredentials__1__ClientSecret=t", "AzureAd__ClientCredentials__0__SourceType=b",
			"AzureAd__ClientCredentials__1__SourceType=c",
		}, func(s *settings) { s.Azure.Credentials = []credential{{"b", "s", 0}, {"c", "t", 0}} }},
		{
			"entry of the file, in another case", "downstreamApis: {Todo: {baseUrl: a}}",
			[]string{"DOWNSTREAMAPIS__TODO__BASEURL=b"},
			func(s *settings) { s.APIs = map[string]api{"Todo": newAPI(func(a *api) { a.BaseURL = "b" })} },
		},
		{
			"new entry", "downstreamApis:\n",
			[]string{"DownstreamApis__toDo__Access__0__Methods__0=POST", "DownstreamApis__TODO__BaseUrl=b"},
			func(s *settings) {
				s.APIs = map[string]api{"toDo": newAPI(func(a *api) {
					a.BaseURL, a.Access = "b", []access{{[]string{"POST"}, []string{"/**"}}}
				})}
			},
		},
		{"numeric name of an entry", "", []string{"Labels__0=x"}, func(s *settings) { s.Labels = map[string]string{"0": "x"} }},
		{"same value in two cases", "", []string{"Server__Burst=1", "SERVER__BURST=1"}, func(s *settings) { s.Server.Burst = 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, reverse := range []bool{false, true} {
				if reverse {
					slices.Reverse(test.environ)
				}
				got, mistakes := load(t, test.text, test.environ...)
				if mistakes != "" {
					t.Fatalf("mistakes: %s", mistakes)
				}
				checkSettings(t, got, want(test.want))
			}
		})
	}
}

func TestMistakesOfTheEnvironment(t *testing.T) {
	tests := []struct {
		name, text, environ string
		want                []string
	}{
		{"unknown key", "", "AzureAd__TenentId=x", []string{
			`AzureAd__TenentId: azureAd.TenentId: unknown key; did you mean "tenantId"?`,
		}},
		{"unknown deep key", "", "DownstreamApis__todo__Retry__Atempts=x", []string{
			`DownstreamApis__todo__Retry__Atempts: downstreamApis.todo.retry.Atempts: unknown key; did you mean "attempts"?`,
		}},
		{"below a value", "", "Server__Address__Host=x", []string{`Server__Address__Host: server.address.Host: unknown key`}},
		{"no key", "", "Server__=x", []string{`Server__: server.: unknown key`}},
		{"no name", "", "Labels__=x", []string{`Labels__: labels: the name of an entry is missing between __ and __`}},
		{"gap", "azureAd: {audiences: [a]}", "AzureAd__Audiences__2=x", []string{
			`AzureAd__Audiences__2: azureAd.audiences[2]: leaves a gap: the next index is 1`,
		}},
		{"not an index", "", "AzureAd__Audiences__first=x", []string{
			`AzureAd__Audiences__first: azureAd.audiences: expected an index such as 0, got "first"`,
		}},
		{"negative index", "", "AzureAd__Audiences__-1=x", []string{
			`AzureAd__Audiences__-1: azureAd.audiences: expected an index such as 0, got "-1"`,
		}},
		{"index in another spelling", "", "AzureAd__Audiences__00=x", []string{
			`AzureAd__Audiences__00: azureAd.audiences: expected an index such as 0, got "00"`,
		}},
		{"list in one variable", "", "AzureAd__Audiences=a,b", []string{
			`AzureAd__Audiences: azureAd.audiences: expected a list, got "a,b"; write one variable for each value below it`,
		}},
		{"bad value", "server: {burst: 1}", "Server__Burst=ten", []string{
			`Server__Burst: server.burst: expected a whole number, got "ten"`,
		}},
		{"bad enum in a list", "", "DownstreamApis__a__Access__0__Methods__0=FETCH", []string{
			`DownstreamApis__a__Access__0__Methods__0: downstreamApis.a.access[0].methods[0]: expected "GET" or "POST", got "FETCH"`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, got := load(t, test.text, test.environ)
			if wanted := "environment variable " + lines(test.want...); got != wanted {
				t.Errorf("got:\n%s\nwant:\n%s", got, wanted)
			}
		})
	}
}

func TestWrongKindInTheFileIsToldDespiteTheEnvironment(t *testing.T) {
	_, got := load(t, "server: [a]\n", "Server__Address=b")
	if wanted := "config.yaml:1: server: expected a mapping, got a list"; got != wanted {
		t.Errorf("got %s, want %s", got, wanted)
	}
}

func TestDefaultsAreNotSharedWithTheResult(t *testing.T) {
	shared := []string{"cp1", "cp2"}
	target := settings{Azure: azure{Capabilities: shared}}
	if _, err := config.Load(config.Input{Environ: []string{"AzureAd__ClientCapabilities__0=x"}}, &target); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(target.Azure.Capabilities, ","); got != "x,cp2" {
		t.Errorf("got %s, want x,cp2", got)
	}
	if shared[0] != "cp1" {
		t.Errorf("the caller's list was changed: %v", shared)
	}
}
