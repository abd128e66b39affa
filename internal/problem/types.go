package problem

import (
	"net/http"

	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/validate"
)

// Type is the title of a kind of error, what it means, and who must act. The
// answer's status, its page, docs/errors.md and the OpenAPI document derive from it.
type Type struct {
	Status  int
	Title   string
	Meaning string
	Action  string

	// Example is an error that is answered with the type. It is nil if the type is never
	// sent.
	Example error
}

// Types are all problem types, by the last part of their type URL.
var Types = map[string]Type{
	"missing-token": {
		http.StatusUnauthorized, "No token",
		"The request has no Authorization header with a bearer token, or there is nothing after the word Bearer.",
		"The client sends an access token for this service, in the Authorization header only.",
		ErrNoToken,
	},
	"invalid-request": {
		http.StatusBadRequest, "Invalid request",
		"The request is malformed: more than one token, a method that is not in upper case, " +
			"an ambiguous path, a host that is not in server.allowedHosts or sidecar.allowedHosts, a query with bytes that must be percent-encoded, " +
			"a header that is not UTF-8, a message to an MCP server that could be read in two ways, or a body that ends too early. On the sidecar listener, also a query whose overrides are unknown, " +
			"cannot be read or contradict each other.",
		"The client corrects the request.",
		ErrPresentation,
	},
	"invalid-token": {
		http.StatusUnauthorized, "Invalid token",
		"The token was not issued for this service, has expired, or is not genuine. The detail says which. " +
			"It is often a token for Microsoft Graph, which a client gets if it requests scopes without this service's App ID URI, " +
			"or an ID token, which tells the client who signed in and is for no API. " +
			"A malformed token that has five parts is encrypted: token encryption (tokenEncryptionKeyId) is on " +
			"in this service's app registration, and encrypted tokens are not supported.",
		"The client gets a new access token for this service, with scopes that the document at resource_metadata lists in full, " +
			"and repeats the request. " +
			"If tokens are encrypted, the operators remove tokenEncryptionKeyId from the app registration.",
		&validate.InvalidTokenError{Reason: validate.Expired},
	},
	"insufficient-scope": {
		http.StatusForbidden, "Insufficient scope",
		"The token is valid, but has none of the scopes (users) or app permissions (applications) that the request needs.",
		"The client requests the scope of the WWW-Authenticate header, or another one of those listed, " +
			"or an administrator grants the application one of the permissions.",
		&validate.AccessError{Needed: ExampleScopes},
	},
	"no-access-rule": {
		http.StatusForbidden, "No access rule",
		"The API has no access rules, or no rule matches the method and the path, or the rule that matches first names no scopes " +
			"(for users, below /api) or no app permissions (for applications, below /app). No other token would be accepted.",
		"The operators look at downstreamApis.NAME.access: the first rule that matches decides, and an API without rules is closed. " +
			"If callers may make this request, they add a rule for it, or scopes or appPermissions to the one that matches.",
		&validate.AccessError{},
	},
	"wrong-token-type": {
		http.StatusForbidden, "Wrong kind of token",
		"Calls on behalf of a user go to /api/{name}/, calls without a user to /app/{name}/. The token is for the other route. " +
			"On the sidecar listener, an application's token gets a token as the application only.",
		"The client uses the route that the detail names, or on the sidecar listener optionsOverride.RequestAppToken=true.",
		ErrAppOnUser,
	},
	"caller-not-allowed": {
		http.StatusForbidden, "Application not allowed",
		"The token is valid, but the application it was issued to is not in azureAd.allowedClients. " +
			"Or the request came to the sidecar listener from an address that is not in sidecar.allowedCallers.",
		"The operators add the application to azureAd.allowedClients if it may call this service. " +
			"An address that they add to sidecar.allowedCallers counts as the application itself.",
		validate.ErrClientNotAllowed,
	},
	"tenant-not-allowed": {
		http.StatusForbidden, "Tenant not allowed",
		"The token is valid, but its tenant is not in azureAd.allowedTenants.",
		"The operators add the tenant to azureAd.allowedTenants if its users and applications may call this service.",
		validate.ErrTenantNotAllowed,
	},
	"claims-challenge": {
		http.StatusUnauthorized, "More claims are needed",
		"The identity provider has a condition that the user must meet first, such as multi-factor sign-in.",
		"The client requests a new token with the claims of the WWW-Authenticate header and repeats the request. " +
			"A page with a session sends the user to the loginUrl.",
		claimsExample,
	},
	"interaction-required": {
		http.StatusUnauthorized, "The user must sign in",
		"The identity provider issues no token for the API without the user, or the API refuses the token that it issues; " +
			"or there is no long-running session under a key, or it has ended.",
		"The client has the user sign in again and repeats the request; a long-running session is begun anew. " +
			"A page with a session sends the user to the loginUrl.",
		providerRefusal(obo.InteractionRequired, "invalid_grant", 50076),
	},
	"consent-required": {
		http.StatusForbidden, "Consent is missing",
		"Neither the user nor an administrator has consented to this service calling the downstream API on the user's behalf.",
		"The user or an administrator opens the consentUri. A page with a session sends the user to the loginUrl.",
		consentExample,
	},
	"session-required": {
		http.StatusUnauthorized, "Session required",
		"The request needs a session, and has no cookie of one, or the session has ended: it was too long without a request, " +
			"too old, signed out, or the identity provider refused to continue it.",
		"The client sends the user to the loginUrl.",
		ErrNoSession,
	},
	"cross-site-request": {
		http.StatusForbidden, "Cross-site request",
		"With server.easyAuth, a user's token may come from a cookie, which browsers send with requests of any site. " +
			"A page of another origin sent this one: Sec-Fetch-Site or Origin says so. " +
			"Nor may such a page open a WebSocket, whatever token it has. " +
			"Requests below /bff, which have the cookie of a session, also need the header X-CSRF: 1, " +
			"which no page of another origin can send; a WebSocket there needs an Origin, which is the service's own. " +
			"The sidecar listener answers no web pages at all: any page could use it with the application's rights.",
		"The client sends an access token in the Authorization header, or is a page of the service's own origin, which sends " +
			"X-CSRF: 1 with every request below /bff but a WebSocket. " +
			"For WebSockets of other origins with a token, the operators list them in server.cors.allowedOrigins. " +
			"If a page of the service's own origin is refused, they set server.publicUrl, or server.trustedProxies to the platform's front end.",
		ErrCrossSite,
	},
	"unknown-api": {
		http.StatusNotFound, "Unknown API",
		"No downstream API of that name is configured.",
		"The client uses a name under downstreamApis; names are case-sensitive, except on the sidecar listener.",
		ErrUnknownAPI,
	},
	"not-found": {
		http.StatusNotFound, "Not found",
		"There is nothing at this path.",
		"The client uses /api/{name}/{path} or /app/{name}/{path}, or on the sidecar listener the paths of Microsoft's container.",
		ErrNotFound,
	},
	"method-not-allowed": {
		http.StatusMethodNotAllowed, "Method not allowed",
		"No access rule of the API mentions the method, or the path has no such method.",
		"The client uses a method of the Allow header.",
		&validate.AccessError{Allow: []string{"GET", "HEAD"}},
	},
	"body-too-large": {
		http.StatusRequestEntityTooLarge, "Body too large",
		"The request body is larger than server.maxBodySize.",
		"The client sends less, or the operators raise the limit.",
		ErrBodyTooLarge,
	},
	"rate-limited": {
		http.StatusTooManyRequests, "Too many requests",
		"The caller (a user, or an application without one) has made more calls than server.rateLimit allows.",
		"The client waits as long as Retry-After says, and follows the RateLimit header from then on.",
		&RateError{ShortRetryAfter},
	},
	"headers-too-large": {
		http.StatusRequestHeaderFieldsTooLarge, "Headers too large",
		"The request headers are larger than server.maxHeaderSize or than the downstream API accepts, one header is larger than 32 KiB, " +
			"or the token is too long. A new sign-in brings a token of the same length.",
		"The client sends less, or the operators raise the limit. A token that is too long usually lists too many groups: " +
			"the operators limit the groups claim to groups assigned to the application, or use app roles.",
		ErrHeadersTooLarge,
	},
	"shared-cache-unavailable": {
		http.StatusServiceUnavailable, "Shared cache unavailable",
		"Redis does not answer. For a request with the key of a long-running session: the session is there and cannot be read or " +
			"written now. For operators who drop what is cached: this replica has cleared its memory, but entries in Redis were not " +
			"dropped, or other replicas were not notified.",
		"The client repeats the request after the time in Retry-After. The operators repeat theirs when Redis is back; " +
			"entries in Redis also expire by themselves.",
		obo.ErrRedis,
	},
	"upgrade-not-supported": {
		http.StatusNotImplemented, "Upgrade not supported",
		"The request asks for a WebSocket where none is allowed: they are for APIs with webSockets: true, on /api, /app and /bff/api.",
		"The client uses plain HTTP, such as long polling, or the operators set downstreamApis.NAME.webSockets.",
		ErrUpgrade,
	},
	"misconfigured": {
		http.StatusInternalServerError, "Misconfigured",
		"The identity provider refuses this service itself: its credential, its permissions, the scopes it asks for, the audience it accepts, " +
			"or a user who is not assigned to it. A new sign-in does not help.",
		"The operators look at the log line with this requestId: it has the provider's reason. A line with advice says what to change.",
		providerRefusal(obo.Misconfigured, "invalid_client", 7000215),
	},
	"identity-provider-unavailable": {
		http.StatusServiceUnavailable, "Identity provider unavailable",
		"The identity provider does not answer, has a fault, or throttles this service; or its signing keys could not be loaded yet.",
		"The client repeats the request after the time in Retry-After.",
		throttledExample,
	},
	"identity-provider-error": {
		http.StatusBadGateway, "Identity provider error",
		"The identity provider's answer is neither a token nor an OAuth error.",
		"The operators look at the log line with this requestId.",
		&obo.Error{Kind: obo.InvalidResponse},
	},
	"downstream-unreachable": {
		http.StatusBadGateway, "API unreachable",
		"The downstream API could not be reached, or closed the connection before it answered.",
		"The client may repeat the request if its method allows; the operators check the API and its baseUrl.",
		&downstream.Error{Kind: downstream.Unreachable},
	},
	"downstream-invalid-response": {
		http.StatusBadGateway, "API's answer is invalid",
		"The downstream API's answer is not valid HTTP: a status below 100, or a change of protocol (101) that was not requested. " +
			"Or the answer cannot be returned as JSON on the sidecar listener, because it is not text or too large; the detail says which.",
		"The operators check the API and the proxies in front of it. For answers that are not text, " +
			"the application gets a token at /AuthorizationHeader/{apiName} and calls the API itself.",
		&downstream.Error{Kind: downstream.InvalidResponse},
	},
	"downstream-timeout": {
		http.StatusGatewayTimeout, "API timed out",
		"The downstream API did not answer in time.",
		"The client may repeat the request if its method allows; the operators check the API, or raise its timeout.",
		&downstream.Error{Kind: downstream.Timeout},
	},
	"downstream-rejected-token": {
		http.StatusBadGateway, "API rejected our token",
		"The downstream API rejected the token that this service got for it, and then a new one, or asks for another kind of credential. " +
			"The caller's token is not the cause.",
		"The operators check that scopes and baseUrl belong to the same API. " +
			"If the detail mentions another kind of credential, the log says which scheme the API asks for.",
		&downstream.Error{Kind: downstream.RejectedToken},
	},
	"internal": {
		http.StatusInternalServerError, "Internal error",
		"An unexpected error occurred inside this service.",
		"The operators look at the log line with this requestId.",
		http.ErrAbortHandler, // any error that For does not know
	},
	"client-closed-request": {
		StatusClientClosed, "Request abandoned",
		"The caller left before the answer, or the service stopped. Nothing is sent; the type appears in the log only.",
		"Nobody needs to act.",
		nil,
	},
}

