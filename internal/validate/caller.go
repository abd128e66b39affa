package validate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Caller is who is calling. Only Validate makes one, so a Caller proves that its
// token was checked.
type Caller struct {
	id    identity
	token string
}

// Token returns the checked token as it was received.
func (c *Caller) Token() string { return c.token }

// Digest returns the SHA-256 of Token.
func (c *Caller) Digest() [32]byte { return c.id.digest }

// IsApp reports whether the caller is an application without a user.
func (c *Caller) IsApp() bool { return c.id.app }

// TenantID returns the GUID of the caller's tenant.
func (c *Caller) TenantID() string { return c.id.tenant }

// ClientID returns the application that the token was issued to (azp or appid).
func (c *Caller) ClientID() string { return c.id.client }

// ObjectID returns the user's or the service principal's id in the tenant (oid).
func (c *Caller) ObjectID() string { return c.id.object }

// Subject returns the caller's id for this service (sub). Tokens for other services
// have another one.
func (c *Caller) Subject() string { return c.id.subject }

// ParentClientID returns the blueprint of the agent identity that the token was issued to
// (xms_par_app_azp), or "". No decision depends on it.
func (c *Caller) ParentClientID() string { return c.id.parent }

// Name returns the user's display name, or "". No decision depends on it.
func (c *Caller) Name() string { return c.id.name }

// Expires returns when the token expires.
func (c *Caller) Expires() time.Time { return c.id.expires }

// HandlesClaims reports whether the calling application declared that it can
// answer claims challenges (xms_cc holds cp1).
func (c *Caller) HandlesClaims() bool { return c.id.cp1 }

// CheckHolds returns nil if the token holds one of scopes, if it is a user's, or one of
// appPermissions, if it is an application's; else an *AccessError.
func (c *Caller) CheckHolds(scopes, appPermissions []string) error {
	held, needed := c.id.scopes, scopes
	if c.id.app {
		held, needed = c.id.roles, appPermissions
	}
	if slices.ContainsFunc(needed, func(n string) bool { return slices.Contains(held, n) }) {
		return nil
	}
	return &AccessError{Needed: needed}
}

// identity is what a token says about its caller, and the token's SHA-256, which is computed
// after the token was verified. Nothing in it changes after that.
type identity struct {
	*sharedClaims
	object, subject, name string
	expires               time.Time
	digest                [32]byte
}

// sharedClaims are the claims that the tokens of one client in one tenant have in common. They
// never change once a token is verified.
type sharedClaims struct {
	key                       *signingKey
	issuer, audience, version string
	tenant, client, parent    string
	scopes, roles             []string
	app, cp1                  bool
	listable                  bool // a rule that names the client allows it, whatever its roles
}

// equal reports whether c and other say the same.
func (c *sharedClaims) equal(other *sharedClaims) bool {
	return c == other || c.key == other.key && c.issuer == other.issuer && c.audience == other.audience && c.version == other.version &&
		c.tenant == other.tenant && c.client == other.client && c.parent == other.parent &&
		slices.Equal(c.scopes, other.scopes) && slices.Equal(c.roles, other.roles) &&
		c.app == other.app && c.cp1 == other.cp1 && c.listable == other.listable
}

// claimSet is what a token says of its caller, and from when on it may be used.
type claimSet struct {
	identity
	notBefore, issuedAt time.Time
}

// readClaims reads the claims that we use and checks their types (Microsoft's page
// "Access token claims reference"). A claim that no decision depends on counts as
// absent if its type is wrong: claims policies may fill it from any source.
func readClaims(m members) (*claimSet, error) {
	id := &claimSet{identity: identity{sharedClaims: &sharedClaims{}}}
	var errs []error
	text := func(name string) string {
		s, err := m.text(name)
		errs = append(errs, err)
		return strings.Clone(s)
	}
	date := func(name string) time.Time {
		seconds, present, err := m.date(name)
		errs = append(errs, err)
		if !present {
			return time.Time{}
		}
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(part*1e9))
	}
	id.issuer, id.audience, id.version = text("iss"), text("aud"), text("ver")
	id.tenant, id.object, id.subject = text("tid"), text("oid"), text("sub")
	id.expires, id.notBefore, id.issuedAt = date("exp"), date("nbf"), date("iat")
	name, _ := m.text("name")
	id.name = strings.Clone(name)
	v1, v2 := text("appid"), text("azp")
	if id.client = v2; id.version == "1.0" || v2 == "" {
		id.client = v1
	}
	id.scopes = strings.Fields(text("scp"))
	if len(id.scopes) == 1 && id.scopes[0] == "/" {
		id.scopes = nil // in tokens of applications it stands for none
	}
	if parent, _ := m.text("xms_par_app_azp"); IsGUID(parent) {
		id.parent = strings.ToLower(parent)
	}
	roles, err := m.list("roles")
	errs = append(errs, err)
	id.roles = roles
	capabilities, _ := m.list("xms_cc")
	id.cp1 = slices.ContainsFunc(capabilities, func(s string) bool { return strings.EqualFold(s, "cp1") })
	for name, value := range map[string]string{"iss": id.issuer, "aud": id.audience, "tid": id.tenant, "sub or oid": id.object + id.subject} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	if id.expires.IsZero() {
		errs = append(errs, errors.New("exp is missing"))
	}
	if !IsGUID(id.tenant) {
		errs = append(errs, errors.New("tid is not a GUID"))
	}
	id.tenant = strings.ToLower(id.tenant)
	return id, errors.Join(errs...)
}

