package mockidp

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// authorization is an authorization request whose client and redirect URI are genuine ("OAuth
// 2.0 authorization code flow", "OpenID Connect"; RFC 6749, section 4.1.1).
type authorization struct {
	dir         *directory // as it was when the request arrived
	path        string     // of the URL: a tenant's id, common or organizations
	tenant      Tenant     // none on common and organizations
	client      *App
	redirectURI string
	platform    string
	query       url.Values
	mode        string // response_mode
	code        bool   // response_type has it
	idToken     bool   // likewise
	prompts     []string
	requested   scopeRequest // without a resource on common and organizations
	claims      claimsRequest
	device      string // the user code of the device that gets the response, in place of a redirect URI
	now         time.Time
}

// How an application may ask for the response. Response types are sorted by word.
var (
	responseTypes = []string{"code", "id_token", "code id_token"}
	responseModes = []string{"query", "fragment", "form_post"}
)

// authorize answers GET and POST /{tenant}/oauth2/v2.0/authorize.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	query, refused := authorizationQuery(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: "authorize", Form: query}
	var a *authorization
	if refused == nil {
		a, refused = s.newAuthorization(r.PathValue("tenant"), query)
	}
	if refused != nil {
		s.respond(w, r, seen, func() answer { return s.errorPage(r, refused, s.redirectHints(query, refused)...) })
		return
	}
	refused = s.checkAuthorization(a)
	seen.refuse = func(refused *refusal) answer { return s.sendRefusal(r, a, refused) }
	s.respond(w, r, seen, func() answer {
		if refused != nil {
			return s.sendRefusal(r, a, refused)
		}
		return s.proceed(r, signingIn{authorization: a, browser: browserOf(r)})
	})
}

// authorizationQuery reads the parameters of an authorization request.
func authorizationQuery(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	text := r.URL.RawQuery
	if r.Method == http.MethodPost {
		var refused *refusal
		if text, refused = readText(w, r, maxBody); refused != nil {
			return nil, refused
		}
	}
	return parseParameters(text)
}

// newAuthorization finds client and redirect URI. Until these are known to be genuine, a
// refusal is shown and sent nowhere (RFC 6749, section 4.1.2.1).
func (s *Server) newAuthorization(tenantName string, query url.Values) (*authorization, *refusal) {
	a := &authorization{dir: s.dir(), query: query, redirectURI: query.Get("redirect_uri"), now: time.Now()}
	var refused *refusal
	if a.tenant, a.path, refused = s.findTenant(tenantName); refused != nil {
		return nil, refused
	}
	clientID := query.Get("client_id")
	if clientID == "" {
		return nil, missing("client_id")
	}
	if a.client = s.authorizedClient(a.tenant, clientID); a.client == nil {
		return nil, refuse(700016, "Application with identifier '%s' was not found in the directory '%s'.", clientID, a.path)
	}
	if a.redirectURI == "" {
		a.redirectURI = a.client.onlyRedirectURI()
	}
	if a.redirectURI == "" {
		return nil, refuse(900971, "No reply address provided.")
	}
	if a.platform = a.client.platform(a.redirectURI); a.platform == "" {
		return nil, refuse(50011, "The redirect URI '%s' specified in the request does not match the redirect URIs configured "+
			"for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application.",
			a.redirectURI, a.client.ClientID)
	}
	return a, nil
}

// redirectHints lists what the client registered where its redirect URI is not among it. Entra
// does not, but has no secrets in these either.
func (s *Server) redirectHints(query url.Values, refused *refusal) []string {
	client := s.dir().app(query.Get("client_id"))
	if client == nil || !slices.Contains(refused.numbers, 50011) {
		return nil
	}
	var hints []string
	for _, platform := range []struct {
		name string
		uris []string
	}{{platformWeb, client.RedirectURIs.Web}, {platformSPA, client.RedirectURIs.SPA}, {platformNative, client.RedirectURIs.Native}} {
		for _, uri := range platform.uris {
			hints = append(hints, uri+" ("+platform.name+")")
		}
	}
	return hints
}

// authorizedClient returns the app in the tenant, or without one in any.
func (s *Server) authorizedClient(tenant Tenant, clientID string) *App {
	app := s.dir().app(clientID)
	if app == nil || tenant.ID != "" && !app.in(tenant) {
		return nil
	}
	return app
}

