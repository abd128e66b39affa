// Package validate decides whether a bearer token was issued for this service,
// says who is calling (Caller), and what the caller may do (Access).
//
// Validate looks the token's tag, a keyed hash, up in a cache of verified tokens. A
// token that is not there is checked in this order: size, form (strict base64url and
// JSON), header, types of the claims, issuer, audience, times, kind of token,
// signature. Allowed tenants and applications come last, so that a forged token
// does not reveal them.
//
// Run owns the signing keys: those of v1.0 and of v2.0 tokens, each found through
// a metadata document. It fetches both at the start and every hour, and sooner
// after a failure, which changes nothing. Each fetch has a goroutine of its own
// that sends Run the result. Run publishes a set of keys as a whole, by an atomic
// pointer, and a published set never changes: Validate reads it without a lock.
// If the current keys do not verify a token, Validate asks Run for newer ones
// over a channel and waits 2 s at most; Run grants one such fetch in 30 s.
//
// The cache's shards have the only locks; a shard's lock is held for one access to
// its map. A key that leaves the provider's answer is marked retired, which
// invalidates the cached tokens that it verified.
//
// A Validator lives from New, which fetches nothing, to the end of Run's context:
// Run returns when its fetches have ended, and nothing has to be closed.
package validate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Config says which tokens are ours. The keys in its errors are those of the
// azureAd section.
type Config struct {
	// Instance is the base URL of the cloud, such as https://login.microsoftonline.com/.
	Instance string
	// TenantID is the tenant's GUID or one of its domains. organizations stands for
	// the tenants of all organizations, common for these and personal accounts.
	TenantID string
	// ClientID is this service's application (client) ID.
	ClientID string
	// Audiences are the accepted values of aud; none: ClientID and api://ClientID.
	// One slash at the end of a URI makes no difference.
	Audiences []string
	// AllowedTenants are the GUIDs of the tenants whose tokens are accepted, or "*"
	// for any. They must be set if TenantID is organizations or common.
	AllowedTenants []string
	// AllowedClients are the applications whose tokens are accepted (azp or
	// appid); none: any.
	AllowedClients []string
	// ClockSkew is how far the provider's clock may be from ours.
	ClockSkew time.Duration
	// Client fetches metadata and keys. It must not follow redirects.
	Client *http.Client
	// Log gets a line when keys cannot be fetched; nil: no log.
	Log *slog.Logger
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	switch u, err := url.Parse(c.Instance); {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		report("instance", "must be an https URL, such as https://login.microsoftonline.com/")
	case strings.EqualFold(strings.Trim(u.Path, "/"), "adfs"):
		report("instance", "AD FS is not supported: it has no tenants, and its tokens have another format")
	case u.Path != "" && u.Path != "/":
		report("instance", "must have no path: set the tenant in tenantId")
	}
	c.checkTenants(report)
	if c.ClientID == "" {
		report("clientId", "must be set: this service's application (client) ID")
	}
	for i, audience := range c.Audiences {
		if audience == "" || strings.ContainsFunc(audience, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			report(fmt.Sprintf("audiences[%d]", i), "must be one audience without spaces, such as api://CLIENT-ID")
		}
	}
	for i, client := range c.AllowedClients {
		if !IsGUID(client) {
			report(fmt.Sprintf("allowedClients[%d]", i), notClientID)
		}
	}
	if c.ClockSkew < 0 || c.ClockSkew > 10*time.Minute {
		report("clockSkew", "must be between 0s and 10m")
	}
}

// notClientID is the mistake of a client that is not a GUID.
const notClientID = "must be an application (client) ID, a GUID: tokens contain no names"

// Validator checks tokens. Run must be running for it to have keys.
type Validator struct {
	tenantID  string          // the GUID of the only tenant; "" if the configuration has none
	tenants   map[string]bool // the allowed tenants; nil: any
	personal  bool            // personal accounts are allowed
	audiences []string
	clients   []string
	skew      time.Duration
	provider  *provider
	tags      tagger
	cache     identityCache // by tag
}

