package mockidp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// issue holds the inputs of an access token.
type issue struct {
	tenantID         string
	client, resource *App
	user             *User // nil for an app-only token
	scopes, roles    []string
	subject          string // of an app-only token, if it is not the client
	strength         string // azpacr
	capable          bool   // the client declared cp1
	signIn           signIn // of the user
	now              time.Time
}

// claims returns the claims of an access token in the version that the resource accepts
// (access-token-claims-reference).
func (s *Server) claims(i issue) map[string]any {
	claims := map[string]any{
		"aud": i.resource.audience(),
		"iss": s.issuer(i.tenantID, i.resource.version()),
		"iat": i.now.Unix(),
		"nbf": i.now.Unix(),
		"exp": i.now.Add(i.resource.lifetime()).Unix(),
		"tid": i.tenantID,
		"rh":  "0." + randomID(21),
		"uti": randomID(16),
	}
	if i.resource.version() == 1 {
		claims["ver"], claims["appid"], claims["appidacr"] = "1.0", i.client.ClientID, i.strength
	} else {
		claims["ver"], claims["azp"], claims["azpacr"] = "2.0", i.client.ClientID, i.strength
	}
	if i.user != nil {
		i.addUser(claims)
	} else {
		i.addApp(claims)
	}
	if i.client.blueprint != nil {
		i.addAgent(claims)
	}
	if i.capable && slices.Contains(i.resource.OptionalClaims, "xms_cc") {
		claims["xms_cc"] = []string{"cp1"}
	}
	return claims
}

// addUser adds the claims of a delegated token. Its sub is pairwise: it differs at each
// resource.
func (i issue) addUser(claims map[string]any) {
	claims["sub"] = pairwise(i.user, i.resource)
	claims["oid"] = i.user.ObjectID
	claims["name"] = i.user.Name
	claims["scp"] = strings.Join(i.scopes, " ")
	if i.resource.version() == 1 {
		claims["acr"], claims["amr"] = "1", i.signIn.amr()
		claims["unique_name"], claims["upn"] = i.user.Username, i.user.Username
	} else {
		claims["preferred_username"] = i.user.Username
	}
	if i.signIn.SessionID != "" {
		claims["sid"] = i.signIn.SessionID
	}
	if len(i.signIn.Contexts) > 0 {
		claims["acrs"] = slices.Clone(i.signIn.Contexts)
	}
	if slices.Contains(i.resource.OptionalClaims, "idtyp") {
		claims["idtyp"] = "user"
	}
}

// addApp adds the claims of an app-only token, whose sub and oid are both the
// client's service principal.
func (i issue) addApp(claims map[string]any) {
	claims["sub"], claims["oid"] = cmp.Or(i.subject, i.client.ObjectID), i.client.ObjectID
	if len(i.roles) > 0 {
		claims["roles"] = slices.Clone(i.roles)
	}
	if i.resource.version() == 1 {
		claims["idp"] = claims["iss"]
	}
	if slices.Contains(i.resource.OptionalClaims, "idtyp") {
		claims["idtyp"] = "app"
	}
}

// UserClaims returns the claims of a valid delegated access token in the user's tenant,
// for a test to change and Sign. Apps are given by name or client ID, users by name or
// object ID. Without scopes the token has every scope that the resource exposes.
func (s *Server) UserClaims(user, client, resource string, scopes ...string) map[string]any {
	account, from, to := s.dir().mustUser(user), s.dir().mustApp(client), s.dir().mustApp(resource)
	if len(scopes) == 0 {
		scopes = to.Scopes
	}
	return s.claims(issue{
		tenantID: account.TenantID, client: from, resource: to, user: account,
		scopes: scopes, strength: from.strength(), capable: true, now: time.Now(),
	})
}

// AppClaims returns the claims of a valid app-only access token in the client's tenant.
// Without roles it has no roles claim.
func (s *Server) AppClaims(client, resource string, roles ...string) map[string]any {
	from, to := s.dir().mustApp(client), s.dir().mustApp(resource)
	return s.claims(issue{
		tenantID: from.TenantID, client: from, resource: to,
		roles: roles, strength: from.strength(), capable: true, now: time.Now(),
	})
}

func (a *App) strength() string {
	switch {
	case len(a.Certificates) > 0, len(a.Federated) > 0, a.blueprint != nil:
		return byAssertion
	case len(a.Secrets) > 0:
		return bySecret
	}
	return publicClient
}

// UserToken signs UserClaims.
func (s *Server) UserToken(user, client, resource string, scopes ...string) string {
	return s.Sign(s.UserClaims(user, client, resource, scopes...))
}

// AppToken signs AppClaims.
func (s *Server) AppToken(client, resource string, roles ...string) string {
	return s.Sign(s.AppClaims(client, resource, roles...))
}

// Sign returns a token with these claims, unchecked, signed with the current key. The
// header of a v1.0 token also has x5t.
func (s *Server) Sign(claims map[string]any) string {
	encoded, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("mockidp: claims: %v", err))
	}
	key := s.keys.current()
	header, err := json.Marshal(key.header(claims["ver"] == "1.0"))
	if err != nil {
		panic(fmt.Sprintf("mockidp: header: %v", err)) // strings always encode
	}
	return key.sign(header, encoded)
}

func (k *signingKey) header(v1 bool) map[string]any {
	header := map[string]any{"typ": "JWT", "alg": "RS256", "kid": k.id}
	if v1 {
		header["x5t"] = k.id
	}
	return header
}

// SignRaw returns a token of exactly these bytes, for hostile tokens. The signature is
// always RS256 with the current key.
func (s *Server) SignRaw(header, claims []byte) string {
	return s.keys.current().sign(header, claims)
}
