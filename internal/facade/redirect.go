package facade

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// redirectURIs are the redirect URIs that are allowed.
type redirectURIs struct {
	exact    map[string]bool
	loopback []loopbackURI
}

// loopbackURI is a redirect URI of a program on the user's own machine, which listens on any
// port (RFC 8252, section 7.3): what stands before the port and behind it.
type loopbackURI struct{ before, behind string }

// loopbackForm matches such a URI in its parts: scheme and host, port, path and query. Nothing
// else may stand in it, such as a user name.
var loopbackForm = regexp.MustCompile(`^(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::([1-9][0-9]{0,4}))?((?:[/?][!$-~]*)?)$`)

// newRedirectURIs returns the redirect URIs of a list, and reports every mistake in it.
func newRedirectURIs(list []string, report func(key, problem string)) redirectURIs {
	if len(list) == 0 {
		report("allowedRedirectUris", "must name where users are sent after a sign-in: without one, no client can be used")
	}
	all := redirectURIs{exact: map[string]bool{}}
	for i, uri := range list {
		key := fmt.Sprintf("allowedRedirectUris[%d]", i)
		if parts := loopbackForm.FindStringSubmatch(uri); parts != nil && !strings.Contains(uri, "#") {
			all.loopback = append(all.loopback, loopbackURI{parts[1], parts[3]})
			continue
		}
		if problem := redirectProblem(uri); problem != "" {
			report(key, problem)
			continue
		}
		all.exact[uri] = true
	}
	return all
}

// redirectProblem says why a URI cannot be in the list, or "".
func redirectProblem(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Hostname() == "" || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "must be a URI such as https://app.contoso.example/callback, or http://127.0.0.1/callback for a program on the user's machine"
	case u.Scheme == "http":
		return "must be https: http is for 127.0.0.1, [::1] and localhost only, without a user name"
	case !strings.HasPrefix(uri, "https://"):
		return "must be https, or http of 127.0.0.1, [::1] or localhost"
	case strings.ContainsAny(uri, `*\`):
		return "must be one URI: patterns are not supported"
	case u.User != nil || strings.Contains(u.Host, "@"):
		return "must have no user name"
	case strings.Contains(uri, "#"):
		return "must have no fragment" // RFC 6749, section 3.1.2
	}
	return ""
}

// allows reports whether users may be sent to uri. Texts are compared and not what they mean:
// whoever follows the redirect may parse it in another way than we would.
func (all redirectURIs) allows(uri string) bool {
	if all.exact[uri] {
		return true
	}
	for _, known := range all.loopback {
		rest, ok := strings.CutPrefix(uri, known.before)
		if !ok {
			continue
		}
		port, ok := strings.CutSuffix(rest, known.behind)
		if ok && (port == "" || isPort(port)) {
			return true
		}
	}
	return false
}

// isPort reports whether text is a colon and a port.
func isPort(text string) bool {
	digits, ok := strings.CutPrefix(text, ":")
	if !ok || digits == "" || len(digits) > 5 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return false
	}
	return len(digits) < 5 || digits <= "65535"
}
