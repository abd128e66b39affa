package mockidp

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Platforms of redirect URIs.
const (
	platformWeb    = "web"
	platformSPA    = "spa"
	platformNative = "native"
)

// loopback is a redirect URI of a native app on the user's own machine, in its parts: host,
// port, and path. Nothing else may stand in it, such as a user name.
var loopback = regexp.MustCompile(`^http://(localhost|127\.0\.0\.1)(?::(\d{1,5}))?((?:/.*)?)$`)

// platform returns the platform for which the app registered this redirect URI, or "". It
// must be the registered text, except for the port on loopback of a native app or a web app
// (RFC 8252, section 7.3; "Redirect URI restrictions and limitations", "Localhost exceptions").
func (a *App) platform(uri string) string {
	switch {
	case uri == "":
		return ""
	case slices.Contains(a.RedirectURIs.Web, uri):
		return platformWeb
	case slices.Contains(a.RedirectURIs.SPA, uri):
		return platformSPA
	case slices.Contains(a.RedirectURIs.Native, uri):
		return platformNative
	}
	asked := loopback.FindStringSubmatch(uri)
	if asked == nil {
		return ""
	}
	for _, platform := range []struct {
		name string
		uris []string
	}{{platformNative, a.RedirectURIs.Native}, {platformWeb, a.RedirectURIs.Web}} {
		if slices.ContainsFunc(platform.uris, func(registered string) bool {
			known := loopback.FindStringSubmatch(registered)
			return known != nil && known[1] == asked[1] && sameRoot(known[3], asked[3])
		}) {
			return platform.name
		}
	}
	return ""
}

// onlyRedirectURI is the app's redirect URI if it has exactly one: a request may leave that
// out (RFC 6749, section 3.1.2.3).
func (a *App) onlyRedirectURI() string {
	all := slices.Concat(a.RedirectURIs.Web, a.RedirectURIs.SPA, a.RedirectURIs.Native)
	if len(all) != 1 {
		return ""
	}
	return all[0]
}

// sameRoot reports whether two paths are equal, where an empty one is "/".
func sameRoot(a, b string) bool {
	return a == b || a+b == "/"
}

// spaOrigin reports whether one of the app's single-page redirect URIs has this origin.
func (a *App) spaOrigin(origin string) bool {
	return slices.ContainsFunc(a.RedirectURIs.SPA, func(uri string) bool {
		return strings.EqualFold(originOf(uri), origin)
	})
}

// originOf returns the origin of a URI, as browsers write it without a default port.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	host := u.Host
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else if u.Scheme == "http" {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// withQuery adds parameters to a redirect URI's query. One without a path gets "/", as Entra
// does.
func withQuery(uri string, parameters url.Values) string {
	encoded := encode(parameters)
	switch {
	case encoded == "":
		return uri
	case strings.Contains(uri, "?"):
		return uri + "&" + encoded
	}
	return rooted(uri) + "?" + encoded
}

// withFragment adds parameters as the fragment.
func withFragment(uri string, parameters url.Values) string {
	return rooted(uri) + "#" + encode(parameters)
}

func rooted(uri string) string {
	u, err := url.Parse(uri)
	if err == nil && u.Path == "" && u.RawQuery == "" && (u.Scheme == "http" || u.Scheme == "https") {
		return uri + "/"
	}
	return uri
}

// encode writes a space as %20: not every reader of a fragment knows +.
func encode(parameters url.Values) string {
	return strings.ReplaceAll(parameters.Encode(), "+", "%20")
}
