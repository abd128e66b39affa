package mockidp

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// codeLifetime is how long an authorization code is good ("OAuth 2.0 authorization code
// flow").
const codeLifetime = 10 * time.Minute

// codeRecord is what an authorization code says.
type codeRecord struct {
	ClientID    string    `json:"client"`
	TenantID    string    `json:"tenant"`
	ObjectID    string    `json:"user"`
	RedirectURI string    `json:"redirect"`
	Platform    string    `json:"platform"`
	Challenge   string    `json:"challenge,omitempty"`
	Scope       string    `json:"scope"`
	Nonce       string    `json:"nonce,omitempty"`
	Capable     bool      `json:"capable,omitempty"`
	SignIn      signIn    `json:"signIn"`
	Expires     time.Time `json:"expires"`
	ID          string    `json:"id"`
}

// Kinds of sealed texts.
const (
	sealedCode    = "authorization code"
	sealedRefresh = "refresh token"
)

// redemption is what a code or a refresh token says about who may use it.
type redemption struct {
	clientID, tenantID string
	public             bool // its client does not authenticate
	spa                bool // it was sent to a single-page application
}

// redemption reads what the form redeems. It is nil for a grant that brings neither a code
// nor a refresh token.
func (s *Server) redemption(form url.Values) (*redemption, *refusal) {
	switch form.Get("grant_type") {
	case "authorization_code":
		var code codeRecord
		if refused := s.unseal(sealedCode, "code", form, &code); refused != nil {
			return nil, refused
		}
		return &redemption{code.ClientID, code.TenantID, code.Platform != platformWeb, code.Platform == platformSPA}, nil
	case "refresh_token":
		var token refreshRecord
		if refused := s.unseal(sealedRefresh, "refresh_token", form, &token); refused != nil {
			return nil, refused
		}
		return &redemption{token.ClientID, token.TenantID, token.Public, token.SPA}, nil
	}
	return nil, nil
}

