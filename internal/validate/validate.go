// Package validate decides whether a bearer token was issued for this service,
// and says who is calling.
package validate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
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
	// Instance is the base URL of the cloud, as https://login.microsoftonline.com/.
	Instance string
	// TenantID is the tenant's GUID or one of its domains; organizations for any
	// organization's tenant, common for personal accounts too.
	TenantID string
	// ClientID is this service's application (client) ID.
	ClientID string
	// Audiences are the values of aud that are accepted; none: ClientID and
	// api://ClientID. Of a URI, one slash at the end makes no difference.
	Audiences []string
	// AllowedTenants are the tenants whose tokens are accepted, by GUID, or "*" for
	// any. Where TenantID is organizations or common there must be one.
	AllowedTenants []string
	// AllowedClients are the applications whose tokens are accepted (azp or
	// appid); none: any.
	AllowedClients []string
	// ClockSkew is how far the provider's clock may be from ours.
	ClockSkew time.Duration
	// Client fetches metadata and keys. It must not follow redirects.
	Client *http.Client
	// Log gets a line when keys cannot be fetched; nil: nobody is told.
	Log *slog.Logger
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	switch u, err := url.Parse(c.Instance); {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		report("instance", "must be an https URL, as https://login.microsoftonline.com/")
	case strings.EqualFold(strings.Trim(u.Path, "/"), "adfs"):
		report("instance", "AD FS is not supported: it has no tenants, and its tokens are of another form")
	case u.Path != "" && u.Path != "/":
		report("instance", "must have no path: the tenant is tenantId's to say")
	}
	c.checkTenants(report)
	if c.ClientID == "" {
		report("clientId", "must be set: this service's application (client) ID")
	}
	for i, audience := range c.Audiences {
		if audience == "" || strings.ContainsFunc(audience, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			report(fmt.Sprintf("audiences[%d]", i), "must be one audience without blanks, such as api://CLIENT-ID")
		}
	}
	for i, client := range c.AllowedClients {
		if !IsGUID(client) {
			report(fmt.Sprintf("allowedClients[%d]", i), "must be an application (client) ID, a GUID, which is what tokens hold")
		}
	}
	if c.ClockSkew < 0 || c.ClockSkew > 10*time.Minute {
		report("clockSkew", "must be between 0s and 10m")
	}
}

// Validator checks tokens. Run must be running for it to have keys.
type Validator struct {
	tenantID  string          // the GUID, or "" where anything else is configured
	tenants   map[string]bool // those that are allowed; nil: any
	personal  bool            // personal accounts are
	audiences []string
	clients   []string
	skew      time.Duration
	provider  *provider
	cache     *identityCache
}

// New returns a Validator for c, whose Check must have passed. Nothing is
// fetched until Run.
func New(c Config) *Validator {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	v := &Validator{skew: c.ClockSkew, cache: newIdentityCache()}
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
	// Each version of token is checked against its own metadata; which one an
	// API gets is decided by its manifest, not by the endpoint that issued it.
	v.provider = newProvider(c)
	return v
}

// Run keeps the signing keys fresh until ctx ends.
func (v *Validator) Run(ctx context.Context) { v.provider.run(ctx) }

