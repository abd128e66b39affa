package api

import "net/http"

// problemType is what a kind of error is called, means and asks for.
type problemType struct {
	Status  int
	Title   string
	Meaning string
	Action  string
}

// problemTypes are all errors of the service, by the last part of their type.
var problemTypes = map[string]problemType{
	"missing-token": {
		http.StatusUnauthorized, "No token",
		"The request has no Authorization header with a bearer token, or nothing stands behind Bearer.",
		"The client sends an access token for this service, in the Authorization header only.",
	},
	"invalid-request": {
		http.StatusBadRequest, "Invalid request",
		"The request is malformed: more than one Authorization header, a method that is not in upper case, a path that could be understood in two ways, a query with bytes that must be percent-encoded, a header that is not UTF-8, or a body that breaks off.",
		"The client mends the request.",
	},
	"invalid-token": {
		http.StatusUnauthorized, "Invalid token",
		"The token was not issued for this service, has expired, or is not genuine. The detail says which. " +
			"A token that is malformed and has five parts is encrypted: token encryption (tokenEncryptionKeyId) is on " +
			"at this service's registration, which is not supported here.",
		"The client gets a new access token for this service and repeats the request. " +
			"Where tokens are encrypted, the operators take tokenEncryptionKeyId out of the registration.",
	},
	"insufficient-scope": {
		http.StatusForbidden, "Insufficient scope",
		"The token is good, but holds none of the scopes (users) or app permissions (applications) that the request needs.",
		"The client asks for one of the scopes listed, or an administrator grants the application one of the permissions.",
	},
	"wrong-token-type": {
		http.StatusForbidden, "Wrong kind of token",
		"Users' calls go to /api/{name}/ and calls without a user to /app/{name}/; the token is for the other route.",
		"The client uses the route that the detail names.",
	},
	"caller-not-allowed": {
		http.StatusForbidden, "Application not allowed",
		"The token is good, but the application it was issued to is not among those that may call this service.",
		"The operators add the application to azureAd.allowedClients, if it should be there.",
	},
	"tenant-not-allowed": {
		http.StatusForbidden, "Tenant not allowed",
		"The token is good, but its tenant is not among those whose users and applications may call this service.",
		"The operators add the tenant to azureAd.allowedTenants, if it should be there.",
	},
	"claims-challenge": {
		http.StatusUnauthorized, "More claims are needed",
		"The identity provider has a condition that the user must meet first, as multi-factor sign-in.",
		"The client asks for a new token with the claims of the WWW-Authenticate header and repeats the request.",
	},
	"interaction-required": {
		http.StatusUnauthorized, "The user must sign in",
		"The identity provider does not trade the user's token without the user, or the API does not take what it trades for it.",
		"The client has the user sign in again and repeats the request.",
	},
	"consent-required": {
		http.StatusForbidden, "Consent is missing",
		"Neither the user nor an administrator has agreed that this service calls the downstream API on the user's behalf.",
		"The user or an administrator opens the consentUri.",
	},
	"unknown-api": {
		http.StatusNotFound, "Unknown API",
		"No downstream API of that name is configured.",
		"The client uses a name under downstreamApis; names are case-sensitive.",
	},
	"not-found": {
		http.StatusNotFound, "Not found",
		"There is nothing at this path.",
		"The client uses /api/{name}/{path} or /app/{name}/{path}.",
	},
	"method-not-allowed": {
		http.StatusMethodNotAllowed, "Method not allowed",
		"No access rule of the API mentions the method.",
		"The client uses a method of the Allow header.",
	},
	"body-too-large": {
		http.StatusRequestEntityTooLarge, "Body too large",
		"The request body is larger than server.maxBodySize.",
		"The client sends less, or the operators raise the limit.",
	},
	"rate-limited": {
		http.StatusTooManyRequests, "Too many requests",
		"The caller, a user or an application without one, has used up what server.rateLimit allows.",
		"The client waits as long as Retry-After says, and goes by the RateLimit header from then on.",
	},
	"headers-too-large": {
		http.StatusRequestHeaderFieldsTooLarge, "Headers too large",
		"The request headers are larger than server.maxHeaderSize or than the downstream API accepts, one of them is larger than 32 KiB, or the token is. Another sign-in brings a token as long.",
		"The client sends less, or the operators raise the limit. A token that is too long names too many groups: " +
			"the operators have only those groups put into it that are assigned to the application, or use app roles.",
	},
	"shared-cache-unavailable": {
		http.StatusServiceUnavailable, "Shared cache unavailable",
		"What this replica held in memory is forgotten, but Redis did not answer: what it holds was not dropped, or other replicas were not told.",
		"The operators repeat the request when Redis is back. Tokens there expire by themselves.",
	},
	"upgrade-not-supported": {
		http.StatusNotImplemented, "Upgrade not supported",
		"Protocol upgrades, as to WebSocket, are not supported.",
		"The client uses plain HTTP.",
	},
	"misconfigured": {
		http.StatusInternalServerError, "Misconfigured",
		"The identity provider refuses this service itself: its credential, its permissions, the scopes it asks for, the audience it accepts, " +
			"or a user who is not assigned to it. A sign-in does not help.",
		"The operators look at the log line with this requestId: it holds the provider's reason. A line with advice says what to fix.",
	},
	"identity-provider-unavailable": {
		http.StatusServiceUnavailable, "Identity provider unavailable",
		"The identity provider does not answer, is ill, or asks to wait; or its signing keys could not be loaded yet.",
		"The client repeats the request after the time in Retry-After.",
	},
	"identity-provider-error": {
		http.StatusBadGateway, "Identity provider error",
		"The identity provider answered something that is neither a token nor an error.",
		"The operators look at the log line with this requestId.",
	},
	"downstream-unreachable": {
		http.StatusBadGateway, "API unreachable",
		"The downstream API could not be reached, or broke the connection before it answered.",
		"The client may repeat the request if its method allows; the operators check the API and its baseUrl.",
	},
	"downstream-invalid-response": {
		http.StatusBadGateway, "API's answer is invalid",
		"The downstream API sent an answer that HTTP does not allow: a status below 100, or a change of protocol (101) that nobody asked for.",
		"The operators check the API and the proxies in front of it.",
	},
	"downstream-timeout": {
		http.StatusGatewayTimeout, "API timed out",
		"The downstream API did not answer in time.",
		"The client may repeat the request if its method allows; the operators check the API and its timeout.",
	},
	"downstream-rejected-token": {
		http.StatusBadGateway, "API rejected our token",
		"The downstream API refused the token that this service got for it, also a fresh one, or asks for another kind of credential. " +
			"The caller's token is not at fault.",
		"The operators check that scopes name the API that baseUrl leads to. " +
			"Where the detail speaks of another kind of credential, the log says which scheme the API asks for.",
	},
	"internal": {
		http.StatusInternalServerError, "Internal error",
		"Something went wrong inside this service.",
		"The operators look at the log line with this requestId.",
	},
	"client-closed-request": {
		statusClientClosed, "Request abandoned",
		"The caller left before there was an answer, or the service ended. Nothing is sent; this is for the log.",
		"Nobody needs to act.",
	},
}
