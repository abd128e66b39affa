package validate

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// SignIn is what an ID token says about a sign-in (OpenID Connect Core, section 2;
// Microsoft's page "ID token claims reference").
type SignIn struct {
	Issuer   string
	TenantID string // in lower case
	ObjectID string // "" if the token has none
	Subject  string
	// SessionID is the provider's session (sid), LoginHint what names the account to the
	// provider (login_hint). Both are optional claims at Entra, and "" without one.
	SessionID, LoginHint string
	// Claims are all claims, in the order of the token, those of an array one by one.
	Claims []Claim
}

// Claim is one claim of an ID token.
type Claim struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"` // as in the token: a string, a number, a boolean, null or an object
}

const (
	// maxClaims and maxClaimsSize bound SignIn.Claims: more are left out. A token with
	// many groups has 200 of them.
	maxClaims     = 256
	maxClaimsSize = 12 << 10
)

// idTokenNames are the members of an ID token that are read. None may have a second spelling.
var idTokenNames = func() names {
	all := newNames("nonce", "sid", "login_hint")
	for name := range claimNames {
		all[name] = true
	}
	return all
}()

// ValidateIDToken decides whether token tells the application clientID who signed in, in
// answer to the request with nonce (OpenID Connect Core, section 3.1.3.7). The error is as
// Validate's.
func (v *Validator) ValidateIDToken(ctx context.Context, token, clientID, nonce string) (*SignIn, error) {
	if len(token) > MaxTokenSize {
		return nil, invalid(TooLong, "%d bytes, more than %d", len(token), MaxTokenSize)
	}
	t, err := parseCompactWith(token, idTokenNames)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}
	if err := t.checkHeader(); err != nil {
		return nil, err
	}
	if typ, _ := t.header.text("typ"); typ != "" && !strings.EqualFold(typ, "JWT") {
		return nil, invalid(Malformed, "typ is not JWT")
	}
	id, err := readClaims(t.claims)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}
	signIn, err := t.readSignIn(&id.identity)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}
	now := time.Now()
	if err := v.checkSignIn(id, t.claims, clientID, nonce, now); err != nil {
		return nil, err
	}
	end := now.Add(maxKeyWait)
	doc, err := v.documentFor(ctx, &id.identity, end)
	if err != nil {
		return nil, err
	}
	if doc != v.provider.v2 {
		return nil, invalid(WrongIssuer, "the ID token is of v1.0")
	}
	if _, err = v.verify(ctx, doc, t, &id.identity, end); err != nil {
		return nil, err
	}
	if !v.allows(id.tenant) {
		return nil, fmt.Errorf("%w: %s", ErrTenantNotAllowed, id.tenant)
	}
	return signIn, nil
}

// checkSignIn checks what an ID token says about whom it is for, and when.
func (v *Validator) checkSignIn(id *claimSet, claims members, clientID, nonce string, now time.Time) error {
	sent, err := claims.text("nonce")
	if err != nil {
		return &InvalidTokenError{Malformed, err}
	}
	switch {
	case id.audience != lowerGUID(clientID) && id.audience != clientID:
		return invalid(WrongAud, "aud is %.100q", id.audience)
	case id.client != "" && !strings.EqualFold(id.client, clientID):
		return invalid(WrongAud, "azp is %.100q", id.client)
	case nonce == "" || subtle.ConstantTimeCompare([]byte(sent), []byte(nonce)) != 1:
		return invalid(Malformed, "nonce is not that of the request")
	}
	if err := v.checkExpiry(&id.identity, now); err != nil {
		return err
	}
	if id.issuedAt.IsZero() {
		return invalid(Malformed, "iat is missing")
	}
	return v.checkBeginning(id, now)
}

// readSignIn reads the claims of an ID token.
func (t *compact) readSignIn(id *identity) (*SignIn, error) {
	if id.subject == "" {
		return nil, errors.New("sub is missing")
	}
	signIn := &SignIn{Issuer: id.issuer, TenantID: id.tenant, ObjectID: id.object, Subject: id.subject}
	var err error
	if signIn.SessionID, err = t.claims.text("sid"); err != nil {
		return nil, err
	}
	if signIn.LoginHint, err = t.claims.text("login_hint"); err != nil {
		return nil, err
	}
	_, body, _ := strings.Cut(t.signed, ".")
	data, err := strictBase64.DecodeString(body)
	if err != nil {
		return nil, err
	}
	signIn.Claims, err = listClaims(data)
	return signIn, err
}

// listClaims lists the members of an object that parseObject has accepted.
func listClaims(data []byte) ([]Claim, error) {
	var claims []Claim
	size := 0
	add := func(name string, value jsontext.Value) {
		if size += len(name) + len(value); size <= maxClaimsSize && len(claims) < maxClaims {
			claims = append(claims, Claim{strings.Clone(name), json.RawMessage(bytes.Clone(value))})
		}
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := tok.String()
		if dec.PeekKind() != '[' {
			value, err := dec.ReadValue()
			if err != nil {
				return nil, err
			}
			add(name, value)
			continue
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil, err
		}
		for dec.PeekKind() != ']' {
			value, err := dec.ReadValue()
			if err != nil {
				return nil, err
			}
			add(name, value)
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// IsIssuer reports whether issuer may issue ID tokens for this service: the v2.0 issuer of an
// allowed tenant. Before the metadata has been fetched, every issuer may.
func (v *Validator) IsIssuer(issuer string) bool {
	set := v.provider.v2.current.Load()
	if set == nil {
		return true
	}
	if v.tenantID != "" {
		return issuer == forTenant(set.issuer, v.tenantID)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	return issuer == set.issuer || slices.ContainsFunc(strings.Split(u.Path, "/"), func(segment string) bool {
		return IsGUID(segment) && v.allows(strings.ToLower(segment)) && issuer == forTenant(set.issuer, segment)
	})
}
