package obo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/failure"
)

// Relayed is a token response in the provider's own words (RFC 6749, section 5.1; OpenID Connect
// Core, section 3.1.3.3).
type Relayed struct {
	AccessToken  string      `json:"access_token"`
	TokenType    string      `json:"token_type"`
	ExpiresIn    json.Number `json:"expires_in"`
	RefreshToken string      `json:"refresh_token,omitempty"`
	IDToken      string      `json:"id_token,omitempty"`
	Scope        string      `json:"scope,omitempty"`
}

// relayFlows are the grants that are relayed.
var relayFlows = map[string]Flow{"authorization_code": AuthorizationCode, "refresh_token": RefreshToken}

// RelayFlow returns the flow of a grant type that Relay takes, and whether it takes it.
func RelayFlow(grantType string) (Flow, bool) {
	flow, ok := relayFlows[grantType]
	return flow, ok
}

// relayForm is what of a relayed form MSAL decides: who we are.
var relayForm = []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}

// Relay sends form, whose grant is one of RelayFlow, to the token endpoint of our tenant with
// our client ID and credential, and with nothing else. caller names who has sent it: while
// others wait, one caller holds a quarter of the turns at most. A form is sent again only if
// the provider refused our credential, which it checks before it redeems the grant. The error
// is an *Error, or context.Canceled if the caller leaves while it waits.
func (c *Client) Relay(ctx context.Context, caller string, form url.Values) (answer Relayed, err error) {
	flow, ok := RelayFlow(form.Get("grant_type"))
	if !ok || slices.ContainsFunc(relayForm, form.Has) {
		return Relayed{}, errors.New("the form is not to be relayed") // a bug of the caller
	}
	start := time.Now()
	defer func() { c.config.Exchanged(flow, time.Since(start), err) }()
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	giveBack, err := c.turns.take(ctx, c.turns.quarter("caller "+caller))
	if errors.Is(err, context.Canceled) {
		return Relayed{}, err
	}
	if err != nil {
		return Relayed{}, &Error{
			Kind: Unavailable, RetryAfter: defaultRetryAfter, Flow: flow, Err: errors.New("too many exchanges are under way"),
		}
	}
	defer giveBack()
	active := c.current.Load()
	answer, refusal := c.tryRelay(ctx, active, form)
	if refusal != nil && refusal.Code == "invalid_client" {
		c.credentials.ReloadAfterRefusal(ctx)
		if next := c.current.Load(); next != active && ctx.Err() == nil {
			answer, refusal = c.tryRelay(ctx, next, form)
		}
	}
	if refusal != nil {
		refusal.Flow, refusal.Scopes = flow, strings.Fields(form.Get("scope"))
		return Relayed{}, refusal
	}
	return answer, nil
}

// tryRelay sends form once.
func (c *Client) tryRelay(ctx context.Context, active *activeCredential, form url.Values) (Relayed, *Error) {
	recorded := recording{header: exchangeHeader(ctx, tokenRequest{})}
	asking := context.WithValue(ctx, recordingKey{}, &recorded)
	asking = context.WithValue(asking, relayKey{}, form)
	// MSAL finds the endpoint and proves who we are. What it asks for is replaced, and what it
	// makes of the response is of no interest.
	const unused = "replaced"
	_, err := active.forUsers.forTenant("").AcquireTokenByAuthCode(asking, unused, unused, []string{unused},
		confidential.WithChallenge(unused))
	if _, refusal := recorded.read(time.Now(), err); refusal != nil {
		return Relayed{}, refusal
	}
	var answer Relayed
	if err := json.Unmarshal(recorded.last.Load().body, &answer); err != nil {
		return Relayed{}, &Error{Kind: InvalidResponse, Status: http.StatusOK, Err: failure.Of(err)}
	}
	return answer, nil
}

// relayKey is the key of a context's value, the form that MSAL's request is to send.
type relayKey struct{}

// replaceForm replaces the form of MSAL's request by the one of its context, if there is one,
// but for what says who we are.
func replaceForm(req *http.Request) error {
	form, ok := req.Context().Value(relayKey{}).(url.Values)
	if !ok || req.Method != http.MethodPost {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return fmt.Errorf("MSAL's form: %w", failure.Of(err))
	}
	written, err := url.ParseQuery(string(body))
	if err != nil {
		return fmt.Errorf("MSAL's form: %w", failure.Of(err))
	}
	sent := url.Values{}
	for name, values := range form {
		sent[name] = values
	}
	for _, name := range relayForm {
		if written.Has(name) {
			sent[name] = written[name]
		}
	}
	text := sent.Encode()
	req.ContentLength = int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	req.Body, err = req.GetBody()
	return err
}
