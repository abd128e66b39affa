package obo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/credential"
	"middletier/internal/failure"
	"middletier/internal/reply"
)

const (
	// maxResponse bounds the body of the provider's responses; a token response has 5 KB.
	maxResponse = 1 << 20

	// defaultRetryAfter is for callers where the provider names no time.
	defaultRetryAfter = 5 * time.Second
)

// grant is a token as the provider gave it.
type grant struct {
	token     string
	expires   time.Time
	refreshAt time.Time // when the provider would like it renewed; zero: it did not say

	refreshToken string // "": none
	idToken      string // likewise; not checked
}

// tokenRequest is what an exchange is to bring.
type tokenRequest struct {
	user       *Assertion   // nil: a token as ourselves
	agent      Agent        // whose token it is instead
	vouchers   vouchers     // of the agent
	session    *heldSession // on behalf of its user; nil: none
	code       *Code        // of a sign-in; nil: none
	tenant     string       // "": the user's, or our own
	scopes     []string
	fmiPath    string
	claims     string // of a claims challenge, as JSON
	moreClaims string // that the caller asks for, as JSON
	again      bool   // there was a token before, which an API has refused or the caller does not want
}

// inTenant is the tenant that the exchange happens in, "" for our own.
func (r tokenRequest) inTenant() string {
	if r.user != nil && r.tenant == "" {
		return r.user.TenantID
	}
	return r.tenant
}

func (r tokenRequest) flow() Flow {
	if r.code != nil {
		return AuthorizationCode
	}
	request := Request{User: r.user, Agent: r.agent, session: r.session}
	return request.Flow()
}

// Client makes exchanges, one for every call. It remembers nothing; Cache does.
type Client struct {
	config Config
	turns  *turns // for the exchanges that may run at once

	credentials *credential.Store
	current     atomic.Pointer[activeCredential]

	agents         *agentClients
	regionalAgents *agentClients // the same if there is no region
}

// activeCredential is the credential in use and the MSAL clients that hold it. It never
// changes: exchanges that run keep the one they began with.
type activeCredential struct {
	*credential.Loaded
	forUsers *msalClient
	forApp   *msalClient // the same if there is no region
}

// NewClient returns a Client for c, whose Check must have passed. It fails when
// no credential can be loaded, for which it may ask a vault or the Azure host until ctx
// ends. The provider is asked nothing until the first exchange. Run keeps the
// credential up to date.
func NewClient(ctx context.Context, c Config) (*Client, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Exchanged == nil {
		c.Exchanged = func(Flow, time.Duration, error) {}
	}
	c.Region = c.region(ctx)
	client := &Client{config: c, turns: newTurns(c.MaxConcurrent), agents: c.newAgentClients(noRegion)}
	client.regionalAgents = client.agents
	if c.Region != "" {
		client.regionalAgents = c.newAgentClients(c.Region)
	}
	store := c.storeConfig()
	store.Use = client.use
	var err error
	if client.credentials, err = credential.NewStore(ctx, store); err != nil {
		return nil, err
	}
	return client, nil
}

// use has all exchanges that begin from now on made with a credential.
func (c *Client) use(loaded *credential.Loaded) error {
	clientIn := func(region string) (*msalClient, error) {
		return newMSALClient(maxTenants, func() (confidential.Client, error) {
			return c.config.newMSAL(c.config.ClientID, loaded.Credential, region)
		})
	}
	forUsers, err := clientIn(noRegion) // regional endpoints do not serve users
	if err != nil {
		return err
	}
	forApp := forUsers
	if c.config.Region != "" {
		if forApp, err = clientIn(c.config.Region); err != nil {
			return err
		}
	}
	c.current.Store(&activeCredential{loaded, forUsers, forApp})
	return nil
}

// Run keeps the credential up to date until ctx ends.
func (c *Client) Run(ctx context.Context) { c.credentials.Run(ctx) }

