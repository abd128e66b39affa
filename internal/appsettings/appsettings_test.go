package appsettings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"middletier/internal/appsettings"
	"middletier/internal/config"
)

// target is a small part of the program's configuration.
type target struct {
	Server struct {
		Address        string   `yaml:"address"`
		SidecarAddress string   `yaml:"sidecarAddress"`
		AllowedHosts   []string `yaml:"allowedHosts"`
	} `yaml:"server"`
	Sidecar struct {
		Scopes         []string `yaml:"scopes"`
		AllowOverrides struct {
			CallDownstreamAPI bool `yaml:"callDownstreamApi"`
		} `yaml:"allowOverrides"`
	} `yaml:"sidecar"`
	AzureAd struct {
		Instance          string   `yaml:"instance"`
		TenantID          string   `yaml:"tenantId"`
		Audiences         []string `yaml:"audiences"`
		ClientCredentials []struct {
			SourceType   string `yaml:"sourceType"`
			ClientSecret string `yaml:"clientSecret" secret:"true"`
			Skip         bool   `yaml:"skip"`
		} `yaml:"clientCredentials"`
	} `yaml:"azureAd"`
	DownstreamAPIs map[string]struct {
		BaseURL string   `yaml:"baseUrl"`
		Scopes  []string `yaml:"scopes"`
	} `yaml:"downstreamApis"`
}

// load reads a file of that name and the environment.
func load(t *testing.T, name string, text []byte, environ ...string) (target, *config.Document) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var got target
	doc, _ := config.Load(config.Input{ // the error is in the document too
		Files: []string{path}, Environ: environ, IsForeign: appsettings.IsForeign, Translate: appsettings.Translate,
	}, &got)
	return got, doc
}

func TestPlaceholdersAreRefused(t *testing.T) {
	for _, row := range []struct {
		text string
		want string // is in the mistake; "": there is none
	}{
		{`{"AzureAd": {"TenantId": "Enter_the_Tenant_Info_Here"}}`, "AzureAd.TenantId: is a placeholder of a sample; here belongs the tenant's GUID or domain"},
		{`{"AzureAd": {"TenantId": "[Enter 'common', or 'organizations' or the Tenant Id]"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "00000000-0000-0000-0000-000000000000"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "<tenant-id>"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "{tenant}"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "YOUR_TENANT_ID"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "your-tenant.onmicrosoft.com"}}`, "AzureAd.TenantId: is a placeholder"},
		{`{"AzureAd": {"TenantId": "yourcompany.example"}}`, ""},
		{`{"AzureAd": {"Instance": "https://<your-subdomain>.ciamlogin.com/"}}`, "AzureAd.Instance: is a placeholder"},
		{`{"AzureAd": {"Authority": "https://login.microsoftonline.com/{tenant}/v2.0"}}`, "AzureAd.Authority: is a placeholder"},
		{`{"AzureAd": {"Audience": "api://[Enter the client id]"}}`, "AzureAd.Audience: is a placeholder"},
		{`{"AzureAd": {"ClientSecret": "[Copy the client secret added to the app from the Azure portal]"}}`, "ClientSecret: is a placeholder"},
		{`{"AzureAd": {"ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "Enter_the_Client_Secret_Here"}]}}`, "ClientSecret: is a placeholder"},
		{`{"AzureAd": {"ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "Enter8Q~a<b>{c}.your_client"}]}}`, ""},
		{`{"DownstreamApis": {"a": {"BaseUrl": "https://{your-api}/"}}}`, "DownstreamApis.a.BaseUrl: is a placeholder"},
		{`{"DownstreamApis": {"a": {"BaseUrl": "http://[::1]:5000/v1/"}}}`, ""},
		{`{"DownstreamApis": {"a": {"BaseUrl": "http://[fe80::1%25eth0]:5000/"}}}`, ""},
		{`{"DownstreamApis": {"a": {"BaseUrl": "http://[::1]:5000/[version]/"}}}`, "DownstreamApis.a.BaseUrl: is a placeholder"},
		{`{"DownstreamApis": {"a": {"Scopes": ["api://a/.default", "api://Enter_the_Web_Api_Id_Here/x"]}}}`, "DownstreamApis.a.Scopes[1]: is a placeholder"},
		{`{"DownstreamApi": {"Scopes": "[Enter here the scopes for your web API]"}}`, "Scopes: is a placeholder"},
	} {
		for _, name := range []string{"appsettings.json", "config.yaml"} {
			_, doc := load(t, name, []byte(row.text))
			got := ""
			if err := doc.Err(); err != nil {
				got = strings.ToLower(err.Error())
			}
			if row.want == "" != (got == "") || !strings.Contains(got, strings.ToLower(row.want)) {
				t.Errorf("%s, %s: got %q, want %q", name, row.text, got, row.want)
			}
			if strings.Contains(got, "copy the") || strings.Contains(got, "secret_here") {
				t.Errorf("%s: a secret is quoted: %s", name, got)
			}
		}
	}
}

