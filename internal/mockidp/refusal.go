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
	28000:   "invalid_scope",          // scopes of more than one resource
	50013:   "invalid_grant",          // assertion invalid: signature, issuer, tenant
	50027:   "invalid_request",        // not a JWT
	50034:   "invalid_grant",          // no such user
	50049:   "invalid_instance",       // no such authority host
	50059:   "invalid_request",        // no tenant named
	50126:   "invalid_grant",          // wrong password
	65001:   "invalid_grant",          // no consent
	70002:   "invalid_request",        // two kinds of credential
	70003:   "unsupported_grant_type", //
	70011:   "invalid_scope",          //
	70016:   "authorization_pending",  // device code: the user has not signed in yet
	70018:   "authorization_declined", // device code: the user refused
	70020:   "expired_token",          // device code expired
	90002:   "invalid_request",        // no such tenant
	90013:   "invalid_request",        // unusable parameter value
	90023:   "invalid_request",        // unusable user name
	240002:  "invalid_grant",          // an ID token as assertion
	500011:  "invalid_resource",       // no such resource
	500131:  "invalid_grant",          // assertion for another app
	500133:  "invalid_grant",          // assertion expired or not yet valid
	700016:  "unauthorized_client",    // no such app in the tenant
	700021:  "invalid_client",         // client assertion of another app
	700023:  "invalid_client",         // client assertion for another audience
	700024:  "invalid_client",         // client assertion expired, not yet valid, or too long-lived
	700025:  "invalid_client",         // credential of a public client
	700027:  "invalid_client",         // client assertion: key, signature, id
	700211:  "invalid_client",         // no federated credential with this issuer
	700212:  "invalid_client",         // … with this audience
	700213:  "invalid_client",         // … with this subject
	900144:  "invalid_request",        // parameter missing
	900561:  "invalid_request",        // not a POST
	901002:  "invalid_request",        // "resource" belongs to v1.0
	1002012: "invalid_scope",          // client credentials without .default
	5002723: "invalid_client",         // client assertion without thumbprint
	5002741: "invalid_client",         // client assertion with several audiences
	7000014: "invalid_grant",          // device code unknown, used, or another client's
	7000114: "unauthorized_client",    // app-only token as assertion
	7000215: "invalid_client",         // wrong secret
	7000218: "invalid_client",         // no credential
	9000411: "invalid_request",        // body malformed, or parameter repeated
	9001023: "invalid_request",        // grant type needs a tenant
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

// answer returns the answer to one request, whose client-request-id becomes the
// correlation ID.
func (f *refusal) answer(url string, r *http.Request) answer {
	correlation := r.Header.Get("client-request-id")
	if !guid.MatchString(correlation) {
		correlation = newGUID()
	}
	trace, timestamp := newGUID(), time.Now().UTC().Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error":             f.code,
		"error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", f.numbered(), trace, correlation, timestamp),
		"error_codes":       append([]int{}, f.numbers...),
		"timestamp":         timestamp,
		"trace_id":          trace,
		"correlation_id":    correlation,
	}
	if len(f.numbers) > 0 {
		body["error_uri"] = fmt.Sprintf("%s/error?code=%d", url, f.numbers[0])
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
	a.header["X-Ms-Request-Id"] = trace
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
