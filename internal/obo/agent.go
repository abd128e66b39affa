package obo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/credential"
)

// Agent is an agent identity of our blueprint, for which a token is fetched, and the user
// account that the agent acts as, if any. The zero value is no agent.
//
// An agent identity is an application without a credential. Its blueprint, which is ours,
// gets a token T1 that vouches for it: the agent's client assertion. With T1 the agent gets
// tokens of its own and on behalf of users, and T2, which vouches for it in turn when it asks
// for a token of its user (Microsoft's pages "Agent identity authentication protocols").
type Agent struct {
	ID   string // client ID (GUID) of the agent identity
	User string // the agent's user: object ID (GUID) or user name; "": none
}

// maxUserName is the length of Entra's longest user names, with their domain.
const maxUserName = 64 + 1 + 256

// userName matches a user principal name. It is stricter than Entra in nothing that matters here.
var userName = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)

// Check reports what is wrong with a by its key, identity or user.
func (a Agent) Check(report func(key, problem string)) {
	switch {
	case a.ID == "" && a.User != "":
		report("identity", "is missing: user is the agent's")
	case a.ID != "" && !isGUID(a.ID):
		report("identity", "must be the client ID (a GUID) of an agent identity")
	}
	switch {
	case a.User == "", isGUID(a.User):
	case len(a.User) > maxUserName || !userName.MatchString(a.User) || strings.ContainsFunc(a.User, unicode.IsControl):
		report("user", "must be the object ID (a GUID) or the user name of the agent's user")
	}
}

// isGUID reports whether text is a GUID other than that of zeros, which names nobody.
func isGUID(text string) bool { return guid.MatchString(text) && strings.Trim(text, "0-") != "" }

// vouchers are the tokens with which an agent asks for others.
type vouchers struct {
	agent string // T1, from its blueprint
	user  string // T2, from the agent itself; "" unless it asks for a token of its user
}

// exchangeScope is what T1 and T2 are asked for.
func (c *Client) exchangeScope() string {
	return credential.ExchangeAudience(c.config.Instance) + "/.default"
}

// exchangeAs makes an exchange, as an agent with tokens that vouch for it. Those are cached
// and renewed like tokens of our own. If the provider refuses one, it is replaced and the
// exchange is made once more.
func (c *Cache) exchangeAs(ctx context.Context, r tokenRequest) (grant, error) {
	if r.agent.ID == "" {
		return c.client.exchange(ctx, r)
	}
	var err error
	if r.vouchers, err = c.vouchersFor(ctx, r, vouchers{}); err != nil {
		return grant{}, err
	}
	g, err := c.client.exchange(ctx, r)
	if !isVoucherRefused(err) {
		return g, err
	}
	// No trial of the new ones is passed. So each is replaced every rejectedPause at the most,
	// although one refusal may be about the agent's user instead.
	replaced, replaceErr := c.vouchersFor(ctx, r, r.vouchers)
	if replaceErr != nil {
		return grant{}, replaceErr
	}
	if replaced == r.vouchers {
		return g, err
	}
	r.vouchers = replaced
	return c.client.exchange(ctx, r)
}

// vouchersFor returns the tokens that r needs, and none that was rejected.
func (c *Cache) vouchersFor(ctx context.Context, r tokenRequest, rejected vouchers) (v vouchers, err error) {
	scopes := []string{c.client.exchangeScope()}
	voucher := func(whose string, request Request) string {
		if err != nil {
			return ""
		}
		request.Tenant, request.Scopes = r.inTenant(), scopes
		var t Token
		if t, err = c.Token(ctx, request); err != nil {
			err = vouchingError(err, r.agent, whose, r.scopes)
		}
		return t.Value
	}
	v.agent = voucher("the blueprint", Request{FMIPath: r.agent.ID, Challenge: Challenge{RejectedToken: rejected.agent}})
	if r.flow() == AgentUser {
		v.user = voucher("the agent", Request{Agent: Agent{ID: r.agent.ID}, Challenge: Challenge{RejectedToken: rejected.user}})
	}
	return v, err
}

// vouchingError is the error of a token that vouches, for a request of other scopes.
func vouchingError(err error, agent Agent, whose string, scopes []string) error {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return err
	}
	e := *refusal // callers share it
	e.Scopes, e.Agent, e.Err = scopes, agent.ID, fmt.Errorf("the token with which %s vouches for the agent: %w", whose, refusal.Err)
	return &e
}

// isVoucherRefused reports whether the provider may have refused a token that vouches for an
// agent: as client assertion, or as the assertion of its user.
func isVoucherRefused(err error) bool {
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Kind != Misconfigured {
		return false
	}
	return refusal.Code == "invalid_client" ||
		slices.ContainsFunc(refusal.Codes, func(number int) bool { return isUnmatched(number) || isAboutAssertion(number) })
}

// voucherKey is the key of a context's value: the T1 of an exchange.
type voucherKey struct{}

// asAgent is the credential of every agent: the T1 that the context of its exchange holds.
func asAgent(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
	voucher, _ := ctx.Value(voucherKey{}).(string)
	if voucher == "" {
		return "", errors.New("nothing vouches for the agent")
	}
	return voucher, nil
}

// requestForAgentUser has MSAL ask for a token of the agent's user.
func requestForAgentUser(ctx context.Context, msal confidential.Client, r tokenRequest) error {
	user := confidential.WithUserFICUsername(r.agent.User)
	options := []confidential.AcquireByUserFICOption{
		user, confidential.WithTenantID(r.inTenant()), confidential.WithClaims(r.claims), confidential.WithClaimsFromClient(r.moreClaims),
	}
	if guid.MatchString(r.agent.User) {
		options[0] = confidential.WithUserObjectID(r.agent.User)
	}
	_, err := msal.AcquireTokenByUserFederatedIdentityCredential(ctx, r.scopes, r.vouchers.user, options...)
	return err
}

// clientID is the client ID that the provider sees.
func (c *Client) clientID(r tokenRequest) string { return cmp.Or(r.agent.ID, c.config.ClientID) }
