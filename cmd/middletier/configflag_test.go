package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// aloneEnviron is a whole configuration in the environment.
var aloneEnviron = []string{
	"AzureAd__TenantId=11111111-2222-4333-8444-555555555555", "azuread__clientid=66666666-7777-4888-8999-aaaaaaaaaaaa",
	"AZUREAD__CLIENTCREDENTIALS__0__CLIENTSECRET=s3cret", "AzureAd__ClientCredentials__0__SourceType=ClientSecret", "DownstreamApis__todo__BaseUrl=https://todo.contoso.example/v1/",
	"DownstreamApis__todo__Scopes__0=api://todo/.default", "DownstreamApis__todo__Access__0__Scopes__0=ToDoList.Read",
}

func TestEnvironmentAloneIsEnough(t *testing.T) {
	t.Chdir(t.TempDir())
	f, doc, err := configFlag{}.load(aloneEnviron)
	if err != nil || len(doc.Warnings()) > 0 {
		t.Fatal(err, doc.Warnings())
	}
	if f.DownstreamAPIs["todo"].Scopes[0] != "api://todo/.default" || f.AzureAd.ClientCredentials[0].SourceType != "ClientSecret" {
		t.Errorf("got %+v", f)
	}
	_, _, err = configFlag{}.load(nil)
	if err == nil || !strings.Contains(err.Error(), "azureAd.clientId: must be set") ||
		!strings.HasSuffix(err.Error(), "Only the environment was read: there is no config.yaml here, and --config names no other file") {
		t.Errorf("with nothing at all: got %v", err)
	}
}

func TestConfigYAMLIsTheDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("config.yaml", []byte("server: {basePath: /a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, err := configFlag{}.load(aloneEnviron)
	if err != nil || f.Server.BasePath != "/a" {
		t.Errorf("got %q, %v", f.Server.BasePath, err)
	}
	if err := os.WriteFile("config.yaml", []byte("server: {basePth: /a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (configFlag{}).load(aloneEnviron); err == nil || !strings.Contains(err.Error(), "config.yaml:1: server.basePth") {
		t.Errorf("got %v", err)
	}
}

// A missing file that was named is an error, though the environment would be enough.
func TestNamedFileMustExist(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, _, err := (configFlag{Config: []string{missing}}).load(aloneEnviron); err == nil ||
		!strings.HasPrefix(err.Error(), missing+": cannot be read") {
		t.Errorf("got %v", err)
	}
}

func TestAddressesFromTheEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, row := range []struct {
		name    string
		environ []string
		address string
		admin   string
		problem string
	}{
		{"default", nil, ":8080", "127.0.0.1:8081", ""},
		{"PORT", []string{"PORT=3000"}, ":3000", "127.0.0.1:8081", ""},
		{"custom handler", []string{"FUNCTIONS_CUSTOMHANDLER_PORT=3001"}, ":3001", "127.0.0.1:8081", ""},
		{"both", []string{"FUNCTIONS_CUSTOMHANDLER_PORT=3001", "PORT=3000"}, ":3000", "127.0.0.1:8081", ""},
		{"empty PORT", []string{"PORT="}, ":8080", "127.0.0.1:8081", ""},
		{"ours wins", []string{"PORT=3000", "Server__Address=127.0.0.1:4000"}, "127.0.0.1:4000", "127.0.0.1:8081", ""},
		{"no port", []string{"PORT=http"}, "", "", "server.address: must be HOST:PORT, such as 127.0.0.1:8080 or :8080 (it is from PORT)"},
		{"too large", []string{"PORT=99999"}, "", "", "server.address: must be HOST:PORT, such as 127.0.0.1:8080 or :8080 (it is from PORT)"},
		{"off", []string{"Server__AdminAddress=off", "Server__SidecarAddress=Off", "Telemetry__OtlpEndpoint=off", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"}, ":8080", "", ""},
		{"nothing to serve", []string{"Server__Address=off"}, "", "", "environment variable Server__Address: server.address: must be HOST:PORT, such as :8080: without server.sidecarAddress there would be nothing to serve"},
		{"empty", []string{"Server__AdminAddress="}, ":8080", "127.0.0.1:8081", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, _, err := configFlag{}.load(append(row.environ, aloneEnviron...))
			if row.problem != "" {
				if err == nil || strings.SplitN(err.Error(), "\n", 2)[0] != row.problem {
					t.Errorf("got %v, want %s", err, row.problem)
				}
				return
			}
			if err != nil || f.Server.Address != row.address || f.Server.AdminAddress != row.admin || f.Telemetry.OTLPEndpoint != "" {
				t.Errorf("got %q, %q, %q, %v; want %q, %q",
					f.Server.Address, f.Server.AdminAddress, f.Telemetry.OTLPEndpoint, err, row.address, row.admin)
			}
		})
	}
}

// .NET lays appsettings.ENVIRONMENT.json over appsettings.json by itself.
func TestOverlayThatIsNotReadIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"appsettings.json": "{}", "appsettings.Production.json": `{"Server":{"BasePath":"/a"}}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base, overlay := "appsettings.json", "appsettings.Production.json"
	warning := "ASPNETCORE_ENVIRONMENT: warning: is Production, but appsettings.Production.json is not read; " +
		"to read it, add --config appsettings.Production.json"
	for _, row := range []struct {
		files   []string
		environ string
		want    string
	}{
		{[]string{base}, "ASPNETCORE_ENVIRONMENT=Production", warning},
		{[]string{base}, "DOTNET_ENVIRONMENT=Production", strings.ReplaceAll(warning, "ASPNETCORE", "DOTNET")},
		{[]string{base, "./" + overlay}, "ASPNETCORE_ENVIRONMENT=Production", ""},
		{[]string{base}, "ASPNETCORE_ENVIRONMENT=Staging", ""},
		{[]string{base}, "ASPNETCORE_ENVIRONMENT=", ""},
		{[]string{overlay}, "ASPNETCORE_ENVIRONMENT=Production", ""},
	} {
		_, doc, err := configFlag{Config: row.files}.load(append([]string{row.environ}, aloneEnviron...))
		if err != nil {
			t.Fatal(err)
		}
		if got := doc.Warnings().Error(); got != row.want {
			t.Errorf("%v, %s: got %q, want %q", row.files, row.environ, got, row.want)
		}
	}
}