// CredentialExpiry returns when the certificate in use expires, and whether
// there is one.
func (c *Client) CredentialExpiry() (time.Time, bool) { return c.credentials.Expiry() }

// UnderWay returns how many exchanges run now.
func (c *Client) UnderWay() int { return c.turns.inUse() }

// String keeps the secrets in it from being printed.
func (c *Client) String() string { return "exchanges as " + c.config.ClientID }

// GoString is String, for %#v.
func (c *Client) GoString() string { return c.String() }

// newMSAL returns what makes the requests of a client with a credential, in a region or noRegion.
func (c Config) newMSAL(clientID string, credential confidential.Credential, region string) (confidential.Client, error) {
	options := []confidential.Option{
		confidential.WithHTTPClient(recorder{c.Client}),
		confidential.WithClientCapabilities(c.Capabilities),
		confidential.WithCache(forgetful{}),
		// We ask the configured authority and no other: discovery would send us
		// to Microsoft's public cloud, also from private ones.
		confidential.WithInstanceDiscovery(false),
		confidential.WithAzureRegion(region),
	}
	if c.SendX5C {
		options = append(options, confidential.WithX5C())
	}
	msal, err := confidential.New(c.authority(c.TenantID), clientID, credential, options...)
	if err != nil {
		return msal, fmt.Errorf("azureAd: %w", err)
	}
	return msal, nil
}

// requestToken has MSAL make one request: on behalf of the user, in the tenant of the
// user's token unless the request names another (Microsoft's page "On-Behalf-Of flow"), for an
// agent's user, or as ourselves (RFC 6749, section 4.4).
func requestToken(ctx context.Context, msal confidential.Client, r tokenRequest) error {
	switch r.flow() {
	case RefreshToken:
		return requestByRefreshToken(ctx, msal, r)
	case AuthorizationCode:
		return requestByCode(ctx, msal, r)
	case AgentUser:
		return requestForAgentUser(ctx, msal, r)
	case OnBehalfOf:
		options := []confidential.AcquireOnBehalfOfOption{
			confidential.WithTenantID(r.inTenant()), confidential.WithClaims(r.claims), confidential.WithClaimsFromClient(r.moreClaims),
		}
		_, err := msal.AcquireTokenOnBehalfOf(ctx, r.user.Token, r.scopes, options...)
		if errors.Is(err, errRecorded) {
			return nil
		}
		return err
	}
	options := []confidential.AcquireByCredentialOption{
		confidential.WithTenantID(r.tenant), confidential.WithClaims(r.claims), confidential.WithClaimsFromClient(r.moreClaims),
	}
	if r.fmiPath != "" {
		options = append(options, confidential.WithFMIPath(r.fmiPath))
	}
	_, err := msal.AcquireTokenByCredential(ctx, r.scopes, options...)
	return err
}

const (
	// retryPause is how long a provider that failed is given before the one retry.
	retryPause = 100 * time.Millisecond

	// unmatchedPause is the same for one that does not find our federated credential.
	unmatchedPause = time.Second
)

// retryPause returns how long to wait before the one retry, 0 for none. A code that was sent
// may be used up, and sending it again may end the tokens that it brought (RFC 6749, section
// 4.1.2).
func (a *activeCredential) retryPause(refusal *Error, r tokenRequest) time.Duration {
	switch {
	case refusal == nil:
		return 0
	case refusal.Kind == Unavailable && r.code != nil && refusal.sent:
		return 0
	case refusal.Kind == Unavailable && !refusal.Throttled:
		return retryPause + jitter(retryPause)
	case a.Federated && r.agent.ID == "" && slices.ContainsFunc(refusal.Codes, isUnmatched):
		return unmatchedPause
	}
	return 0
}

