package validate

import (
	"net/url"
	"slices"
	"strings"
)

// sourceFor returns the keys of the issuer that id names: that of v2.0 or of
// v1.0 tokens. The version must agree with the issuer where the token has one.
func (v *Validator) sourceFor(id *identity) (*keySource, error) {
	v1, v2 := v.v1.current.Load(), v.v2.current.Load()
	switch {
	case v2 == nil: // also for v1.0, whose keys name the v2.0 issuer
		return nil, ErrKeysUnavailable
	case id.issuer == forTenant(v2.issuer, id.tenant) && (id.version == "2.0" || id.version == ""):
		return v.v2, nil
	case v1 != nil && id.issuer == forTenant(v1.issuer, id.tenant) && (id.version == "1.0" || id.version == ""):
		return v.v1, nil
	case v1 == nil && id.version == "1.0" && !v.v1.absent.Load():
		return nil, ErrKeysUnavailable
	}
	return nil, invalid(WrongIssuer, "iss is %.100q, ver is %.100q", id.issuer, id.version)
}

// checkIssuer binds tenant, issuer and key to each other: the token's tenant is
// ours and the one in its issuer, and the key signs for that issuer. Entra's
// keys name the v2.0 issuer also where v1.0 tokens are signed with them.
func (v *Validator) checkIssuer(set *keySet, key *signingKey, id *identity) error {
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
	if owner == id.issuer || owner == forTenant(v.v2.current.Load().issuer, id.tenant) {
		return nil
	}
	return invalid(WrongIssuer, "the key of %.100q signs for %q", id.issuer, key.issuer)
}

// forTenant puts a tenant's id where Entra's templates hold a placeholder.
func forTenant(template, tenantID string) string {
	return strings.ReplaceAll(template, "{tenantid}", tenantID)
}

// lowerGUID writes a GUID as tokens do. Anything else stays as it is.
func lowerGUID(s string) string {
	if isGUID(s) {
		return strings.ToLower(s)
	}
	return s
}

// isGUID reports whether s is a GUID in its usual form, in either case.
func isGUID(s string) bool {
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
