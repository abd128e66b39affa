package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scenario is an appsettings.json of testdata.
type scenario struct {
	environ    []string // what the file lacks
	api, route string   // "": Todo, /api
	warnings   []string
	// network: the credential is in a vault or a managed identity, so that the platform's
	// secret takes its place.
	network bool
}

const categoryWarning = "Logging.LogLevel.Microsoft.AspNetCore: warning: levels by category are not known here; logging.level is for all"

// withTodoAPI gives a file without APIs one.
var withTodoAPI = []string{
	"AzureAd__ClientSecret=" + testSecret,
	"DownstreamApis__Todo__BaseUrl=https://todo.contoso.example/", "DownstreamApis__Todo__Scopes__0=api://todo/.default",
}

var scenarios = map[string]scenario{
	"webapi-template": {environ: withTodoAPI, warnings: []string{
		"AzureAd.Scopes: warning: access rules of each API say this here: access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]",
		"AzureAd.Domain: " + wantLibraries, "AzureAd.CallbackPath: " + wantCallback, categoryWarning,
	}},
	"webapi-calls-api": {warnings: []string{
		"AzureAd.Scopes: warning: access rules of each API say this here: access: [{methods: [GET, HEAD], scopes: [ToDoList.Read, ToDoList.ReadWrite], " +
			"appPermissions: [ToDoList.Read.All, ToDoList.ReadWrite.All]}, {scopes: [ToDoList.ReadWrite], appPermissions: [ToDoList.ReadWrite.All]}]",
		categoryWarning,
	}},
	"webapp-calls-api": {warnings: []string{
		"AzureAd.CallbackPath: " + wantCallback, "AzureAd.SignedOutCallbackPath: " + wantSignedOut, "downstreamApis.Todo.relativePath: warning: " + callerCounts,
		"DetailedErrors: warning: not a key of this program, and ignored",
	}},
	"daemon":                 {route: "/app"},
	"external-id":            {},
	"multi-tenant-authority": {environ: []string{"AzureAd__AllowedTenants__0=" + demoTenant}, warnings: []string{"AzureAd.TokenValidationParameters.NameClaimType: " + wantInProcess}},
	"user-secrets-flat":      {},
	"utf-16":                 {},
	"kestrel-and-others": {warnings: []string{
		"Kestrel.Endpoints: " + wantAddress, "Kestrel: warning: not a key of this program, and ignored; so are ConnectionStrings, ApplicationInsights, Serilog",
	}},
	"downstream-api-single":         {api: "DownstreamApi", warnings: []string{"DownstreamApi: warning: is the API downstreamApis.DownstreamApi here, at /api/DownstreamApi/"}},
	"microsoft-graph":               {api: "MicrosoftGraph", warnings: []string{"MicrosoftGraph: warning: is the API downstreamApis.MicrosoftGraph here, at /api/MicrosoftGraph/"}},
	"client-certificates":           {network: true},
	"managed-identity":              {network: true},
	"source-types-by-number":        {warnings: []string{"AzureAd.ClientCredentials[0].SourceType: warning: " + wantNotHere + "; the entry is skipped"}},
	"objects-for-lists":             {},
	"quoted-booleans-and-durations": {warnings: []string{"AzureAd.EnablePiiLogging: warning: is always so here: personal data and tokens are never logged"}},
	"entra-id-section":              {environ: []string{"Server__SidecarAddress=127.0.0.1:0"}},
}

// Files such as .NET's templates and samples have pass check as they are, with these
// warnings, and serve.
func TestAppsettingsAreReadAsTheyAre(t *testing.T) {
	files, err := filepath.Glob("testdata/appsettings/*.json")
	if err != nil || len(files) != len(scenarios) {
		t.Fatalf("got %d files and %d scenarios, %v", len(files), len(scenarios), err)
	}
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) {
			s, path := scenarios[name], filepath.Join("testdata", "appsettings", name+".json")
			for _, variable := range s.environ {
				key, value, _ := strings.Cut(variable, "=")
				t.Setenv(key, value)
			}
			s.check(t, path)
			s.serve(t, path)
		})
	}
}

// check runs the command. The advice about access rules is the program's own.
func (s scenario) check(t *testing.T, path string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr}); code != 0 {
		t.Fatalf("check: exit code %d\n%s", code, stderr.String())
	}
	var got []string
	for line := range strings.Lines(stderr.String()) {
		line = strings.TrimSpace(placeOfLine.ReplaceAllString(line, ""))
		if !strings.Contains(line, ".access: warning: ") {
			got = append(got, line)
		}
	}
	want := slices.Clone(s.warnings)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("check: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(stdout.String()+stderr.String(), testSecret) {
		t.Error("check shows a secret")
	}
}

// serve sends a call through the program that has this configuration.
func (s scenario) serve(t *testing.T, path string) {
	t.Helper()
	w := newStoppedWorld(t)
	api, route := s.api, s.route
	if api == "" {
		api = "Todo"
	}
	if route == "" {
		route = "/api"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	instance := "AzureAd__Instance=" + w.idp.URL() + "/"
	switch name := filepath.Base(path); {
	case name == "entra-id-section.json":
		instance = "EntraId__Instance=" + w.idp.URL() + "/"
	case name == "multi-tenant-authority.json":
		instance = "AzureAd__Authority=" + w.idp.URL() + "/organizations/v2.0"
	case bytes.Contains(text, []byte(`"Authority"`)):
		instance = "AzureAd__Authority=" + w.idp.URL() + "/" + demoTenant + "/v2.0"
	}
	below := "DownstreamApis__" + api + "__"
	baseURL, allow := below+"BaseUrl=", "Access__0__Scopes__0=ToDoList.ReadWrite"
	if s.api != "" { // the section at the top has the URL
		baseURL = s.api + "__BaseUrl="
	}
	if route == "/app" {
		allow = "Access__0__AppPermissions__0=ToDoList.Read.All"
	}
	environ := []string{instance, baseURL + w.api.URL, below + allow, "Server__Address=127.0.0.1:0", "Server__ShutdownGrace=0s"}
	for _, variable := range s.environ {
		if !strings.HasPrefix(variable, baseURL) {
			environ = append(environ, variable)
		}
	}
	f, _, err := loadDocument([]string{path}, environ)
	if err != nil {
		t.Fatal(err)
	}
	if s.network {
		f.AzureAd.ClientCredentials = secretCredential(testSecret)
	}
	w.file = f
	w.startReady()
	token := w.alice()
	if route == "/app" {
		token = w.daemon()
	}
	if r := w.call("GET", route+"/"+api+"/items", token, ""); r.StatusCode != 200 {
		t.Errorf("GET %s/%s/items: got %d %s", route, api, r.StatusCode, r.body)
	}
	if len(w.api.seen()) != 1 || w.exchanges() != 1 {
		t.Errorf("got %d calls of the API and %d exchanges, want one each", len(w.api.seen()), w.exchanges())
	}
}
