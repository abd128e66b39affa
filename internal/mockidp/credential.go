package mockidp

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// clientAssertionType is fixed by RFC 7523, section 2.2.
	clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// maxAssertionLifetime of a client assertion that an app signs itself. MSAL's
	// live for ten minutes.
	maxAssertionLifetime = 24 * time.Hour
	// assertionSkew is how far an issuer's clock may be ahead, the same as Entra's: MSAL for
	// Node rounds nbf up to the next second.
	assertionSkew = 5 * time.Minute
)

// Values of azpacr and appidacr (access-token-claims-reference).
const (
	publicClient = "0"
	bySecret     = "1"
	byAssertion  = "2"
)

var (
	errNoThumbprint = errors.New("no thumbprint in the header")
	errNoFederation = errors.New("no such federated credential")
)

// authenticate returns the client, and the strength of its authentication (azpacr). A
// public client has nothing to authenticate with. from is what it redeems, if that was given
// out in an earlier request, perhaps to another client.
func (s *Server) authenticate(r tokenRequest, publicToo bool, from *redemption) (*App, string, *refusal) {
	form := r.form
	app, refused := s.findClient(r.tenant, form.Get("client_id"))
	if refused != nil {
		return nil, "", refused
	}
	r.client = app
	if from != nil && !strings.EqualFold(from.clientID, app.ClientID) {
		refused := refuse(70000, "Provided grant is invalid or malformed: it was issued to another client.")
		refused.suberror = "client_mismatch"
		return nil, "", refused
	}
	if refused := from.checkOrigin(app, r.origin); refused != nil {
		return nil, "", refused
	}
	secret, assertion := form.Get("client_secret"), form.Get("client_assertion")
	switch {
	case from != nil && from.public && (secret != "" || assertion != ""):
		return nil, "", refuse(700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case from != nil && from.public, from == nil && secret == "" && assertion == "" && publicToo && app.isPublic():
		return app, publicClient, nil
	case secret != "" && assertion != "": // one only (RFC 6749, section 2.3)
		return nil, "", refuse(70002, "The request uses more than one way to authenticate the client.")
	case (secret != "" || assertion != "") && app.strength() == publicClient:
		return nil, "", refuse(700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case secret != "":
		return app, bySecret, app.checkSecret(secret)
	case assertion == "":
		return nil, "", refuse(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case form.Get("client_assertion_type") != clientAssertionType:
		return nil, "", refuse(7000218,
			"The request body must contain the following parameter: 'client_assertion_type' with value '%s'.", clientAssertionType)
	}
	return app, byAssertion, s.checkClientAssertion(r, assertion)
}

// withBasicCredential returns the form with the client and secret of an Authorization header
// (RFC 6749, section 2.3.1). A client that sends them in both places uses two ways at once.
func withBasicCredential(r *http.Request, form url.Values) (url.Values, *refusal) {
	id, secret, has := r.BasicAuth()
	if !has {
		return form, nil
	}
	clientID, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	switch {
	case errID != nil || errSecret != nil:
		return nil, refuse(9000411, "The request is not properly formatted: the Authorization header cannot be read.")
	case form.Has("client_secret"), form.Has("client_id") && form.Get("client_id") != clientID:
		return nil, refuse(70002, "The request uses more than one way to authenticate the client.")
	}
	form = maps.Clone(form)
	form.Set("client_id", clientID)
	form.Set("client_secret", secret)
	return form, nil
}

// findClient returns the app that a request comes from. Without a tenant (common and
// organizations) it must be in all of them.
func (s *Server) findClient(tenant Tenant, clientID string) (*App, *refusal) {
	if clientID == "" {
		return nil, missing("client_id")
	}
	app := s.dir().app(clientID)
	switch {
	case app == nil, tenant.ID != "" && !app.in(tenant):
		return nil, unknownApp(clientID, tenant)
	case tenant.ID == "" && !app.MultiTenant:
		return nil, noTenant()
	}
	return app, nil
}

func unknownApp(clientID string, tenant Tenant) *refusal {
	directory := tenant.ID
	if directory == "" {
		directory = "Microsoft Services"
	}
	return refuse(700016, "Application with identifier '%s' was not found in the directory '%s'.", clientID, directory)
}

// isPublic reports whether the app may get a user's tokens without a credential: it has
// none, or it also runs on its users' devices.
func (a *App) isPublic() bool {
	return a.strength() == publicClient || len(a.RedirectURIs.Native) > 0
}

func (a *App) checkSecret(secret string) *refusal {
	if slices.Contains(a.Secrets, secret) {
		return nil
	}
	return refuse(7000215, "Invalid client secret provided. "+
		"Ensure the secret being sent in the request is the client secret value, "+
		"not the client secret ID, for a secret added to app '%s'.", a.ClientID)
}

// checkClientAssertion sends the assertion to the check that fits its issuer: the app itself,
// another platform that the app trusts, or this one for an agent.
func (s *Server) checkClientAssertion(r tokenRequest, assertion string) *refusal {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, &claims); err != nil || hasLineBreak(assertion) {
		return malformed()
	}
	if len(claims.Audience) > 1 {
		return refuse(5002741, "Number of audience values in the provided client credential exceed maximum allowed. "+
			"%d audience values provided, maximum allowed is 1.", len(claims.Audience))
	}
	switch {
	case r.client.blueprint != nil:
		return s.checkT1(r, assertion)
	case !strings.Contains(claims.Issuer, "://"): // an app
		return s.checkCertificate(r, assertion)
	}
	return checkFederated(r.client, assertion, r.now)
}

// checkCertificate accepts an assertion the app signed with a certificate that
// is registered for it ("Certificate credentials"; RFC 7523, section 3).
func (s *Server) checkCertificate(r tokenRequest, assertion string) *refusal {
	app, now := r.client, r.now
	var claims jwt.RegisteredClaims
	if err := parseClientAssertion(assertion, &claims, app.certificateKey(now), now, "RS256", "PS256"); err != nil {
		return refuseClientAssertion(err)
	}
	switch {
	case !strings.EqualFold(claims.Issuer, app.ClientID), !strings.EqualFold(claims.Subject, app.ClientID):
		return refuse(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case len(claims.Audience) != 1, !slices.Contains(s.assertionAudiences(r), claims.Audience[0]):
		return refuse(700023, "Client assertion audience claim does not match Realm issuer.")
	case claims.ExpiresAt.Sub(now) > maxAssertionLifetime:
		return refuse(700024, "Client assertion is not within its valid time range: it lives too long.")
	case claims.ID == "":
		return refuse(700027, "Client assertion has no 'jti' claim.")
	case !s.usedIDs.claim(app.ClientID+" "+claims.ID, claims.ExpiresAt.Time, now):
		return refuse(700027, "Client assertion has been used before: its 'jti' claim is not new.")
	}
	return nil
}

// certificateKey finds the registered, valid certificate that the header names.
func (a *App) certificateKey(now time.Time) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		sha1Print, _ := token.Header["x5t"].(string)
		sha256Print, _ := token.Header["x5t#S256"].(string)
		if keyID, _ := token.Header["kid"].(string); sha1Print == "" && sha256Print == "" {
			if sha1Print = keyID; keyID == "" {
				return nil, errNoThumbprint
			}
			if sum, err := hex.DecodeString(keyID); err == nil { // as the portal shows it
				sha1Print = base64.RawURLEncoding.EncodeToString(sum)
			}
		}
		for _, certificate := range a.Certificates {
			valid := now.After(certificate.NotBefore) && now.Before(certificate.NotAfter)
			if valid && hasThumbprints(certificate, sha1Print, sha256Print) && chainFits(token.Header, certificate) {
				return certificate.PublicKey, nil
			}
		}
		return nil, errUnknownKey
	}
}

// hasThumbprints reports whether the certificate has the given thumbprints. An empty one
// is not compared.
func hasThumbprints(certificate *x509.Certificate, sha1Print, sha256Print string) bool {
	sum1, sum256 := sha1.Sum(certificate.Raw), sha256.Sum256(certificate.Raw)
	return (sha1Print == "" || urlBase64(sha1Print) == base64.RawURLEncoding.EncodeToString(sum1[:])) &&
		(sha256Print == "" || urlBase64(sha256Print) == base64.RawURLEncoding.EncodeToString(sum256[:]))
}

// chainFits reports whether the header has no certificate chain, or one that begins with the
// certificate (RFC 7515, section 4.1.6).
func chainFits(header map[string]any, certificate *x509.Certificate) bool {
	value, present := header["x5c"]
	if !present {
		return true
	}
	chain, _ := value.([]any)
	for i, text := range chain {
		encoded, _ := text.(string)
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || i == 0 && !bytes.Equal(der, certificate.Raw) {
			return false
		}
	}
	return len(chain) > 0
}

// urlBase64 converts standard base64, which MSAL Go uses for thumbprints, to base64url.
func urlBase64(text string) string {
	return strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
}

// assertionAudiences are the allowed audiences of an assertion that the app signed
// itself: the tenant's token endpoint or its issuer, under each name of the tenant and that
// of the request, such as organizations.
func (s *Server) assertionAudiences(r tokenRequest) []string {
	var audiences []string
	for _, name := range []string{r.tenant.ID, r.tenant.Domain, r.path} {
		if name != "" {
			base := s.URL() + "/" + name
			audiences = append(audiences, base+"/oauth2/v2.0/token", base+"/v2.0")
		}
	}
	return audiences
}

// checkFederated accepts an assertion of another issuer that the app trusts. Such a
// token may be used repeatedly until it expires ("Workload identity federation").
func checkFederated(app *App, assertion string, now time.Time) *refusal {
	var claims jwt.RegisteredClaims
	err := parseClientAssertion(assertion, &claims, func(*jwt.Token) (any, error) {
		for _, trusted := range app.Federated {
			if trusted.Issuer == claims.Issuer {
				return trusted.Key, nil
			}
		}
		return nil, errNoFederation
	}, now, "RS256")
	if err != nil {
		return refuseClientAssertion(err)
	}
	number := 700213
	for _, trusted := range app.Federated {
		switch {
		case trusted.Issuer != claims.Issuer || trusted.Subject != claims.Subject:
		case len(claims.Audience) != 1 || claims.Audience[0] != trusted.Audience:
			number = 700212
		default:
			return nil
		}
	}
	return noFederation(number, claims)
}

func noFederation(number int, claims jwt.RegisteredClaims) *refusal {
	return refuse(number, "No matching federated identity record found for presented assertion: "+
		"issuer '%s', subject '%s', audience '%s'.", claims.Issuer, claims.Subject, strings.Join(claims.Audience, " "))
}

// parseClientAssertion checks signature and times. Only nbf has leeway: an
// assertion that has expired is refused.
func parseClientAssertion(assertion string, claims jwt.Claims, key jwt.Keyfunc, now time.Time, methods ...string) error {
	parser := jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithLeeway(assertionSkew))
	if _, err := parser.ParseWithClaims(assertion, claims, key); err != nil {
		return err
	}
	if expiry, err := claims.GetExpirationTime(); err != nil || !now.Before(expiry.Time) {
		return jwt.ErrTokenInvalidClaims
	}
	return nil
}

