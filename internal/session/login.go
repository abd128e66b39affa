package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"

	"middletier/internal/obo"
	"middletier/internal/problem"
)

const (
	// maxClaims bounds the claims of a challenge, in bytes of JSON.
	maxClaims = 2 << 10

	// maxHint bounds the name of an account or a domain.
	maxHint = 320
)

// prompts are what the provider's page can be asked to do (OpenID Connect Core, section 3.1.2.1;
// Microsoft's page "OAuth 2.0 authorization code flow").
var prompts = []string{"login", "none", "select_account", "consent", "create"}

// login answers GET /bff/login: it sends the browser to the provider.
func (m *Manager) login(c echo.Context) error {
	query, err := singleValues(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	a, err := m.attemptFor(query)
	if err != nil {
		return err
	}
	parameters := url.Values{}
	if prompt := query.Get("prompt"); prompt != "" {
		if !slices.Contains(prompts, prompt) {
			return invalidRequest("The prompt must be one of login, none, select_account, consent and create.")
		}
		parameters.Set("prompt", prompt)
	}
	for parameter, name := range map[string]string{"login_hint": "loginHint", "domain_hint": "domainHint"} {
		hint, other := query.Get(name), query.Get(parameter)
		if hint != "" && other != "" || len(hint+other) > maxHint || strings.ContainsFunc(hint+other, unicode.IsControl) {
			return invalidRequest("The login hint or the domain hint is given twice, too long, or not a name.")
		}
		if hint += other; hint != "" {
			parameters.Set(parameter, hint)
		}
	}
	return m.authorize(c, a, parameters)
}

// silentLogin answers GET /bff/silent-login in a hidden frame: it begins a session for the user
// whom the provider knows already, without a page of the provider's.
func (m *Manager) silentLogin(c echo.Context) error {
	a := newAttempt()
	a.Scopes, a.Silent = m.config.Scopes, true
	return m.authorize(c, a, url.Values{"prompt": {"none"}})
}

// singleValues parses a query each of whose parameters is there once.
func singleValues(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidRequest("The query cannot be read.")
	}
	for _, values := range query {
		if len(values) > 1 {
			return nil, invalidRequest("A parameter of the query is given twice.")
		}
	}
	return query, nil
}

// attemptFor returns the attempt that the query of /bff/login asks for.
func (m *Manager) attemptFor(query url.Values) (attempt, error) {
	a := newAttempt()
	var err error
	if a.ReturnURL, err = m.returnURL(query); err != nil {
		return attempt{}, err
	}
	if a.Scopes, a.Consent, err = m.scopesOf(query.Get("scope")); err != nil {
		return attempt{}, err
	}
	if text := query.Get("claims"); text != "" {
		if a.Claims, err = decodeClaims(text); err != nil {
			return attempt{}, err
		}
	}
	return a, nil
}

// returnURL reads the parameter returnUrl; without it, the user goes home.
func (m *Manager) returnURL(query url.Values) (string, error) {
	text := query.Get("returnUrl")
	if text == "" {
		return m.home(), nil
	}
	local, ok := localURL(text)
	if !ok {
		return "", errReturnURL
	}
	return local, nil
}

var errReturnURL = invalidRequest("The returnUrl is not a local path: one that begins with a single slash.")

// scopesOf reads the scope parameter: scopes of ours, by their full or short names, are requested
// beside the usual; those of an API are in their place, for the user to consent to.
func (m *Manager) scopesOf(text string) (ours, apis []string, err error) {
	ours = slices.Clone(m.config.Scopes)
	for _, scope := range strings.Fields(text) {
		own := slices.IndexFunc(m.config.ownScopes(), func(full string) bool {
			return full == scope || !strings.Contains(scope, "/") && strings.HasSuffix(full, "/"+scope)
		})
		switch {
		case slices.Contains([]string{"openid", "profile", "email", "offline_access"}, scope):
		case own >= 0:
			ours = append(ours, m.config.ownScopes()[own])
		case slices.Contains(m.config.APIScopes, scope):
			apis = append(apis, scope)
		default:
			return nil, nil, invalidRequest("The scope is neither one of this service nor one of its APIs.")
		}
	}
	slices.Sort(apis)
	if apis = slices.Compact(apis); len(apis) > 0 && obo.CheckScopes(apis) != nil {
		return nil, nil, invalidRequest("The scopes are of several APIs: a sign-in can ask for those of one.")
	}
	slices.Sort(ours)
	if ours = slices.Compact(ours); obo.CheckScopes(ours) != nil { // .default, which holds the others
		ours = slices.Clone(m.config.Scopes)
	}
	return ours, apis, nil
}

