package mockidp_test

import (
	"crypto/x509"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

func (k kit) msal(credential confidential.Credential) confidential.Client {
	k.t.Helper()
	client, err := confidential.New(k.URL()+"/"+contoso, middleID, credential,
		confidential.WithHTTPClient(k.client), confidential.WithInstanceDiscovery(false), confidential.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		k.t.Fatalf("confidential.New: %v", err)
	}
	return client
}

// TestMSAL uses the platform as the middle tier does.
func TestMSAL(t *testing.T) {
	key, certificate := credential()
	secret, err := confidential.NewCredFromSecret("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := confidential.NewCredFromCert([]*x509.Certificate{certificate}, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		credential confidential.Credential
		strength   string
	}{"secret": {secret, "1"}, "certificate": {signed, "2"}} {
		t.Run(name, func(t *testing.T) {
			k := start(t)
			client := k.msal(c.credential)
			user, err := client.AcquireTokenOnBehalfOf(t.Context(), k.UserToken("alice", "spa", "middle"), []string{"api://todo/.default"})
			if err != nil {
				t.Fatalf("on behalf of alice: %v", err)
			}
			if claims := claimsOf(t, user.AccessToken); claims["scp"] != "Read Write" || claims["azpacr"] != c.strength || claims["xms_cc"] == nil {
				t.Errorf("on behalf of alice: got %v", claims)
			}
			app, err := client.AcquireTokenByCredential(t.Context(), []string{"api://todo/.default"})
			if err != nil {
				t.Fatalf("client credentials: %v", err)
			}
			if claims := claimsOf(t, app.AccessToken); claims["roles"] == nil || claims["idtyp"] != "app" {
				t.Errorf("client credentials: got %v", claims)
			}
			if k.Count("on_behalf_of") != 1 || k.Count("client_credentials") != 1 || k.Count("metadata") != 1 {
				t.Errorf("requests: got %+v", k.Requests())
			}
		})
	}
}
