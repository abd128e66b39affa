package mockidp

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/certtest"
)

const smallDirectory = `tenants:
  - {tenantId: 11111111-1111-4111-8111-111111111111, domain: contoso.example}
users:
  - name: carol
apps:
  - name: web
    clientId: 22222222-2222-4222-8222-222222222222
    scopes: [Read]
grants:
  - {client: web, resource: web, scopes: [Read], user: carol@contoso.example}
`

// What may be left out follows from the rest, the same in each process.
func TestDirectoryFileMayLeaveOutIDs(t *testing.T) {
	dir, err := parseDirectory("directory.yaml", []byte(smallDirectory))
	if err != nil {
		t.Fatal(err)
	}
	const tenantID = "11111111-1111-4111-8111-111111111111"
	want := Directory{
		Tenants: []Tenant{{ID: tenantID, Domain: "contoso.example"}},
		Users:   []User{{Name: "carol", TenantID: tenantID, ObjectID: "411666fc-1619-8fca-9441-09869d48e992", Username: "carol@contoso.example"}},
		Apps: []App{{
			Name: "web", TenantID: tenantID, ClientID: "22222222-2222-4222-8222-222222222222",
			ObjectID: "1d6e9979-0e97-8341-a737-dbe364384e05", Scopes: []string{"Read"},
		}},
		Grants: []Grant{{Client: "web", Resource: "web", Scopes: []string{"Read"}, User: "carol@contoso.example"}},
	}
	if !reflect.DeepEqual(dir, want) {
		t.Errorf("got\n%+v, want\n%+v", dir, want)
	}
}

