package mockidp_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/tokentest"
)

const (
	contoso    = "11111111-1111-4111-8111-111111111111"
	fabrikam   = "22222222-2222-4222-8222-222222222222"
	middleID   = "aaaaaaaa-0000-4000-8000-000000000001"
	todoID     = "aaaaaaaa-0000-4000-8000-000000000002"
	spaID      = "aaaaaaaa-0000-4000-8000-000000000003"
	ledgerID   = "aaaaaaaa-0000-4000-8000-000000000004"
	daemonID   = "aaaaaaaa-0000-4000-8000-000000000005"
	foreignID  = "aaaaaaaa-0000-4000-8000-000000000006"
	graphID    = "00000003-0000-0000-c000-000000000000"
	nativeID   = "aaaaaaaa-0000-4000-8000-000000000007"
	sharedID   = "aaaaaaaa-0000-4000-8000-000000000008"
	aliceID    = "bbbbbbbb-0000-4000-8000-000000000001"
	fridaID    = "bbbbbbbb-0000-4000-8000-000000000002"
	bobID      = "bbbbbbbb-0000-4000-8000-000000000003"
	onBehalfOf = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	byJWT      = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// credential is the middle tier's key and certificate; making one takes long.
var credential = sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) {
	pair := certtest.New("middletier", certtest.NewRSA())
	return pair.Key.(*rsa.PrivateKey), pair.Certificate
})

// signingKey is every platform's first.
var signingKey = tokentest.NewKey(2048)

func appID(n string) string { return "cccccccc-0000-4000-8000-00000000000" + n }

func testDirectory() mockidp.Directory {
	key, certificate := credential()
	return mockidp.Directory{
		SigningKey: signingKey(),

		Tenants: []mockidp.Tenant{{ID: contoso, Domain: "contoso.example"}, {ID: fabrikam, Domain: "fabrikam.example"}},
		Apps: []mockidp.App{
			{
				Name: "middle", TenantID: contoso, ClientID: middleID, ObjectID: appID("1"),
				IDURIs: []string{"api://middle"}, Scopes: []string{"access_as_user"}, OptionalClaims: []string{"idtyp", "xms_cc", "sid", "login_hint"},
				Secrets: []string{"s3cret"}, Certificates: []*x509.Certificate{certificate},
				Federated:    []mockidp.FederatedCredential{{Issuer: "https://cluster", Subject: "system:pod", Audience: "api://AzureADTokenExchange", Key: &key.PublicKey}},
				RedirectURIs: mockidp.RedirectURIs{Web: []string{webURI, "https://web.example/back?kept=1"}},
			},
			{
				Name: "todo", TenantID: contoso, ClientID: todoID, ObjectID: appID("2"), IDURIs: []string{"api://todo"},
				Scopes: []string{"Read", "Write", "Admin"}, Roles: []string{"Read.All"}, OptionalClaims: []string{"idtyp", "xms_cc"},
			},
			{
				Name: "spa", TenantID: contoso, ClientID: spaID, ObjectID: appID("3"), OptionalClaims: []string{"sid"},
				RedirectURIs: mockidp.RedirectURIs{SPA: []string{spaURI}},
			},
			{
				Name: "native", TenantID: contoso, ClientID: nativeID, ObjectID: appID("7"), Secrets: []string{"native"}, OptionalClaims: []string{"sid"},
				RedirectURIs: mockidp.RedirectURIs{Native: []string{"http://localhost", "http://127.0.0.1/signed-in", "msal" + nativeID + "://auth"}},
			},
			{
				Name: "shared", TenantID: contoso, MultiTenant: true, ClientID: sharedID, ObjectID: appID("8"), IDURIs: []string{"api://shared"},
				Scopes: []string{"Read"}, RedirectURIs: mockidp.RedirectURIs{SPA: []string{"https://shared.example/"}},
			},
			{
				Name: "ledger", TenantID: contoso, ClientID: ledgerID, ObjectID: appID("4"), IDURIs: []string{"api://ledger"},
				TokenVersion: 1, Scopes: []string{"Read"}, TokenLifetime: 24 * time.Hour,
			},
			{Name: "daemon", TenantID: contoso, ClientID: daemonID, ObjectID: appID("5"), Secrets: []string{"daemon"}},
			{
				Name: "foreign", TenantID: fabrikam, ClientID: foreignID, ObjectID: appID("6"), IDURIs: []string{"api://foreign"}, Scopes: []string{"Read"},
				RedirectURIs: mockidp.RedirectURIs{SPA: []string{"https://foreign.example/"}},
			},
		},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: aliceID, TenantID: contoso, Username: "alice@contoso.example"},
			{Name: "frida", ObjectID: fridaID, TenantID: fabrikam, Username: "frida@fabrikam.example"},
			{Name: "bob", ObjectID: bobID, TenantID: contoso, Username: "bob@contoso.example"},
		},
		Grants: []mockidp.Grant{
			{Client: "middle", Resource: todoID, Scopes: []string{"Read", "Write"}, Roles: []string{"Read.All"}},
			{Client: "middle", Resource: "ledger", Scopes: []string{"Read"}},
			{Client: "spa", Resource: "todo", Scopes: []string{"Read"}},
			{Client: "native", Resource: "todo", Scopes: []string{"Read"}},
			{Client: "shared", Resource: "shared", Scopes: []string{"Read"}},
		},
	}
}

