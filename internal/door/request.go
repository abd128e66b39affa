package door

import (
	"net/http"

	"middletier/internal/obo"
	"middletier/internal/validate"
)

// RawPath returns the path of r's target as it was sent. EscapedPath alone would change
// it: a fragment would become a part of the path.
func RawPath(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.EscapedPath() // net/url sets RawPath only if it differs from this
}

// AssertionOf returns the caller's token as what is traded for others.
func AssertionOf(caller *validate.Caller) obo.Assertion {
	return obo.Assertion{
		Token: caller.Token(), Digest: caller.Digest(),
		TenantID: caller.TenantID(), ObjectID: caller.ObjectID(), Expires: caller.Expires(),
	}
}