// decideKind decides whether the caller is a user or an application. If the token
// does not say so itself (idtyp), it is an application's if it has roles, no scopes
// and no sign of a user. A user's roles never count as app permissions. A token with
// neither scopes nor roles is an ID token, or one that any application in the tenant
// can get: the latter is accepted if it is listable and listed is true.
func (id *identity) decideKind(m members, listed bool) error {
	kind, err := m.text("idtyp")
	if err != nil {
		return err
	}
	_, stated := m["idtyp"]
	switch {
	case kind == "app":
		id.app = true
	case kind == "user":
	case stated:
		return fmt.Errorf("idtyp is %.100q", kind)
	case len(id.scopes) > 0:
	case len(id.roles) > 0:
		id.app = id.object == id.subject || !hasUser(m)
	default:
		id.app = id.object == id.subject
	}
	if !id.app {
		id.roles = nil // a user's are not app permissions
	}
	id.listable = id.app && !hasIDTokenClaim(m) && (stated || id.object == id.subject && !hasUser(m))
	switch {
	case id.app && len(id.scopes) > 0:
		return errors.New("an application's token with scp")
	case id.app && len(id.roles) == 0 && !(id.listable && listed):
		return errNoRoles
	case id.app && id.client == "": // a user's ID token can have roles and no other sign of the user
		return errors.New("an application's token without azp or appid")
	case !id.app && len(id.scopes) == 0:
		return errors.New("a user's token without scp")
	}
	return nil
}

// errNoRoles says that only a list of clients could allow the token.
var errNoRoles = errors.New("an application's token without roles")

// checkListed returns an error for an application's token without roles, unless a rule
// of access names its client.
func (id *identity) checkListed(access *Access) error {
	if id.app && len(id.roles) == 0 && !access.lists(id.client) {
		return &InvalidTokenError{NotAccess, errNoRoles}
	}
	return nil
}

// hasIDTokenClaim reports whether any claim occurs in ID tokens only, whatever the claim's
// type (OpenID Connect Core 1.0, sections 2 and 3.3.2.11).
func hasIDTokenClaim(m members) bool {
	return slices.ContainsFunc([]string{"nonce", "at_hash", "c_hash"},
		func(name string) bool { _, present := m[name]; return present })
}

// isIDToken reports whether the token is an ID token: it is for the application that
// signed the user in, and has no scopes. Entra's ID tokens have no azp, appid and idtyp
// (Microsoft's page "ID token claims reference").
func (id *identity) isIDToken(m members) bool {
	if _, stated := m["idtyp"]; stated || len(id.scopes) > 0 {
		return false
	}
	return id.client == "" || strings.EqualFold(id.client, id.audience) && id.object != id.subject
}

// audienceReason is why a token is refused that is not for this service. It depends only
// on what the token says: its signature has not been verified, and that of a token for
// Microsoft Graph cannot be.
func (id *identity) audienceReason(m members) Reason {
	switch {
	case graphAudiences[strings.ToLower(trimSlash(id.audience))]:
		return ForGraph
	case id.isIDToken(m):
		return IDToken
	}
	return WrongAud
}

// kindReason is why a token is refused that is neither a user's nor an application's
// access token.
func (id *identity) kindReason(m members) Reason {
	if id.isIDToken(m) {
		return IDToken
	}
	return NotAccess
}

// graphAudiences are the application ID of Microsoft Graph, the same in all clouds, and
// its URLs (Microsoft's page "Microsoft Graph national cloud deployments").
var graphAudiences = map[string]bool{
	"00000003-0000-0000-c000-000000000000": true,

	"https://graph.microsoft.com":             true,
	"https://graph.microsoft.us":              true,
	"https://dod-graph.microsoft.us":          true,
	"https://microsoftgraph.chinacloudapi.cn": true,
}

// hasUser reports whether any claim describes a person, whatever the claim's type.
func hasUser(m members) bool {
	return slices.ContainsFunc([]string{"name", "preferred_username", "upn", "unique_name", "email", "given_name", "family_name"},
		func(name string) bool { _, present := m[name]; return present })
}