// New returns a Validator for c, whose Check must have passed. Nothing is
// fetched until Run.
func New(c Config) *Validator {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	v := &Validator{skew: c.ClockSkew, tags: newTagger()}
	for _, audience := range c.Audiences {
		v.audiences = append(v.audiences, trimSlash(lowerGUID(audience)))
	}
	if len(c.Audiences) == 0 {
		id := lowerGUID(c.ClientID)
		v.audiences = []string{id, "api://" + id}
	}
	for _, id := range c.AllowedClients {
		v.clients = append(v.clients, strings.ToLower(id))
	}
	if IsGUID(c.TenantID) {
		v.tenantID = strings.ToLower(c.TenantID)
	}
	v.tenants, v.personal = c.tenants(), !strings.EqualFold(c.TenantID, organizations)
	// Each version of token is checked against its own metadata. An API's manifest
	// decides which version it gets, not the endpoint that issued the token.
	v.provider = newProvider(c)
	return v
}

// Run keeps the signing keys fresh until ctx ends.
func (v *Validator) Run(ctx context.Context) { v.provider.run(ctx) }

// Ready returns nil once the signing keys of v2.0 are loaded and the first fetch
// of those of v1.0 has ended, in whatever way: a provider may have none. Before,
// it returns ErrKeysUnavailable.
func (v *Validator) Ready() error {
	select {
	case <-v.provider.ready:
		return nil
	default:
		return ErrKeysUnavailable
	}
}

// Issuer returns the identifier of the authorization server that issues tokens for this
// service: the issuer of the v2.0 metadata, so that a client finds the same one in the
// document that it fetches itself (RFC 8414, section 3.3). The metadata of organizations
// and common has a template instead of an issuer. If one tenant is allowed, the issuer is
// that tenant's, otherwise the authority itself. Before the metadata has been fetched,
// the error is ErrKeysUnavailable.
func (v *Validator) Issuer() (string, error) {
	d := v.provider.v2
	set := d.current.Load()
	if set == nil {
		return "", ErrKeysUnavailable
	}
	tenant := v.tenantID
	if tenant == "" && len(v.tenants) == 1 {
		tenant = slices.Collect(maps.Keys(v.tenants))[0]
	}
	if tenant == "" && forTenant(set.issuer, "") != set.issuer {
		return strings.TrimSuffix(d.metadataURL, metadataPath), nil
	}
	return forTenant(set.issuer, tenant), nil
}

