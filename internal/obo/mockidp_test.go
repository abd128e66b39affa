package obo_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/obo"
	"middletier/internal/testkit/tokentest"
)

// platformKey signs the platform's tokens in all tests: making one takes a second.
var platformKey = tokentest.NewKey(2048)

const todoClient = "aaaaaaaa-0000-4000-8000-000000000002"

func directory() mockidp.Directory {
	id := func(n string) string { return "cccccccc-0000-4000-8000-00000000000" + n }
	return mockidp.Directory{
		SigningKey: platformKey(),
		Tenants:    []mockidp.Tenant{{ID: ourTenant}, {ID: guestTenant}},
		Apps: []mockidp.App{
			{
				Name: "middle", TenantID: ourTenant, MultiTenant: true, ClientID: ourClient, ObjectID: id("1"),
				Agents: []mockidp.Agent{
					{Name: "agent", ClientID: agentID, Users: []string{"robot@contoso.example", "droid@contoso.example"}},
					{Name: "second agent", ClientID: secondAgentID, Users: []string{"second@contoso.example"}},
				},
				IDURIs: []string{"api://middle"}, Scopes: []string{"access_as_user"},
				Secrets: []string{ourSecret}, Certificates: []*x509.Certificate{rsaPair().certificate},
				Federated: []mockidp.FederatedCredential{{
					Issuer: cluster, Subject: account, Audience: "api://AzureADTokenExchange", Key: &otherPair().key.(*rsaKey).PublicKey,
				}},
			},
			{
				Name: "todo", TenantID: ourTenant, MultiTenant: true, ClientID: todoClient, ObjectID: id("2"),
				IDURIs: []string{"api://todo"}, Scopes: []string{"Read", "Write", "Admin"}, Roles: []string{"Read.All"},
				OptionalClaims: []string{"xms_cc"},
			},
			{Name: "spa", TenantID: ourTenant, MultiTenant: true, ClientID: id("9"), ObjectID: id("3")},
			{
				Name: "other", TenantID: ourTenant, ClientID: id("8"), ObjectID: id("8"),
				Agents: []mockidp.Agent{{Name: "foreign agent", ClientID: foreignAgentID}},
			},
		},
		Users: []mockidp.User{
			{Name: "alice", ObjectID: id("4"), TenantID: ourTenant, Username: "alice@contoso.example"},
			{Name: "robot", ObjectID: robotID, TenantID: ourTenant, Username: "robot@contoso.example"},
			{Name: "droid", ObjectID: droidID, TenantID: ourTenant, Username: "droid@contoso.example"},
			{Name: "second robot", ObjectID: id("6"), TenantID: ourTenant, Username: "second@contoso.example"},
			{Name: "gina", ObjectID: id("5"), TenantID: guestTenant, Username: "gina@fabrikam.example"},
		},
		Grants: []mockidp.Grant{
			{Client: "middle", Resource: "todo", Scopes: []string{"Read", "Write"}, Roles: []string{"Read.All"}},
			{Client: "agent", Resource: "todo", Scopes: []string{"Read", "Write"}, Roles: []string{"Read.All"}},
			{Client: "second agent", Resource: "todo", Scopes: []string{"Read", "Write"}, Roles: []string{"Read.All"}},
		},
	}
}

// real is a cache in front of the strict platform, over TLS.
type real struct {
	*mockidp.Server
	t     *testing.T
	cache *obo.Cache
}

func startReal(t *testing.T, entry credential.Config) real {
	t.Helper()
	server, err := mockidp.New(directory())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CertPool()}}
	t.Cleanup(transport.CloseIdleConnections)
	config := (&platform{}).config()
	config.Instance, config.Client.Transport, config.Credentials = server.URL(), transport, []credential.Config{entry}
	client, err := obo.NewClient(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := obo.NewCache(obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute}, client)
	if err != nil {
		t.Fatal(err)
	}
	runCache(t, cache)
	return real{server, t, cache}
}

func (r real) assertion(user, tenant string) obo.Assertion {
	token := r.UserToken(user, "spa", "middle")
	return obo.Assertion{Token: token, Digest: sha256.Sum256([]byte(token)), TenantID: tenant, Expires: time.Now().Add(time.Hour)}
}

