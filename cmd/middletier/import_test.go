package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// importWorld has a platform that issues tokens for the API under its URL too.
func importWorld(t *testing.T, certificates ...*x509.Certificate) (w *world, environment []string, api string) {
	t.Helper()
	target := newUpstream(t)
	directory := testDirectory()
	for i, app := range directory.Apps {
		if app.ClientID == demoMiddleTier {
			directory.Apps[i].Certificates = certificates
		}
		if app.ClientID == demoToDo {
			directory.Apps[i].IDURIs = append(app.IDURIs, target.URL)
		}
	}
	w = newStoppedWorldOf(t, directory)
	environment, _ = w.onDisk()
	return w, environment, target.URL
}

// The file of a daemon becomes a configuration with which check finds no mistake, and call
// gets a token with the credential that the file held.
func TestImportedDaemonsCallTheirAPI(t *testing.T) {
	t.Parallel()
	certificates, pem := newCertificate(t)
	_, keyFile := inTwoFiles(t, pem)
	key, thumbprint := readText(t, keyFile), fmt.Sprintf("%x", sha256.Sum256(certificates[0].Raw))
	w, environment, api := importWorld(t, certificates[0])
	env := fmt.Sprintf("TENANT_ID=%s\nCLIENT_ID=%s\nAAD_ENDPOINT=%s/\nGRAPH_ENDPOINT=%s\n", demoTenant, demoMiddleTier, w.idp.URL(), api)
	parameters := fmt.Sprintf(`{"authority":"%s/%s","client_id":"%s","scope":["%s/.default"],"endpoint":"%[4]s/v1.0/items",`,
		w.idp.URL(), demoTenant, demoMiddleTier, api)
	for _, row := range []struct {
		name, file, text string
		call             []string
		files            []string
	}{
		{"secret for Node", ".env", env + "CLIENT_SECRET=" + testSecret, []string{"graph", "/v1.0/users"}, []string{"client-secret", "config.yaml"}},
		{
			"certificate for Node", ".env",
			env + "CERTIFICATE_THUMBPRINT=" + thumbprint + "\nCERTIFICATE_PRIVATE_KEY=\"" + key + "\"\n",
			[]string{"graph", "/v1.0/users"},
			[]string{"client-key.pem", "config.yaml"},
		},
		{
			"certificate for Node, in one line", ".env",
			env + "CERTIFICATE_THUMBPRINT=" + thumbprint + "\nCERTIFICATE_PRIVATE_KEY=\"" + strings.ReplaceAll(key, "\n", `\n`) + "\"\n",
			[]string{"graph", "/v1.0/users"},
			[]string{"client-key.pem", "config.yaml"},
		},
		{
			"assertion for Node", ".env", env + "CLIENT_ASSERTION=" + clientAssertion(t, w, certificates[0], key),
			[]string{"graph", "/v1.0/users"},
			[]string{"client-assertion", "config.yaml"},
		},
		{
			"certificate for Python", "parameters.json",
			parameters + `"thumbprint":"` + thumbprint + `","private_key_file":"` + keyFile + `"}`,
			[]string{"api", "/items"},
			[]string{"config.yaml"},
		},
		{"secret for Python", "parameters.json", parameters + `"secret":"` + testSecret + `"}`, []string{"api", "/items"}, []string{"client-secret", "config.yaml"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			source, out := filepath.Join(folder, row.file), filepath.Join(folder, "out", "config.yaml")
			writeTo(t, source, row.text)
			if err := os.Mkdir(filepath.Dir(out), 0o700); err != nil {
				t.Fatal(err)
			}
			if o := runProcess(t, nil, "", "import", source, "--out", out); o.code != 0 || strings.Contains(o.stdout+o.stderr, testSecret) {
				t.Fatalf("import: got %+v", o)
			}
			checkFiles(t, filepath.Dir(out), row.files)
			if text := readText(t, out); strings.Contains(text, testSecret) {
				t.Errorf("the configuration holds the secret:\n%s", text)
			}
			if o := runProcess(t, environment, "", "check", "--config", out); o.code != 0 {
				t.Errorf("check: got %+v", o)
			}
			if o := runProcess(t, environment, "", append([]string{"call", "--config", out}, row.call...)...); o.code != 0 {
				t.Errorf("call: got %+v", o)
			}
			if o := runProcess(t, nil, "", "import", source, "--out", out); o.code != 1 ||
				!strings.Contains(o.stderr, "exists already; nothing is written") {
				t.Errorf("again: got %+v", o)
			}
		})
	}
}

