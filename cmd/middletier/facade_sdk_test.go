package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// The OAuth client of the official Go SDK, which refuses Entra's own metadata, goes from the
// 401 of a call to a token by itself: metadata, registration, PKCE, resource and the check of
// the issuer are its own.
func TestSDKClientSignsInByTheFacade(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	const callback = "http://127.0.0.1:51234/callback"
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: callback, RequestRefreshToken: true,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "SDK", RedirectURIs: []string{callback}},
		},
		AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			got := w.signInAt(t, args.URL, "bbbbbbbb-0000-4000-8000-000000000002")
			return &auth.AuthorizationResult{Code: got.Get("code"), State: got.Get("state"), Iss: got.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := w.url + "/api/todo"
	req, err := http.NewRequest("GET", endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("got %v, %v", resp, err)
	}
	if err := handler.Authorize(t.Context(), req, resp); err != nil {
		t.Fatal(err)
	}
	source, err := handler.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil || token.RefreshToken == "" {
		t.Fatalf("got %v, %v, want a refresh token", token, err)
	}
	if form := w.lastForm(t); form.Has("resource") || form.Get("client_secret") != mcpSecret {
		t.Errorf("the provider got %q", form)
	}
	if r := w.call("GET", "/api/todo/items", token.AccessToken, ""); r.StatusCode != 200 {
		t.Errorf("the token gives %d %s", r.StatusCode, r.body)
	}
}

// Without the façade, what it is for: the provider's metadata does not say S256, and it refuses
// the resource that clients must send.
func TestPlatformCannotServeMCPClients(t *testing.T) {
	t.Parallel()
	w := newFacade(t)
	client := &http.Client{Transport: w.transport()}
	issuer := w.idp.URL() + "/" + demoTenant + "/v2.0"
	if _, err := oauthex.GetAuthServerMeta(t.Context(), issuer+"/.well-known/openid-configuration", issuer, client); err == nil ||
		!strings.Contains(err.Error(), "PKCE") {
		t.Errorf("the provider's metadata: %v, want a refusal for PKCE", err)
	}
	good := w.goodAuthorization("scope", ours("ToDoList.Read"))
	got := w.signInAt(t, w.idp.URL()+"/"+demoTenant+"/oauth2/v2.0/authorize?"+good.Encode(), "aaaaaaaa-0000-4000-8000-000000000001")
	if got.Get("error") == "" || !strings.Contains(got.Get("error_description"), "AADSTS9010010") {
		t.Errorf("a foreign resource at the authorization endpoint: got %q", got)
	}
	form := w.redemption(w.aliceSignsIn(t), "client_secret", mcpSecret)
	resp, err := client.PostForm(w.idp.URL()+"/"+demoTenant+"/oauth2/v2.0/token", url.Values(form))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("a foreign resource at the token endpoint: got %d, want 400", resp.StatusCode)
	}
}