// isUnmatched reports whether a number says that no federated credential matches our
// assertion. Some of the provider's replicas may not know one yet, or not for a moment
// (kedacore/keda#8152, Azure/azure-workload-identity#1200). 7002137 and 7002138 do
// not count: they name a credential that is almost the same.
func isUnmatched(number int) bool { return number == 70021 || number >= 700211 && number <= 700213 }

// shares keep the exchanges fair while there are more than may run at once: no caller
// locks out the others, no API and no tenant those of another, and no API that refuses
// its tokens those who have none yet.
func (c *Client) shares(r tokenRequest) []share {
	tenant, caller := cmp.Or(r.inTenant(), c.config.TenantID), cmp.Or(r.agent.User, r.agent.ID, "ourselves")
	switch r.flow() {
	case OnBehalfOf:
		caller = cmp.Or(r.user.ObjectID, string(r.user.Digest[:]))
	case RefreshToken:
		caller = cmp.Or(r.session.User, string(r.session.Owner))
	case AuthorizationCode:
		caller = "signing in" // who it is, is not known yet
	}
	tenant = strings.ToLower(tenant)
	shares := []share{
		c.turns.quarter("caller " + tenant + " " + caller),
		c.turns.threeQuarters("tenant " + tenant),
		c.turns.threeQuarters("api " + strings.Join(r.scopes, " ")),
	}
	if r.again {
		shares = append(shares, c.turns.quarter("again"))
	}
	return shares
}

// exchange waits its turn and makes the exchange; once more where the provider
// refuses our credential and another one is there to be loaded, where it broke down
// rather than answered, or where it does not find our federated credential; all within
// Config.Timeout. The error is an *Error, or context.Canceled if the caller leaves while
// it waits.
func (c *Client) exchange(ctx context.Context, r tokenRequest) (_ grant, err error) {
	start := time.Now()
	defer func() { c.config.Exchanged(r.flow(), time.Since(start), err) }()
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	giveBack, err := c.turns.take(ctx, c.shares(r)...)
	if errors.Is(err, context.Canceled) {
		return grant{}, err
	}
	if err != nil {
		return grant{}, &Error{
			Kind: Unavailable, RetryAfter: defaultRetryAfter, Scopes: r.scopes, Err: errors.New("too many exchanges are under way"),
		}
	}
	defer giveBack()
	active := c.current.Load()
	g, refusal := c.try(ctx, active, r)
	if refusal != nil && refusal.Code == "invalid_client" && r.agent.ID == "" {
		c.credentials.ReloadAfterRefusal(ctx)
		if next := c.current.Load(); next != active && ctx.Err() == nil {
			active = next
			g, refusal = c.try(ctx, active, r)
		}
	}
	if wait := active.retryPause(refusal, r); wait > 0 && ctx.Err() == nil {
		pause := time.NewTimer(wait)
		defer pause.Stop()
		select {
		case <-ctx.Done():
		case <-pause.C:
			g, refusal = c.try(ctx, active, r)
		}
	}
	if refusal != nil {
		refusal.sent = false // it matters for retries only
		return grant{}, refusal
	}
	return g, nil
}

