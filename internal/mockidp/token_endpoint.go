package mockidp

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

const (
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// refreshHint is the lifetime from which an answer has refresh_in: Entra sends it
	// with long-lived tokens only.
	refreshHint = 2 * time.Hour
)

// grantType is how tokens are asked for (RFC 6749, section 1.3).
type grantType struct {
	flow   string // a Request's
	public bool   // public clients may use it, and it works on common and organizations, as the user's tenant is meant
	answer func(*Server, tokenRequest) (map[string]any, *refusal)
}

// grantTypes are the supported ones, by the grant_type parameter.
var grantTypes = map[string]grantType{
	"authorization_code": {flow: "authorization_code", public: true, answer: (*Server).redeemCode},
	"client_credentials": {flow: "client_credentials", answer: (*Server).clientCredentials},
	deviceGrant:          {flow: "device_code", public: true, answer: (*Server).redeemDeviceCode},
	shortDeviceGrant:     {flow: "device_code", public: true, answer: (*Server).redeemDeviceCode},
	jwtBearer:            {flow: "on_behalf_of", answer: (*Server).onBehalfOf},
	"password":           {flow: "password", public: true, answer: (*Server).password},
	"refresh_token":      {flow: "refresh_token", public: true, answer: (*Server).redeemRefreshToken},
	"user_fic":           {flow: "user_fic", answer: (*Server).userFIC},
}

// tokenRequest is a request whose client is authenticated.
type tokenRequest struct {
	path     string // the tenant's ID, common or organizations
	tenant   Tenant // none on common and organizations, until the user is known
	client   *App
	strength string // azpacr of the client's credential
	form     url.Values
	claims   claimsRequest
	origin   string // of the page that sent it; "" for a program
	now      time.Time
}

// token answers POST /{tenant}/oauth2/v2.0/token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	form, refused := readForm(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: grantTypes[form.Get("grant_type")].flow, Form: form, token: true}
	s.respondForm(w, r, seen, refused, s.grant)
}

// respondForm answers a request with a form unless it was refused already.
func (s *Server) respondForm(
	w http.ResponseWriter, r *http.Request, seen Request, refused *refusal,
	answerForm func(*http.Request, url.Values) (map[string]any, *refusal),
) {
	s.respond(w, r, seen, func() answer {
		var body map[string]any
		if refused == nil {
			body, refused = answerForm(r, seen.Form)
		}
		if refused != nil {
			return refused.answer(s.URL(), r)
		}
		a := jsonAnswer(http.StatusOK, body)
		a.header["Cache-Control"] = "no-store, no-cache" // RFC 6749, section 5.1
		a.header["Pragma"] = "no-cache"
		return a
	})
}

// readForm reads the parameters, which must be in the body.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	if r.Method != http.MethodPost {
		return nil, refuse(900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, missing("grant_type") // Entra does not look into another body
	}
	text, refused := readText(w, r, maxBody)
	if refused != nil {
		return nil, refused
	}
	return parseParameters(text)
}

// readText reads a body of at most limit bytes.
func readText(w http.ResponseWriter, r *http.Request, limit int64) (string, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return "", refuse(9000411, "The request is not properly formatted: the body cannot be read.")
	}
	return string(body), nil
}

// parseParameters reads a query or a form, in which each parameter may appear once (RFC 6749,
// sections 3.1 and 3.2). One that is repeated is refused with the parameters, for the journal.
func parseParameters(text string) (url.Values, *refusal) {
	parameters, err := url.ParseQuery(text)
	if err != nil {
		return nil, refuse(9000411, "The request is not properly formatted.")
	}
	for name, values := range parameters {
		if len(values) > 1 {
			return parameters, refuse(9000411, "The request is not properly formatted. The parameter '%s' is duplicated.", name)
		}
	}
	return parameters, nil
}