// checkAuthorization reads the rest of the request.
func (s *Server) checkAuthorization(a *authorization) *refusal {
	if a.tenant.ID == "" && !a.client.MultiTenant {
		return refuse(50194, "Application '%s'(%s) is not configured as a multi-tenant application. "+
			"Usage of the /%s endpoint is not supported for such applications. "+
			"Use a tenant-specific endpoint or configure the application to be multi-tenant.", a.client.ClientID, a.client.Name, a.path)
	}
	for _, check := range []func() *refusal{a.checkResponse, a.checkPrompt, a.checkChallenge} {
		if refused := check(); refused != nil {
			return refused
		}
	}
	var refused *refusal
	if a.claims, refused = parseClaims(a.query.Get("claims")); refused != nil {
		return refused
	}
	if a.query.Get("scope") == "" {
		return missing("scope")
	}
	if a.tenant.ID == "" {
		return nil // the user's tenant decides about the resource
	}
	return s.resolveScopes(a, a.tenant)
}

// resolveScopes reads the scopes in a tenant.
func (s *Server) resolveScopes(a *authorization, tenant Tenant) *refusal {
	var refused *refusal
	if a.requested, refused = s.parseScopes(tenant, a.query.Get("scope")); refused != nil {
		return refused
	}
	if refused := a.requested.checkItself(a.client); refused != nil {
		return refused
	}
	if refused := a.requested.checkResource(a.query.Get("resource")); refused != nil {
		return refused
	}
	for _, name := range a.requested.names {
		if name != defaultScope && !slices.Contains(a.requested.resource.Scopes, name) {
			return refuse(650053, "The application '%s' asked for scope '%s' that doesn't exist on the resource '%s'. Contact the app vendor.",
				a.client.Name, name, a.requested.resource.ClientID)
		}
	}
	if a.idToken && !a.requested.openID {
		return refuse(70005, "response_type 'id_token' requires the 'openid' scope.")
	}
	return nil
}

// checkResponse reads response_type and response_mode. An ID token is not sent in a query,
// which logs and Referer headers repeat (OAuth 2.0 Multiple Response Type Encoding Practices,
// section 3).
func (a *authorization) checkResponse() *refusal {
	types := strings.Fields(a.query.Get("response_type"))
	slices.Sort(types) // their order has no meaning
	a.code, a.idToken = slices.Contains(types, "code"), slices.Contains(types, "id_token")
	a.mode = "query"
	if a.idToken {
		a.mode = "fragment"
	}
	asked := a.query.Get("response_mode")
	switch {
	case asked == "":
	case !slices.Contains(responseModes, asked):
		return refuse(70007, "'%s' is not a supported value of 'response_mode'.", asked)
	case asked == "query" && a.idToken:
		return refuse(70007, "'query' is not a supported value of 'response_mode' when requesting a token.")
	default:
		a.mode = asked
	}
	switch {
	case len(types) == 0:
		return missing("response_type")
	case slices.Contains(types, "token"):
		return refuse(700051, "response_type 'token' is not enabled for the application.")
	case !slices.Contains(responseTypes, strings.Join(types, " ")):
		return refuse(70005, "The response type '%s' is not supported.", strings.Join(types, " "))
	case a.idToken && a.query.Get("nonce") == "":
		return missing("nonce")
	}
	return nil
}

// checkPrompt reads prompt (OpenID Connect Core, section 3.1.2.1).
func (a *authorization) checkPrompt() *refusal {
	a.prompts = strings.Fields(a.query.Get("prompt"))
	for _, prompt := range a.prompts {
		if !slices.Contains([]string{"none", "login", "select_account", "consent"}, prompt) || prompt == "none" && len(a.prompts) > 1 {
			return refuse(90023, "Unsupported 'prompt' value.")
		}
	}
	return nil
}

func (a *authorization) prompt(name string) bool { return slices.Contains(a.prompts, name) }

// codeChallenge is the form of an S256 code challenge (RFC 7636, section 4.2).
var codeChallenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// checkChallenge reads the code challenge. Public clients need one, and plain protects
// nobody (RFC 9700, section 2.1.1).
func (a *authorization) checkChallenge() *refusal {
	challenge, method := a.query.Get("code_challenge"), a.query.Get("code_challenge_method")
	switch {
	case challenge == "" && method != "":
		return refuse(501491, "Invalid size of Code_Challenge parameter.")
	case challenge == "" && a.code && a.platform != platformWeb:
		return refuse(9002325, "Proof Key for Code Exchange is required for cross-origin authorization code redemption.")
	case challenge == "":
		return nil
	case method != "S256":
		return refuse(50149, "Invalid Code_Challenge_method parameter.")
	case !codeChallenge.MatchString(challenge):
		return refuse(501491, "Invalid size of Code_Challenge parameter.")
	}
	return nil
}
