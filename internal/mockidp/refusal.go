package mockidp

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// refusal is an error as Entra's token endpoint words it ("On-behalf-of flow",
// "Error response example").
type refusal struct {
	status   int    // 0: by code
	code     string // the OAuth error code (RFC 6749, section 5.2)
	suberror string
	claims   string // a claims challenge, JSON
	numbers  []int  // AADSTS numbers
	text     string
}

// codes gives the OAuth error code of the AADSTS numbers the platform uses
// ("Microsoft Entra authentication & authorization error codes").
var codes = map[int]string{
	16000:   "interaction_required",   // several users are signed in
	28000:   "invalid_scope",          // scopes of more than one resource
	50011:   "invalid_request",        // redirect URI not registered
	50013:   "invalid_grant",          // assertion invalid: signature, issuer, tenant
	50027:   "invalid_request",        // not a JWT
	50034:   "invalid_grant",          // no such user
	50049:   "invalid_instance",       // no such authority host
	50058:   "login_required",         // prompt=none, and nobody is signed in
	50059:   "invalid_request",        // no tenant named
	50076:   "interaction_required",   // an authentication context has to be met
	50089:   "invalid_request",        // page of the sign-in expired
	50126:   "invalid_grant",          // wrong password
	50148:   "invalid_grant",          // code verifier or code challenge left out
	50149:   "invalid_request",        // code challenge method that is not S256
	50173:   "invalid_grant",          // sign-in revoked
	50194:   "invalid_request",        // common, with an app of one tenant
	54005:   "invalid_grant",          // code used before
	65001:   "invalid_grant",          // no consent
	65004:   "access_denied",          // the user cancelled
	70000:   "invalid_grant",          // code or refresh token of another client
	70002:   "invalid_request",        // two kinds of credential
	70003:   "unsupported_grant_type", //
	70005:   "unsupported_response_type",
	70007:   "invalid_request",           // response mode that does not fit the response type
	70008:   "invalid_grant",             // code expired
	70011:   "invalid_scope",             //
	70016:   "authorization_pending",     // device code: the user has not signed in yet
	70018:   "authorization_declined",    // device code: the user refused
	70020:   "expired_token",             // device code expired
	82014:   "unauthorized_client",       // people who sign in to an agent
	90002:   "invalid_request",           // no such tenant
	90009:   "invalid_request",           // the client itself as resource, by URI
	90013:   "invalid_request",           // unusable parameter value
	90023:   "invalid_request",           // unusable prompt or user name
	160021:  "interaction_required",      // sid of no session
	240002:  "invalid_grant",             // an ID token as assertion
	500011:  "invalid_resource",          // no such resource
	500112:  "invalid_grant",             // another redirect URI than the code's
	500131:  "invalid_grant",             // assertion for another app
	500133:  "invalid_grant",             // assertion expired or not yet valid
	501481:  "invalid_grant",             // code verifier does not fit
	501491:  "invalid_request",           // code challenge of a wrong size
	650053:  "invalid_client",            // scope that the resource does not expose
	700005:  "invalid_grant",             // code or refresh token of another tenant
	700016:  "unauthorized_client",       // no such app in the tenant
	700021:  "invalid_client",            // client assertion of another app
	700023:  "invalid_client",            // client assertion for another audience
	700024:  "invalid_client",            // client assertion expired, not yet valid, or too long-lived
	700025:  "invalid_client",            // credential of a public client
	700027:  "invalid_client",            // client assertion: key, signature, id
	700051:  "unsupported_response_type", // response type token
	700082:  "invalid_grant",             // refresh token expired
	700084:  "invalid_grant",             // … that of a single-page application
	700211:  "invalid_client",            // no federated credential with this issuer
	700212:  "invalid_client",            // … with this audience
	700213:  "invalid_client",            // … with this subject
	900144:  "invalid_request",           // parameter missing
	900561:  "invalid_request",           // not a POST
	900971:  "invalid_request",           // no redirect URI
	1002012: "invalid_scope",             // client credentials without .default
	5002723: "invalid_client",            // client assertion without thumbprint
	5002741: "invalid_client",            // client assertion with several audiences
	7000014: "invalid_grant",             // device code unknown, used, or another client's
	7000114: "unauthorized_client",       // app-only token as assertion
	7000215: "invalid_client",            // wrong secret
	7000218: "invalid_client",            // no credential
	9000411: "invalid_request",           // body malformed, or parameter repeated
	9001023: "invalid_request",           // grant type needs a tenant
	9002313: "invalid_grant",             // not a code or refresh token of this platform
	9002325: "invalid_request",           // public client without PKCE
	9002326: "invalid_request",           // page of another origin, not of a single-page application
	9002327: "invalid_request",           // single-page application's, without an origin
	9010010: "invalid_target",            // "resource" is not that of the scopes
}

// refuse makes the refusal with an AADSTS number.
func refuse(number int, format string, args ...any) *refusal {
	return &refusal{code: codes[number], numbers: []int{number}, text: fmt.Sprintf(format, args...)}
}

func missing(parameter string) *refusal {
	return refuse(900144, "The request body must contain the following parameter: '%s'.", parameter)
}

func (f *refusal) httpStatus() int {
	switch {
	case f.status != 0:
		return f.status
	case f.code == "invalid_client":
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

// report is a refusal of one request.
type report struct {
	description, trace, correlation, timestamp string
}

// report words the refusal for a request, whose client-request-id becomes the correlation ID.
func (f *refusal) report(r *http.Request) report {
	correlation := r.Header.Get("client-request-id")
	if !guid.MatchString(correlation) {
		correlation = r.URL.Query().Get("client-request-id")
	}
	if !guid.MatchString(correlation) {
		correlation = newGUID()
	}
	made := report{trace: newGUID(), correlation: correlation, timestamp: time.Now().UTC().Format("2006-01-02 15:04:05Z")}
	made.description = fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", f.numbered(), made.trace, correlation, made.timestamp)
	return made
}

// uri is where the refusal's first number is explained; it has one.
func (f *refusal) uri(url string) string {
	return fmt.Sprintf("%s/error?code=%d", url, f.numbers[0])
}

// answer returns the token endpoint's answer to one request.
func (f *refusal) answer(url string, r *http.Request) answer {
	report := f.report(r)
	body := map[string]any{
		"error":             f.code,
		"error_description": report.description,
		"error_codes":       append([]int{}, f.numbers...),
		"timestamp":         report.timestamp,
		"trace_id":          report.trace,
		"correlation_id":    report.correlation,
	}
	if len(f.numbers) > 0 {
		body["error_uri"] = f.uri(url)
	}
	if f.suberror != "" {
		body["suberror"] = f.suberror
	}
	if f.claims != "" {
		body["claims"] = f.claims
	}
	a := jsonAnswer(f.httpStatus(), body)
	a.header["Cache-Control"] = "no-store, no-cache"
	a.header["Pragma"] = "no-cache"
	a.header["X-Ms-Request-Id"] = report.trace
	a.refusal = f
	return a
}

func (f *refusal) numbered() string {
	if len(f.numbers) == 0 {
		return f.text
	}
	return fmt.Sprintf("AADSTS%d: %s", f.numbers[0], strings.TrimSpace(f.text))
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