// kit is a running platform and a client that trusts it.
type kit struct {
	*mockidp.Server
	t      *testing.T
	client *http.Client
}

func start(t *testing.T) kit {
	t.Helper()
	return startWith(t, testDirectory())
}

func startWith(t *testing.T, directory mockidp.Directory) kit {
	t.Helper()
	server, err := mockidp.New(directory)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return startOpened(t, server)
}

// startOpened starts a platform that was made already.
func startOpened(t *testing.T, server *mockidp.Server) kit {
	t.Helper()
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatalf("Start: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CertPool()}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return kit{server, t, &http.Client{Transport: transport}}
}

// do sends the request and returns the status and the body.
func (k kit) do(method, path, contentType, body string) (int, []byte) {
	k.t.Helper()
	request, err := http.NewRequest(method, k.URL()+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatalf("%s %s: %v", method, path, err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := k.client.Do(request)
	if err != nil {
		k.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		k.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return response.StatusCode, data
}

// get returns a JSON document, whose status must be 200.
func (k kit) get(path string) map[string]any {
	k.t.Helper()
	status, data := k.do("GET", path, "", "")
	if status != http.StatusOK {
		k.t.Fatalf("GET %s: got %d %s, want 200", path, status, data)
	}
	return parse(k.t, data)
}

// post sends the form to a tenant's token endpoint.
func (k kit) post(tenant string, form url.Values) (int, map[string]any) {
	k.t.Helper()
	status, data := k.do("POST", "/"+tenant+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", form.Encode())
	return status, parse(k.t, data)
}

// assertion is a good client assertion of the middle tier with some claims
// changed; nil removes one.
func (k kit) assertion(changes map[string]any) string {
	k.t.Helper()
	_, certificate := credential()
	sum := sha256.Sum256(certificate.Raw)
	return k.assertionWith(map[string]any{"x5t#S256": base64.StdEncoding.EncodeToString(sum[:])}, changes)
}

// assertionWith is assertion with a header.
func (k kit) assertionWith(header, changes map[string]any) string {
	k.t.Helper()
	claims := jwt.MapClaims{
		"iss": middleID, "sub": middleID, "aud": k.URL() + "/" + contoso + "/oauth2/v2.0/token",
		"jti": rand.Text(), "nbf": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return signAssertion(k.t, header, claims)
}

func signAssertion(t *testing.T, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	key, _ := credential()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	for name, value := range header {
		token.Header[name] = value
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatalf("sign a client assertion: %v", err)
	}
	return signed
}

func parse(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatalf("answer %q: %v", data, err)
	}
	return document
}

// claimsOf reads a token without checking it.
func claimsOf(t *testing.T, token any) map[string]any {
	t.Helper()
	text, _ := token.(string)
	return tokentest.Read(t, text)
}

func form(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values
}

// obo is a good on-behalf-of request with some parameters changed; an empty
// value removes one.
func (k kit) obo(changes ...string) url.Values {
	return change(form(
		"grant_type", onBehalfOf, "requested_token_use", "on_behalf_of",
		"client_id", middleID, "client_secret", "s3cret",
		"assertion", k.UserToken("alice", "spa", "middle"), "scope", "api://todo/.default",
	), changes)
}

// daemon is a good client credentials request, likewise.
func (k kit) daemon(changes ...string) url.Values {
	return change(form(
		"grant_type", "client_credentials", "client_id", middleID, "client_secret", "s3cret", "scope", "api://todo/.default",
	), changes)
}

func change(values url.Values, changes []string) url.Values {
	for i := 0; i < len(changes); i += 2 {
		values.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			values.Del(changes[i])
		}
	}
	return values
}

// changed is the text with another letter at this place.
func changed(text string, at int) string {
	letter := "A"
	if text[at:at+1] == letter {
		letter = "B"
	}
	return text[:at] + letter + text[at+1:]
}