// Ready returns nil once signing keys are loaded, else ErrKeysUnavailable. Those of
// v1.0 are waited for no longer than the first attempt: there may be none.
func (v *Validator) Ready() error {
	select {
	case <-v.provider.ready:
		return nil
	default:
		return ErrKeysUnavailable
	}
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

// ErrKeysUnavailable says that no decision can be made on a token, because the
// provider's signing keys could never be loaded.
var ErrKeysUnavailable = errors.New("signing keys have not been loaded")

// ErrClientNotAllowed says that a token is good but was issued to an
// application that is not among Config.AllowedClients.
var ErrClientNotAllowed = errors.New("the calling application is not allowed")

// ErrTenantNotAllowed says that a token is good but of a tenant that is not
// among Config.AllowedTenants.
var ErrTenantNotAllowed = errors.New("the caller's tenant is not allowed")

// Reason is why a token was not accepted.
type Reason string

// The reasons. Each has one sentence for callers. A token that is TooLong may be
// good; another sign-in brings one as long.
const (
	Malformed   Reason = "malformed"
	TooLong     Reason = "too_long"
	BadSig      Reason = "bad_signature"
	WrongIssuer Reason = "wrong_issuer"
	WrongAud    Reason = "wrong_audience"
	Expired     Reason = "expired"
	NotYetValid Reason = "not_yet_valid"
	NotAccess   Reason = "not_an_access_token"
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
// ErrKeysUnavailable, or that of ctx where it ended while a key was awaited.
func (v *Validator) Validate(ctx context.Context, token string) (*Caller, error) {
	if len(token) > MaxTokenSize {
		return nil, invalid(TooLong, "%d bytes, more than %d", len(token), MaxTokenSize)
	}
	var buf [4 << 10]byte // on the stack, for tokens of the usual size
	digest := sha256.Sum256(append(buf[:0], token...))
	now := time.Now()
	if id := v.cache.get(digest, now.Add(-v.skew)); id != nil {
		return &Caller{id: id, token: token, digest: digest}, nil
	}
	t, err := parseCompact(token)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}
	id, err := v.check(ctx, t, now)
	if err != nil {
		return nil, err
	}
	v.cache.put(digest, id, now)
	return &Caller{id: id, token: token, digest: digest}, nil
}

// check is the whole list of what makes a token good, cheap checks first. The
// rules are those of RFC 8725 and of Microsoft's pages "Access tokens in the
// Microsoft identity platform" and "Secure applications and APIs by validating
// claims".
func (v *Validator) check(ctx context.Context, t *compact, now time.Time) (*identity, error) {
	// The header: one algorithm (RFC 8725, section 3.1), and nothing in it that we
	// would have to understand (crit: RFC 7515, section 4.1.11; b64: RFC 7797; zip:
	// RFC 7516, section 4.1.3; cty, a token in the token: RFC 7519, section 5.2).
	// Keys that it brings along (jwk, jku, x5c, x5u) are not looked at (RFC 8725,
	// section 3.10).
	t.alg, _ = t.header["alg"].(string)
	if _, accepted := algorithms[t.alg]; !accepted {
		return nil, invalid(Malformed, "alg is not %s", algorithmNames())
	}
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, present := t.header[name]; present {
			return nil, invalid(Malformed, "header has %s", name)
		}
	}
	// One kind of token is not taken for another (RFC 8725, section 3.11; RFC 9068,
	// section 4). Entra's have JWT.
	if typ, err := t.header.text("typ"); err != nil || !isTokenType(typ) {
		return nil, invalid(Malformed, "typ is not JWT")
	}
	// It is looked up, so it must be what a provider would choose (RFC 7515, section
	// 4.1.4; RFC 8725, section 3.10).
	t.kid, _ = t.header["kid"].(string)
	if !isKeyID(t.kid) {
		return nil, invalid(Malformed, "kid is missing or not a key id")
	}

	// The claims, each of its type (RFC 7519, section 4.1; Microsoft's page "Access
	// token claims reference").
	id, err := readIdentity(t.claims)
	if err != nil {
		return nil, &InvalidTokenError{Malformed, err}
	}

	// Whose token (RFC 8725, section 3.8), for whom (section 3.9), and when (RFC
	// 7519, sections 4.1.4 to 4.1.6).
	end := now.Add(maxKeyWait)
	doc, err := v.documentFor(ctx, id, end)
	if errors.Is(err, ErrKeysUnavailable) && ctx.Err() != nil {
		err = fmt.Errorf("wait for signing keys: %w", ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(v.audiences, trimSlash(id.audience)) {
		return nil, invalid(WrongAud, "aud is %.100q", id.audience)
	}
	if !now.Before(id.expires.Add(v.skew)) {
		return nil, invalid(Expired, "since %s", id.expires.UTC().Format(time.RFC3339))
	}
	if id.notBefore.After(now.Add(v.skew)) || id.issuedAt.After(now.Add(v.skew)) {
		return nil, invalid(NotYetValid, "nbf or iat is ahead of our clock")
	}
	// An access token, not an ID token (RFC 8725, section 3.12; Microsoft's page
	// "Verify scopes and app roles protected web API").
	if err := id.decideKind(t.claims); err != nil {
		return nil, &InvalidTokenError{NotAccess, err}
	}

	// The key, by its id, whose tokens it signs, and the signature.
	if id.key, err = v.verify(ctx, doc, t, id, end); err != nil {
		return nil, err
	}

	// What only counts of a token that is genuine, so that nobody learns whom we
	// would let in.
	if !v.allows(id.tenant) {
		return nil, fmt.Errorf("%w: %s", ErrTenantNotAllowed, id.tenant)
	}
	if len(v.clients) > 0 && !slices.Contains(v.clients, strings.ToLower(id.client)) {
		return nil, fmt.Errorf("%w: %q", ErrClientNotAllowed, id.client)
	}
	return id, nil
}

// isTokenType reports whether typ, a media type in any case, is an access token's or
// says nothing. application/ may be left out (RFC 7515, section 4.1.9).
func isTokenType(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
}

// trimSlash takes one slash off the end of a URI. Tokens of v1.0 have the resource
// in aud as the client wrote it.
func trimSlash(audience string) string {
	bare, ok := strings.CutSuffix(audience, "/")
	if !ok || strings.HasSuffix(bare, "/") || !strings.Contains(bare, ":") {
		return audience
	}
	return bare
}

// verify returns the key that t names, whose signature it has. Where there is none, or
// the signature is by another, it waits until end for keys that are fetched, and
// looks once more: some providers replace a key under its own name.
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

// verifyWith is verify with the keys of one set. With an error it returns the key
// that there is, if any.
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

// isKeyID reports whether kid may be looked up: it reaches logs and maps.
func isKeyID(kid string) bool {
	for _, c := range []byte(kid) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return kid != "" && len(kid) <= maxKeyID
}