// ownScopes are all scopes of this service.
func (c Config) ownScopes() []string {
	if c.OwnScopes != nil {
		return c.OwnScopes
	}
	return c.Scopes
}

// encodeClaims is a claims challenge as a query of ours has it.
func encodeClaims(claims string) string { return base64.RawURLEncoding.EncodeToString([]byte(claims)) }

// decodeClaims reads what encodeClaims wrote, with padding or without.
func decodeClaims(text string) (string, error) {
	bad := invalidRequest("The claims are not an object of JSON in base64url, or too long.")
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	var object map[string]map[string]json.RawMessage
	if err != nil || len(data) > maxClaims || json.Unmarshal(data, &object) != nil || object == nil {
		return "", bad
	}
	return string(data), nil
}

// authorize sends the browser to the provider (OpenID Connect Core, section 3.1.2.1; RFC 7636,
// section 4.3).
func (m *Manager) authorize(c echo.Context, a attempt, parameters url.Values) error {
	w, r := c.Response(), c.Request()
	if isHiddenRequest(r) {
		return errHiddenSignIn
	}
	h, err := m.find(r)
	if isUnavailable(err) {
		return err
	}
	if err == nil {
		digest := h.key.Digest()
		a.Session, a.User = digest[:], h.userHash()
		further := len(a.Claims)+len(a.Consent) > 0
		if hint := h.accountHint(); hint != "" && (further || a.Silent) && !parameters.Has("login_hint") {
			parameters.Set("login_hint", hint) // it is this account that has to prove or consent
		}
	}
	if !m.begin(w, r, a) {
		return invalidRequest("The returnUrl, the scopes and the claims are too long together.")
	}
	for name, value := range map[string]string{
		"client_id": m.config.ClientID, "response_type": "code", "response_mode": "query",
		"redirect_uri": m.config.PublicURL + m.config.CallbackPath,
		"scope":        "openid profile offline_access " + strings.Join(a.asked(), " "),
		"state":        a.State, "nonce": a.Nonce, "code_challenge": a.challenge(), "code_challenge_method": "S256",
	} {
		parameters.Set(name, value)
	}
	if a.Claims != "" {
		parameters.Set("claims", a.Claims)
	}
	return c.Redirect(http.StatusFound, m.config.Authority+"/oauth2/v2.0/authorize?"+parameters.Encode())
}

// isHiddenRequest reports whether a page of another origin has a browser send r without the user
// seeing it, such as for an image or a frame. Pages of a sibling host could so begin, at once, more
// sign-ins than fit into the headers of later requests: their cookies are of the same site. A
// link is no such request.
func isHiddenRequest(r *http.Request) bool {
	isOther := func(name string, allowed ...string) bool {
		value := r.Header.Get(name)
		return value != "" && !slices.Contains(allowed, value)
	}
	return isOther("Sec-Fetch-Site", "same-origin", "none") &&
		(isOther("Sec-Fetch-Mode", "navigate") || isOther("Sec-Fetch-Dest", "document"))
}

var errHiddenSignIn = problem.New("cross-site-request", "A page of another origin may begin a sign-in in a window only.")

// userHash says of two sessions whether they are the same user's.
func (s stored) userHash() []byte {
	sum := userHash(s.Tenant, s.ObjectID)
	return sum[:]
}

// userHash is the same for a user whose GUIDs are written in another case.
func userHash(tenantID, objectID string) [32]byte {
	return sha256.Sum256([]byte(strings.ToLower(tenantID + "\n" + objectID)))
}

// accountHint is what names the account of s to the provider; "": nothing.
func (s stored) accountHint() string {
	if s.LoginHint != "" {
		return s.LoginHint
	}
	for _, claim := range s.Claims {
		var name string
		if claim.Type == "preferred_username" && json.Unmarshal(claim.Value, &name) == nil {
			return name
		}
	}
	return ""
}
