package main

import (
	"cmp"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"middletier/internal/obo"
)

// advice says what to do about the AADSTS numbers that a new deployment meets
// ("Microsoft Entra authentication & authorization error codes").
var advice = map[int]string{
	65001:   "nobody has consented to it for this application",
	70011:   "the scope is not valid; an application's own is RESOURCE/.default",
	90002:   "no such tenant: check azureAd.tenantId and azureAd.instance",
	500011:  "the tenant knows no such resource: check the scope, and that the API's service principal exists",
	501051:  "the API wants an assignment: give this application one of its app roles",
	700016:  "the tenant knows no such application: check azureAd.clientId and azureAd.tenantId",
	700024:  "the assertion's times are not accepted: check this machine's clock",
	700027:  "the signature is not accepted: is the certificate registered on the application?",
	700211:  "no federated credential of the application has this issuer",
	700212:  "no federated credential of the application has this audience",
	700213:  "no federated credential of the application has this subject",
	1000502: "the certificate has expired",
	1002012: "the scope is not valid: it must be RESOURCE/.default",
	7000215: "the client secret is wrong: is it the secret's value, not its ID?",
	7000222: "the client secret has expired",
}

// numberAdvice is the advice on the first of numbers for which there is one, or "".
func numberAdvice(numbers []int) string {
	for _, number := range numbers {
		if what := advice[number]; what != "" {
			return what
		}
	}
	return ""
}

// codeAdvice says what the error code alone tells, or "".
func codeAdvice(e *obo.Error) string {
	switch {
	case e.Code == "invalid_client":
		return "the credential is not accepted"
	case e.Code == "unauthorized_client":
		return "the application may not do this"
	case aboutResource(e):
		return "the scope is not accepted"
	}
	return ""
}

// adviceInterval is how long the same advice is not repeated. The lines of the
// requests that fail meanwhile have the provider's own words.
const adviceInterval = time.Hour

// adviser tells the log what to mend when the provider refuses this service
// itself.
type adviser struct {
	log *slog.Logger

	mu   sync.Mutex // guards told
	told map[given]time.Time
}

// given is an advice and the scopes that were asked for: there are few of both.
type given struct{ advice, scopes string }

// exchanged is told of the error of an exchange that has ended.
func (a *adviser) exchanged(err error) {
	var refusal *obo.Error
	if !errors.As(err, &refusal) || refusal.Kind != obo.Misconfigured {
		return
	}
	what := cmp.Or(numberAdvice(refusal.Codes), codeAdvice(refusal))
	if what == "" {
		return
	}
	g := given{what, strings.Join(refusal.Scopes, " ")}
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, told := a.told[g]; told && time.Since(last) < adviceInterval {
		return
	}
	a.told[g] = time.Now()
	a.log.Error("the identity provider refuses this service", "advice", g.advice, "error", codes(refusal), "scopes", g.scopes)
}
