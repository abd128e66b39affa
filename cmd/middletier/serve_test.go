package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// writeConfig writes a configuration file.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodConfig = `
azureAd:
  tenantId: 11111111-1111-4111-8111-111111111111
  clientId: 22222222-2222-4222-8222-222222222222
  clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret-value}]
downstreamApis:
  todo:
    baseUrl: https://todo.contoso.example/v1/
    scopes: [api://todo/.default]
    access: [{methods: [GET], scopes: [ToDoList.Read]}]
`

// A configuration that cannot work ends the program at once, with one line for
// each mistake that names key and line.
func TestServeReportsEveryMistake(t *testing.T) {
	t.Parallel()
	change := func(old, replacement string) string {
		if !strings.Contains(goodConfig, old) {
			t.Fatalf("%q is not in the configuration", old)
		}
		return strings.Replace(goodConfig, old, replacement, 1)
	}
	for _, row := range []struct {
		name, text string
		want       []string // a part of each line
	}{
		{"misspelt key", change("tenantId", "tenentId"), []string{`config.yaml:3: azureAd.tenentId: unknown key; did you mean "tenantId"?`, "azureAd.tenantId: must be set"}},
		{"no client id", change("clientId: 2222", "audiences: [x] # 2222"), []string{"azureAd.clientId: must be set"}},
		{"no credentials", change("clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret-value}]", "clientCredentials: []"), []string{"config.yaml:5: azureAd.clientCredentials: must hold at least one credential"}},
		{"two kinds of secret", change("sourceType: ClientSecret, clientSecret: s3cret-value", "clientSecret: s3cret-value, certificateDiskPath: x.pem"), []string{"config.yaml:5: azureAd.clientCredentials[0].sourceType: must be set: the entry holds keys of ClientSecret and Path"}},
		{"secret by value and by file", change("clientSecret: s3cret-value", "clientSecret: s3cret-value, clientSecretFile: x"), []string{"config.yaml:5: azureAd.clientCredentials[0]: ClientSecret needs exactly one of"}},
		{"broken YAML", "azureAd: [\n  tenantId: }\n", []string{"config.yaml:"}},
		{"no secret file and a bad size", change("clientSecret: s3cret-value", "clientSecretFile: /nonexistent/secret") + "server: {maxBodySize: 0}\n", []string{"config.yaml:5: azureAd.clientCredentials[0].clientSecretFile: open /nonexistent/secret", "server.maxBodySize: must be positive"}},
		{"bad duration", goodConfig + "server:\n  requestTimeout: soon\n", []string{"config.yaml:12: server.requestTimeout: "}},
		{"no unit", goodConfig + "server:\n  requestTimeout: 30\n", []string{"config.yaml:12: server.requestTimeout: "}},
		{"bad size", goodConfig + "server:\n  maxBodySize: huge\n", []string{"config.yaml:12: server.maxBodySize: "}},
		{"bad base URL", change("https://todo.contoso.example/v1/", "todo.contoso.example"), []string{"config.yaml:8: downstreamApis.todo.baseUrl: must be an http or https URL"}},
		{"scopes of two resources", change("[api://todo/.default]", "[api://todo/Read, api://other/Read]"), []string{"config.yaml:9: downstreamApis.todo.scopes: "}},
		{"a rule for nobody", change(", scopes: [ToDoList.Read]", ""), []string{"config.yaml:10: downstreamApis.todo.access[0]: a rule needs scopes, appPermissions or clients"}},
		{"a bad pattern", change("methods: [GET]", "paths: [items]"), []string{"config.yaml:10: downstreamApis.todo.access[0].paths[0]: a path begins with a slash"}},
		{"tenants not said", change("11111111-1111-4111-8111-111111111111", "organizations"), []string{"azureAd.allowedTenants: must be set"}},
		{"apps in no tenant", strings.Replace(change("11111111-1111-4111-8111-111111111111", "common\n  allowedTenants: ['*']"), ", scopes: [ToDoList.Read]", ", appPermissions: [A]", 1), []string{"downstreamApis.todo.tenant: must be set if"}},
		{"a tenant by domain", change("11111111-1111-4111-8111-111111111111", "common\n  allowedTenants: [contoso.example]"), []string{"config.yaml:4: azureAd.allowedTenants[0]: must be a tenant's GUID"}},
		{"AD FS", goodConfig[:9] + "\n  instance: https://fs.contoso.example/adfs" + goodConfig[9:], []string{"config.yaml:3: azureAd.instance: AD FS is not supported"}},
		{"instance without TLS", goodConfig[:9] + "\n  instance: http://login.example" + goodConfig[9:], []string{"config.yaml:3: azureAd.instance: must be an https URL"}},
		{"no certificate file", goodConfig + "server:\n  tls: {certFile: /nonexistent/tls.crt, keyFile: /nonexistent/tls.key}\n", []string{"config.yaml:12: server.tls.certFile: open /nonexistent/tls.crt"}},
		{"a certificate without its key", goodConfig + "server: {tls: {certFile: x}, maxConnections: -1}\n", []string{"config.yaml:11: server.tls.keyFile: must be set with certFile", "server.maxConnections: must not be negative", "server.tls.certFile: open x"}},
		{"a sidecar listener", goodConfig + "server:\n  sidecarAddress: 127.0.0.1\n", []string{"config.yaml:12: server.sidecarAddress: must be HOST:PORT"}},
		{"h2c and TLS", goodConfig + "server: {h2c: true, tls: {certFile: config.go, keyFile: tls.go}}\n", []string{"server.h2c: is for HTTP/2 without TLS", "server.tls.certFile: config.go: holds no certificate"}},
		{"limits that cannot be", goodConfig + "server:\n  rateLimit: {requestsPerSecond: -1}\n  shutdownGrace: -1s\n", []string{"config.yaml:12: server.rateLimit.requestsPerSecond: must be a number up to a million", "config.yaml:13: server.shutdownGrace: "}},
		{"a burst without a rate", goodConfig + "server:\n  rateLimit: {burst: 3}\n", []string{"config.yaml:12: server.rateLimit.burst: must be a number of requests that requestsPerSecond allows"}},
		{"a public URL that is no route", goodConfig + "server:\n  publicUrl: https://api.contoso.example/a/../b\n", []string{"config.yaml:12: server.publicUrl: must have a plain path or none"}},
		{"wrong kind", change("[api://todo/.default]", "{a: b}"), []string{"config.yaml:9: downstreamApis.todo.scopes: "}},
		{"trusted proxies that are none", goodConfig + "server: {trustedProxies: [10.0.0.0/8, 192.0.2.1, 'fd00::/129', '::ffff:10.0.0.0/104']}\n", []string{
			"config.yaml:11: server.trustedProxies[1]: must be a CIDR", "config.yaml:11: server.trustedProxies[2]: must be a CIDR", "config.yaml:11: server.trustedProxies[3]: must be a CIDR",
		}},
		{"too many attempts", change("scopes: [api://todo/.default]", "scopes: [api://todo/.default]\n    retry: {attempts: 11}"), []string{"config.yaml:10: downstreamApis.todo.retry.attempts: must be between 1, for no retries, and 10"}},
		{"a request that ends before it begins", change("scopes: [api://todo/.default]", "scopes: [api://todo/.default]\n    requestTimeout: -1s"), []string{"config.yaml:10: downstreamApis.todo.requestTimeout: expected a duration that is not negative"}},
		{"three at once", goodConfig + "server: {adress: x, maxBodySize: 0, basePath: middle/}\n", []string{
			`config.yaml:11: server.adress: unknown key; did you mean "address"?`, "config.yaml:11: server.maxBodySize: must be positive", "config.yaml:11: server.basePath: must be a plain path",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			path := writeConfig(t, row.text)
			if code := run(t.Context(), []string{"serve", "--config", path}, streams{nil, &stdout, &stderr}); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if len(lines) != len(row.want) {
				t.Errorf("got %d lines, want %d:\n%s", len(lines), len(row.want), stderr.String())
			}
			for _, want := range row.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("got\n%swant %q in it", stderr.String(), want)
				}
			}
			if text := stderr.String() + stdout.String(); strings.Contains(text, "s3cret-value") || strings.Contains(text, "goroutine ") {
				t.Errorf("a secret or a stack is printed:\n%s", text)
			}
		})
	}
}

func TestServeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := other.Addr().String()
	for _, row := range []struct{ name, path, want string }{
		{"no file", filepath.Join(t.TempDir(), "absent.yaml"), "absent.yaml: cannot be read"},
		{"no secret file", writeConfig(t, strings.Replace(goodConfig, "clientSecret: s3cret-value", "clientSecretFile: /nonexistent/secret", 1)), "config.yaml:5: azureAd.clientCredentials[0].clientSecretFile: open /nonexistent/secret"},
		{"no such address", writeConfig(t, goodConfig+"server: {address: 256.0.0.1:1, adminAddress: ''}\n"), "config.yaml:11: server.address: listen tcp"},
		{"address in use", writeConfig(t, goodConfig+"server:\n  address: "+taken+"\n"), "config.yaml:12: server.address: listen tcp"},
		{"operators' address in use", writeConfig(t, goodConfig+"server:\n  address: 127.0.0.1:0\n  adminAddress: "+taken+"\n"), "config.yaml:13: server.adminAddress: listen tcp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"serve", "--config", row.path}, streams{nil, &stdout, &stderr}); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if got := stderr.String(); !strings.Contains(got, row.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", got, row.want)
			}
		})
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	path := writeConfig(t, goodConfig)
	f, err := load(path, []string{
		"AZURE_TENANT_ID=ignored-where-the-file-says", "azuread__clientid=from-the-environment", "DownstreamApis__TODO__Scopes__0=api://other/.default",
		"AzureAd__ClientCredentials__0__ClientSecret=another", "SERVER__REQUESTTIMEOUT=5s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.AzureAd.TenantID != "11111111-1111-4111-8111-111111111111" || f.AzureAd.ClientID != "from-the-environment" ||
		f.Server.RequestTimeout != 5*time.Second ||
		f.DownstreamAPIs["todo"].Scopes[0] != "api://other/.default" || f.AzureAd.ClientCredentials[0].ClientSecret != "another" {
		t.Errorf("got %+v", f)
	}
	bare := writeConfig(t, strings.NewReplacer(
		"  tenantId: 11111111-1111-4111-8111-111111111111\n", "  tenantId: ''\n",
		"  clientId: 22222222-2222-4222-8222-222222222222\n", "").Replace(goodConfig))
	f, err = load(bare, []string{
		"AZURE_TENANT_ID=contoso.example", "AZURE_CLIENT_ID=by-workload-identity",
		"AZURE_AUTHORITY_HOST=https://login.microsoftonline.us/",
	})
	if err != nil || f.AzureAd.TenantID != "contoso.example" || f.AzureAd.ClientID != "by-workload-identity" ||
		f.AzureAd.Instance != "https://login.microsoftonline.us/" {
		t.Errorf("AZURE_ variables where the file says nothing: got %+v, %v", f.AzureAd, err)
	}
	f, err = load(bare, []string{"AZURE_CLIENT_ID=x", "AzureAd__Instance=https://Contoso.ciamlogin.com/"})
	if err != nil || f.AzureAd.TenantID != "contoso.onmicrosoft.com" {
		t.Errorf("an External ID instance and no tenant: got %q, %v", f.AzureAd.TenantID, err)
	}
	f, err = load(bare, []string{"AZURE_CLIENT_ID=x", "AZURE_TENANT_ID=the.cluster.s", "AZURE_AUTHORITY_HOST=https://contoso.ciamlogin.com"})
	if err != nil || f.AzureAd.TenantID != "contoso.onmicrosoft.com" {
		t.Errorf("an External ID instance beside another tenant's variable: got %q, %v", f.AzureAd.TenantID, err)
	}
	_, err = load(bare, []string{"AZURE_CLIENT_ID=x", "AZURE_TENANT_ID=contoso.example", "AZURE_AUTHORITY_HOST=login.microsoftonline.us"})
	if err == nil || !strings.Contains(err.Error(),
		"azureAd.instance: must be an https URL, such as https://login.microsoftonline.com/ (it is from AZURE_AUTHORITY_HOST)") {
		t.Errorf("a mistake in a variable: got %v", err)
	}
	_, err = load(path, []string{"AzureAd__TenentId=x"})
	if err == nil || !strings.Contains(err.Error(),
		`environment variable AzureAd__TenentId: azureAd.TenentId: unknown key; did you mean "tenantId"?`) {
		t.Errorf("misspelt variable: got %v", err)
	}
}

// Kubernetes' workload identity webhook sets the variable.
func TestFederatedTokenFileFromTheEnvironment(t *testing.T) {
	const entry = "clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret-value}]"
	federated := strings.Replace(goodConfig, entry,
		"clientCredentials: [{sourceType: signedassertionfilepath}, {sourceType: SignedAssertionFilePath, signedAssertionFileDiskPath: /own}]", 1)
	environ := []string{"AZURE_FEDERATED_TOKEN_FILE=/var/run/token"}
	f, err := load(writeConfig(t, federated), environ)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.AzureAd.ClientCredentials; got[0].SignedAssertionFileDiskPath != "/var/run/token" ||
		got[1].SignedAssertionFileDiskPath != "/own" {
		t.Errorf("got %q and %q", got[0].SignedAssertionFileDiskPath, got[1].SignedAssertionFileDiskPath)
	}
	if _, err := load(writeConfig(t, goodConfig), environ); err != nil {
		t.Errorf("beside another kind of credential: %v", err)
	}
	if _, err := load(writeConfig(t, federated), nil); err == nil ||
		!strings.Contains(err.Error(), "config.yaml:5: azureAd.clientCredentials[0].signedAssertionFileDiskPath: must be set") {
		t.Errorf("without the variable: got %v", err)
	}
}

// Keys of an appsettings.json are accepted.
func TestAppsettingsJSONWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "appsettings.json")
	if err := os.WriteFile(path, []byte(`{
  "AzureAd": {
    "Instance": "https://login.microsoftonline.com/",
    "TenantId": "11111111-1111-4111-8111-111111111111",
    "ClientId": "22222222-2222-4222-8222-222222222222",
    "ClientCredentials": [
      {"SourceType": "SignedAssertionFromManagedIdentity", "ManagedIdentityClientId": "33333333-3333-4333-8333-333333333333"},
      {"SourceType": "KeyVault", "KeyVaultUrl": "https://contoso.vault.azure.net", "KeyVaultCertificateName": "middletier"},
      {"SourceType": "Path", "CertificateDiskPath": "/run/secrets/client.pfx", "CertificatePassword": "p"}
    ]
  },
  "DownstreamApis": {"Graph": {"BaseUrl": "https://graph.microsoft.com/v1.0/", "Scopes": ["User.Read"]}}
}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.DownstreamAPIs["Graph"].Scopes; len(got) != 1 || got[0] != "User.Read" || f.DownstreamAPIs["Graph"].Timeout != 20*time.Second {
		t.Errorf("got %+v", f.DownstreamAPIs)
	}
}

