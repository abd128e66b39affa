package obo

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"middletier/internal/failure"
	"middletier/internal/records"
)

// A long-running session lets a service act for a user who has left: Keep trades the user's
// token once and gives a key for the refresh token that comes with it; Resume gets tokens
// with the key, also when the user's token has expired. The session is a record, which Resume
// reads first: tokens that were fetched with a key are cached like others, but are of no use
// without the record. Refreshes of one session follow one another, over replicas too: at some
// providers a refresh token is good once.

// ErrUnknownKey says that there is no long-running session under a key, or no more. The user
// has to call again with a token of their own.
var ErrUnknownKey = &Error{Kind: InteractionRequired, Err: failure.New("no long-running session has this key, or it has ended")}

// sessionLife is how long a session is kept after its last refresh. The provider forgets a
// refresh token that is not used for as long ("Refresh tokens in the Microsoft identity
// platform", token lifetime).
const sessionLife = 90 * 24 * time.Hour

// session is what the record of a long-running session holds.
type session struct {
	Owner        []byte `json:"owner"` // of all that is kept for the user: a cacheKey
	User         string `json:"user"`  // object ID, "" where the token had none
	Tenant       string `json:"tenant"`
	Agent        string `json:"agent,omitempty"` // client ID of the agent that the refresh token was issued to
	RefreshToken string `json:"refreshToken"`
}

// heldSession is a session and its record.
type heldSession struct {
	session
	key    records.Key
	record records.Record
}

// longRunning is the owner of the records of a user's sessions.
func longRunning(owner cacheKey) records.Owner { return records.OwnerOf(records.LongRunning, owner) }

// Keep begins a long-running session for r.User, and returns its key with a token for r. A
// new exchange is made for it. The error is an *Error, records.ErrUnavailable, or ctx's.
func (c *Cache) Keep(ctx context.Context, r Request) (key string, t Token, err error) {
	if r.User == nil || r.Flow() != OnBehalfOf {
		return "", Token{}, errors.New("a long-running session is on behalf of a user")
	}
	r = c.in(r)
	once := c.request(c.key(&r, ""), &r)
	held := &heldSession{key: records.NewKey(), session: session{
		Owner: once.owner[:], User: r.User.ObjectID, Tenant: r.Tenant, Agent: r.Agent.ID,
	}}
	// What is forgotten from here on is forgotten with the new session.
	mark, err := c.records.Begin(ctx, sessionLife, longRunning(once.owner))
	if err != nil {
		return "", Token{Origin: c.recordsOrigin()}, err
	}
	resumed := Request{session: held, Agent: r.Agent, Tenant: r.Tenant, Scopes: r.Scopes}
	first := c.request(c.key(&resumed, ""), &resumed)
	first.since = c.memory.mark(first.key, first.owner)

	var g grant
	once.once, once.granted = true, func(granted grant) { g = granted }
	digest := held.key.Digest()
	once.flight = newKey("keep", digest[:], "", "", "", nil) // shared by nobody
	if t, err = c.fetch(ctx, once); err != nil {
		return "", t, err
	}
	if g.refreshToken == "" {
		missing := &Error{Kind: InvalidResponse, Scopes: r.Scopes, Err: errors.New("there is no refresh token in the response")}
		return "", Token{Origin: t.Origin}, missing
	}
	held.RefreshToken = g.refreshToken
	if err := c.records.Put(ctx, held.key, mark, held.session.encode(), sessionLife); err != nil {
		return "", Token{Origin: t.Origin}, err
	}
	if r.Claims == "" {
		now := time.Now()
		c.store(first, newEntry(g, c.buffer, time.Time{}, now), "", now)
	}
	return held.key.Secret(), t, nil
}

// Resume returns a token for the user of the long-running session under key. r.User is nil;
// scopes and tenant may be others than Keep's, as far as the provider allows, and r.Agent is
// that of Keep or none. The error is ErrUnknownKey, another *Error, records.ErrUnavailable, or
// ctx's.
func (c *Cache) Resume(ctx context.Context, key string, r Request) (Token, error) {
	parsed, ok := records.ParseKey(key)
	if !ok {
		return Token{Origin: c.recordsOrigin()}, ErrUnknownKey
	}
	held, err := c.findSession(ctx, parsed)
	if err != nil {
		return Token{Origin: c.recordsOrigin()}, err
	}
	r = c.in(r)
	if r.Agent.User != "" || r.Agent.ID != "" && r.Agent.ID != held.Agent {
		return Token{Origin: c.recordsOrigin()}, ErrUnknownKey // a key is of one identity
	}
	r.User, r.SessionKey, r.Agent, r.session = nil, "", Agent{ID: held.Agent}, held
	if r.Tenant == "" {
		r.Tenant = held.Tenant
	}
	return c.Token(ctx, r)
}