// try makes one exchange with a credential, and reads the provider's response.
func (c *Client) try(ctx context.Context, active *activeCredential, r tokenRequest) (grant, *Error) {
	recorded := recording{onBehalfOf: r.flow() == OnBehalfOf, header: exchangeHeader(ctx, r)}
	asking := context.WithValue(ctx, recordingKey{}, &recorded)
	msal, err := c.msalFor(active, r)
	if err != nil {
		return grant{}, &Error{Kind: Misconfigured, Scopes: r.scopes, Err: failure.Of(err)}
	}
	if r.agent.ID != "" {
		asking = context.WithValue(asking, voucherKey{}, r.vouchers.agent)
	}
	if r.session != nil {
		asking = c.withRefreshToken(asking, r)
	}
	err = requestToken(asking, msal, r)
	if err == nil && recorded.last.Load() == nil {
		// MSAL had a token as ourselves in the moment between two exchanges. It has
		// forgotten it by now.
		err = requestToken(asking, msal, r)
	}
	// MSAL reads the response too: it refuses tokens that live less than five
	// minutes, and accepts some responses that are invalid. So the recorded response is read
	// again here. MSAL's error counts only if there was no response.
	g, refusal := recorded.read(time.Now(), err)
	if refusal == nil {
		return g, nil
	}
	refusal.sent = recorded.sent.Load()
	refusal.Flow, refusal.Scopes, refusal.Agent = r.flow(), r.scopes, r.agent.ID
	if guid.MatchString(r.fmiPath) {
		refusal.Agent = r.fmiPath // the token would vouch for it
	}
	switch {
	case r.flow() == OnBehalfOf && refusal.outdated(r.user, time.Now()):
		refusal.Kind = AssertionExpired
	case (r.session != nil || r.code != nil) && refusal.Kind == AssertionExpired: // it is the refresh token or the code that has
		refusal.Kind = InteractionRequired
	case r.flow() != OnBehalfOf && r.session == nil && r.code == nil &&
		slices.Contains([]Kind{InteractionRequired, ConsentRequired, AssertionExpired}, refusal.Kind):
		// There is no user at a browser who could act, and it is not the caller who is refused.
		refusal.Kind, refusal.Claims = Misconfigured, ""
	}
	if refusal.Kind == InteractionRequired && refusal.Claims == "" {
		refusal.Claims = cmp.Or(r.claims, r.moreClaims) // what was asked for is still the newest
	}
	if refusal.Kind == ConsentRequired {
		refusal.ConsentURI = c.consentURI(r)
	}
	return grant{}, refusal
}

// msalFor returns what makes the request: regional endpoints do not serve users.
func (c *Client) msalFor(active *activeCredential, r tokenRequest) (confidential.Client, error) {
	forApp := r.flow() == ClientCredentials
	switch {
	case r.agent.ID != "" && forApp:
		return c.regionalAgents.forAgent(r.agent.ID, r.inTenant())
	case r.agent.ID != "":
		return c.agents.forAgent(r.agent.ID, r.inTenant())
	case forApp:
		return active.forApp.forTenant(r.inTenant()), nil
	}
	return active.forUsers.forTenant(r.inTenant()), nil
}

// consentURI is where a user, or an admin for everyone, can agree to the scopes of r.
func (c *Client) consentURI(r tokenRequest) string {
	return c.config.authority(cmp.Or(r.inTenant(), c.config.TenantID)) + "/oauth2/v2.0/authorize?" + url.Values{
		"client_id": {c.clientID(r)}, "response_type": {"code"},
		"scope": {strings.Join(r.scopes, " ")}, "prompt": {"consent"},
	}.Encode()
}

// forgetful empties MSAL's token cache before every use, except for what the request itself
// brings. MSAL would keep every assertion for ever; Cache is bounded. For exchanges on behalf of
// users MSAL has a cache of its own, which needs no emptying, because MSAL gets none of their
// tokens (errRecorded).
type forgetful struct{}

// errNotHeld tells MSAL to make the exchange without a look into its cache.
var errNotHeld = errors.New("MSAL's cache has no token")

func (forgetful) Replace(ctx context.Context, c cache.Unmarshaler, _ cache.ReplaceHints) error {
	if recordingOf(ctx).onBehalfOf {
		return errNotHeld
	}
	if held, ok := ctx.Value(redeemableKey{}).(redeemable); ok {
		return c.Unmarshal(held.cache)
	}
	return c.Unmarshal([]byte("{}"))
}

func (forgetful) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

// errRecorded is the error that MSAL gets in place of the response to an exchange on behalf of a
// user. To read it would cost MSAL more than the rest of its work, and this package reads it
// anyway.
var errRecorded = errors.New("the response is recorded")

// recorder is the HTTP client that MSAL gets. It limits what MSAL reads, and records the
// last response for the exchange whose context the request carries.
type recorder struct{ *http.Client }