func TestDirectoryFileHasEveryKind(t *testing.T) {
	pair := certtest.New("web", certtest.NewRSA())
	key := map[string]any{
		"kty": "RSA", "e": "AQAB", "kid": "1", "use": "sig", "alg": "RS256",
		"n": base64.RawURLEncoding.EncodeToString(publicModulus(pair)),
	}
	text, err := json.Marshal(map[string]any{
		"tenants": []any{map[string]any{"tenantId": "11111111-1111-4111-8111-111111111111"}},
		"users":   []any{map[string]any{"name": "agent", "username": "agent@contoso.example"}},
		"apps": []any{map[string]any{
			"name": "web", "multiTenant": true, "clientId": "22222222-2222-4222-8222-222222222222", "idUris": []string{"api://web"},
			"secrets": []string{"s"}, "certificates": []string{string(pair.CertificatePEM())},
			"federated":             []any{map[string]any{"issuer": "https://cluster", "subject": "pod", "key": key}},
			"redirectUris":          map[string]any{"web": []string{"https://a/"}, "spa": []string{"http://b/"}, "native": []string{"http://localhost"}},
			"frontChannelLogoutUri": "https://a/logout", "scopes": []string{"Read"}, "roles": []string{"Read.All"},
			"tokenVersion": 1, "tokenLifetime": "10m", "optionalClaims": []string{"idtyp"},
			"agents": []any{map[string]any{"name": "a", "clientId": "33333333-3333-4333-8333-333333333333", "users": []string{"agent@contoso.example"}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"directory.json", "directory.yaml"} { // JSON is YAML too
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		dir, err := ReadDirectory(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		app := dir.Apps[0]
		if len(app.Certificates) != 1 || !app.Certificates[0].Equal(pair.Certificate) || len(app.Federated) != 1 ||
			!app.Federated[0].Key.Equal(pair.Certificate.PublicKey) || app.Federated[0].Audience != "api://AzureADTokenExchange" {
			t.Errorf("%s: got the credentials %v and %+v", name, app.Certificates, app.Federated)
		}
		app.Certificates, app.Federated = nil, nil
		want := App{
			Name: "web", TenantID: "11111111-1111-4111-8111-111111111111", MultiTenant: true,
			ClientID: "22222222-2222-4222-8222-222222222222", ObjectID: app.ObjectID, IDURIs: []string{"api://web"}, Secrets: []string{"s"},
			RedirectURIs:          RedirectURIs{[]string{"https://a/"}, []string{"http://b/"}, []string{"http://localhost"}},
			FrontChannelLogoutURI: "https://a/logout", Scopes: []string{"Read"}, Roles: []string{"Read.All"},
			TokenVersion: 1, TokenLifetime: 10 * time.Minute, OptionalClaims: []string{"idtyp"},
			Agents: []Agent{{"a", "33333333-3333-4333-8333-333333333333", []string{"agent@contoso.example"}}},
		}
		if !reflect.DeepEqual(app, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", name, app, want)
		}
	}
}

func TestDirectoryFileMistakesHaveTheirLine(t *testing.T) {
	pair, small := certtest.New("web", certtest.NewRSA()), certtest.New("web", certtest.NewEC())
	withKey := func(key string) string {
		return "    federated: [{issuer: a, subject: b, key: " + key + "}]\n"
	}
	const app = "    scopes: [Read]\n"
	for _, row := range []struct{ old, text, want string }{
		{"users:", "usres:", `directory.yaml:3: usres: unknown key; did you mean "users"?`},
		{"clientId:", "clientID2:", `directory.yaml:7: apps[0].clientID2: unknown key; did you mean "clientId"?`},
		{app, "    lifetime: 1h\n", `directory.yaml:8: apps[0].lifetime: unknown key`},
		{app, "    tokenLifetime: 90\n", `directory.yaml:8: apps[0].tokenLifetime: expected a duration with a unit`},
		{app, "    optionalClaims: [groups]\n", `directory.yaml:8: apps[0].optionalClaims[0]: expected "idtyp", "xms_cc", "sid" or "login_hint", got "groups"`},
		{app, app + app, `directory.yaml:9: apps[0].scopes: given twice, on lines 8 and 9`},
		{app, "    secrets: {a: my-secret}\n", `directory.yaml:8: apps[0].secrets: expected a list, got a mapping`},
		{app, "    secrets: my-secret\n", "directory.yaml:8: apps[0].secrets: expected a list (the value is not shown: it may be a secret)"},
		{app, app + "    certificates: [x]\n", `directory.yaml:9: apps[0].certificates[0]: must be one certificate in PEM`},
		{app, app + "    certificates:\n      - |\n        " + indented(pair.KeyPEM()), `directory.yaml:10: apps[0].certificates[0]: must be one certificate in PEM`},
		{app, app + "    certificates:\n      - |\n        " + indented(small.CertificatePEM()), `apps[0].certificates[0]: the certificate must have an RSA key of 2048 bits or more`},
		{app, app + withKey("{}"), `directory.yaml:9: apps[0].federated[0].key: must be the issuer's public key`},
		{app, app + withKey("{kty: EC}"), `directory.yaml:9: apps[0].federated[0].key.kty: expected "RSA"`},
		{app, app + withKey("{kty: RSA, n: '=='}"), `directory.yaml:9: apps[0].federated[0].key: n and e must be numbers in base64url`},
		{app, app + withKey("{kty: RSA, n: AQAB}"), `directory.yaml:9: apps[0].federated[0].key: must be an RSA key of 2048 bits or more`},
		{app, app + "    federated: [{key: {}}]\n", `directory.yaml:9: apps[0].federated[0].subject: must be set`},
		{"name: carol", "name: ''", `directory.yaml:4: users[0].name: must be set`},
		{"client: web", "client: wbe", `directory.yaml:10: grants[0].client: there is no app "wbe"`},
		{"tenants:", "grants: &a []\ntenants:", "directory.yaml:1:9: YAML anchors (&), aliases (*), merge keys (<<) and tags (!) are not supported"},
		{smallDirectory, "", "tenants: must hold at least one tenant"},
		{smallDirectory, "a", "directory.yaml:1: expected a mapping of keys to values, got text"},
	} {
		if !strings.Contains(smallDirectory, row.old) {
			t.Fatalf("%q is not in the directory", row.old)
		}
		_, err := parseDirectory("directory.yaml", []byte(strings.Replace(smallDirectory, row.old, row.text, 1)))
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "my-secret") {
			t.Errorf("%.60s:\ngot  %v\nwant %s", row.text, err, row.want)
		}
	}
}

func publicModulus(pair certtest.Pair) []byte {
	return pair.Certificate.PublicKey.(*rsa.PublicKey).N.Bytes()
}

// indented is text in PEM below a key of YAML.
func indented(text []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n        ") + "\n"
}

// FuzzDirectoryFile: whatever a file holds, reading it ends without a panic, and a platform
// takes what was read without a mistake.
func FuzzDirectoryFile(f *testing.F) {
	f.Add([]byte(smallDirectory))
	f.Add([]byte("tenants: [{tenantId: 1}]\nusers: [~]\napps: [{federated: [{key: {kty: RSA, n: AA, e: ''}}], certificates: ['']}]"))
	f.Add([]byte("tenants: {a: &a b}\ngrants: [[{}]]\napps: [{redirectUris: {web: ['http://%', 'a b:']}, agents: [{users: ['']}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, name := range []string{"directory.yaml", "directory.json"} {
			dir, err := parseDirectory(name, text)
			if err != nil {
				if err.Error() == "" {
					t.Errorf("%s: an error without a text", name)
				}
				continue
			}
			if _, err := newDirectory(dir); err != nil {
				t.Errorf("%s: read without a mistake, and then %v", name, err)
			}
		}
	})
}