// recordsOrigin is where an error about a session comes from that no exchange was made for.
func (c *Cache) recordsOrigin() TokenOrigin {
	if c.records.IsShared() {
		return Redis
	}
	return Memory
}

// ForgetKey ends the long-running session under key, if there is one.
func (c *Cache) ForgetKey(ctx context.Context, key string) error {
	parsed, ok := records.ParseKey(key)
	if !ok {
		return nil
	}
	return c.records.Delete(ctx, parsed)
}

// findSession returns the session under key.
func (c *Cache) findSession(ctx context.Context, key records.Key) (*heldSession, error) {
	record, err := c.records.Get(ctx, key)
	if errors.Is(err, records.ErrUnknown) {
		return nil, ErrUnknownKey
	}
	if err != nil {
		return nil, err
	}
	held := &heldSession{key: key, record: record}
	if json.Unmarshal(record.Value, &held.session) != nil || len(held.Owner) != len(cacheKey{}) || held.RefreshToken == "" {
		return nil, ErrUnknownKey
	}
	return held, nil
}

func (s session) encode() []byte {
	encoded, err := json.Marshal(s)
	if err != nil { // of strings and numbers only
		panic(err)
	}
	return encoded
}

const (
	// refreshWrite is how long a refresh may take to write the record after its exchange.
	refreshWrite = time.Second

	// leaseMargin is how much longer than a lease a refresh waits for another one: it outlives
	// the lease of a replica that died.
	leaseMargin = time.Second
)

// refresh makes the exchange of a session: with its newest refresh token, which the new one
// replaces.
func (c *Cache) refresh(ctx context.Context, r tokenRequest) (grant, error) {
	lease := c.client.config.Timeout + refreshWrite
	waiting, cancel := context.WithTimeout(ctx, lease+leaseMargin)
	defer cancel()
	unlock, err := c.records.Lock(waiting, r.session.key, r.session.record, lease)
	if errors.Is(err, context.DeadlineExceeded) {
		return grant{}, &Error{
			Kind: Unavailable, RetryAfter: defaultRetryAfter, Scopes: r.scopes, Err: errors.New("too many refreshes of one session are under way"),
		}
	}
	if err != nil {
		return grant{}, err
	}
	defer unlock()
	if r.session, err = c.findSession(ctx, r.session.key); err != nil {
		return grant{}, err
	}
	g, err := c.exchangeAs(ctx, r)
	if r.session.isEndedBy(err, r) {
		if deleteErr := c.records.Delete(ctx, r.session.key); deleteErr != nil {
			c.client.config.Log.Warn("a long-running session that the provider has ended is not deleted", "error", deleteErr)
		}
	}
	if err != nil || g.refreshToken == "" {
		return g, err // without a new refresh token the old one stays in use (RFC 6749, section 6)
	}
	return g, c.replaceRefreshToken(ctx, r.session, g.refreshToken)
}

// replaceRefreshToken writes the refresh token that came for an older one. One that cannot be
// written does not fail the request: at most providers the older one stays good.
func (c *Cache) replaceRefreshToken(ctx context.Context, held *heldSession, refreshToken string) error {
	replaced := held.session
	replaced.RefreshToken = refreshToken
	err := c.records.Replace(ctx, held.key, held.record, replaced.encode(), sessionLife)
	switch {
	case errors.Is(err, records.ErrUnknown): // it was forgotten meanwhile
		return ErrUnknownKey
	case err != nil:
		c.client.config.Log.Warn("the new refresh token of a long-running session is not kept", "error", err)
	}
	return nil
}

// sessionEnds are the numbers of refusals that are about the refresh token itself, or about the
// account (Microsoft's page "Microsoft Entra authentication & authorization error codes"). Every
// further refresh with it is refused.
var sessionEnds = []int{50034, 50057, 50132, 50133, 50173, 54005, 70000, 70008, 70043, 700082, 700084}

// isEndedBy reports whether err, from a refresh for r, says that the refresh token is no longer
// good. A refusal of one API, or of another tenant, says nothing of the others.
func (s session) isEndedBy(err error, r tokenRequest) bool {
	var refusal *Error
	return errors.As(err, &refusal) && r.tenant == s.Tenant && refusal.EndsSession()
}
