package obo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const (
	// maxAnswer bounds what is read of an answer; a token response has 5 KB.
	maxAnswer = 1 << 20

	// defaultRetryAfter is what callers are told where the provider names no time.
	defaultRetryAfter = 5 * time.Second
)

// grant is a token as the provider gave it.
type grant struct {
	token   string
	expires time.Time
}

// Client makes exchanges, one for every call. It remembers nothing; Cache does.
type Client struct {
	config Config
	msal   confidential.Client
	turns  chan struct{} // one place for each exchange that may run
}

// NewClient returns a Client for c, whose Check must have passed. It fails when
// no credential can be loaded. Nothing is sent until the first exchange.
func NewClient(c Config) (*Client, error) {
	credential, err := loadFirst(c.Credentials)
	if err != nil {
		return nil, err
	}
	msal, err := confidential.New(c.authority(c.TenantID), c.ClientID, credential,
		confidential.WithHTTPClient(recorder{c.Client}),
		confidential.WithClientCapabilities(c.Capabilities),
		confidential.WithCache(forgetful{}),
		// We ask the configured authority and no other: discovery would send us
		// to Microsoft's public cloud, also from private ones.
		confidential.WithInstanceDiscovery(false),
	)
	if err != nil {
		return nil, fmt.Errorf("azureAd: %w", err)
	}
	return &Client{config: c, msal: msal, turns: make(chan struct{}, c.MaxConcurrent)}, nil
}

// OnBehalfOf trades a user's token for one for scopes, in the tenant of the
// user's token. The error is an *Error. (Microsoft's page "On-Behalf-Of flow".)
func (c *Client) OnBehalfOf(ctx context.Context, a Assertion, scopes []string) (grant, error) {
	return c.exchange(ctx, a.TenantID, scopes, func(ctx context.Context) error {
		_, err := c.msal.AcquireTokenOnBehalfOf(ctx, a.Token, scopes, confidential.WithTenantID(a.TenantID))
		return err
	})
}

// ForApp gets a token as ourselves (RFC 6749, section 4.4). scope is
// RESOURCE/.default. The error is an *Error.
func (c *Client) ForApp(ctx context.Context, scope string) (grant, error) {
	scopes := []string{scope}
	return c.exchange(ctx, c.config.TenantID, scopes, func(ctx context.Context) error {
		_, err := c.msal.AcquireTokenByCredential(ctx, scopes)
		return err
	})
}

// exchange waits its turn, lets MSAL make the request, and reads the answer.
func (c *Client) exchange(ctx context.Context, tenant string, scopes []string, acquire func(context.Context) error) (grant, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return grant{}, &Error{Kind: Unavailable, RetryAfter: defaultRetryAfter, Scopes: scopes, Err: errors.New("too many exchanges are under way")}
	}
	var answer answer
	err := acquire(context.WithValue(ctx, answerKey{}, &answer))
	// MSAL has its own opinion of the answer: it refuses tokens that live less
	// than five minutes and takes some that nobody should. Ours counts, made
	// from the same bytes; its error matters where there was no answer.
	g, refusal := answer.read(time.Now(), err)
	if refusal != nil {
		refusal.Scopes = scopes
		if refusal.Kind == ConsentRequired {
			refusal.ConsentURI = c.consentURI(tenant, scopes)
		}
		return grant{}, refusal
	}
	return g, nil
}

// consentURI is where a user, or an admin for everyone, can agree to scopes.
func (c *Client) consentURI(tenant string, scopes []string) string {
	return c.config.authority(tenant) + "/oauth2/v2.0/authorize?" + url.Values{
		"client_id": {c.config.ClientID}, "response_type": {"code"},
		"scope": {strings.Join(scopes, " ")}, "prompt": {"consent"},
	}.Encode()
}

// forgetful empties MSAL's token cache before every use. MSAL would keep every
// assertion for ever; Cache is bounded.
type forgetful struct{}

func (forgetful) Replace(_ context.Context, c cache.Unmarshaler, _ cache.ReplaceHints) error {
	return c.Unmarshal([]byte("{}"))
}

func (forgetful) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

// recorder is the HTTP client that MSAL gets. It bounds what MSAL reads, and
// keeps the last answer for the exchange whose context the request carries.
type recorder struct{ *http.Client }

func (r recorder) Do(req *http.Request) (*http.Response, error) {
	a, ok := req.Context().Value(answerKey{}).(*answer)
	if !ok {
		a = &answer{}
	}
	a.last.Store(nil) // an earlier request's answer is not this one's
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // what counts has been read
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errAnswerTooLarge
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	a.last.Store(&received{token: req.Method == http.MethodPost, status: resp.StatusCode, header: resp.Header, body: body})
	return resp, nil
}

var errAnswerTooLarge = fmt.Errorf("the provider's answer is larger than %d bytes", maxAnswer)

type answerKey struct{}

// answer holds the last answer of the provider in one exchange. It is written
// where MSAL sends, which may be another goroutine's discovery.
type answer struct{ last atomic.Pointer[received] }

type received struct {
	token  bool // from the token endpoint, else from discovery
	status int
	header http.Header
	body   []byte
}