// ownTenant returns the tenant of what is redeemed, which must be that of the request if it
// names one.
func (s *Server) ownTenant(tenant Tenant, from *redemption) (Tenant, *refusal) {
	own, known := s.dir().tenants[strings.ToLower(from.tenantID)]
	switch {
	case !known:
		return Tenant{}, refuse(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID.", from.tenantID)
	case tenant.ID != "" && tenant.ID != own.ID:
		return Tenant{}, refuse(700005, "Provided Authorization Code or refresh token is intended to use against other tenant, "+
			"thus rejected. It must be redeemed against the same tenant it was acquired for.")
	}
	return own, nil
}

// unseal reads a parameter that the platform sealed.
func (s *Server) unseal(kind, parameter string, form url.Values, record any) *refusal {
	text := form.Get(parameter)
	if text == "" {
		return missing(parameter)
	}
	if err := s.sealer.Load().open(kind, text, record); err != nil {
		return refuse(9002313, "Invalid request. Request is malformed or invalid.")
	}
	return nil
}

// checkOrigin refuses what is redeemed from the wrong place. What a single-page application
// got can only be redeemed by its page, across origins, and nothing else can ("Redirect URI
// setup required for single-page apps"). A browser that sends an Origin is refused even where
// CORS would keep the answer from its script.
func (from *redemption) checkOrigin(app *App, origin string) *refusal {
	spa := from != nil && from.spa
	switch {
	case spa && origin == "":
		return refuse(9002327, "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.")
	case origin != "" && (!spa || !app.spaOrigin(origin)):
		return refuse(9002326, "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. "+
			"Request origin: '%s'.", origin)
	}
	return nil
}

// redeemCode answers the authorization code grant (RFC 6749, section 4.1.3; RFC 7636, section
// 4.6).
func (s *Server) redeemCode(r tokenRequest) (map[string]any, *refusal) {
	var code codeRecord
	if refused := s.unseal(sealedCode, "code", r.form, &code); refused != nil {
		return nil, refused
	}
	if refused := code.check(r, s.restored); refused != nil {
		return nil, refused
	}
	user, refused := s.stillSignedIn(r.tenant, code.ObjectID, code.SignIn)
	if refused != nil {
		return nil, refused
	}
	scope := cmp.Or(r.form.Get("scope"), code.Scope)
	g := userGrant{
		tokenRequest: r, user: user, signIn: code.SignIn, nonce: code.Nonce, spa: code.Platform == platformSPA,
	}
	g.claims.capable = g.claims.capable || code.Capable
	if refused := s.grantScopes(&g, scope); refused != nil {
		return nil, refused
	}
	if !s.usedIDs.claim("code "+code.ID, code.Expires, r.now) {
		return nil, refuse(54005, "OAuth2 Authorization code was already redeemed, "+
			"please retry with a new valid code or use an existing refresh token.")
	}
	return s.userTokens(g), nil
}

// verifier is the form of a code verifier (RFC 7636, section 4.1).
var verifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// check decides whether the request may redeem the code. Of a code from before restored nobody
// knows whether it was used.
func (c codeRecord) check(r tokenRequest, restored time.Time) *refusal {
	switch redirect := r.form.Get("redirect_uri"); {
	case r.now.After(c.Expires), c.Expires.Add(-codeLifetime).Before(restored):
		return refuse(70008, "The provided authorization code or refresh token has expired due to inactivity. "+
			"Send a new interactive authorization request for this user and resource.")
	case redirect == "":
		return missing("redirect_uri")
	case redirect != c.RedirectURI:
		return refuse(500112, "The reply address '%s' does not match the reply address '%s' provided when requesting Authorization code.",
			redirect, c.RedirectURI)
	}
	given := r.form.Get("code_verifier")
	switch {
	case c.Challenge == "" && given == "":
		return nil
	case c.Challenge == "" || given == "": // a verifier without a challenge is a downgrade of its request
		return refuse(50148, "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE.")
	case !verifier.MatchString(given) || challengeOf(given) != c.Challenge:
		return refuse(501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request.")
	}
	return nil
}

// challengeOf is the S256 code challenge of a verifier.
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// stillSignedIn returns the user of a sign-in that was neither revoked nor outlived its
// account.
func (s *Server) stillSignedIn(tenant Tenant, objectID string, in signIn) (*User, *refusal) {
	user := s.dir().users[strings.ToLower(objectID)]
	if user == nil || user.ObjectID != objectID {
		return nil, refuse(50034, "The user account %s does not exist in the %s directory.", objectID, tenant.ID)
	}
	if s.revocations.covers(user.ObjectID, in.Time) {
		return nil, refuse(50173, "The provided grant has expired due to it being revoked, a fresh auth token is needed. "+
			"The user might have changed or reset their password. The grant was issued on '%s'.", in.Time.UTC().Format(time.RFC3339Nano))
	}
	return user, nil
}

// grantScopes completes the grant with the scopes, for which the user must have met what the
// claims parameter asks.
func (s *Server) grantScopes(g *userGrant, scope string) *refusal {
	var refused *refusal
	if g.requested, refused = s.parseScopes(g.tenant, scope); refused != nil {
		return refused
	}
	if refused := g.requested.checkItself(g.client); refused != nil {
		return refused
	}
	if refused := g.requested.checkResource(g.form.Get("resource")); refused != nil {
		return refused
	}
	if g.scopes, refused = s.consented(g.tokenRequest, g.requested, g.user); refused != nil {
		return refused
	}
	if unmet := g.claims.unmet(g.signIn); len(unmet) > 0 {
		return mustProve(unmet, g.requested.resource)
	}
	return nil
}

// redeemRefreshToken answers the refresh token grant (RFC 6749, section 6). The new refresh
// token replaces the old one, which stays good ("Refresh tokens").
func (s *Server) redeemRefreshToken(r tokenRequest) (map[string]any, *refusal) {
	var token refreshRecord
	if refused := s.unseal(sealedRefresh, "refresh_token", r.form, &token); refused != nil {
		return nil, refused
	}
	switch {
	case r.now.After(token.Expires) && token.SPA:
		return nil, refuse(700084, "The refresh token was issued to a single page app (SPA), and therefore has a fixed, "+
			"limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request "+
			"must be sent by the SPA to the sign in page. The token was issued on %s.", token.SignIn.Time.UTC().Format(time.RFC3339Nano))
	case r.now.After(token.Expires):
		return nil, refuse(700082, "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00.")
	}
	user, refused := s.stillSignedIn(r.tenant, token.ObjectID, token.SignIn)
	if refused != nil {
		return nil, refused
	}
	scope := cmp.Or(r.form.Get("scope"), token.Scope)
	g := userGrant{tokenRequest: r, user: user, signIn: token.SignIn, spa: token.SPA, refreshBy: token.Expires}
	if refused := s.grantScopes(&g, scope); refused != nil {
		return nil, refused
	}
	if s.faults.singleUse() && !s.usedIDs.claim("refresh token "+token.ID, token.Expires, r.now) {
		refused := refuse(70000, "Provided grant is invalid or malformed: the refresh token was used before.")
		refused.suberror = "bad_token"
		return nil, refused
	}
	g.requested.offlineAccess = true
	return s.userTokens(g), nil
}
