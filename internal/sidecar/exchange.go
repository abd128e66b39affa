package sidecar

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
)

// Names of the token endpoint (RFC 6749, section 4.4.2, and RFC 8693, sections 2.1 and 3).
const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantClient   = "client_credentials"

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

var (
	errSubjectApp      = problem.New("wrong-token-type", "The token has no user, and the API is called on behalf of users.")
	errClientAgentUser = invalid("The API is called as an agent's user, so there is no token as the application.")
)

// tokenAnswer is a successful answer of the token endpoint (RFC 6749, section 5.1, and
// RFC 8693, section 2.2.1).
type tokenAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in,omitempty"` // absent: the token is for its API alone to read
	Scope           string `json:"scope"`
}

// issueToken answers a request at the token endpoint.
func (s *Server) issueToken(c echo.Context, _ string) error {
	answer, err := s.exchange(c.Request())
	if err != nil {
		return s.refuse(c, err)
	}
	setUncached(c.Response().Header())
	return door.RespondJSON(c, http.StatusOK, answer)
}

// exchange gets the token that r asks for.
func (s *Server) exchange(r *http.Request) (*tokenAnswer, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	var client *TokenClient // nil: the application itself
	if !s.isApplication(r) {
		if client, err = s.authenticateClient(r, form); err != nil {
			return nil, err
		}
		door.EventOf(r).TokenClient = client.ClientID
	}
	switch grant := form.get("grant_type"); {
	case grant == grantExchange:
		return s.exchangeToken(r, form, client)
	case grant == grantClient && client != nil:
		return nil, &oauthError{
			code: "unauthorized_client", description: "From another machine, tokens are exchanged only: " +
				"a token of this service itself is for the application beside it.",
		}
	case grant == grantClient:
		return s.clientToken(r, form)
	case grant == "":
		return nil, invalidForm("grant_type is missing.")
	}
	return nil, &oauthError{code: "unsupported_grant_type", description: "grant_type must be " + grantExchange + " or " + grantClient + "."}
}

// exchangeToken trades the subject token.
func (s *Server) exchangeToken(r *http.Request, form form, client *TokenClient) (*tokenAnswer, error) {
	subject, issued, err := form.subject()
	if err != nil {
		return nil, err
	}
	event := door.EventOf(r)
	if event.Caller, err = s.door.Validate(event, subject, s.roleFree); err != nil {
		return nil, err
	}
	o, err := s.target(form, event.Caller, client)
	if err != nil {
		return nil, err
	}
	event.API = o.Name
	request, err := tokenRequest(event.Caller, o)
	if err != nil {
		return nil, withoutParameters(err)
	}
	if client != nil && request.Flow() != obo.OnBehalfOf {
		return nil, &oauthError{
			code: "unauthorized_client", description: "From another machine, tokens are got on behalf of users only. " +
				"This API is called as an application or as an agent.",
		}
	}
	return s.answerToken(r, request, o, issued)
}

// clientToken gets a token as the application.
func (s *Server) clientToken(r *http.Request, form form) (*tokenAnswer, error) {
	o, err := s.target(form, nil, nil)
	if err != nil {
		return nil, err
	}
	door.EventOf(r).API = o.Name
	request, err := tokenRequest(nil, o)
	if err != nil {
		return nil, withoutParameters(err)
	}
	return s.answerToken(r, request, o, "")
}

// withoutParameters returns err without advice to use parameters that this route does not have.
func withoutParameters(err error) error {
	switch {
	case errors.Is(err, errAppCaller):
		return errSubjectApp
	case errors.Is(err, errAgentUserApp):
		return errClientAgentUser
	}
	return err
}

func (s *Server) answerToken(r *http.Request, request obo.Request, o options, issued string) (*tokenAnswer, error) {
	event := door.EventOf(r)
	token, err := s.token(event, event, &request, o)
	if err != nil {
		return nil, err
	}
	return &tokenAnswer{
		AccessToken: token.Value, IssuedTokenType: issued, TokenType: "Bearer",
		ExpiresIn: int64(time.Until(expiryOf(token.Value)) / time.Second), Scope: strings.Join(request.Scopes, " "),
	}, nil
}

// expiryOf returns when a token that is a JWT expires. Of any other it returns the present,
// so that the answer names no expiry.
func expiryOf(token string) time.Time {
	var claims struct {
		Expires int64 `json:"exp"`
	}
	data, err := base64.RawURLEncoding.DecodeString(payloadOf(token))
	if err != nil || json.Unmarshal(data, &claims) != nil || claims.Expires <= 0 {
		return time.Now()
	}
	return time.Unix(claims.Expires, 0)
}

// refuse answers an error as OAuth does (RFC 6749, section 5.2), and returns it for the
// log.
func (s *Server) refuse(c echo.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // nobody waits for the answer
	}
	event := door.EventOf(c.Request())
	refusal := refusalOf(err, event.Caller)
	event.Problem = refusal.kind
	if event.Upload != nil && !event.Upload.IsComplete() {
		event.Upload.PrepareEarlyReply()
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	if refusal.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="`+tokenPath+`", charset="UTF-8"`)
	}
	if refusal.retryAfter > 0 {
		h.Set("Retry-After", door.Seconds(refusal.retryAfter+time.Second-1))
	}
	if writeErr := door.RespondJSON(c, refusal.status, refusal); writeErr != nil {
		return writeErr
	}
	return fmt.Errorf("%s: %w", refusal.Error, err)
}