// grant executes the grant of the form, or refuses it.
func (s *Server) grant(r *http.Request, form url.Values) (map[string]any, *refusal) {
	name := form.Get("grant_type")
	if name == "" {
		return nil, missing("grant_type")
	}
	form, refused := withBasicCredential(r, form)
	if refused != nil {
		return nil, refused
	}
	kind := grantTypes[name]
	if kind.answer == nil {
		return nil, refuse(70003, "The app requested an unsupported grant type '%s'.", name)
	}
	from, refused := s.redemption(form)
	if refused != nil {
		return nil, refused
	}
	request := tokenRequest{form: form, origin: r.Header.Get("Origin"), now: time.Now()}
	if request.tenant, request.path, refused = s.grantTenant(r.PathValue("tenant"), kind, from); refused != nil {
		return nil, refused
	}
	if request.client, request.strength, refused = s.authenticate(request, kind.public, from); refused != nil {
		return nil, refused
	}
	if request.claims, refused = parseClaims(form.Get("claims")); refused != nil {
		return nil, refused
	}
	return kind.answer(s, request)
}

// grantTenant resolves the tenant of a grant. On-behalf-of and client credentials need a
// real one: neither works on common or organizations. A code or a refresh token says its own
// there.
func (s *Server) grantTenant(name string, kind grantType, from *redemption) (Tenant, string, *refusal) {
	tenant, path, refused := s.findTenant(name)
	switch {
	case refused != nil:
		return Tenant{}, "", refused
	case from != nil:
		tenant, refused = s.ownTenant(tenant, from)
		return tenant, path, refused
	case kind.public:
	case path == "common":
		return Tenant{}, "", notOnCommon()
	case path == "organizations":
		return Tenant{}, "", noTenant()
	}
	return tenant, path, nil
}

func notOnCommon() *refusal {
	return refuse(9001023, "The grant type is not supported over the /common or /consumers endpoints. "+
		"Please use the /organizations or tenant-specific endpoint.")
}

func noTenant() *refusal {
	return refuse(50059, "No tenant-identifying information found in either the request or implied by any provided credentials.")
}

// onBehalfOf exchanges a user's token for this client for a token for a downstream API
// ("OAuth 2.0 On-Behalf-Of flow").
func (s *Server) onBehalfOf(r tokenRequest) (map[string]any, *refusal) {
	switch r.form.Get("requested_token_use") {
	case "":
		return nil, missing("requested_token_use")
	case "on_behalf_of":
	default:
		return nil, refuse(90013, "The value of 'requested_token_use' is not supported.")
	}
	if r.form.Has("requested_token_type") {
		return nil, refuse(90013, "The value of 'requested_token_type' is not supported.")
	}
	if r.client.blueprint != nil && r.form.Has("username") { // the documented form of user_fic
		return s.agentUser(r, "assertion")
	}
	user, contexts, refused := s.assertedUser(r)
	if refused != nil {
		return nil, refused
	}
	return s.userAnswer(r, user, r.form.Get("scope"), signIn{Time: r.now, Contexts: contexts})
}

// clientCredentials issues an app-only token. Like Entra, it issues the token even if no
// role is granted, so the resource must check the roles ("Client credentials flow",
// "Application permissions"), and the answer has no scope.
func (s *Server) clientCredentials(r tokenRequest) (map[string]any, *refusal) {
	if r.form.Get("scope") == "" {
		return nil, missing("scope")
	}
	requested, refused := s.parseScopes(r.tenant, r.form.Get("scope"))
	if refused == nil && !requested.byDefault || refused != nil && refused.code == "invalid_scope" {
		return nil, refuse(1002012, "The provided value for scope %s is not valid. "+
			"Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
			r.form.Get("scope"))
	}
	if refused != nil {
		return nil, refused
	}
	if refused := requested.checkResource(r.form.Get("resource")); refused != nil {
		return nil, refused
	}
	subject, refused := s.vouchedAgent(r)
	if refused != nil {
		return nil, refused
	}
	claims := s.claims(issue{
		tenantID: r.tenant.ID, client: r.client, resource: requested.resource, subject: subject,
		roles: s.dir().granted(r.client, requested.resource, nil).Roles, strength: r.strength, capable: r.claims.capable, now: r.now,
	})
	return s.success(requested.resource, claims), nil
}

func (s *Server) success(resource *App, claims map[string]any) map[string]any {
	seconds := int(resource.lifetime().Seconds())
	body := map[string]any{
		"token_type":     "Bearer",
		"expires_in":     seconds,
		"ext_expires_in": seconds,
		"access_token":   s.Sign(claims),
	}
	if resource.lifetime() >= refreshHint {
		body["refresh_in"] = seconds / 2
	}
	return body
}

func randomID(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}