// The configuration in the repository holds every key, with its default.
func TestShippedConfigHoldsEveryDefault(t *testing.T) {
	f, err := load("../../config.yaml", registered)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	if fmt.Sprint(f.Server, f.TokenCache, f.Logging, f.Telemetry) != fmt.Sprint(want.Server, want.TokenCache, want.Logging, want.Telemetry) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
	if got, want := f.AzureAd, want.AzureAd; got.Instance != want.Instance || got.ClockSkew != want.ClockSkew ||
		got.Timeout != want.Timeout || got.MaxConcurrentExchanges != want.MaxConcurrentExchanges {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for key := range keysOf(t, currentSchema(t)) {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("config.yaml does not show the key %q", key)
		}
	}
}

// keysOf collects the names of all properties in a schema.
func keysOf(t *testing.T, schema []byte) map[string]bool {
	t.Helper()
	var document any
	if err := json.Unmarshal(schema, &document); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for name := range properties {
					keys[name] = true
				}
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(document)
	if len(keys) < 30 {
		t.Fatalf("found only %d keys in the schema", len(keys))
	}
	return keys
}

func currentSchema(t *testing.T) []byte {
	t.Helper()
	schema, err := config.Schema(file{}, "Configuration of middletier")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaIsCurrent(t *testing.T) { checkGenerated(t, "config.schema.json", currentSchema(t)) }

func TestReferenceIsCurrent(t *testing.T) {
	f := defaults()
	page := referenceIntroduction + config.Reference(&f)
	checkGenerated(t, "docs/configuration.md", []byte(page))
	for key := range keysOf(t, currentSchema(t)) {
		if !strings.Contains(page, "| `"+key+"` |") && !strings.Contains(page, "## "+key) {
			t.Errorf("%s is not explained", key)
		}
	}
}

const referenceIntroduction = `# Configuration

<!-- Written by make generate from the code; do not edit. -->

There is one file, in YAML or JSON. Keys match in any case; unknown keys are errors. The environment can set every key, and
takes precedence over the file: two underscores between levels, an index for lists, in any case, such as ` + "`AzureAd__TenantId`" + ` and
` + "`DownstreamApis__todo__Scopes__0`" + `. Durations are written ` + "`30s`, `10m` or `1m30s`, sizes `64KiB`, `10MiB` or `1GiB`" + `.
YAML anchors, aliases, merge keys and tags are refused.
` + "`config.schema.json` gives editors completion, and `middletier check`" + ` reports every mistake.
The file is read once, at the start; files that it names are read again when they change. Start from [config.yaml](../config.yaml).
`

// checkGenerated compares a file of the repository with what the code says, or
// writes it with -update.
func checkGenerated(t *testing.T, name string, want []byte) {
	t.Helper()
	path := filepath.Join("../..", name)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says: run make generate", name)
	}
}