func refuseClientAssertion(err error) *refusal {
	switch {
	case errors.Is(err, errNoFederation):
		return refuse(700211, "No matching federated identity record found for presented assertion issuer.")
	case errors.Is(err, errNoThumbprint):
		return refuse(5002723, "Invalid JWT token. "+
			"No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId are specified in token header.")
	case errors.Is(err, errUnknownKey):
		return refuse(700027, "Client assertion failed signature validation. [Reason - The key was not found.]")
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return refuse(700024, "Client assertion is not within its valid time range.")
	}
	return refuse(700027, "Client assertion failed signature validation. "+
		"[Reason - The provided signature value did not match the expected signature value.]")
}

// usedIDs remembers the ids of client assertions until these expire.
type usedIDs struct {
	mu     sync.Mutex           // guards the fields below
	expiry map[string]time.Time // by client and id
	swept  time.Time
}

// claim reports whether the id is new, and remembers it.
func (u *usedIDs) claim(id string, expiry, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, used := u.expiry[id]; used {
		return false
	}
	if now.Sub(u.swept) > time.Minute { // sweeping every time would be quadratic
		u.swept = now
		for old, end := range u.expiry {
			if end.Before(now) {
				delete(u.expiry, old)
			}
		}
	}
	if u.expiry == nil {
		u.expiry = map[string]time.Time{}
	}
	u.expiry[id] = expiry
	return true
}