// Only variables that .NET's configuration could mean are taken.
func TestVariablesForTheTable(t *testing.T) {
	for name, want := range map[string]bool{
		"Logging__LogLevel__Default": true, "KESTREL__ENDPOINTS__HTTP__URL": true, "AllowedHosts": true, "ASPNETCORE_URLS": true,
		"EntraId__TenantId": true, "MicrosoftGraph__Scopes": true, "ConnectionStrings__Default": true,
		"PATH": false, "Kestrel": false, "Version": false, "URLS": false, "HTTP_PORTS": false, "Logging": false, "DetailedErrors": false,
		"ASPNETCORE_ENVIRONMENT": false, "DOTNET_RUNNING_IN_CONTAINER": false, "AZURE_CLIENT_ID": false, "AzureAdd__TenantId": true, "LOGIN__USER": false, "DOWNSTREAMAPPIS__todo__BaseUrl": true, "AzureAdd": false,
		"MyCompany__Feature": false, "": false, "__": false,
	} {
		if got := appsettings.IsForeign(strings.Split(name, "__"), []string{"azureAd", "downstreamApis"}); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A value that a later file sets by another of Microsoft's keys is not lost silently.
func TestOverlaysMeetInOneKey(t *testing.T) {
	got, doc := load(t, "appsettings.json",
		[]byte(`{"MicrosoftGraph": {"Scopes": "User.Read Mail.Read"}, "AzureAd": {"Audience": "api://a"}, "AllowedHosts": "a.example; b.example;"}`),
		"DownstreamApis__microsoftgraph__BaseUrl=https://graph.example", "AzureAd__Audiences__0=api://b", "AzureAd__ClientSecret=s3cret")
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	graph := got.DownstreamAPIs["microsoftgraph"]
	if graph.BaseURL != "https://graph.example" || len(graph.Scopes) != 2 || len(got.DownstreamAPIs) != 1 {
		t.Errorf("got %+v", got.DownstreamAPIs)
	}
	if a := got.AzureAd; strings.Join(a.Audiences, " ") != "api://b api://a" ||
		len(a.ClientCredentials) != 1 || a.ClientCredentials[0].ClientSecret != "s3cret" {
		t.Errorf("got %+v", a)
	}
	if strings.Join(got.Server.AllowedHosts, " ") != "a.example b.example" {
		t.Errorf("got %q", got.Server.AllowedHosts)
	}
}

// A template's empty text is no value: it does not keep out what another key says.
func TestEmptyTextsGiveWay(t *testing.T) {
	got, doc := load(t, "appsettings.json", []byte(`{"Server": {"AllowedHosts": ""}, "AllowedHosts": "a.example", `+
		`"AzureAd": {"Instance": "", "TenantId": "", "Authority": "https://login.microsoftonline.us/contoso.example/v2.0"}}`))
	if err := doc.Err(); err != nil || len(doc.Warnings()) > 0 {
		t.Fatalf("got %v, %v", err, doc.Warnings())
	}
	if a := got.AzureAd; a.Instance != "https://login.microsoftonline.us/" || a.TenantID != "contoso.example" {
		t.Errorf("got instance %q and tenantId %q", a.Instance, a.TenantID)
	}
	if strings.Join(got.Server.AllowedHosts, " ") != "a.example" {
		t.Errorf("got hosts %q", got.Server.AllowedHosts)
	}
	got, _ = load(t, "appsettings.json", []byte(`{"AzureAd": {"Instance": "", "AzureCloudInstance": "AzureChina"}}`))
	if got.AzureAd.Instance != "https://login.partner.microsoftonline.cn/" {
		t.Errorf("got instance %q", got.AzureAd.Instance)
	}
}

// A list of AzureAd's that stands beside AzureAd restricts nobody. It is not taken for
// another part of the application.
func TestListsBesideAzureAdAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"Audiences": ["a"]}`:                     "Audiences: belongs below AzureAd",
		`{"Audiences:0": "a"}`:                     "Audiences: belongs below AzureAd",
		`{"TenantId": "a", "Widgets": ["a", "b"]}`: "",
	} {
		_, doc := load(t, "appsettings.json", []byte(text))
		got := ""
		if err := doc.Err(); err != nil {
			got = err.Error()
		}
		if want == "" != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// An entry that is skipped does not count as another one that can be used.
func TestOnlyEntryThatIsNotSkippedMustBeUsable(t *testing.T) {
	const store = `{"SourceType": "StoreWithThumbprint"}`
	const skipped = `{"SourceType": "ClientSecret", "ClientSecret": "s", "Skip": true}`
	_, doc := load(t, "appsettings.json", []byte(`{"AzureAd": {"ClientCredentials": [`+skipped+`, `+store+`]}}`))
	if err := doc.Err(); err == nil || !strings.Contains(err.Error(), "ClientCredentials[1].SourceType: cannot be used here") {
		t.Errorf("got %v", err)
	}
	got, doc := load(t, "appsettings.json",
		[]byte(`{"AzureAd": {"ClientCredentials": [{"SourceType": 4, "Skip": "True"}, {"SourceType": 6, "ClientSecret": "s"}]}}`))
	if err := doc.Err(); err != nil || len(doc.Warnings()) > 0 || len(got.AzureAd.ClientCredentials) != 1 {
		t.Errorf("got %+v, %v, %v", got.AzureAd, err, doc.Warnings())
	}
}

// FuzzTranslate: whatever a file and the environment hold, translating it ends, and ends
// without a panic.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(`{"AzureAd": {"Authority": "https://a/b", "TokenValidationParameters": {"ValidAudiences": ["a"]}, "ClientCertificates": [{"SourceType": 1}]}}`),
		"AzureAd__ClientSecret=x", true)
	f.Add([]byte(`{"EntraId": {"ClientCredentials": [{"SourceType": 0}, "x", null, []]}, "AzureAd": null}`),
		"AzureAd__ClientCredentials__0=x", true)
	f.Add([]byte(`{"DownstreamApi": {"Scopes": {"a": []}, "AcquireTokenOptions": {"Tenant": {}}}, "DownstreamApis": [1]}`),
		"DownstreamApis__DownstreamApi__Scopes=x", true)
	f.Add([]byte(`{"Logging:LogLevel:Default": 3, "AzureAd": {"Scopes": {"Read": {"Read": []}}, "AppPermissions": "x"}}`),
		"Logging__LogLevel=x", false)
	f.Add([]byte(`{"Sidecar": {"AllowOverrides": {"CallDownstreamApi": true}, "Scopes": {"a": []}}, "AzureAd": {"Scopes": [["a"], {"b": "c"}]}}`),
		"ASPNETCORE_URLS=http://+:5000", true)
	f.Add([]byte(`{"Server": "x", "Sidecar": {"PopValidation": []}, "AzureAd": {"AppPermissions": {}, "AllowWebApiToBeAuthorizedByACL": "true"}}`),
		"Server__SidecarAddress=auto", true)
	f.Fuzz(func(t *testing.T, text []byte, assignment string, isJSON bool) {
		name := "appsettings.yaml"
		if isJSON {
			name = "appsettings.json"
		}
		_, doc := load(t, name, text, assignment)
		for _, warning := range doc.Warnings() {
			if warning.Key == "" || strings.Count(warning.String(), "\n") > strings.Count(warning.Key, "\n") {
				t.Errorf("a warning without a key, or of several lines: %q", warning.String())
			}
		}
	})
}
