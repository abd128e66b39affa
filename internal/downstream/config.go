package downstream

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Config describes one API. The keys in its errors are those of an entry of the
// downstreamApis section.
type Config struct {
	// BaseURL is what paths are joined under. Its scheme is http, https, or h2c for
	// HTTP/2 without TLS.
	BaseURL string
	// Timeout is how long the API may take until its response headers arrive, or until
	// it reads more of a body that is streamed to it. It does not bound a request for a
	// stream.
	Timeout time.Duration
	// Attempts is how often a call is sent at most, 1 for no retries. Sending it again
	// with a new token does not count.
	Attempts int
	// RequestTimeout bounds the whole request, unless it is for a stream or its
	// response is one.
	RequestTimeout time.Duration
	// EncodedSlashes lets the paths of calls have slashes as %2F, for keys and names that
	// contain one. No decision may depend on such a path: the API may read a slash or not.
	EncodedSlashes bool
	// KeepCookies passes the API's Set-Cookie headers to callers.
	KeepCookies bool
	// IsOwnCookie reports whether a cookie of this name is this service's: then no API may
	// set or clear it. nil: the service has no cookies.
	IsOwnCookie func(name string) bool
	// DropRequest and DropResponse are headers to remove, in addition to the fixed rules.
	// An underscore in a header's name counts as a dash.
	DropRequest, DropResponse []string
	// SetRequest are headers to set on every request to the API. They replace the
	// caller's.
	SetRequest map[string]string
	// Transport sends the requests. See Transport.
	Transport http.RoundTripper
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		report("baseUrl", "must be set: the URL that paths are joined under")
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", schemeH2C}, u.Scheme):
		report("baseUrl", "must be an http or https URL, or h2c for HTTP/2 without TLS")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		report("baseUrl", "must have no query, fragment or user")
	default:
		if _, err := ParsePath(u.EscapedPath()); err != nil {
			report("baseUrl", "must have a plain path: no dot segments, encoded slashes or empty segments")
		}
	}
	if c.Timeout <= 0 {
		report("timeout", "must be positive")
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		report("retry.attempts", fmt.Sprintf("must be between 1, for no retries, and %d", maxAttempts))
	}
	for name, value := range c.SetRequest {
		switch {
		case isReserved(fold(http.CanonicalHeaderKey(name))):
			report("requestHeaders.set", fmt.Sprintf("%q is set by the service itself", name))
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			report("requestHeaders.set", fmt.Sprintf("%q is not a header that can be sent", name))
		}
	}
}
