package obo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/url"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// MSAL has no public way to redeem a refresh token, but does so when it finds one in its
// cache (v1.10.1, AcquireTokenSilent). So it finds one there: the cache of a request is what
// its context holds.

// redeemableKey is the key of a context's value, a redeemable.
type redeemableKey struct{}

// redeemable is a refresh token in MSAL's cache.
type redeemable struct {
	account confidential.Account // of this request alone, so that it finds no refresh token of another one
	cache   []byte
}

// msalCache is the part of MSAL's cache that leads it to a refresh token ("Unified cache
// schema", v1.10.1, apps/internal/base/storage/items.go).
type msalCache struct {
	RefreshToken map[string]msalItem
	AppMetadata  map[string]msalItem
}

type msalItem struct {
	HomeAccountID  string `json:"home_account_id,omitempty"`
	Environment    string `json:"environment"`
	CredentialType string `json:"credential_type,omitempty"`
	ClientID       string `json:"client_id"`
	Secret         string `json:"secret,omitempty"`
}

// redeemAttempts bounds how often MSAL is asked: its cache is one for all requests, and another
// request may empty it before MSAL looks, which takes microseconds.
const redeemAttempts = 20

// withRefreshToken returns a context for a request that redeems the refresh token of r's session.
func (c *Client) withRefreshToken(ctx context.Context, r tokenRequest) context.Context {
	host := ""
	if instance, err := url.Parse(c.config.Instance); err == nil { // package validate has checked it
		host = strings.ToLower(instance.Host)
	}
	account := confidential.Account{HomeAccountID: rand.Text(), Environment: host}
	client := msalItem{Environment: host, ClientID: c.clientID(r)}
	token := client
	token.HomeAccountID, token.CredentialType, token.Secret = account.HomeAccountID, "RefreshToken", r.session.RefreshToken
	held, err := json.Marshal(msalCache{map[string]msalItem{"token": token}, map[string]msalItem{"client": client}})
	if err != nil { // of strings only
		panic(err)
	}
	return context.WithValue(ctx, redeemableKey{}, redeemable{account, held})
}

// requestByRefreshToken has MSAL redeem the refresh token that ctx holds (RFC 6749, section 6).
func requestByRefreshToken(ctx context.Context, msal confidential.Client, r tokenRequest) error {
	claims, err := mergeClaims(r.claims, r.moreClaims)
	if err != nil {
		return err
	}
	held, _ := ctx.Value(redeemableKey{}).(redeemable)
	recorded := recordingOf(ctx)
	for range redeemAttempts {
		_, err = msal.AcquireTokenSilent(ctx, r.scopes, confidential.WithSilentAccount(held.account),
			confidential.WithTenantID(r.tenant), confidential.WithClaimsFromClient(claims))
		if err == nil || recorded.began.Load() {
			break
		}
	}
	return err
}

// mergeClaims makes one claims request of two, of which the second wins (OpenID Connect Core,
// section 5.5).
func mergeClaims(one, other string) (string, error) {
	if one == "" || other == "" {
		return one + other, nil
	}
	var merged, more map[string]map[string]json.RawMessage
	if err := json.Unmarshal([]byte(one), &merged); err != nil {
		return "", err
	}
	if err := json.Unmarshal([]byte(other), &more); err != nil {
		return "", err
	}
	for place, claims := range more {
		if merged[place] == nil {
			merged[place] = claims
			continue
		}
		maps.Copy(merged[place], claims)
	}
	text, err := json.Marshal(merged)
	return string(text), err
}
