package migrate_test

import (
	"os"
	"strings"
	"testing"

	"middletier/internal/config"
	"middletier/internal/migrate"
)

const (
	tenant = "11111111-2222-4333-8444-555555555555"
	client = "66666666-7777-4888-8999-aaaaaaaaaaaa"
	ids    = "TENANT_ID=" + tenant + "\nCLIENT_ID=" + client + "\n"
	pem    = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
)

func here(name string) string { return name }

// read reads a file in its form.
func read(path, text string) (migrate.Result, error) {
	switch migrate.FormOf(path, []byte(text)) {
	case migrate.DotEnv:
		return migrate.FromDotEnv(path, []byte(text), here)
	case migrate.ParametersJSON:
		return migrate.FromParameters(path, []byte(text), here)
	}
	return migrate.Result{}, os.ErrInvalid
}

func TestFormsAreToldApart(t *testing.T) {
	parameters := `{"authority":"a","client_id":"c"}`
	for _, row := range []struct {
		path, text string
		want       migrate.Form
	}{
		{"appsettings.json", `{"AzureAd":{}}`, migrate.AppSettings},
		{"appsettings.json", "\xff\xfe{", migrate.AppSettings},
		{"parameters.json", parameters, migrate.ParametersJSON},
		{"my.json", "// c\n" + parameters, migrate.ParametersJSON},
		{"settings", "\ufeff" + parameters, migrate.ParametersJSON},
		{".env", "A=b", migrate.DotEnv},
		{"x/.env.local", "A=b", migrate.DotEnv},
		{"prod.env", "A=b", migrate.DotEnv},
		{"config.yaml", "azureAd:\n", migrate.Unknown},
	} {
		if got := migrate.FormOf(row.path, []byte(row.text)); got != row.want {
			t.Errorf("%s %s: got %d, want %d", row.path, row.text, got, row.want)
		}
	}
}

// A key in the query of the endpoint is not written into the configuration.
func TestKeysInTheEndpointAreLeftOut(t *testing.T) {
	got, err := read("parameters.json", `{"authority":"https://login.microsoftonline.com/contoso.example","client_id":"`+client+
		`","scope":["api://todo/.default"],"secret":"Qz7Kw9Xv","endpoint":"https://h.example/v1/items?$top=1&code=hidden&hidden&$skip=2"}`)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.Config, "hidden") || !strings.Contains(got.Config, "call todo '/items?$top=1&$skip=2'\n") ||
		strings.Join(got.Notes, " ") != "endpoint: query parameters that may be keys are left out of the call." {
		t.Errorf("got\n%s\n%q", got.Config, got.Notes)
	}
}