// clientAssertion signs an assertion for the middle tier's application.
func clientAssertion(t *testing.T, w *world, certificate *x509.Certificate, keyPEM string) string {
	t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": w.idp.URL() + "/" + demoTenant + "/oauth2/v2.0/token", "iss": demoMiddleTier, "sub": demoMiddleTier, "jti": "1",
		"nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	})
	sum := sha256.Sum256(certificate.Raw)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// checkFiles wants these files in folder and no others. Only their owner may read those
// with secrets.
func checkFiles(t *testing.T, folder string, want []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if entry.Name() != "config.yaml" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", entry.Name(), info.Mode())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
}

func writeTo(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A service with the imported appsettings.json serves what it said.
func TestImportedAppSettingsAreServed(t *testing.T) {
	certificates, pem := newCertificate(t)
	w, environment, api := importWorld(t, certificates[0])
	folder := t.TempDir()
	source, out := filepath.Join(folder, "appsettings.json"), filepath.Join(folder, "config.yaml")
	writeTo(t, source, fmt.Sprintf(`{
  // as the template has it
  "AzureAd": {
    "Instance": "%s/", "TenantId": "%s", "ClientId": "%s",
    "ClientCredentials": [
      { "SourceType": "Base64Encoded", "Base64EncodedValue": "%s", "CertificatePassword": "not needed" },
      { "SourceType": 6, "ClientSecret": "%s" }
    ],
    "Scopes": "ToDoList.Read", "ClientCapabilities": [],
    "TokenDecryptionCredentials": [ { "SourceType": "Path" } ],
  },
  "DownstreamApis": { "Todo": { "BaseUrl": "%s/v1/", "Scopes": [ "api://todo/.default" ] } },
  "Server": { "RequestTimeout": "00:00:20" }
}`, w.idp.URL(), demoTenant, demoMiddleTier, base64.StdEncoding.EncodeToString([]byte(readText(t, pem))), testSecret, api))
	o := runProcess(t, nil, "", "import", source, "--out", out)
	if o.code != 0 || !strings.Contains(o.stderr, "not carried over, or different here: AzureAd.Scopes: ") {
		t.Fatalf("import: got %+v", o)
	}
	checkFiles(t, folder, []string{"appsettings.json", "certificate-password", "client-certificate.pem", "client-secret", "config.yaml"})
	if text := readText(t, out); strings.Contains(text, testSecret) || strings.Contains(text, "not needed") ||
		!strings.Contains(text, "# - AzureAd.Scopes: ") || !strings.Contains(text, "# - AzureAd.TokenDecryptionCredentials: ") ||
		!strings.Contains(text, "clientCapabilities: []\n") {
		t.Errorf("got\n%s", text)
	}
	f, err := load(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Server.RequestTimeout.String() != "20s" || f.DownstreamAPIs["Todo"].BaseURL != api+"/v1/" ||
		len(f.AzureAd.ClientCredentials) != 2 || f.AzureAd.ClientCredentials[1].SourceType != "ClientSecret" {
		t.Errorf("got %+v", f)
	}
	if o := runProcess(t, environment, "", "call", "--config", out, "Todo", "/items"); o.code != 0 {
		t.Errorf("call: got %+v", o)
	}
}

// The configuration of Microsoft's sidecar stays that of a sidecar.
func TestImportedSidecarIsOne(t *testing.T) {
	folder := t.TempDir()
	source, out := filepath.Join(folder, "appsettings.json"), filepath.Join(folder, "config.yaml")
	writeTo(t, source, `{"AzureAd": {"TenantId": "`+demoTenant+`", "ClientId": "`+demoMiddleTier+`", "ClientSecret": "hidden-secret", "Scopes": "a"},
"DownstreamApis": {"graph": {"BaseUrl": "https://graph.microsoft.com/", "RelativePath": "me", "ExtraHeaderParameters": {"X-Key": "hidden-header"}}},
"Sidecar": {"AllowOverrides": {"GetAuthorizationHeaderUnauthenticated": true}}}`)
	o := runProcess(t, nil, "", "import", source, "--out", out)
	if o.code != 0 || !strings.Contains(o.stderr, "downstreamApis.graph.extraHeaderParameters.X-Key is a secret") {
		t.Fatalf("got %+v", o)
	}
	f, err := load(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Server.Address != "" || f.Server.SidecarAddress != "127.0.0.1:5178" || len(f.Sidecar.Scopes) != 1 ||
		!f.Sidecar.AllowOverrides.GetAuthorizationHeaderUnauthenticated || f.DownstreamAPIs["graph"].RelativePath != "me" {
		t.Errorf("got %+v", f)
	}
	if text := readText(t, out); strings.Contains(text, "hidden") {
		t.Errorf("a secret is in the file:\n%s", text)
	}
}

// What is a secret is never in the configuration that import writes, also in a list, and
// it stays the credential that the file names.
func TestImportedConfigurationHoldsNoSecret(t *testing.T) {
	const file = `{"AzureAd": {"TenantId": "` + demoTenant + `", "ClientId": "` + demoMiddleTier + `", "ClientCredentials": [%s]},
"DownstreamApis": {"Todo": {"BaseUrl": "https://todo.contoso.example/", "Scopes": ["api://todo/.default"], "RequestHeaders": {"Set": {"X-Key": "hidden-header"}}}},
"TokenCache": {"Redis": {"Url": "redis://u:hidden-url@redis.example", "EncryptionKeys": ["hidden-key-1", "hidden-key-2"]}}}`
	encoded := base64.StdEncoding.EncodeToString([]byte("hidden-certificate"))
	for _, row := range []struct{ name, entry, kind, text, file string }{
		{"alone", `{"SourceType": "ClientSecret", "ClientSecret": "hidden-secret"}`, "ClientSecret", "clientSecretFile: %s/client-secret\n", "client-secret"},
		{"two secrets", `{"SourceType": "ClientSecret", "ClientSecret": "hidden-secret", "ClientSecretFile": "/old"}`, "ClientSecret", "clientSecretFile: %s/client-secret\n", "client-secret"},
		{"rest of another kind", `{"SourceType": "ClientSecret", "ClientSecret": "hidden-secret", "Base64EncodedValue": "` + encoded + `"}`, "ClientSecret", "clientSecretFile: %s/client-secret\n", "client-secret"},
		{"certificate with a rest", `{"SourceType": "Base64Encoded", "Base64EncodedValue": "` + encoded + `", "CertificateDiskPath": "/old.pfx"}`, "Path", "certificateDiskPath: %s/client-certificate.pfx\n", "client-certificate.pfx"},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			source, out := filepath.Join(folder, "appsettings.json"), filepath.Join(folder, "config.yaml")
			writeTo(t, source, fmt.Sprintf(file, row.entry))
			o := runProcess(t, nil, "", "import", source, "--out", out)
			if o.code != 0 || strings.Contains(o.stdout+o.stderr, "hidden") ||
				!strings.Contains(o.stderr, "tokenCache.redis.encryptionKeys[1] is a secret") {
				t.Fatalf("got %+v", o)
			}
			text := readText(t, out)
			if want := fmt.Sprintf(row.text, folder); strings.Contains(text, "hidden") || strings.Contains(text, encoded) ||
				!strings.Contains(text, want) || !strings.Contains(text, "sourceType: "+row.kind+"\n") || strings.Contains(text, "/old") {
				t.Errorf("got\n%s\nwant %q", text, want)
			}
			checkFiles(t, folder, []string{"appsettings.json", row.file, "config.yaml"})
		})
	}
}

// On standard output there is no secret, and none is written anywhere.
func TestImportToStandardOutputWritesNothing(t *testing.T) {
	folder := t.TempDir()
	source := filepath.Join(folder, ".env")
	writeTo(t, source, "TENANT_ID="+demoTenant+"\nCLIENT_ID="+demoMiddleTier+"\nCLIENT_SECRET="+testSecret)
	t.Chdir(folder)
	o := runProcess(t, nil, "", "import", ".env", "--out", "-")
	if o.code != 0 || strings.Contains(o.stdout+o.stderr, testSecret) ||
		!strings.HasSuffix(o.stdout, "\n# client-secret is not written: put the client secret there.\n") {
		t.Errorf("got %+v", o)
	}
	checkFiles(t, folder, []string{".env"})
}

// If one of the files exists, even as a link to nowhere, none is written.
func TestImportWritesAllOrNothing(t *testing.T) {
	for _, existing := range []string{"client-secret", "config.yaml"} {
		folder := t.TempDir()
		source := filepath.Join(folder, ".env")
		writeTo(t, source, "TENANT_ID="+demoTenant+"\nCLIENT_ID="+demoMiddleTier+"\nCLIENT_SECRET="+testSecret)
		if err := os.Symlink(filepath.Join(folder, "nowhere"), filepath.Join(folder, existing)); err != nil {
			t.Fatal(err)
		}
		o := runProcess(t, nil, "", "import", source, "--out", filepath.Join(folder, "config.yaml"))
		if want := filepath.Join(folder, existing) + " exists already; nothing is written\n"; o.code != 1 || o.stderr != want {
			t.Errorf("%s: got %+v, want %q", existing, o, want)
		}
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 2 {
			t.Errorf("%s: got %v %v", existing, entries, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, row := range []struct{ file, text, want string }{
		{"a.yaml", "azureAd: {}\n", "is neither an appsettings.json, nor a .env, nor a parameters.json"},
		{"b.json", "{", "b.json:2:1: is not valid JSON: the file ends too early"},
		{"c.json", `{"AzureAd":{"TenentId":"t"}}`, `c.json:1: azureAd.TenentId: unknown key; did you mean "tenantId"?`},
		{".env", "TENANT_ID=x\nSECRET", ".env: line 2 is not NAME=VALUE"},
		{"d.json", "{}", "what it holds makes no configuration, and nothing is written:\nazureAd.tenantId: must be set"},
		{"common.env", "TENANT_ID=common\nCLIENT_ID=" + demoMiddleTier + "\nCLIENT_SECRET=Qz7Kw9Xv", `common.env: TENANT_ID names no tenant, and a daemon gets its tokens from one: in place of "common" belongs`},
		{
			"parameters.json",
			`{"authority": "https://login.microsoftonline.com/organizations", "client_id": "` + demoMiddleTier + `", "scope": ["api://a/.default"], "secret": "Qz7Kw9Xv", "endpoint": "https://a.example/b"}`,
			`parameters.json: authority names no tenant, and a daemon gets its tokens from one: in place of "organizations" belongs`,
		},
		{"wrong.env", "TENANT_ID=a b\nCLIENT_ID=" + demoMiddleTier + "\nCLIENT_SECRET=Qz7Kw9Xv", "what it holds makes no configuration, and nothing is written:\nazureAd.tenantId: "},
		{"package.json", `{"name": "todo", "dependencies": {"express": "4"}}`, "package.json: is neither an appsettings.json, nor a .env, nor a parameters.json\n"},
		{"e.env", strings.Repeat("#", 1<<20+1), "e.env is larger than 1 MiB"},
	} {
		path := filepath.Join(folder, row.file)
		writeTo(t, path, row.text)
		o := runProcess(t, nil, "", "import", path, "--out", filepath.Join(folder, "config.yaml"))
		if o.code != 1 || o.stdout != "" || !strings.Contains(o.stderr, row.want) {
			t.Errorf("%s: got %+v, want %q", row.file, o, row.want)
		}
		if _, err := os.Lstat(filepath.Join(folder, "config.yaml")); err == nil {
			t.Fatalf("%s: a configuration is written", row.file)
		}
	}
}
