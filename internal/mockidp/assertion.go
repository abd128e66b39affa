package mockidp

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// assertionClaims are the claims that the platform reads from the assertion of an
// on-behalf-of request.
type assertionClaims struct {
	jwt.RegisteredClaims
	Version  string   `json:"ver"`
	TenantID string   `json:"tid"`
	ObjectID string   `json:"oid"`
	Scopes   string   `json:"scp"`
	AZP      string   `json:"azp"`
	AppID    string   `json:"appid"`
	Type     string   `json:"idtyp"`
	Contexts contexts `json:"acrs"`
}

// contexts are the authentication contexts of acrs. A claim that is not a list of texts, as
// tests make them, holds none.
type contexts []string

func (c *contexts) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil {
		*c = list
	}
	return nil
}

var errUnknownKey = errors.New("the key was not found")

// assertedUser returns the user that the assertion speaks for and the authentication
// contexts that they met, or refuses it.
func (s *Server) assertedUser(r tokenRequest) (*User, []string, *refusal) {
	assertion := r.form.Get("assertion")
	if assertion == "" {
		return nil, nil, missing("assertion")
	}
	if hasLineBreak(assertion) {
		return nil, nil, malformed()
	}
	var claims assertionClaims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithExpirationRequired())
	if _, err := parser.ParseWithClaims(assertion, &claims, s.ownKey); err != nil {
		return nil, nil, refuseAssertion(err)
	}
	if refused := s.checkAssertion(r, claims); refused != nil {
		return nil, nil, refused
	}
	user := s.dir().users[strings.ToLower(claims.ObjectID)]
	if user == nil || !strings.EqualFold(user.ObjectID, claims.ObjectID) {
		return nil, nil, unknownUser(claims.ObjectID, r.tenant.ID)
	}
	return user, claims.Contexts, nil
}

// hasLineBreak reports whether a JWT has characters that Go's decoder skips, but not Entra.
func hasLineBreak(token string) bool {
	return strings.ContainsAny(token, "\r\n")
}

func malformed() *refusal {
	return refuse(50027, "JWT token is invalid or malformed.")
}

// ownKey finds the platform's published key that signed a token.
func (s *Server) ownKey(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	key := s.keys.find(id)
	if key == nil {
		return nil, errUnknownKey
	}
	return &key.private.PublicKey, nil
}

func refuseAssertion(err error) *refusal {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return malformed()
	case errors.Is(err, errUnknownKey):
		return refuse(50013, "Assertion failed signature validation. [Reason - The key was not found.]")
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return refuse(500133, "Assertion is not within its valid time range. "+
			"Ensure that the access token is not expired before using it for user assertion, or request a new token.")
	}
	return refuse(50013, "Assertion failed signature validation. "+
		"[Reason - The provided signature value did not match the expected signature value.]")
}

// checkAssertion decides whether a genuine token may be used here: an access
// token of a user, of this tenant, for this client.
func (s *Server) checkAssertion(r tokenRequest, claims assertionClaims) *refusal {
	if claims.AZP == "" && claims.AppID == "" && claims.Scopes == "" {
		return refuse(240002, "Input id_token cannot be used as '%s' grant.", jwtBearer)
	}
	if !strings.EqualFold(claims.TenantID, r.tenant.ID) {
		return refuse(50013, "Assertion is invalid because its tenant '%s' is not the tenant of the request.", claims.TenantID)
	}
	version := 2
	if claims.Version == "1.0" {
		version = 1
	}
	if claims.Issuer != s.issuer(r.tenant.ID, version) {
		return refuse(50013, "Assertion is invalid because the token issuer doesn't match the api version.")
	}
	audience := r.client
	if r.client.blueprint != nil { // callers have tokens for the blueprint
		audience = r.client.blueprint
	}
	if !audience.isAudience(claims.Audience) {
		return refuse(500131, "Assertion audience does not match the Client app presenting the assertion. "+
			"The audience in the assertion was '%s' and the expected audience is '%s' "+
			"or one of the Application Uris of this application with App ID '%s'(%s).",
			strings.Join(claims.Audience, " "), audience.ClientID, audience.ClientID, audience.Name)
	}
	if claims.Type == "app" || claims.Scopes == "" {
		return refuse(7000114, "Application '%s' is not allowed to make application on-behalf-of calls.", claims.AZP+claims.AppID)
	}
	return nil
}

// isAudience reports whether a token's aud claim is this app, and only it.
func (a *App) isAudience(audience []string) bool {
	if len(audience) != 1 {
		return false
	}
	name := strings.TrimRight(audience[0], "/")
	return strings.EqualFold(name, a.ClientID) || slices.ContainsFunc(a.IDURIs, func(uri string) bool {
		return strings.TrimRight(uri, "/") == name
	})
}
