package validate

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The names that stand for many tenants in an authority's URL, and the tenant of
// personal accounts (Microsoft's page "OpenID Connect on the Microsoft identity
// platform").
const (
	organizations  = "organizations"
	common         = "common"
	personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// IsMultiTenant reports whether tenantID is organizations or common.
func IsMultiTenant(tenantID string) bool {
	return strings.EqualFold(tenantID, organizations) || strings.EqualFold(tenantID, common)
}

// IsTenant reports whether name can name a tenant: a GUID or a domain.
func IsTenant(name string) bool { return IsGUID(name) || domain.MatchString(name) }

var domain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)

// ExternalTenant returns the domain of an External ID instance's tenant, which has
// the name of the host, or "" for any other instance. It does not recognise an
// instance with a custom domain.
func ExternalTenant(instance string) string {
	u, err := url.Parse(instance)
	if err != nil {
		return ""
	}
	name, external := strings.CutSuffix(strings.ToLower(u.Hostname()), ".ciamlogin.com")
	if !external {
		return ""
	}
	return name + ".onmicrosoft.com"
}

// checkTenants reports the mistakes in TenantID and AllowedTenants.
func (c Config) checkTenants(report func(key, problem string)) {
	multi := IsMultiTenant(c.TenantID)
	switch {
	case c.TenantID == "":
		report("tenantId", "must be set: the tenant's GUID or domain, or organizations or common")
	case strings.EqualFold(c.TenantID, "consumers"):
		report("tenantId", "personal accounts alone are not supported: set common, and list in allowedTenants "+personalTenant)
	case !multi && !IsTenant(c.TenantID):
		report("tenantId", "must be a GUID or a domain, or organizations or common")
	case multi && ExternalTenant(c.Instance) != "":
		report("tenantId", "must name one tenant: an External ID host has no others")
	case multi && len(c.AllowedTenants) == 0:
		report("allowedTenants", `must be set if tenantId is organizations or common: the GUIDs of tenants, or "*" for any`)
	case IsGUID(c.TenantID) && c.tenants() != nil && !c.tenants()[strings.ToLower(c.TenantID)]:
		report("allowedTenants", "must contain tenantId: no other tenant's tokens are accepted")
	}
	for i, tenant := range c.AllowedTenants {
		key := fmt.Sprintf("allowedTenants[%d]", i)
		switch {
		case tenant == "*" && len(c.AllowedTenants) > 1:
			report(key, `"*" must be the only entry: it allows any tenant`)
		case tenant != "*" && !IsGUID(tenant):
			report(key, "must be a tenant's GUID: tokens do not contain its domain")
		case strings.EqualFold(tenant, personalTenant) && strings.EqualFold(c.TenantID, organizations):
			report(key, "is the tenant of personal accounts: tenantId must be common")
		}
	}
}

// tenants returns the allowed tenants, nil for any.
func (c Config) tenants() map[string]bool {
	if len(c.AllowedTenants) == 0 || slices.Contains(c.AllowedTenants, "*") {
		return nil
	}
	set := map[string]bool{}
	for _, tenant := range c.AllowedTenants {
		set[strings.ToLower(tenant)] = true
	}
	return set
}

// allows reports whether tokens of the tenant are accepted.
func (v *Validator) allows(tenant string) bool {
	return (v.tenants == nil || v.tenants[tenant]) && (v.personal || tenant != personalTenant)
}

// documentFor returns the document with the issuer that id names: that of v2.0 or
// of v1.0 tokens. At the start it waits for it until end. If the token has a
// version, it must agree with the issuer.
func (v *Validator) documentFor(ctx context.Context, id *identity, end time.Time) (*document, error) {
	v.provider.v2.awaitFirstFetch(ctx, end)
	if id.version == "1.0" {
		v.provider.v1.awaitFirstFetch(ctx, end)
	}
	v1, v2 := v.provider.v1.current.Load(), v.provider.v2.current.Load()
	switch {
	case v2 == nil: // for v1.0 too: its keys name the v2.0 issuer
		return nil, keysUnavailable(ctx)
	case id.issuer == forTenant(v2.issuer, id.tenant) && (id.version == "2.0" || id.version == ""):
		return v.provider.v2, nil
	case v1 != nil && id.issuer == forTenant(v1.issuer, id.tenant) && (id.version == "1.0" || id.version == ""):
		return v.provider.v1, nil
	case v1 == nil && id.version == "1.0" && !v.provider.v1.missing.Load():
		return nil, keysUnavailable(ctx)
	}
	return nil, invalid(WrongIssuer, "iss is %.100q, ver is %.100q", id.issuer, id.version)
}

// keysUnavailable is the error for keys that did not come, which is that of ctx if it ended the
// wait.
func keysUnavailable(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for signing keys: %w", ctx.Err())
	}
	return ErrKeysUnavailable
}

// checkIssuer checks that tenant, issuer and key belong together: the token's
// tenant is ours and the one in its issuer, and the key may sign for that issuer. A
// key that names a single tenant signs for no other (Microsoft's page "Access tokens
// in the Microsoft identity platform", validate the issuer). Entra's keys name the
// v2.0 issuer even if they sign v1.0 tokens.
func (v *Validator) checkIssuer(key *signingKey, id *identity) error {
	if v.tenantID != "" && id.tenant != v.tenantID {
		return invalid(WrongIssuer, "tid is %.100q", id.tenant)
	}
	if u, err := url.Parse(id.issuer); err != nil || !slices.Contains(strings.Split(strings.ToLower(u.Path), "/"), id.tenant) {
		return invalid(WrongIssuer, "tid is %.100q, iss is %.100q", id.tenant, id.issuer)
	}
	if key.issuer == "" {
		return nil
	}
	owner := forTenant(key.issuer, id.tenant)
	if owner == id.issuer || owner == forTenant(v.provider.v2.current.Load().issuer, id.tenant) {
		return nil
	}
	return invalid(WrongIssuer, "the key of %.100q signs for %q", id.issuer, key.issuer)
}

// forTenant replaces the placeholder in Entra's templates of issuers.
func forTenant(template, tenantID string) string {
	return strings.ReplaceAll(template, "{tenantid}", tenantID)
}

// lowerGUID returns a GUID in lower case, as tokens have it, and any other string
// unchanged.
func lowerGUID(s string) string {
	if IsGUID(s) {
		return strings.ToLower(s)
	}
	return s
}

// IsGUID reports whether s is a GUID in its usual form, in upper or lower case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}