// What a file's values become, as lines of config.yaml and files.
func TestDaemonsFiles(t *testing.T) {
	const parameters = `{"authority":"https://login.microsoftonline.com/contoso.example","client_id":"` + client + `","scope":`
	for _, row := range []struct {
		name, path, text string
		lines            []string
		files            map[string]string
	}{
		{"secret", ".env", ids + "CLIENT_SECRET='a#b$c\\n'\nAAD_ENDPOINT=https://login.microsoftonline.us\nGRAPH_ENDPOINT=https://graph.microsoft.us/", []string{
			`instance: https://login.microsoftonline.us`, `tenantId: "` + tenant + `"`, `clientId: "` + client + `"`,
			`sourceType: ClientSecret`, `clientSecretFile: client-secret`,
			`baseUrl: https://graph.microsoft.us/`, `appScopes: [https://graph.microsoft.us/.default]`, `# middletier call graph /v1.0/users`,
		}, map[string]string{"client-secret": `a#b$c\n`}},
		{"quotes, comments, export", ".env", "\ufeff# c\r\nexport TENANT_ID = \"" + tenant + "\" # d\r\n\r\nCLIENT_ID: " + client + " # e\r\nCLIENT_SECRET=`it's \"x\"`\r\n", []string{
			`tenantId: "` + tenant + `"`, `clientId: "` + client + `"`, `baseUrl: https://graph.microsoft.com/`,
			`# GRAPH_ENDPOINT is missing: this is Microsoft Graph of the public cloud.`,
		}, map[string]string{"client-secret": `it's "x"`}},
		{"the last one counts", ".env", ids + "CLIENT_SECRET=old\nCLIENT_SECRET=Qz7Kw9Xv\n", nil, map[string]string{"client-secret": "Qz7Kw9Xv"}},
		{"key in lines", ".env", ids + "CERTIFICATE_THUMBPRINT=0123456789abcdef0123456789abcdef01234567\nCERTIFICATE_PRIVATE_KEY=\"" + pem + "\"\n", []string{
			`sourceType: Path`, `privateKeyDiskPath: client-key.pem`, `certificateThumbprint: "0123456789abcdef0123456789abcdef01234567"`,
		}, map[string]string{"client-key.pem": pem + "\n"}},
		{
			"key with escaped lines, no quotes", ".env", ids + "CERTIFICATE_THUMBPRINT=AB\nCERTIFICATE_PRIVATE_KEY=" + strings.ReplaceAll(pem, "\n", `\n`), nil,
			map[string]string{"client-key.pem": pem + "\n"},
		},
		{"thumbprint alone", ".env", ids + "CERTIFICATE_THUMBPRINT=AB\n", []string{
			`# Missing: put the private key of the certificate here, in PEM. CERTIFICATE_PRIVATE_KEY was not in the file.`,
			`privateKeyDiskPath: client-key.pem`,
		}, nil},
		{"assertion", ".env", ids + "CLIENT_ASSERTION=ey.ey.x\n", []string{
			`sourceType: SignedAssertionFilePath`, `signedAssertionFileDiskPath: client-assertion`,
		}, map[string]string{"client-assertion": "ey.ey.x"}},
		{"External ID", ".env", "TENANT_SUBDOMAIN=contoso\nCLIENT_ID=" + client + "\nCLIENT_SECRET=Qz7Kw9Xv\nREDIRECT_URI=http://localhost\n", []string{
			`instance: https://contoso.ciamlogin.com/`, `tenantId: contoso.onmicrosoft.com`, `# - REDIRECT_URI: this program has nothing of this name.`,
		}, map[string]string{"client-secret": "Qz7Kw9Xv"}},
		{"secret for Python", "parameters.json", parameters + `["https://graph.microsoft.com/.default"],"secret":"Qz7Kw9Xv","endpoint":"https://graph.microsoft.com/v1.0/users?$top=1"}`, []string{
			`instance: https://login.microsoftonline.com/`, `tenantId: contoso.example`, `clientSecretFile: client-secret`,
			`graph:`, `baseUrl: https://graph.microsoft.com/v1.0/`, `appScopes: [https://graph.microsoft.com/.default]`,
			`# middletier call graph '/users?$top=1'`,
		}, map[string]string{"client-secret": "Qz7Kw9Xv"}},
		{"certificate for Python, one scope as text, comments", "parameters.json", "// c\n" + parameters +
			`"api://` + client + `/.default","thumbprint":"AB","private_key_file":"certs/server.pem","endpoint":"https://todo.contoso.example/items","x":1,}`, []string{
			`privateKeyDiskPath: certs/server.pem`, `certificateThumbprint: AB`, `todo:`, `baseUrl: https://todo.contoso.example/`,
			`appScopes: [api://` + client + `/.default]`, `# middletier call todo /items`, `# - x: this program has nothing of this name.`,
		}, nil},
		{"External ID for Python, an API on this machine", "parameters.json", `{"authority":"https://contoso.ciamlogin.com/","client_id":"` + client +
			`","scope":["api://` + client + `/.default"],"secret":"Qz7Kw9Xv","endpoint":"http://localhost:5000/api/todolist/all"}`, []string{
			`instance: https://contoso.ciamlogin.com/`, `tenantId: contoso.onmicrosoft.com`, `api:`, `baseUrl: http://localhost:5000/api/`, `# middletier call api /todolist/all`,
		}, map[string]string{"client-secret": "Qz7Kw9Xv"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := read(row.path, row.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range row.lines {
				if !containsLine(got.Config, line) {
					t.Errorf("no line %q in\n%s", line, got.Config)
				}
			}
			for _, f := range got.Files {
				if want, known := row.files[f.Path]; !known || string(f.Content) != want {
					t.Errorf("%s: got %q, want %q", f.Path, f.Content, want)
				}
				if strings.Contains(got.Config, string(f.Content)) {
					t.Errorf("the text holds %s:\n%s", f.What, got.Config)
				}
			}
			if len(got.Files) != len(row.files) {
				t.Errorf("got %d files, want %d", len(got.Files), len(row.files))
			}
		})
	}
}

// containsLine reports whether text has the line, whatever the white space and the mark of
// a list's entry before it.
func containsLine(text, line string) bool {
	for got := range strings.Lines(text) {
		got = strings.TrimSpace(strings.TrimLeft(got, " -"))
		if strings.Join(strings.Fields(got), " ") == line {
			return true
		}
	}
	return false
}

// Qz7Kw9Xv is the secret.
func TestDaemonsFilesThatAreRefused(t *testing.T) {
	const secret = "Qz7Kw9Xv"
	parameters := func(rest string) string {
		return `{"authority":"https://login.microsoftonline.com/contoso.example","client_id":"` + client + `",` + rest + `}`
	}
	const rest = `"scope":["https://graph.microsoft.com/.default"],"endpoint":"https://graph.microsoft.com/v1.0/users"`
	for _, row := range []struct{ name, path, text, want string }{
		{"empty", ".env", "", "CLIENT_ID is missing\nTENANT_ID is missing\nneeds exactly one of CLIENT_SECRET, CERTIFICATE_THUMBPRINT and CLIENT_ASSERTION, has 0"},
		{"two credentials", ".env", ids + "CLIENT_SECRET=" + secret + "\nCLIENT_ASSERTION=a", "needs exactly one of CLIENT_SECRET, CERTIFICATE_THUMBPRINT and CLIENT_ASSERTION, has 2"},
		{"key without thumbprint", ".env", ids + "CERTIFICATE_PRIVATE_KEY=" + secret, "CERTIFICATE_THUMBPRINT is missing: Entra finds the certificate of CERTIFICATE_PRIVATE_KEY by it"},
		{"no key", ".env", ids + "CERTIFICATE_THUMBPRINT=AB\nCERTIFICATE_PRIVATE_KEY=" + secret, "CERTIFICATE_PRIVATE_KEY is not a private key in PEM"},
		{
			"placeholders", ".env", "TENANT_ID=Enter_the_Tenant_Info_Here\nCLIENT_ID=00000000-0000-0000-0000-000000000000\nCLIENT_SECRET=Enter_the_Client_Secret_Here",
			"CLIENT_ID is still the sample's placeholder; here belongs the application (client) ID of the registration\n" +
				"TENANT_ID is still the sample's placeholder; here belongs the tenant's GUID or domain\n" +
				"CLIENT_SECRET is still the sample's placeholder; here belongs the client secret of the registration",
		},
		{"no variable", ".env", ids + "\n" + secret, "line 4 is not NAME=VALUE"},
		{"Graph is no URL", ".env", ids + "CLIENT_SECRET=s\nGRAPH_ENDPOINT=graph", "GRAPH_ENDPOINT is not a URL"},
		{"no credential", "parameters.json", parameters(rest), "needs either secret, or thumbprint with private_key_file"},
		{"two kinds", "parameters.json", parameters(rest + `,"secret":"` + secret + `","thumbprint":"AB"`), "needs either secret, or thumbprint with private_key_file"},
		{"thumbprint alone", "parameters.json", parameters(rest + `,"thumbprint":"AB"`), "private_key_file is missing"},
		{"secret is a list", "parameters.json", parameters(rest + `,"secret":["` + secret + `"]`), "secret must be text\nneeds either secret, or thumbprint with private_key_file"},
		{
			"two scopes", "parameters.json", parameters(`"scope":["a/.default","b/.default"],"endpoint":"https://a/b","secret":"s"`),
			"scope must be one, such as [RESOURCE/.default]: client credentials are for one resource",
		},
		{"endpoint", "parameters.json", parameters(`"scope":["a/.default"],"endpoint":"a","secret":"s"`), "endpoint must be a URL, such as https://graph.microsoft.com/v1.0/users"},
		{
			"authority", "parameters.json", `{"authority":"https://login.microsoftonline.com","client_id":"` + client + `",` + rest + `,"secret":"s"}`,
			"authority must end in the tenant, as https://HOST/TENANT",
		},
		{"authority without TLS", "parameters.json", `{"authority":"http://a/b","client_id":"` + client + `",` + rest + `,"secret":"s"}`, "authority must be https://HOST/TENANT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := read(row.path, row.text)
			if err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}

// Every value that may be a placeholder has a word on what belongs there.
func TestPlaceholdersSayWhatBelongsThere(t *testing.T) {
	for _, row := range []struct{ path, text string }{
		{".env", "TENANT_ID=<a>\nCLIENT_ID=<b>\nAAD_ENDPOINT=<c>\nGRAPH_ENDPOINT=<d>\nCLIENT_SECRET=<e>"},
		{".env", "TENANT_SUBDOMAIN=<a>"},
		{".env", ids + "CERTIFICATE_THUMBPRINT=<a>\nCERTIFICATE_PRIVATE_KEY=-----BEGIN"},
		{".env", ids + "CLIENT_ASSERTION=<a>"},
		{"parameters.json", `{"authority":"<a>","client_id":"<b>","scope":["<c>"],"endpoint":"<d>","secret":"<e>"}`},
		{"parameters.json", `{"authority":"<a>","client_id":"<b>","scope":["<c>"],"endpoint":"<d>","thumbprint":"<e>","private_key_file":"<f>"}`},
	} {
		_, err := read(row.path, row.text)
		want := strings.Count(row.text, "<")
		if err == nil {
			t.Errorf("%s: got no mistake, want %d", row.text, want)
			continue
		}
		got := 0
		for line := range strings.Lines(err.Error() + "\n") {
			if _, belongs, _ := strings.Cut(strings.TrimSpace(line), "placeholder; here belongs"); belongs != "" {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: got %d mistakes that say what belongs there, want %d: %v", row.text, got, want, err)
		}
	}
}

func FuzzDaemonsFiles(f *testing.F) {
	f.Add(".env", ids+"CLIENT_SECRET=\"a\\n\nb\" # c\nX: `y`")
	f.Add("parameters.json", `{"authority":"https://a/b","client_id":"c","scope":["d/.default"],"secret":"e","endpoint":"https://f/g?h"}`)
	f.Fuzz(func(t *testing.T, path, text string) {
		got, err := read(path, text)
		if err != nil {
			return
		}
		doc, err := config.Parse("config.yaml", []byte(got.Config), config.Input{}, &struct{}{})
		if err != nil {
			t.Errorf("%v\n%s", err, got.Config)
		}
		if _, found := doc.Tree().Get("azureAd", "clientId"); !found {
			t.Errorf("no clientId in\n%s", got.Config)
		}
	})
}
