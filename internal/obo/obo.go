// Package obo trades a caller's token, or our own identity, for a token for a
// downstream API.
//
// The life of a token. Cache.Token, and its short forms OnBehalfOf and ForApp, look in memory
// first, and a returning caller is served from there. What memory lacks is got by acquire, in
// one flight for all callers who wait for it: from the tier that replicas share, else by one
// exchange of Client, for which the replica takes a lock in that tier. A token counts until
// the buffer before its expiry, and never outlives its assertion. When it is due it is renewed
// by acquire behind the requests that go on with it. A refusal that needs the user is kept
// like a token, for a minute; a demand to wait, under a key of its own. A token that its API
// refused is replaced, and the new one is on trial until the API accepts it. Forget,
// ForgetUser and ForgetAll end a token early: in the shared tier first, then in memory, then
// in other replicas by a notice. What an agent identity needs to prove itself are tokens too,
// and live the same life.
//
// A long-running session is a refresh token in a record, under a key that its user gets. The
// tokens that are fetched with it are cached as others are; whoever asks with the key is
// served from there only while the record is there.
//
// Locks. Cache.mu, memory.mu, watches.mu, turns.mu, msalClient.mu and agentClients.mu are each held for a
// few statements; none is held while another of them is taken, and none across the network.
// What was forgotten during a fetch is seen by memory's marks, not by a lock. Refreshes of one
// long-running session follow one another by records.Store.Lock, a lease that is held across
// the exchange.
//
// Goroutines. A flight outlives the caller that began it. It waits for the lease of another
// replica's lock at most, and Config.Timeout bounds each of its exchanges: one, or several for
// an agent. Cache.Run waits for the renewals, then ends the shared tier, which owns its own
// goroutines. Client.Run runs credential.Store.Run; Client starts no goroutine. Functions passed
// to OnForget run in goroutines that nobody waits for; they only cancel.
package obo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"middletier/internal/credential"
)

// Config says who we are to the identity platform. The keys in its errors are
// those of the azureAd section.
type Config struct {
	// Instance is the base URL of the cloud, such as https://login.microsoftonline.com/.
	Instance string
	// TenantID is our own tenant: its GUID or a domain.
	TenantID string
	// ClientID is our application (client) ID.
	ClientID string
	// Credentials prove that we are ClientID, in the order of preference.
	Credentials []credential.Config
	// SendX5C: client assertions carry the certificate's chain, so that the provider can
	// check its subject name and issuer.
	SendX5C bool
	// Region is the Azure region whose token endpoint gives tokens as ourselves, or
	// AutoDetectRegion; "": the global endpoint.
	Region string
	// HostMetadataURL is where AutoDetectRegion asks; "": where every Azure host answers.
	HostMetadataURL string
	// Capabilities are declared to the provider; cp1: claims challenges are
	// handled.
	Capabilities []string
	// Timeout bounds one exchange.
	Timeout time.Duration
	// MaxConcurrent bounds the exchanges that run at once; more wait their turn.
	MaxConcurrent int
	// Client sends the requests. It must not follow redirects, which would hand
	// on our credential.
	Client *http.Client
	// VaultCredential opens Azure Key Vault; nil: Azure's default chain of
	// credentials, which finds workload identity, managed identity and the like.
	VaultCredential azcore.TokenCredential
	// Log gets a line for each change of the credential; nil: none.
	Log *slog.Logger
	// Exchanged is called after every exchange, with the time that it took and its
	// error; nil: nothing is.
	Exchanged func(flow Flow, took time.Duration, err error)
}

// Check reports every mistake in c by its key. Instance, TenantID and ClientID
// are checked by package validate, which needs them too.
func (c Config) Check(report func(key, problem string)) {
	if !slices.ContainsFunc(c.Credentials, func(entry credential.Config) bool { return !entry.Skip }) {
		report("clientCredentials", "must hold at least one credential: tokens are exchanged with it")
	}
	for i, entry := range c.Credentials {
		entry.Check(func(key, problem string) {
			report(strings.TrimSuffix(fmt.Sprintf("clientCredentials[%d].%s", i, key), "."), problem)
		})
	}
	c.checkRegion(report)
	if c.Timeout <= 0 {
		report("timeout", "must be positive")
	}
	if c.MaxConcurrent <= 0 {
		report("maxConcurrentExchanges", "must be positive")
	}
}

// CheckLoading reports by key why no credential can be read, as credential.StoreConfig's does.
func (c Config) CheckLoading(report func(key, problem string)) {
	c.storeConfig().CheckLoading(report)
}

// storeConfig is what is needed to load credentials.
func (c Config) storeConfig() credential.StoreConfig {
	return credential.StoreConfig{
		Entries: c.Credentials, Instance: c.Instance, SendX5C: c.SendX5C, Client: c.Client, VaultCredential: c.VaultCredential, Log: c.Log,
	}
}

// authority is the URL of a tenant's authority.
func (c Config) authority(tenant string) string {
	return strings.TrimSuffix(c.Instance, "/") + "/" + tenant
}

// Flow is a way to get a token.
type Flow string

