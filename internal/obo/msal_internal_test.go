package obo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// What MSAL keeps of tenants is bounded, however many there are, and all are served.
func TestTenantsInMemoryAreBounded(t *testing.T) {
	metadatas := 0
	config := Config{
		Instance: "https://login.example/", TenantID: "ours", ClientID: "us",
		Client: &http.Client{Transport: answering(func(r *http.Request) string {
			tenant, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
			if r.Method == http.MethodPost {
				return `{"token_type":"Bearer","expires_in":3600,"access_token":"token"}`
			}
			metadatas++
			base := "https://login.example/" + tenant
			return fmt.Sprintf(
				`{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/oauth2/v2.0/authorize","token_endpoint":"%[1]s/oauth2/v2.0/token"}`, base)
		})},
	}
	credential, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMSALClient(maxTenants, func() (confidential.Client, error) {
		return config.newMSAL(config.ClientID, credential, noRegion)
	})
	if err != nil {
		t.Fatal(err)
	}
	running := m.forTenant("of an exchange that runs")
	const tenants = 2*maxTenants + 10
	for i := range tenants {
		tenant := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		for range 2 {
			request := tokenRequest{tenant: tenant, scopes: []string{"api://todo/.default"}}
			if err := requestToken(t.Context(), m.forTenant(tenant), request); err != nil {
				t.Fatalf("tenant %d: %v", i, err)
			}
		}
		if kept := tenantsOf(m.client); kept > maxTenants {
			t.Fatalf("MSAL keeps %d tenants, want %d at most", kept, maxTenants)
		}
	}
	if metadatas != tenants {
		t.Errorf("metadata was read %d times for %d tenants", metadatas, tenants)
	}
	if kept := tenantsOf(m.client); kept == 0 {
		t.Error("nothing is found to be kept: has MSAL changed?")
	}
	if err := requestToken(context.Background(), running, tokenRequest{scopes: []string{"api://todo/.default"}}); err != nil {
		t.Errorf("with the client from before: %v", err)
	}
}

// MSAL gets no token on behalf of a user that it could cache or return again: each exchange asks
// the platform, and the recorder has its response.
func TestMSALCachesNoTokenOfUsers(t *testing.T) {
	const tokens = `{"token_type":"Bearer","expires_in":3600,"access_token":"token","refresh_token":"refresh"}`
	exchanges := 0
	config := Config{
		Instance: "https://login.example/", TenantID: "ours", ClientID: "us",
		Client: &http.Client{Transport: answering(func(r *http.Request) string {
			if r.Method == http.MethodPost {
				exchanges++
				return tokens
			}
			const base = "https://login.example/ours"
			return fmt.Sprintf(
				`{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/oauth2/v2.0/authorize","token_endpoint":"%[1]s/oauth2/v2.0/token"}`, base)
		})},
	}
	credential, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		t.Fatal(err)
	}
	msal, err := config.newMSAL(config.ClientID, credential, noRegion)
	if err != nil {
		t.Fatal(err)
	}
	request := tokenRequest{user: &Assertion{Token: "assertion"}, scopes: []string{"api://todo/Read"}}
	for i := range 3 {
		recorded := recording{onBehalfOf: true}
		if err := requestToken(context.WithValue(t.Context(), recordingKey{}, &recorded), msal, request); err != nil {
			t.Fatalf("exchange %d: %v", i, err)
		}
		if last := recorded.last.Load(); exchanges != i+1 || last == nil || string(last.body) != tokens {
			t.Errorf("got %d exchanges and the response %v, want %d and the last one", exchanges, last, i+1)
		}
		for name, cached := range tokensOf(msal) {
			if cached != 0 {
				t.Errorf("MSAL caches %d in %s, want none", cached, name)
			}
		}
	}
}

// tokensOf counts what MSAL caches of tokens and users.
func tokensOf(client confidential.Client) map[string]int {
	cached := map[string]int{}
	for _, manager := range []string{"manager", "pmanager"} {
		contract := reflect.ValueOf(client).FieldByName("base").FieldByName(manager).Elem().Elem().FieldByName("contract").Elem()
		for i := range contract.NumField() {
			if field := contract.Field(i); field.Kind() == reflect.Map {
				cached[manager+"."+contract.Type().Field(i).Name] = field.Len()
			}
		}
	}
	return cached
}

// tenantsOf counts what MSAL keeps of tenants.
func tenantsOf(client confidential.Client) int {
	token := reflect.ValueOf(client).FieldByName("base").FieldByName("Token").Elem()
	return token.FieldByName("Resolver").Elem().Elem().FieldByName("cache").Len()
}

// answering is a transport that answers 200 with a body.
type answering func(r *http.Request) string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(a(r))), Request: r,
	}, nil
}

// However many agents ask, few MSAL clients are kept, and an agent that is back gets one.
func TestMSALClientsOfAgentsAreBounded(t *testing.T) {
	agents := Config{Instance: "https://login.example/", TenantID: "contoso.example", Client: http.DefaultClient}.newAgentClients(noRegion)
	for i := range 2*maxAgents + 10 {
		if _, err := agents.forAgent(fmt.Sprintf("agent-%d", i), ""); err != nil {
			t.Fatal(err)
		}
		if kept := len(agents.clients); kept > maxAgents {
			t.Fatalf("MSAL clients after %d agents: got %d, want %d at most", i+1, kept, maxAgents)
		}
	}
	first, err := agents.of("agent-0")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := agents.of("agent-0"); again != first || err != nil {
		t.Errorf("the second client of an agent is another one (%v)", err)
	}
}
