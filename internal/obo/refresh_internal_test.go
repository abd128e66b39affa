package obo

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"middletier/internal/credential"
	"middletier/internal/records"
)

// Requests share MSAL's cache. Each redeems its own refresh token, whatever the others do.
func TestRequestsRedeemTheirOwnRefreshToken(t *testing.T) {
	base := "https://login.example/ours"
	metadata := fmt.Sprintf(`{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"}`, base)
	client, err := NewClient(t.Context(), Config{
		Instance: "https://LOGIN.example/", TenantID: "ours", ClientID: "us", MaxConcurrent: 64,
		Credentials: []credential.Config{{SourceType: "ClientSecret", ClientSecret: "secret"}},
		Client: &http.Client{Transport: answering(func(r *http.Request) string {
			if r.Method != http.MethodPost {
				return metadata
			}
			body, _ := io.ReadAll(r.Body) // of memory
			form, _ := url.ParseQuery(string(body))
			return `{"token_type":"Bearer","expires_in":3600,"access_token":"for-` + form.Get("refresh_token") + `"}`
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			r := tokenRequest{tenant: "ours", scopes: []string{"api://todo/.default"}}
			if i%2 == 0 { // others empty the cache
				r.session = &heldSession{key: records.NewKey(), session: session{Tenant: "ours", RefreshToken: fmt.Sprint(i)}}
			}
			for range 200 {
				g, refusal := client.try(t.Context(), client.current.Load(), r)
				if refusal != nil || g.token != "for-"+r.refreshToken() {
					t.Errorf("try for %q: got %q %v", r.refreshToken(), g.token, refusal)
					return
				}
			}
		})
	}
	group.Wait()
}

func (r tokenRequest) refreshToken() string {
	if r.session == nil {
		return ""
	}
	return r.session.RefreshToken
}