// AwaitKeys waits until Ready returns nil. The error is that of ctx.
func (v *Validator) AwaitKeys(ctx context.Context) error {
	select {
	case <-v.provider.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrKeysUnavailable says that a token cannot be checked, because the provider's
// signing keys have not been loaded since the start.
var ErrKeysUnavailable = errors.New("signing keys have not been loaded")

// ErrClientNotAllowed says that a token is good but was issued to an
// application that is not among Config.AllowedClients.
var ErrClientNotAllowed = errors.New("the calling application is not allowed")

// ErrTenantNotAllowed says that a token is good but belongs to a tenant that is
// not among Config.AllowedTenants.
var ErrTenantNotAllowed = errors.New("the caller's tenant is not allowed")

// Reason is why a token was not accepted.
type Reason string

// The reasons. Each has one sentence for callers. A token that is TooLong may be
// good, but another sign-in would return one of the same size.
const (
	Malformed   Reason = "malformed"
	TooLong     Reason = "too_long"
	BadSig      Reason = "bad_signature"
	WrongIssuer Reason = "wrong_issuer"
	WrongAud    Reason = "wrong_audience"
	Expired     Reason = "expired"
	NotYetValid Reason = "not_yet_valid"
	NotAccess   Reason = "not_an_access_token"
	IDToken     Reason = "id_token"
	ForGraph    Reason = "microsoft_graph_token"
)

// InvalidTokenError says why a token was not accepted. The wrapped error is for
// the log.
type InvalidTokenError struct {
	Reason Reason
	Err    error
}

func (e *InvalidTokenError) Error() string { return fmt.Sprintf("token is %s: %v", e.Reason, e.Err) }

func (e *InvalidTokenError) Unwrap() error { return e.Err }

func invalid(reason Reason, format string, args ...any) error {
	return &InvalidTokenError{reason, fmt.Errorf(format, args...)}
}

// Validate decides whether token was issued for this service. The error is an
// *InvalidTokenError, ErrTenantNotAllowed, ErrClientNotAllowed,
// ErrKeysUnavailable, or that of ctx if it ended while Validate waited for keys.
func (v *Validator) Validate(ctx context.Context, token string) (*Caller, error) {
	return v.ValidateFor(ctx, token, nil)
}

// ValidateFor is Validate for a call that access decides about. It also accepts an
// application's token without roles if a rule names its client. Whether a rule allows
// the call is decided by access.Check. A nil access names no client.
func (v *Validator) ValidateFor(ctx context.Context, token string, access *Access) (*Caller, error) {
	if len(token) > MaxTokenSize {
		return nil, invalid(TooLong, "%d bytes, more than %d", len(token), MaxTokenSize)
	}
	tag, now := v.tags.of(token), time.Now()
	if id, ok := v.cache.get(tag, now.Add(-v.skew)); ok {
		if err := id.checkListed(access); err != nil {
			return nil, err
		}
		return &Caller{id: id, token: token}, nil
	}
	t, err := parseCompact(token)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}
	id, err := v.check(ctx, t, access, now)
	if err != nil {
		return nil, err
	}
	id.digest = digestOf(token)
	v.cache.put(tag, id)
	return &Caller{id: id, token: token}, nil
}

// check is the whole list of what makes a token good, cheap checks first. The
// rules are those of RFC 8725 and of Microsoft's pages "Access tokens in the
// Microsoft identity platform" and "Secure applications and APIs by validating
// claims".
func (v *Validator) check(ctx context.Context, t *compact, access *Access, now time.Time) (identity, error) {
	if err := t.checkHeader(); err != nil {
		return identity{}, err
	}

	// The types of the claims (RFC 7519, section 4.1; Microsoft's page "Access
	// token claims reference").
	id, err := readClaims(t.claims)
	if err != nil {
		return identity{}, &InvalidTokenError{Malformed, err}
	}

	// Issuer (RFC 8725, section 3.8), audience (section 3.9) and times (RFC 7519,
	// sections 4.1.4 to 4.1.6).
	end := now.Add(maxKeyWait)
	doc, err := v.documentFor(ctx, &id.identity, end)
	if err != nil {
		return identity{}, err
	}
	if !slices.Contains(v.audiences, trimSlash(id.audience)) {
		return identity{}, invalid(id.audienceReason(t.claims), "aud is %.100q", id.audience)
	}
	if err := v.checkExpiry(&id.identity, now); err != nil {
		return identity{}, err
	}
	if err := v.checkBeginning(id, now); err != nil {
		return identity{}, err
	}
	// An access token, not an ID token (RFC 8725, section 3.12; Microsoft's page
	// "Verify scopes and app roles protected web API").
	if err := id.decideKind(t.claims, access.listsAny()); err != nil {
		return identity{}, &InvalidTokenError{id.kindReason(t.claims), err}
	}

	// The key, the issuer that it may sign for, and the signature.
	if id.key, err = v.verify(ctx, doc, t, &id.identity, end); err != nil {
		return identity{}, err
	}

	// Last, so that a forged token does not reveal who is allowed.
	if err := id.checkListed(access); err != nil {
		return identity{}, err
	}
	if !v.allows(id.tenant) {
		return identity{}, fmt.Errorf("%w: %s", ErrTenantNotAllowed, id.tenant)
	}
	if len(v.clients) > 0 && !slices.Contains(v.clients, strings.ToLower(id.client)) {
		return identity{}, fmt.Errorf("%w: %q", ErrClientNotAllowed, id.client)
	}
	return id.identity, nil
}

// checkExpiry checks exp.
func (v *Validator) checkExpiry(id *identity, now time.Time) error {
	if !now.Before(id.expires.Add(v.skew)) {
		return invalid(Expired, "since %s", id.expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkBeginning checks nbf and iat.
func (v *Validator) checkBeginning(id *claimSet, now time.Time) error {
	if id.notBefore.After(now.Add(v.skew)) || id.issuedAt.After(now.Add(v.skew)) {
		return invalid(NotYetValid, "nbf or iat is in the future")
	}
	return nil
}

// checkHeader checks the header of a token, and sets alg and kid.
func (t *compact) checkHeader() error {
	// An accepted algorithm (RFC 8725, section 3.1), and no extension
	// that we would have to understand (crit: RFC 7515, section 4.1.11; b64: RFC 7797;
	// zip: RFC 7516, section 4.1.3; cty, a nested token: RFC 7519, section 5.2). Keys
	// and URLs of keys in it (jwk, jku, x5c, x5u) are ignored (RFC 8725, section 3.10).
	t.alg, _ = t.header["alg"].(string)
	if _, accepted := algorithms[t.alg]; !accepted {
		return invalid(Malformed, "alg is not %s", algorithmNames())
	}
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, present := t.header[name]; present {
			return invalid(Malformed, "header has %s", name)
		}
	}
	// The type, so that one kind of token is not accepted as another (RFC 8725, section
	// 3.11; RFC 9068, section 4). Entra's tokens have JWT.
	if typ, err := t.header.text("typ"); err != nil || !isTokenType(typ) {
		return invalid(Malformed, "typ is not JWT")
	}
	// The key id, which is used for a look-up and logged (RFC 7515, section 4.1.4; RFC
	// 8725, section 3.10).
	t.kid, _ = t.header["kid"].(string)
	if !isKeyID(t.kid) {
		return invalid(Malformed, "kid is missing or not a key id")
	}
	return nil
}

// isTokenType reports whether typ, a media type in upper or lower case, is empty or
// that of an access token. application/ may be left out (RFC 7515, section 4.1.9).
func isTokenType(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
}

// trimSlash removes one slash at the end of a URI. Tokens of v1.0 have the resource
// in aud exactly as the client wrote it.
func trimSlash(audience string) string {
	bare, ok := strings.CutSuffix(audience, "/")
	if !ok || strings.HasSuffix(bare, "/") || !strings.Contains(bare, ":") {
		return audience
	}
	return bare
}

// verify returns the key that t names and was signed with. If the key is unknown,
// or the signature is wrong, it waits until end for newer keys and tries once
// more: some providers replace a key and reuse its kid.
func (v *Validator) verify(ctx context.Context, doc *document, t *compact, id *identity, end time.Time) (*signingKey, error) {
	set := doc.current.Load()
	key, err := v.verifyWith(set, t, id)
	var refused *InvalidTokenError
	if !errors.As(err, &refused) || refused.Reason != BadSig {
		return key, err
	}
	if doc.current.Load() == set {
		if err := v.provider.refetch(ctx, doc, end); err != nil {
			return nil, fmt.Errorf("wait for signing keys: %w", err)
		}
	}
	if set = doc.current.Load(); set.keys[t.kid] == key {
		return nil, err
	}
	return v.verifyWith(set, t, id)
}

// verifyWith is verify with the keys of one set. It returns the key also with an
// error, if the set has it.
func (v *Validator) verifyWith(set *keySet, t *compact, id *identity) (*signingKey, error) {
	key := set.keys[t.kid]
	if key == nil {
		return nil, invalid(BadSig, "no signing key with kid %q", t.kid)
	}
	if err := v.checkIssuer(key, id); err != nil {
		return key, err
	}
	if err := key.verify(t); err != nil {
		return key, &InvalidTokenError{BadSig, err}
	}
	return key, nil
}

// isKeyID reports whether kid is short and printable: it is logged.
func isKeyID(kid string) bool {
	for _, c := range []byte(kid) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return kid != "" && len(kid) <= maxKeyID
}