func TestExchangeWithAStrictPlatform(t *testing.T) {
	for name, entry := range map[string]credential.Config{
		"secret": {SourceType: "ClientSecret", ClientSecret: ourSecret},
		"PEM":    {SourceType: "Path", CertificateDiskPath: file(t, rsaPair().keyPEM()+rsaPair().certificatePEM())},
		"PFX":    {SourceType: "Path", CertificateDiskPath: file(t, rsaPair().pfx()), CertificatePassword: pfxPassword},
		"PFX with client claims": {
			SourceType: "Path", CertificateDiskPath: file(t, rsaPair().pfx()), CertificatePassword: pfxPassword, ClientClaims: map[string]string{"client_ip": "192.0.2.1"},
		},
		"base64":          {SourceType: "Base64Encoded", Base64EncodedValue: base64.StdEncoding.EncodeToString([]byte(rsaPair().pfx())), CertificatePassword: pfxPassword},
		"federated token": {SourceType: "SignedAssertionFilePath", SignedAssertionFileDiskPath: file(t, foreignToken(t, nil))},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReal(t, entry)
			for user, tenant := range map[string]string{"alice": ourTenant, "gina": guestTenant} {
				got, err := r.cache.OnBehalfOf(t.Context(), r.assertion(user, tenant), todo, obo.Challenge{})
				if err != nil {
					t.Fatalf("on behalf of %s: %v", user, err)
				}
				if claims := tokentest.Read(t, got.Value); claims["tid"] != tenant || claims["scp"] != "Read Write" ||
					claims["aud"] != todoClient || claims["xms_cc"] == nil {
					t.Errorf("on behalf of %s: got a token with %v", user, claims)
				}
				r.wantsSession(r.assertion(user, tenant))
			}
			got, err := r.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
			if err != nil {
				t.Fatalf("for app: %v", err)
			}
			if claims := tokentest.Read(t, got.Value); claims["tid"] != ourTenant || claims["roles"] == nil || claims["scp"] != nil {
				t.Errorf("for app: got a token with %v", claims)
			}
		})
	}
}

// wantsSession keeps a session and resumes it by its refresh token.
func (r real) wantsSession(a obo.Assertion) {
	r.t.Helper()
	key, _, err := r.cache.Keep(r.t.Context(), obo.Request{User: &a, Scopes: todo})
	if err != nil {
		r.t.Fatalf("Keep: %v", err)
	}
	got, err := r.cache.Resume(r.t.Context(), key, obo.Request{Scopes: todo[:1], Refresh: true})
	if err != nil {
		r.t.Fatalf("Resume: %v", err)
	}
	if claims := tokentest.Read(r.t, got.Value); claims["tid"] != a.TenantID || claims["scp"] != "Read" {
		r.t.Errorf("Resume: got a token with %v", claims)
	}
}

func TestStrictPlatformRefuses(t *testing.T) {
	r := startReal(t, credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret})
	wrong := startReal(t, credential.Config{SourceType: "ClientSecret", ClientSecret: "wrong"})
	for _, c := range []struct {
		name   string
		r      real
		a      obo.Assertion
		scopes []string
		kind   obo.Kind
		code   string
	}{
		{"no consent", r, r.assertion("alice", ourTenant), []string{"api://todo/Admin"}, obo.ConsentRequired, "invalid_grant"},
		{"unknown resource", r, r.assertion("alice", ourTenant), []string{"api://nothing/.default"}, obo.Misconfigured, "invalid_resource"},
		{"another tenant's assertion", r, r.assertion("gina", ourTenant), todo, obo.Misconfigured, "invalid_grant"},
		{"wrong secret", wrong, wrong.assertion("alice", ourTenant), todo, obo.Misconfigured, "invalid_client"},
	} {
		_, err := c.r.cache.OnBehalfOf(t.Context(), c.a, c.scopes, obo.Challenge{})
		refusal, ok := err.(*obo.Error)
		if !ok || refusal.Kind != c.kind || refusal.Code != c.code || refusal.CorrelationID == "" || len(refusal.Codes) == 0 {
			t.Errorf("%s: got %+v, want %v, %s", c.name, err, c.kind, c.code)
		}
		wantNoSecrets(t, err)
	}
}

func TestOutageEnds(t *testing.T) {
	r := startReal(t, credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret})
	alice := r.assertion("alice", ourTenant)
	r.Stop()
	_, err := r.cache.OnBehalfOf(t.Context(), alice, todo, obo.Challenge{})
	if refusal, ok := err.(*obo.Error); !ok || refusal.Kind != obo.Unavailable {
		t.Errorf("while the platform is down: got %v, want unavailable", err)
	}
	if err := r.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.cache.OnBehalfOf(t.Context(), alice, todo, obo.Challenge{}); err != nil {
		t.Errorf("after the platform's return: %v", err)
	}
	if got := r.Count("on_behalf_of"); got != 1 {
		t.Errorf("exchanges: got %d, want 1", got)
	}
}