func (rec recorder) Do(req *http.Request) (*http.Response, error) {
	recorded := recordingOf(req.Context())
	recorded.began.Store(true)
	recorded.last.Store(nil) // not that of an earlier request
	maps.Copy(req.Header, recorded.header)
	if err := replaceForm(req); err != nil {
		return nil, err
	}
	resp, err := rec.Client.Do(req)
	if req.Method == http.MethodPost && !neverSent(err) {
		recorded.sent.Store(true)
	}
	if err != nil {
		return nil, err
	}
	body, err := reply.Body(resp, maxResponse)
	if errors.Is(err, reply.ErrTooLarge) {
		return nil, errResponseTooLarge
	}
	if err != nil {
		return nil, err
	}
	if req.Method == http.MethodGet {
		body = withIssuerAt(req.URL, body)
	}
	last := &response{token: req.Method == http.MethodPost, status: resp.StatusCode, header: resp.Header, body: body}
	recorded.last.Store(last)
	if last.token && recorded.onBehalfOf {
		return nil, errRecorded
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// guid matches a GUID. Entra's correlation ids are GUIDs.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// exchangeHeader returns the headers of an exchange that Microsoft's other libraries send and
// MSAL for Go does not (v1.10.1), under canonical names.
func exchangeHeader(ctx context.Context, r tokenRequest) http.Header {
	header := http.Header{"X-Ms-Lib-Capability": {"retry-after, h429"}} // we honour Retry-After, also with 429
	user := r.agent.User
	switch r.flow() {
	case OnBehalfOf:
		user = r.user.ObjectID
	case RefreshToken:
		user = r.session.User
	}
	if guid.MatchString(user) && guid.MatchString(r.inTenant()) {
		// The provider routes the request to where the user's data is, and can use its
		// backup there.
		header["X-Anchormailbox"] = []string{"oid:" + user + "@" + r.inTenant()}
	}
	if id, ok := ctx.Value(CorrelationID{}).(string); ok && guid.MatchString(id) {
		header["Client-Request-Id"] = []string{id} // in place of MSAL's own
	}
	return header
}

// withIssuerAt returns the metadata of an External ID tenant with an issuer at the
// host that it came from. There the tenant's GUID stands for its name, which MSAL
// takes for a forgery (v1.10.1). It uses nothing but the endpoints; the issuers of
// tokens are package validate's to check.
func withIssuerAt(from *url.URL, metadata []byte) []byte {
	var members map[string]json.RawMessage
	var issuer string
	if json.Unmarshal(metadata, &members) != nil || json.Unmarshal(members["issuer"], &issuer) != nil {
		return metadata
	}
	if u, err := url.Parse(issuer); err != nil || !strings.HasSuffix(u.Host, ".ciamlogin.com") {
		return metadata
	}
	members["issuer"], _ = json.Marshal(from.Scheme + "://" + from.Host) // a string always can
	edited, err := json.Marshal(members)
	if err != nil {
		return metadata
	}
	return edited
}

var errResponseTooLarge = failure.New(fmt.Sprintf("the provider's answer is larger than %d bytes", maxResponse))

type recordingKey struct{}

// recording holds the last response of the provider in one exchange. MSAL's discovery may
// write it in another goroutine.
type recording struct {
	onBehalfOf bool        // of a user; MSAL gets no token then
	header     http.Header // to send
	began      atomic.Bool // a request was made
	sent       atomic.Bool // the provider may have got one for a token
	last       atomic.Pointer[response]
}

// recordingOf returns the recording that ctx carries, or one that nobody reads.
func recordingOf(ctx context.Context) *recording {
	if recorded, ok := ctx.Value(recordingKey{}).(*recording); ok {
		return recorded
	}
	return &recording{}
}

type response struct {
	token  bool // of the token endpoint, else of discovery
	status int
	header http.Header
	body   []byte
}
