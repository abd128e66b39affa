package obo

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Code is an authorization code, as the provider's redirect brought it (RFC 6749, section
// 4.1.2).
type Code struct {
	Code        string
	Verifier    string // of PKCE (RFC 7636, section 4.1)
	RedirectURI string // as in the authorization request
	Scopes      []string
	Claims      string // asked for, as JSON; "": none
}

// Renewal is a refresh token, and what is asked for with it.
type Renewal struct {
	RefreshToken string
	TenantID     string // of the user
	ObjectID     string // of the user, who is throttled with all their sessions
	Scopes       []string
}

// Tokens are what the provider gives for a Code or a Renewal.
type Tokens struct {
	AccessToken  string
	Expires      time.Time // of the access token
	RefreshToken string    // "": none; after a Renewal, the old one stays in use (RFC 6749, section 6)
	IDToken      string    // "": none. It is not checked
}

// RedeemCode trades a code for tokens (RFC 6749, section 4.1.3). They are not cached. The error
// is an *Error, or context.Canceled. A code is sent once: only a request that the provider did
// not get, or that it refused for our credential, is repeated.
func (c *Client) RedeemCode(ctx context.Context, code Code) (Tokens, error) {
	return c.tokens(ctx, tokenRequest{code: &code, scopes: code.Scopes, claims: code.Claims})
}

// RedeemRefreshToken trades a refresh token for new tokens (RFC 6749, section 6). They are not
// cached. The error is an *Error, or context.Canceled.
func (c *Client) RedeemRefreshToken(ctx context.Context, r Renewal) (Tokens, error) {
	user := newKey("user", []byte(strings.ToLower(r.ObjectID)), "", strings.ToLower(r.TenantID), "", nil)
	held := &heldSession{session: session{Owner: user[:], User: r.ObjectID, Tenant: r.TenantID, RefreshToken: r.RefreshToken}}
	return c.tokens(ctx, tokenRequest{session: held, tenant: r.TenantID, scopes: r.Scopes})
}

func (c *Client) tokens(ctx context.Context, r tokenRequest) (Tokens, error) {
	g, err := c.exchange(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{AccessToken: g.token, Expires: g.expires, RefreshToken: g.refreshToken, IDToken: g.idToken}, nil
}

// requestByCode has MSAL redeem an authorization code.
func requestByCode(ctx context.Context, msal confidential.Client, r tokenRequest) error {
	_, err := msal.AcquireTokenByAuthCode(ctx, r.code.Code, r.code.RedirectURI, r.scopes, confidential.WithTenantID(r.tenant),
		confidential.WithChallenge(r.code.Verifier), confidential.WithClaims(r.claims))
	return err
}

// neverSent reports whether the provider cannot have got a request that failed with err.
func neverSent(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

// AuthorizationError is the error for an authorization response with an error (RFC 6749, section
// 4.1.2.1; OpenID Connect Core, section 3.1.2.6). scopes were asked for.
func (c *Client) AuthorizationError(code, suberror, description string, scopes []string) *Error {
	body := tokenResponse{Error: code, Suberror: suberror, Description: description}.sanitized()
	if number, err := strconv.Atoi(strings.TrimPrefix(aadsts.FindString(description), "AADSTS")); err == nil {
		body.Codes = []int{number}
	}
	e := &Error{
		Kind: kindOf(body), Code: body.Error, Suberror: body.Suberror, Codes: body.Codes, Scopes: scopes,
		Flow: AuthorizationCode, Err: body.described(),
	}
	switch {
	case body.Error == "temporarily_unavailable" || body.Error == "server_error":
		e.Kind = Unavailable
	case body.Error == "access_denied":
		e.Kind = ConsentRequired // the user, or the administrator who was asked, said no
	case slices.Contains([]string{"interaction_required", "login_required", "account_selection_required"}, body.Error),
		e.Kind == AssertionExpired:
		e.Kind = InteractionRequired
	}
	switch e.Kind {
	case Unavailable:
		e.RetryAfter = defaultRetryAfter
	case ConsentRequired:
		e.ConsentURI = c.consentURI(tokenRequest{scopes: scopes})
	}
	return e
}

// EndsSession reports whether e, from a Renewal in the user's own tenant, says that the refresh
// token is no longer good.
func (e *Error) EndsSession() bool {
	if e.Kind != InteractionRequired || e.Code != "invalid_grant" {
		return false
	}
	if slices.ContainsFunc(e.Codes, func(number int) bool { return slices.Contains(sessionEnds, number) }) {
		return true
	}
	_, known := listedKind(tokenResponse{Codes: e.Codes, Suberror: e.Suberror})
	return e.Claims == "" && !known || e.Suberror == "bad_token" || e.Suberror == "token_expired"
}

// Timeout returns the bound of one exchange.
func (c *Client) Timeout() time.Duration { return c.config.Timeout }
