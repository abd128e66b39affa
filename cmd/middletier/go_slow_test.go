//go:build slow

package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

const (
	webRedirect = "http://localhost:3000/auth/redirect"
	appScope    = "api://" + demoMiddleTier + "/.default"
	userScope   = "api://" + demoMiddleTier + "/ToDoList.ReadWrite"
	otherScope  = "api://" + demoMiddleTier + "/ToDoList.Read" // not in the cache, so the refresh token is used
)

// owners returns whose items an address lists, in order.
func (s *stack) owners(t *testing.T, address, token string) []string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %s %s %v", address, resp.Status, body, err)
	}
	var items []struct{ Name string }
	if err := json.Unmarshal(body, &items); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range items {
		names = append(names, item.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// wantOwners wants a token with which an address lists the items of these owners.
func (s *stack) wantOwners(t *testing.T, address, token string, want ...string) {
	t.Helper()
	if got := s.owners(t, address, token); !slices.Equal(got, want) {
		t.Errorf("%s lists the items of %q, want those of %q", address, got, want)
	}
}

// confidentialClient returns MSAL Go for an application with a credential.
func (s *stack) confidentialClient(t *testing.T, id string, credential confidential.Credential) confidential.Client {
	t.Helper()
	client, err := confidential.New(s.platform+"/"+demoTenant, id, credential,
		confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(s.client))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *stack) secretClient(t *testing.T, id string) confidential.Client {
	t.Helper()
	credential, err := confidential.NewCredFromSecret(mockSecret)
	if err != nil {
		t.Fatal(err)
	}
	return s.confidentialClient(t, id, credential)
}

// publicClient returns MSAL Go for an application without a credential.
func (s *stack) publicClient(t *testing.T) public.Client {
	t.Helper()
	client, err := public.New(demoNative, public.WithAuthority(s.platform+"/"+demoTenant),
		public.WithInstanceDiscovery(false), public.WithHTTPClient(s.client))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// MSAL Go gets tokens that the middle tier accepts, in every way that it has.
func TestSlowMSALGo(t *testing.T) {
	s := startStack(t)
	s.addItems()
	robot := s.addRobot()
	t.Run("secret", func(t *testing.T) {
		result, err := s.secretClient(t, demoDaemon).AcquireTokenByCredential(t.Context(), []string{appScope})
		if err != nil {
			t.Fatal(err)
		}
		s.wantOwners(t, s.service+"/app/todo/items", result.AccessToken, "alice", "bob")
	})
	t.Run("certificate", func(t *testing.T) {
		credential, err := confidential.NewCredFromCert([]*x509.Certificate{robot.Certificate}, robot.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, chain := range [][]confidential.Option{nil, {confidential.WithX5C()}} {
			client, err := confidential.New(s.platform+"/"+demoTenant, robotID, credential,
				append(chain, confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(s.client))...)
			if err != nil {
				t.Fatal(err)
			}
			result, err := client.AcquireTokenByCredential(t.Context(), []string{appScope})
			if err != nil {
				t.Fatal(err)
			}
			s.wantOwners(t, s.service+"/app/todo/items", result.AccessToken, "alice", "bob")
		}
	})
	t.Run("on behalf of", func(t *testing.T) {
		result, err := s.secretClient(t, demoMiddleTier).AcquireTokenOnBehalfOf(t.Context(), s.token("alice"), []string{"api://todo/.default"})
		if err != nil {
			t.Fatal(err)
		}
		s.wantOwners(t, s.todo+"/items", result.AccessToken, "alice")
	})
	t.Run("code of a web app", s.codeOfWebApp)
	t.Run("code of a public client", s.codeOfPublicClient)
	t.Run("device code", func(t *testing.T) {
		client := s.publicClient(t)
		device, err := client.AcquireTokenByDeviceCode(t.Context(), []string{userScope})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.newPerson("alice@contoso.example", device.Result.UserCode).visit(device.Result.VerificationURL); err != nil {
			t.Fatal(err)
		}
		result, err := device.AuthenticationResult(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.checkSilent(t, client, result)
	})
}

// codeOfWebApp signs Alice in to a web app with a secret.
func (s *stack) codeOfWebApp(t *testing.T) {
	client := s.secretClient(t, demoWeb)
	page, err := client.AuthCodeURL(t.Context(), demoWeb, webRedirect, []string{userScope})
	if err != nil {
		t.Fatal(err)
	}
	const verifier = "a-verifier-that-nobody-else-would-have-to-know-0"
	challenge := sha256.Sum256([]byte(verifier))
	page += "&code_challenge_method=S256&code_challenge=" + base64.RawURLEncoding.EncodeToString(challenge[:])
	back, err := s.newPerson("alice@contoso.example", "").visit(page)
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.AcquireTokenByAuthCode(t.Context(),
		back.URL.Query().Get("code"), webRedirect, []string{userScope}, confidential.WithChallenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	s.wantOwners(t, s.service+"/api/todo/items", result.AccessToken, "alice")
	if result.IDToken.PreferredUsername != "alice@contoso.example" {
		t.Errorf("got ID token %+v", result.IDToken)
	}
	refreshed, err := client.AcquireTokenSilent(t.Context(), []string{otherScope}, confidential.WithSilentAccount(result.Account))
	if err != nil || refreshed.AccessToken == result.AccessToken {
		t.Fatalf("refreshing: got the same token, or %v", err)
	}
	s.wantOwners(t, s.service+"/api/todo/items", refreshed.AccessToken, "alice")
}

// codeOfPublicClient signs Alice in with a browser that comes back to a port of loopback.
func (s *stack) codeOfPublicClient(t *testing.T) {
	client := s.publicClient(t)
	s.checkSilent(t, client, s.signInInteractively(t, client))
}

// signInInteractively signs Alice in with a browser.
func (s *stack) signInInteractively(t *testing.T, client public.Client) public.AuthResult {
	t.Helper()
	browser := func(page string) error {
		back, err := s.newPerson("alice@contoso.example", "").visit(page)
		if err != nil {
			return err
		}
		resp, err := s.client.Do(back)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	result, err := client.AcquireTokenInteractive(t.Context(), []string{userScope}, public.WithOpenURL(browser))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// checkSilent wants Alice's token from MSAL's cache, and another one for its refresh token.
func (s *stack) checkSilent(t *testing.T, client public.Client, first public.AuthResult) {
	t.Helper()
	s.wantOwners(t, s.service+"/api/todo/items", first.AccessToken, "alice")
	cached, err := client.AcquireTokenSilent(t.Context(), []string{userScope}, public.WithSilentAccount(first.Account))
	if err != nil || cached.AccessToken != first.AccessToken {
		t.Fatalf("the cache: got another token, or %v", err)
	}
	refreshed, err := client.AcquireTokenSilent(t.Context(), []string{otherScope}, public.WithSilentAccount(first.Account))
	if err != nil || refreshed.AccessToken == first.AccessToken {
		t.Fatalf("refreshing: got the same token, or %v", err)
	}
	s.wantOwners(t, s.service+"/api/todo/items", refreshed.AccessToken, "alice")
}

// azidentity gets tokens that the middle tier accepts.
func TestSlowAzidentity(t *testing.T) {
	s := startStack(t)
	s.addItems()
	robot := s.addRobot()
	options := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.platform}, Transport: s.client}
	for name, row := range map[string]struct {
		make           func() (azcore.TokenCredential, error)
		scope, address string
		want           []string
	}{
		"secret": {func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(demoTenant, demoDaemon, mockSecret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}, appScope, s.service + "/app/todo/items", []string{"alice", "bob"}},
		"certificate": {func() (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(demoTenant, robotID,
				[]*x509.Certificate{robot.Certificate}, crypto.PrivateKey(robot.Key),
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}, appScope, s.service + "/app/todo/items", []string{"alice", "bob"}},
		"on behalf of": {func() (azcore.TokenCredential, error) {
			return azidentity.NewOnBehalfOfCredentialWithSecret(demoTenant, demoMiddleTier, s.token("bob"), mockSecret,
				&azidentity.OnBehalfOfCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}, "api://todo/.default", s.todo + "/items", []string{"bob"}},
		"device code": {func() (azcore.TokenCredential, error) {
			return azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
				ClientOptions: options, DisableInstanceDiscovery: true, TenantID: demoTenant, ClientID: demoNative,
				UserPrompt: func(_ context.Context, device azidentity.DeviceCodeMessage) error {
					_, err := s.newPerson("bob@contoso.example", device.UserCode).visit(device.VerificationURL)
					return err
				},
			})
		}, userScope, s.service + "/api/todo/items", []string{"bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			credential, err := row.make()
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{row.scope}})
			if err != nil {
				t.Fatal(fmt.Errorf("%s: %w", name, err))
			}
			s.wantOwners(t, row.address, token.Token, row.want...)
		})
	}
}