func TestCommandLine(t *testing.T) {
	for _, row := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "Usage: middletier"},
		{[]string{"serve", "--help"}, 0, "--config=FILE"},
		{[]string{"demo", "--help"}, 0, "--port=8080"},
		{[]string{"check", "--help"}, 0, "--config=FILE"},
		{[]string{"check", "--help"}, 0, "--online"},
		{[]string{"call", "--help"}, 0, "--config=FILE"},
		{[]string{"call", "--help"}, 0, "--method=METHOD"},
		{[]string{"mock", "--help"}, 0, `--address="127.0.0.1:9443"`},
		{[]string{"mock", "--help"}, 0, `--ca-out="ca.pem"`},
		{[]string{"version"}, 0, "middletier dev"},
		{[]string{}, 2, "Run \"middletier --help\" for help."},
		{[]string{"sreve"}, 2, "Run \"middletier --help\" for help."},
		{[]string{"serve", "--confg", "x"}, 2, "middletier serve --help"},
		{[]string{"serve", "more"}, 2, "middletier serve --help"},
		{[]string{"check", "--onlin"}, 2, "middletier check --help"},
		{[]string{"mock", "--hosts", "x"}, 2, "middletier mock --help"},
		{[]string{"demo", "--port", "many"}, 2, "middletier demo --help"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), row.args, streams{nil, &stdout, &stderr})
			text := stdout.String()
			if row.code != 0 {
				text = stderr.String()
			}
			if code != row.code || !strings.Contains(text, row.want) {
				t.Errorf("exit code %d, want %d; got %q, want %q in it", code, row.code, text, row.want)
			}
		})
	}
}

