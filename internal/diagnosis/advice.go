package diagnosis

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"middletier/internal/obo"
)

// advice says what to fix, for every AADSTS number that operators can act on ("Microsoft
// Entra authentication & authorization error codes").
var advice = map[int]string{
	28002:   "the scope is not valid: check scopes of the API",
	50013:   "callers' tokens are not accepted for an exchange: their signature or issuer does not fit azureAd.clientId and its tenant",
	50020:   "the user's account is not in the tenant: invite it as a guest, or remove its tenant from azureAd.allowedTenants",
	50027:   "the provider does not accept the form of callers' tokens: they may belong to an application with custom signing keys",
	50105:   "the user is not assigned to the application: assign the user or a group, or turn off \"assignment required\"",
	65001:   "neither a user nor an administrator has consented to it for this application",
	65005:   "the application does not list the API among its permissions: add it to the registration of azureAd.clientId",
	70002:   "the credential is missing or not valid: check azureAd.clientCredentials",
	70011:   "the scope is not valid; an application requests RESOURCE/.default",
	70021:   "no federated credential of the application matches the assertion's issuer, subject and audience",
	90002:   "no such tenant: check azureAd.tenantId and azureAd.instance",
	90009:   "the application asks for a token for itself: scopes must name the API, and by its GUID where the API is this application",
	90072:   "the user's account is not in the tenant: invite it as a guest, or remove its tenant from azureAd.allowedTenants",
	240002:  "an ID token was sent as the caller's token: clients must send an access token for this service",
	500011:  "the tenant has no such resource: check the scope, and that the API's service principal exists",
	500131:  "callers' tokens are for another application: each of azureAd.audiences must be an identifier of azureAd.clientId itself",
	501051:  "the API wants an assignment: give this application one of its app roles",
	650052:  "the tenant has no service principal of the API: an administrator must consent to the API there first",
	650056:  "the registration is incomplete: add the API to the application's permissions, and have an administrator consent",
	650057:  "the API is not among the permissions of the application: add it to the registration of azureAd.clientId",
	700016:  "the tenant has no such application: check azureAd.clientId and azureAd.tenantId",
	700022:  "scopes belong to more than one resource: a token is for one",
	700023:  "the scope names no resource, or the client assertion is for another audience: check scopes and azureAd.instance",
	700024:  "the assertion's times are not accepted: check this machine's clock",
	700027:  "the signature is not accepted: is the certificate registered on the application?",
	700030:  "the certificate's subject name is not one that the application trusts",
	700211:  "no federated credential of the application has this issuer",
	700212:  "no federated credential of the application has this audience",
	700213:  "no federated credential of the application has this subject",
	700229:  "the federated assertion is a user's token: only an application's own token may be one",
	900382:  "the application and the tenant are in different clouds: check azureAd.instance",
	900432:  "the application and the tenant are in different clouds: check azureAd.instance",
	1000502: "the certificate has expired",
	1002012: "the scope is not valid: it must be RESOURCE/.default",
	7000112: "the application is disabled in the tenant",
	7000114: "the caller's token is an application's: have the API of this registration ask for the optional claim idtyp",
	7000214: "the certificate has been revoked",
	7000215: "the client secret is wrong: is it the secret's value, not its ID?",
	7000218: "the credential is missing: check azureAd.clientCredentials",
	7000222: "the client secret has expired",
	7000229: "the tenant has no service principal of the application: create it (az ad sp create), or have an administrator consent there",
	7000274: "the certificate did not pass the provider's checks",
	7000277: "the certificate has been revoked",
	7002137: "no federated credential of the application has this subject",
	7002138: "no federated credential of the application has this subject: upper and lower case make a difference",
	9001023: "the grant type needs a tenant: azureAd.tenantId must be a GUID or a domain",
	9010010: "scopes and resource belong to different APIs: check scopes of the API",
}

// agentAdvice comes before advice where the token was for an agent identity.
var agentAdvice = map[int]string{
	50034: "the tenant has no such user: check the agent's user",
	65001: "nobody has consented to it for the agent identity: an administrator must, or the agent inherits permissions of its blueprint",
	700016: "the tenant has no such agent identity of azureAd.clientId, its blueprint: check the agent's identity, " +
		"and that it is not the blueprint's",
	700211: notVouched, 700212: notVouched, 700213: notVouched, 7002137: notVouched, 7002138: notVouched,
}

const notVouched = "the provider does not accept that the agent is vouched for: its user must be one of the agent's own, " +
	"and the agent one of azureAd.clientId, its blueprint"

// numberAdvice is the advice on the first of numbers that has one, or "".
func numberAdvice(e *obo.Error) string {
	for _, number := range e.Codes {
		if text := agentAdvice[number]; text != "" && e.Agent != "" {
			return text
		}
		if text := advice[number]; text != "" {
			return text
		}
	}
	return ""
}

// askUser are the error codes that ask for the user.
var askUser = []string{"invalid_grant", "interaction_required", "login_required", "consent_required"}

// codeAdvice is the advice on the error code alone, or "".
func codeAdvice(e *obo.Error) string {
	switch {
	case e.Flow == obo.AgentUser && slices.Contains(askUser, e.Code):
		return "the agent's user would have to sign in, and nobody can sign in as the agent's user: change what the provider asks of it, " +
			"such as a Conditional Access policy"
	case e.Suberror == "client_mismatch":
		return "callers' tokens are for another application: each of azureAd.audiences must be an identifier of azureAd.clientId itself"
	case e.Code == "invalid_client":
		return "the credential is not accepted"
	case e.Code == "unauthorized_client":
		return "the application may not do this"
	case IsAboutResource(e):
		return "the scope is not accepted"
	}
	return ""
}

// adviceInterval is how long the same advice is not logged again. The log lines of the
// failed requests still have the provider's error.
const adviceInterval = time.Hour

// Adviser logs what to change when the provider refuses this service itself.
type Adviser struct {
	log *slog.Logger

	mu   sync.Mutex // guards last
	last map[adviceKey]time.Time
}

// adviceKey is an advice and the scopes of the request. Both have few values.
type adviceKey struct{ advice, scopes string }

// NewAdviser returns an Adviser that writes to log.
func NewAdviser(log *slog.Logger) *Adviser {
	return &Adviser{log: log, last: map[adviceKey]time.Time{}}
}

// Exchanged logs the advice on the error of an exchange. A nil error is a success.
func (a *Adviser) Exchanged(err error) {
	var refusal *obo.Error
	if !errors.As(err, &refusal) || refusal.Kind != obo.Misconfigured {
		return
	}
	text := cmp.Or(numberAdvice(refusal), codeAdvice(refusal))
	if text == "" {
		return
	}
	key := adviceKey{text, strings.Join(refusal.Scopes, " ")}
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, logged := a.last[key]; logged && time.Since(last) < adviceInterval {
		return
	}
	a.last[key] = time.Now()
	a.log.Error("the identity provider refuses this service", "advice", key.advice, "error", codes(refusal), "scopes", key.scopes)
}