// ExampleScopes are those of the access rule for the request of the examples.
var ExampleScopes = []string{"ToDoList.Read", "ToDoList.ReadWrite"}

// providerRefusal is an example of a refusal by the identity provider.
func providerRefusal(kind obo.Kind, code string, number int) *obo.Error {
	return &obo.Error{
		Kind: kind, Code: code, Codes: []int{number}, Scopes: []string{"api://todo/.default"},
		CorrelationID: "7a2b0c1e-5d8f-4b6a-9e3c-1f2d3a4b5c6d", TraceID: "0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0",
	}
}

var (
	consentExample = func() error {
		e := providerRefusal(obo.ConsentRequired, "invalid_grant", 65001)
		e.Suberror = "consent_required"
		e.ConsentURI = "https://login.microsoftonline.com/organizations/v2.0/adminconsent" +
			"?client_id=22222222-2222-4222-8222-222222222222&scope=api%3A%2F%2Ftodo%2F.default"
		return e
	}()
	throttledExample = func() error {
		e := providerRefusal(obo.Unavailable, "temporarily_unavailable", 90033)
		e.RetryAfter = ShortRetryAfter
		return e
	}()
	claimsExample = func() error { // only callers that declare cp1 get it
		e := providerRefusal(obo.InteractionRequired, "interaction_required", 50079)
		e.Suberror = "basic_action"
		e.Claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
		return &Error{claimsProblem(e)}
	}()
)
