package mockidp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

const (
	idTokenLifetime = time.Hour
	// The lifetimes of refresh tokens ("Refresh tokens", "Token lifetime"): those for a
	// single-page application end a day after the sign-in, whatever replaced them.
	refreshLifetime    = 90 * 24 * time.Hour
	spaRefreshLifetime = 24 * time.Hour
)

// signIn is how a user signed in, which the tokens that follow from it say.
type signIn struct {
	SessionID string    `json:"sid,omitempty"` // "" without a browser
	Time      time.Time `json:"time"`
	Strong    bool      `json:"strong,omitempty"`   // with a second factor
	Contexts  []string  `json:"contexts,omitempty"` // authentication contexts that were met (acrs)
}

// amr is how the user proved to be who they are (RFC 8176).
func (in signIn) amr() []string {
	if in.Strong {
		return []string{"pwd", "mfa"}
	}
	return []string{"pwd"}
}

// userGrant is what a flow decided: the client gets these scopes of the user.
type userGrant struct {
	tokenRequest
	user      *User
	requested scopeRequest
	scopes    []string // granted
	signIn    signIn
	nonce     string    // for the ID token
	spa       bool      // the sign-in came back to a single-page application
	refreshBy time.Time // when the refresh token that was used ends; zero: there was none
}

// userTokens is the answer to a grant: the access token, and what the scopes openid and
// offline_access add.
func (s *Server) userTokens(g userGrant) map[string]any {
	claims := s.claims(issue{
		tenantID: g.tenant.ID, client: g.client, resource: g.requested.resource, user: g.user,
		scopes: g.scopes, strength: g.strength, capable: g.claims.capable, signIn: g.signIn, now: g.now,
	})
	body := s.success(g.requested.resource, claims)
	body["scope"] = g.requested.answer(g.scopes)
	if g.form.Get("client_info") == "1" {
		body["client_info"] = clientInfo(g.user)
	}
	if g.requested.openID {
		body["id_token"] = s.Sign(s.idTokenClaims(g))
	}
	if g.requested.offlineAccess {
		token, end := s.refreshToken(g)
		body["refresh_token"] = token
		if g.spa {
			body["refresh_token_expires_in"] = int(end.Sub(g.now).Seconds())
		}
	}
	return body
}

// idTokenClaims are the claims of an ID token for the client (OpenID Connect Core, section
// 2; "ID token claims reference").
func (s *Server) idTokenClaims(g userGrant) map[string]any {
	claims := map[string]any{
		"aud": g.client.ClientID, "iss": s.issuer(g.tenant.ID, 2), "ver": "2.0", "tid": g.tenant.ID,
		"iat": g.now.Unix(), "nbf": g.now.Unix(), "exp": g.now.Add(idTokenLifetime).Unix(),
		"sub": pairwise(g.user, g.client), "oid": g.user.ObjectID,
		"name": g.user.Name, "preferred_username": g.user.Username,
		"rh": "0." + randomID(21), "uti": randomID(16),
	}
	if g.requested.email {
		claims["email"] = g.user.Username
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	if g.signIn.SessionID != "" && g.client.getsSessionID() {
		claims["sid"] = g.signIn.SessionID
	}
	if g.user.Username != "" && slices.Contains(g.client.OptionalClaims, loginHintClaim) {
		claims["login_hint"] = g.user.loginHint()
	}
	if len(g.signIn.Contexts) > 0 {
		claims["acrs"] = slices.Clone(g.signIn.Contexts)
	}
	return claims
}

// getsSessionID reports whether ID tokens for the app say which sign-in they are of. The claim
// is optional; an app that is told of the end of a sign-in gets it anyway, which is how it
// knows the sign-in.
func (a *App) getsSessionID() bool {
	return a.FrontChannelLogoutURI != "" || slices.Contains(a.OptionalClaims, sessionIDClaim)
}

// loginHint is a name of the account for login_hint and logout_hint that does not change with
// the username's spelling, and that applications are not to read ("Optional claims reference").
func (u *User) loginHint() string {
	var account []byte
	for i, name := range []string{u.ObjectID, u.TenantID, u.Username} {
		account = append(account, byte(i+1)<<3|2) // a field of a protocol buffer, with its length
		account = append(binary.AppendUvarint(account, uint64(len(name))), name...)
	}
	return "O." + base64.RawURLEncoding.EncodeToString(account)
}

// hinted reports whether a hint of a request means the user.
func (u *User) hinted(hint string) bool {
	return u.Username != "" && (strings.EqualFold(u.Username, hint) || u.loginHint() == hint)
}

// pairwise is the sub claim: a user has another one at each app.
func pairwise(user *User, app *App) string {
	pair := sha256.Sum256([]byte(user.ObjectID + app.ClientID))
	return base64.RawURLEncoding.EncodeToString(pair[:])
}

// refreshRecord is what a refresh token says. It is good for every resource that the client
// may use for the user.
type refreshRecord struct {
	ClientID string    `json:"client"`
	TenantID string    `json:"tenant"`
	ObjectID string    `json:"user"`
	SignIn   signIn    `json:"signIn"`
	Public   bool      `json:"public,omitempty"` // the client did not authenticate
	SPA      bool      `json:"spa,omitempty"`
	Scope    string    `json:"scope"` // of a refresh request that has none
	Expires  time.Time `json:"expires"`
	ID       string    `json:"id"`
}

// refreshToken makes a refresh token, and says when it ends.
func (s *Server) refreshToken(g userGrant) (string, time.Time) {
	expires := g.now.Add(refreshLifetime)
	if g.spa {
		expires = g.now.Add(spaRefreshLifetime)
		if !g.refreshBy.IsZero() {
			expires = g.refreshBy
		}
	}
	return s.sealer.Load().seal(sealedRefresh, refreshRecord{
		ClientID: g.client.ClientID, TenantID: g.tenant.ID, ObjectID: g.user.ObjectID, Public: g.strength == publicClient,
		SignIn: g.signIn, SPA: g.spa, Scope: g.requested.text, Expires: expires, ID: randomID(16),
	}), expires
}
