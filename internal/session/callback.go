package session

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/records"
	"middletier/internal/validate"
)

const (
	// maxIDToken bounds an ID token that is kept to name the account at the sign-out: it
	// stands in a URL there.
	maxIDToken = 4 << 10

	// maxSID bounds a session's name at the provider.
	maxSID = 256
)

// callback answers the provider's redirect after a sign-in (OpenID Connect Core, section
// 3.1.2.5).
func (m *Manager) callback(c echo.Context) error {
	r := c.Request()
	a, key, err := m.endAttempt(c)
	m.config.SignInEnded(r.Context(), outcomeOf(err))
	switch {
	case err == nil && a.Silent:
		return m.finish(c, key, m.path(silentCallbackPath), "'self'")
	case err == nil:
		return m.finish(c, key, a.ReturnURL, "'none'")
	case a.Silent && r.Context().Err() == nil: // the page waits for the frame's message
		m.config.Log.Info("a silent sign-in failed", "requestId", door.EventOf(r).ID, "error", err)
		return c.Redirect(http.StatusFound, m.path(silentCallbackPath))
	}
	return err
}

// endAttempt ends the attempt that a callback belongs to, and begins a session if it succeeded.
func (m *Manager) endAttempt(c echo.Context) (a attempt, key records.Key, err error) {
	r := c.Request()
	query, err := singleValues(r.URL.RawQuery)
	if err != nil {
		return a, key, err
	}
	a, ok := m.attemptOf(r, query.Get("state"))
	if !ok {
		return a, key, errNoAttempt
	}
	m.dropAttempt(c.Response(), a.State)
	key, err = m.complete(r, a, query)
	return a, key, err
}

// complete redeems the code of an authorization response, and begins a session with it.
func (m *Manager) complete(r *http.Request, a attempt, query url.Values) (key records.Key, err error) {
	issuer := query.Get("iss") // RFC 9207, section 2.4
	if query.Has("iss") && !m.config.Validator.IsIssuer(issuer) {
		return key, foreignIssuer(a)
	}
	if code := query.Get("error"); code != "" {
		return key, m.config.Provider.AuthorizationError(code, query.Get("error_subcode"), query.Get("error_description"), a.asked())
	}
	if query.Get("code") == "" {
		return key, invalidRequest("The identity provider's redirect has neither a code nor an error.")
	}
	ctx := r.Context()
	granted, err := m.config.Provider.RedeemCode(ctx, obo.Code{
		Code: query.Get("code"), Verifier: a.Verifier, RedirectURI: m.config.PublicURL + m.config.CallbackPath, Scopes: a.asked(), Claims: a.Claims,
	})
	if err != nil {
		return key, err
	}
	who, err := m.config.Validator.ValidateIDToken(ctx, granted.IDToken, m.config.ClientID, a.Nonce)
	var bad *validate.InvalidTokenError
	if errors.As(err, &bad) { // not wrapped: no token of the caller's was rejected
		err = errors.New("the ID token is not accepted: " + bad.Error())
		return key, &obo.Error{Kind: obo.InvalidResponse, Scopes: a.asked(), Flow: obo.AuthorizationCode, Err: err}
	}
	if err != nil {
		return key, err
	}
	if query.Has("iss") && issuer != who.Issuer {
		return key, foreignIssuer(a)
	}
	s := newStored(who, granted, a)
	if a.Silent && a.User != nil && !bytes.Equal(a.User, s.userHash()) {
		return key, errOtherUser
	}
	if len(a.Consent) > 0 { // the user has agreed to an API's scopes; our own token comes by the refresh token
		renewed, err := m.config.Provider.RedeemRefreshToken(ctx, obo.Renewal{
			RefreshToken: granted.RefreshToken, TenantID: s.Tenant, ObjectID: s.ObjectID, Scopes: a.Scopes,
		})
		if err != nil {
			return key, err
		}
		s.use(renewed, time.Now())
	}
	return m.create(ctx, r, a, s)
}

// errOtherUser says that the provider knows another user than the session's, which a hidden frame
// must not replace.
var errOtherUser = errors.New("the provider's user is not that of the session")

// errNoAttempt answers a callback that belongs to no attempt of this browser.
var errNoAttempt = invalidRequest("This sign-in was begun in another browser or without cookies, took longer than ten minutes, " +
	"or has ended already: begin it again.")

var errForeignIssuer = errors.New("the authorization response names another issuer")

func foreignIssuer(a attempt) error {
	return &obo.Error{Kind: obo.InvalidResponse, Scopes: a.asked(), Flow: obo.AuthorizationCode, Err: errForeignIssuer}
}

// newStored returns a session that begins now.
func newStored(who *validate.SignIn, granted obo.Tokens, a attempt) stored {
	now := time.Now()
	s := stored{
		SID: who.SessionID, Tenant: who.TenantID, ObjectID: who.ObjectID, Claims: claimsOf(who.Claims), LoginHint: who.LoginHint,
		Scopes: a.Scopes, Created: now.UnixMilli(), LastSeen: now.UnixMilli(),
	}
	if s.ObjectID == "" {
		s.ObjectID = who.Subject
	}
	if s.SID == "" || len(s.SID) > maxSID {
		s.SID = records.NewKey().Secret()
	}
	if s.LoginHint == "" && len(granted.IDToken) <= maxIDToken {
		s.IDToken = granted.IDToken
	}
	s.use(granted, now)
	return s
}

// create keeps s under a new key. The session that the browser had ends: nobody who knew its key
// is in the new one.
func (m *Manager) create(ctx context.Context, r *http.Request, a attempt, s stored) (key records.Key, err error) {
	mark, err := m.config.Records.Begin(ctx, m.config.Lifetime, userOwner(s.Tenant, s.ObjectID), providerOwner(s.SID))
	if err != nil {
		return key, err
	}
	key = records.NewKey()
	if err := m.config.Records.Put(ctx, key, mark, s.encode(), s.left(m.config, time.Now())); err != nil {
		return key, err
	}
	var former [][32]byte
	if len(a.Session) == len([32]byte{}) {
		former = append(former, [32]byte(a.Session))
	}
	if old, ok := m.keyOf(r); ok {
		former = append(former, old.Digest())
	}
	for _, digest := range former {
		if err := m.config.Records.DeleteDigest(ctx, digest); err != nil {
			return key, err
		}
	}
	return key, nil
}

// finish sets the session's cookie and goes on to a URL of our origin. A page does so, since a
// browser sends no Strict cookie in a chain of redirects that another site began.
func (m *Manager) finish(c echo.Context, key records.Key, next, ancestors string) error {
	m.setSession(c.Response(), key)
	return respond(c, goOnPage(next), "", ancestors)
}
