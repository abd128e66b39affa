package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/failure"
	"middletier/internal/secretfile"
)

// AssertionError is a client assertion that could not be had: nothing was sent.
type AssertionError struct{ err error }

func (e *AssertionError) Error() string { return "client assertion: " + e.err.Error() }

func (e *AssertionError) Unwrap() error { return e.err }

// assertionFile holds another platform's token for us. The platform replaces it
// well before it expires.
type assertionFile struct {
	path string
	last atomic.Pointer[string] // the last good one
}

// accept remembers what was read, if it is a token. It may be expired: the
// provider's clock counts.
func (f *assertionFile) accept(data []byte) error {
	assertion, err := secretfile.Secret(data)
	if err != nil {
		return err
	}
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, jwt.MapClaims{}); err != nil {
		return errors.New("does not hold a signed token")
	}
	f.last.Store(&assertion)
	return nil
}

// credential reads the file at every use. While there is nothing good in it, as
// in the middle of being replaced, it uses the last good token.
func (f *assertionFile) credential() confidential.Credential {
	return confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
		if data, err := secretfile.Read(f.path); err == nil {
			_ = f.accept(data) // the reload that watches the file says what is wrong with it
		}
		return *f.last.Load(), nil
	})
}

// managedIdentity gets assertions from the Azure host that we run on.
type managedIdentity struct {
	client   managedidentity.Client
	audience string
	turn     chan struct{} // one asks, the others then find MSAL's cache filled
}

func newManagedIdentity(clientID, audience string) (*managedIdentity, error) {
	id := managedidentity.SystemAssigned()
	if clientID != "" {
		id = managedidentity.UserAssignedClientID(clientID)
	}
	client, err := managedidentity.New(id, managedidentity.WithHTTPClient(&http.Client{
		// The host is next to us: no proxy, and nowhere to send us on to.
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	if err != nil {
		return nil, err
	}
	return &managedIdentity{client, audience, make(chan struct{}, 1)}, nil
}

func (m *managedIdentity) assertion(ctx context.Context) (string, error) {
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

func (m *managedIdentity) credential() confidential.Credential {
	return confidential.NewCredFromAssertionCallback(func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		assertion, err := m.assertion(ctx)
		if err != nil {
			return "", &AssertionError{err}
		}
		return assertion, nil
	})
}

// exchangeAudience is what a managed identity's token must be for, to be traded
// in the cloud of instance ("Important considerations for federated identity
// credentials").
func exchangeAudience(instance string) string {
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