// process is the program in a process of its own.
type process struct {
	*exec.Cmd
	stdout *syncBuffer
	ended  chan error
}

func startProcess(t *testing.T, environment []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{exec.Command(self, args...), &syncBuffer{}, make(chan error, 1)}
	p.Env = append(append(os.Environ(), roleVariable+"=middletier"), environment...)
	p.Stdout, p.Stderr = p.stdout, p.stdout
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() }) // it may have ended
	return p
}

// await waits until the output holds a text.
func (p *process) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(p.stdout.String(), text) }, func() string {
		return fmt.Sprintf("no %q in the output:\n%s", text, p.stdout.String())
	})
}

// eventually waits until something holds, for 15 s at the most.
func eventually(t *testing.T, holds func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.After(30 * time.Second) // ample: a busy machine may stall
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(otherwise())
		}
	}
}

// The commands that the demo prints work unchanged.
func TestDemoCommandsWorkAsPrinted(t *testing.T) {
	p := startProcess(t, nil, "demo", "--port", "0")
	p.await(t, "Ctrl-C stops it.")
	outputs := p.runPrinted(t)
	if len(outputs) != 4 {
		t.Fatalf("got %d commands, want 4:\n%s", len(outputs), p.stdout.String())
	}
	for i, want := range []string{`"name":"alice"}]`, "[]\n", `"name":"alice"}]`, "HTTP/1.1 403 Forbidden"} {
		if !strings.Contains(outputs[i], want) {
			t.Errorf("command %d: got %q, want %q in it", i+1, outputs[i], want)
		}
	}
	if !strings.Contains(outputs[3], "insufficient-scope") {
		t.Errorf("the refused one: got %q", outputs[3])
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the demo goes on after an interrupt")
	}
}