// The flows.
const (
	OnBehalfOf        Flow = "on_behalf_of"
	ClientCredentials Flow = "client_credentials"
	AgentUser         Flow = "agent_user"
	RefreshToken      Flow = "refresh_token"
	AuthorizationCode Flow = "authorization_code"
)

// TokenOrigin is where a token came from.
type TokenOrigin string

// The origins of a token.
const (
	Memory           TokenOrigin = "memory"
	Redis            TokenOrigin = "redis"
	IdentityProvider TokenOrigin = "identity_provider"
)

// Token is an access token for a downstream API. With an error it has no Value,
// and Origin is where the error came from.
type Token struct {
	Value  string
	Origin TokenOrigin
	// Trial is there while nothing is known of a token that replaced a refused one.
	Trial *Trial
}

// Assertion is a caller's token that was checked, and what the check found.
type Assertion struct {
	Token    string
	Digest   [32]byte  // its SHA-256
	TenantID string    // its tid: the tenant that the exchange happens in, also for guests
	ObjectID string    // its oid: the user, who is throttled with all their tokens
	Expires  time.Time // no token outlives the one it was traded for
}

// CorrelationID is the key of a context's value, a string: the id under which the caller and
// the provider log the same request. One that is no GUID is not sent to the provider.
type CorrelationID struct{}

// Challenge says what an API had against the last token; the zero value: nothing.
type Challenge struct {
	RejectedToken string // not returned again, except during the pause after two 401s in a row
	Claims        string // the API's claims challenge, as JSON
}

// Kind is what a refused or failed exchange means for the caller. It is decided
// once, where the provider's answer is read.
type Kind int

// The kinds of Error.
const (
	// Unavailable: the provider did not answer, or asks to wait.
	Unavailable Kind = iota
	// InteractionRequired: the user has to sign in again or do more.
	InteractionRequired
	// ConsentRequired: nobody has agreed to the scopes yet.
	ConsentRequired
	// Misconfigured: the provider refuses us, not the user.
	Misconfigured
	// InvalidResponse: the provider's answer cannot be understood.
	InvalidResponse
	// AssertionExpired: the caller's own token is past its time. The caller needs a
	// new one, which takes no user.
	AssertionExpired
)

func (k Kind) String() string {
	names := [...]string{"unavailable", "interaction required", "consent required", "misconfigured", "invalid response", "assertion expired"}
	return names[k]
}

// Error is an exchange that gave no token. Its fields are the provider's own
// words as far as it sent any (Microsoft's page "On-Behalf-Of flow", error
// response). Descriptions are left out: they are for Err and the log.
type Error struct {
	Kind          Kind
	Status        int // of the provider's answer, 0 without one
	Code          string
	Suberror      string
	Codes         []int
	Claims        string // the claims challenge, as JSON
	CorrelationID string
	TraceID       string
	RetryAfter    time.Duration
	Throttled     bool // the provider asks to be left alone for RetryAfter
	Scopes        []string
	Flow          Flow
	Agent         string // client ID of the agent identity that the token was for; "": none
	ConsentURI    string // with ConsentRequired: where the user or an admin can agree
	Err           error

	sent bool // the provider may have got the request
}

func (e *Error) Error() string {
	return fmt.Sprintf("token exchange: %s: status %d, error %q %q %v: %v", e.Kind, e.Status, e.Code, e.Suberror, e.Codes, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Outcome says in one word how it went to get a token: "ok", the kind of an
// *Error, "canceled" where the caller left, else "failed".
func Outcome(err error) string {
	if err == nil { // first, as errors.As needs an allocation
		return "ok"
	}
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return strings.ReplaceAll(refusal.Kind.String(), " ", "_")
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "failed"
}

// CheckScopes returns what is wrong with scopes, which must be delegated scopes
// of one resource: the provider issues a token for one (AADSTS28000).
func CheckScopes(scopes []string) error {
	if len(scopes) == 0 {
		return fmt.Errorf("must hold at least one scope, as api://RESOURCE/.default")
	}
	for _, s := range scopes {
		switch {
		case s == "" || strings.ContainsAny(s, " \t\r\n\"\\"):
			return fmt.Errorf("%q is not one scope", s)
		case resourceOf(s) != resourceOf(scopes[0]):
			return fmt.Errorf("%q and %q are of two resources; a token is for one", scopes[0], s)
		case len(scopes) > 1 && strings.HasSuffix("/"+s, "/.default"):
			return fmt.Errorf(".default stands alone: it holds the other scopes already")
		}
	}
	return nil
}

// AppScope returns the scope to ask for as an application, RESOURCE/.default,
// derived from delegated scopes of the same resource. It is "" where the scopes
// do not name their resource, as the short names of Microsoft Graph's do not.
func AppScope(scopes []string) string {
	if len(scopes) == 0 || resourceOf(scopes[0]) == "" {
		return ""
	}
	return resourceOf(scopes[0]) + "/.default"
}

// resourceOf returns the resource that a full scope name begins with.
func resourceOf(scope string) string {
	return scope[:max(strings.LastIndex(scope, "/"), 0)]
}
