package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"middletier/internal/failure"
)

// managedIdentity gets tokens of a managed identity from the Azure host that we run on. They
// are our client assertions.
type managedIdentity struct {
	content
	clientID string // "": the system-assigned identity
	audience string
	client   *managedidentity.Client // nil before the first read
	turn     chan struct{}           // one asks, the others then find MSAL's cache filled
}

func openManagedIdentity(s StoreConfig, entry Config) loader {
	return &managedIdentity{
		content: content{key: "managedIdentityClientId"}, clientID: entry.ManagedIdentityClientID,
		audience: cmp.Or(entry.TokenExchangeURL, ExchangeAudience(s.Instance)), turn: make(chan struct{}, 1),
	}
}

// read asks for a token, to see that there is one. Each use asks again.
func (m *managedIdentity) read(ctx context.Context) ([][]byte, error) {
	if m.client == nil {
		client, err := newManagedIdentityClient(m.clientID)
		if err != nil {
			return nil, err
		}
		m.client = &client
	}
	_, err := m.token(ctx)
	return nil, err
}

func newManagedIdentityClient(clientID string) (managedidentity.Client, error) {
	id := managedidentity.SystemAssigned()
	if clientID != "" {
		id = managedidentity.UserAssignedClientID(clientID)
	}
	return managedidentity.New(id, managedidentity.WithHTTPClient(&http.Client{
		// The host is next to us: no proxy, and nowhere to send us on to.
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
}

// parse returns a credential that asks for a token at every use.
func (m *managedIdentity) parse([][]byte) (confidential.Credential, time.Time, error) {
	return confidential.NewCredFromAssertionCallback(func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		token, err := m.token(ctx)
		if err != nil {
			return "", &ClientAssertionError{err}
		}
		return token, nil
	}), time.Time{}, nil
}

func (m *managedIdentity) token(ctx context.Context) (string, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	result, err := m.client.AcquireToken(ctx, m.audience)
	if err != nil {
		return "", hostError(err)
	}
	return result.AccessToken, nil
}

// hostError is MSAL's error without the host's answer, which it quotes.
func hostError(err error) error {
	var answered msalerrors.CallErr
	if errors.As(err, &answered) && answered.Resp != nil {
		return fmt.Errorf("the host's managed identity endpoint answered with status %d", answered.Resp.StatusCode)
	}
	return failure.Of(err)
}

// ExchangeAudience is what a managed identity's token must be for, to be traded
// in the cloud of instance ("Important considerations for federated identity
// credentials").
func ExchangeAudience(instance string) string {
	const audience = "api://AzureADTokenExchange"
	u, err := url.Parse(instance)
	if err != nil {
		return audience
	}
	switch strings.ToLower(u.Hostname()) {
	case "login.microsoftonline.us":
		return audience + "USGov"
	case "login.partner.microsoftonline.cn", "login.chinacloudapi.cn":
		return audience + "China"
	}
	return audience
}
