package facade

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
)

// challengeMethod is the one way in which a client proves that a code is its own (RFC 9700,
// section 2.1.1).
const challengeMethod = "S256"

// challengeForm is a SHA-256 in base64url (RFC 7636, section 4.2).
var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// sentOn are the parameters of an authorization request that go to the provider as they came.
var sentOn = []string{
	"client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method", "prompt", "login_hint", "domain_hint",
}

// authorize sends the browser on to the provider's authorization endpoint.
func (s *Server) authorize(as *server, c echo.Context) error {
	r := c.Request()
	asked, err := parseParameters(r.URL.RawQuery)
	if err == nil {
		err = as.checkAddressee(asked)
	}
	var own *oauthError
	if errors.As(err, &own) {
		return problem.New("invalid-request", own.description) // there is nobody to send it to (RFC 6749, section 4.1.2.1)
	}
	base := s.listener.BaseURL(r)
	scope, err := as.checkAuthorization(asked, base, r.Host)
	if errors.As(err, &own) {
		answer := url.Values{"error": {own.code}, "error_description": {own.description}, "iss": {issuerOf(base, as.api)}}
		if state := asked.get("state"); state != "" {
			answer.Set("state", state)
		}
		return c.Redirect(http.StatusFound, withQuery(asked.get("redirect_uri"), answer))
	}
	forwarded := url.Values{"response_type": {"code"}, "scope": {scope}}
	for _, name := range sentOn {
		if value := asked.get(name); value != "" {
			forwarded.Set(name, value)
		}
	}
	return c.Redirect(http.StatusFound, as.Authority+"/oauth2/v2.0/authorize?"+forwarded.Encode())
}

// checkAddressee checks who gets the answer to an authorization request.
func (as *server) checkAddressee(asked parameters) error {
	switch {
	case asked.get("client_id") != as.ClientID:
		return errClient
	case !as.redirects.allows(asked.get("redirect_uri")):
		return invalidRequest("The redirect URI is not one that this authorization server allows.")
	}
	return nil
}

// checkAuthorization checks the rest of an authorization request, and returns the scopes for
// the provider. base is the URL of the service, host the host that the request names.
func (as *server) checkAuthorization(asked parameters, base, host string) (scope string, err error) {
	switch responseType := asked.get("response_type"); {
	case asked.isRepeated():
		return "", errRepeated
	case responseType == "":
		return "", invalidRequest("response_type is missing.")
	case responseType != "code":
		return "", &oauthError{"unsupported_response_type", "response_type must be code."}
	case !challengeForm.MatchString(asked.get("code_challenge")) || asked.get("code_challenge_method") != challengeMethod:
		return "", invalidRequest("code_challenge is missing or malformed, or code_challenge_method is not S256.")
	case asked.namesForeign(base, host):
		return "", errTarget
	}
	ours, beside, err := as.scopes.read(asked.get("scope"))
	if err != nil {
		return "", err
	}
	if ours == nil { // else the provider would issue a token for Microsoft Graph
		ours = as.scopes.full
	}
	return strings.Join(slices.Concat(ours, beside), " "), nil
}

// namesForeign reports whether a resource of a request is foreign. The provider is not asked
// about it, so this is where it is refused: a client that a server of somebody else has sent
// here would take the token there.
func (p parameters) namesForeign(base, host string) bool {
	return slices.ContainsFunc(p.resources, func(resource string) bool { return isForeign(resource, base, host) })
}

// isForeign reports whether a resource (RFC 8707) is a URL of another origin.
func isForeign(resource, base, host string) bool {
	u, err := url.Parse(resource)
	if err != nil {
		return true
	}
	if !strings.EqualFold(u.Scheme, "http") && !strings.EqualFold(u.Scheme, "https") {
		return u.Scheme == "" && u.Host != ""
	}
	own, err := url.Parse(base)
	if err == nil && sameOrigin(u, own) {
		return false
	}
	return u.User != nil || !strings.EqualFold(u.Host, host)
}

// sameOrigin reports whether two URLs have the same origin (RFC 6454, section 4).
func sameOrigin(a, b *url.URL) bool {
	return a.User == nil && strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}

// withQuery adds parameters to a redirect URI (RFC 6749, section 4.1.2.1).
func withQuery(uri string, more url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + more.Encode()
}
