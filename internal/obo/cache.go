package obo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"middletier/internal/redistier"
)

// CacheConfig says how tokens are kept. The keys in its errors are those of the
// tokenCache section.
type CacheConfig struct {
	// MaxSize is the memory for tokens, in bytes. The oldest leave first.
	MaxSize int64
	// ExpiryBuffer is how long before its expiry a token is no longer used, so
	// that it is still good when the downstream API looks at it. It is half the
	// token's life where that is shorter.
	ExpiryBuffer time.Duration
	// Shared is the tier that all replicas share; nil: none.
	Shared redistier.Tier
}

const (
	mebibyte = 1 << 20

	shardCount = 16 // of BigCache: few lock each other out, and each is large

	// maxEntry is the largest token that is kept, in bytes: four times what any
	// server accepts in a header by default.
	maxEntry = 64 << 10

	// lockLease is how long one replica may keep the others waiting for its
	// exchange. It covers a usual exchange; where it does not, two are made.
	lockLease = 3 * time.Second

	// lockPoll is how often a waiting replica looks for the result.
	lockPoll = 25 * time.Millisecond

	// longestLife is beyond that of any token (28 h, under continuous access
	// evaluation).
	longestLife = 48 * time.Hour

	// minCacheSize gives every shard room for several of the largest entries.
	minCacheSize = shardCount * 8 * maxEntry
)

// Check reports every mistake in c by its key.
func (c CacheConfig) Check(report func(key, problem string)) {
	if c.MaxSize < minCacheSize {
		report("maxSize", "must be 8MiB at least")
	}
	if c.ExpiryBuffer < 0 {
		report("expiryBuffer", "must not be negative")
	}
}

// Cache remembers tokens, so that a returning caller costs no exchange, and lets
// one exchange serve all who wait for the same token: in this process, and where
// there is a shared tier in all replicas.
type Cache struct {
	clientKey string // authority and client: part of every key
	buffer    time.Duration
	client    *Client
	memory    *memory
	shared    redistier.Tier // nil: none
	flight    singleflight.Group

	mu       sync.Mutex // guards ended, and renewals from growing once it is set
	ended    bool
	renewals sync.WaitGroup
}

// NewCache returns a Cache in front of client. Both configurations' Check must
// have passed. Run must be running.
func NewCache(c CacheConfig, client *Client) (*Cache, error) {
	memory, err := newMemory(c.MaxSize)
	if err != nil {
		return nil, err
	}
	return &Cache{
		clientKey: client.config.authority(client.config.TenantID) + " " + client.config.ClientID,
		buffer:    c.ExpiryBuffer, client: client, memory: memory, shared: c.Shared,
	}, nil
}

// Run does what the cache does behind requests until ctx ends, and waits for
// renewals that are under way.
func (c *Cache) Run(ctx context.Context) error {
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ran := make(chan error, 1)
	go func() {
		if c.shared == nil {
			ran <- nil
			return
		}
		ran <- c.shared.Run(writing, func(n redistier.Notice) { _ = c.drop(n) }) // nobody waits for it
	}()
	<-ctx.Done()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.renewals.Wait()
	stop() // after the last renewal, which writes
	return errors.Join(<-ran, c.memory.close())
}

// Stats says how the cache is doing.
type Stats struct {
	Entries, Bytes int   // held in memory
	Room           int   // that is left for more, in bytes
	Evictions      int64 // entries that left for want of space, since the start
	RedisErrors    int64 // operations that failed, since the start
	Redis, RedisUp bool  // whether there is a shared tier, and whether it is asked
}

// Stats returns the numbers of now.
func (c *Cache) Stats() Stats {
	s := Stats{Entries: c.memory.entries.Len(), Bytes: c.memory.entries.Capacity(), Evictions: c.memory.evictions.Load()}
	s.Room = max(0, c.memory.size-s.Bytes)
	if c.shared != nil {
		s.Redis = true
		s.RedisUp, s.RedisErrors = c.shared.Status()
	}
	return s
}

// OnBehalfOf returns a token for scopes on behalf of a's user. The error is an
// *Error, or ctx's.
func (c *Cache) OnBehalfOf(ctx context.Context, a Assertion, scopes []string, challenge Challenge) (Token, error) {
	key := c.userKey(a, scopes, "")
	return c.token(ctx, key, challenge.RejectedToken, func() cacheRequest { return c.userRequest(key, a, scopes, challenge) })
}

// ForApp returns a token for scope, RESOURCE/.default, as ourselves in tenant,
// "" for our own. The error is as OnBehalfOf's.
func (c *Cache) ForApp(ctx context.Context, tenant, scope string, challenge Challenge) (Token, error) {
	scopes := []string{scope}
	key := c.appKey(tenant, scopes, "")
	return c.token(ctx, key, challenge.RejectedToken, func() cacheRequest {
		return cacheRequest{
			tokenRequest: tokenRequest{tenant: tenant, scopes: scopes, claims: challenge.Claims, again: challenge.RejectedToken != ""},
			key:          key,
			throttle:     newKey("throttled tenant", nil, c.clientKey, tenant, "", nil),
			flight:       c.appKey(tenant, scopes, challenge.Claims),
			rejected:     challenge.RejectedToken,
		}
	})
}

// cacheRequest is a token that is asked for, and where it is kept.
type cacheRequest struct {
	tokenRequest
	key      cacheKey // of the token
	throttle cacheKey // of the provider's demand to wait
	flight   cacheKey // of the exchange: requests with other claims do not share it
	rejected string
	owner    cacheKey   // of all that is kept for the user; zero for an application
	end      time.Time  // no token is used past it; zero: none
	since    generation // when the fetch began

	sharedGeneration string // of owner, in the shared tier before the exchange; "": unknown, and nothing is written
}

// userKey is the key of what is fetched on behalf of a's user; appKey, of what is
// fetched as ourselves. Tokens are kept under the keys without claims.
func (c *Cache) userKey(a Assertion, scopes []string, claims string) cacheKey {
	return newKey(string(OnBehalfOf), a.Digest[:], c.clientKey, a.TenantID, claims, scopes)
}

func (c *Cache) appKey(tenant string, scopes []string, claims string) cacheKey {
	return newKey(string(ClientCredentials), nil, c.clientKey, tenant, claims, scopes)
}

// ownerKey is not of an entry, but of all that are kept for a user, whose GUIDs
// may be written in either case.
func (c *Cache) ownerKey(tenantID, objectID string) cacheKey {
	return newKey("user", []byte(strings.ToLower(objectID)), c.clientKey, strings.ToLower(tenantID), "", nil)
}

// ownerOf is the ownerKey of a's user. Users without an id have nothing in common: each of
// their assertions is an owner.
func (c *Cache) ownerOf(a Assertion) cacheKey {
	if a.ObjectID == "" {
		return newKey("user without an id", a.Digest[:], c.clientKey, strings.ToLower(a.TenantID), "", nil)
	}
	return c.ownerKey(a.TenantID, a.ObjectID)
}

func (c *Cache) userRequest(key cacheKey, a Assertion, scopes []string, challenge Challenge) cacheRequest {
	user := []byte(a.ObjectID)
	if len(user) == 0 {
		user = a.Digest[:] // users without an id have nothing in common
	}
	return cacheRequest{
		tokenRequest: tokenRequest{user: &a, scopes: scopes, claims: challenge.Claims, again: challenge.RejectedToken != ""},
		key:          key,
		throttle:     newKey("throttled user", user, c.clientKey, a.TenantID, "", scopes),
		flight:       c.userKey(a, scopes, challenge.Claims),
		rejected:     challenge.RejectedToken,
		owner:        c.ownerOf(a),
		end:          a.Expires,
	}
}

// token returns the token under key. The rest of the request is made when it is
// needed, which for a returning caller it is not.
func (c *Cache) token(ctx context.Context, key cacheKey, rejected string, complete func() cacheRequest) (Token, error) {
	now := time.Now()
	if e, ok := c.memory.get(key, now); ok && e.refusal == nil && e.token != rejected {
		if e.due(now) {
			c.renew(complete())
		}
		if e.onTrial {
			return Token{e.token, Memory, c.trial(complete(), e)}, nil
		}
		return Token{e.token, Memory, nil}, nil
	}
	r := complete()
	for {
		ours := false // the flight
		// The exchange serves every waiting request, so it must outlive the one that
		// happened to start it. It is timed by itself.
		done := c.flight.DoChan(string(r.flight[:]), func() (any, error) {
			ours = true
			return guard(func() (Token, error) { return c.fetch(context.WithoutCancel(ctx), r) })
		})
		select {
		case <-ctx.Done():
			return Token{Origin: IdentityProvider}, ctx.Err() // whom most wait for
		case got := <-done:
			t := got.Val.(Token)
			if ours || got.Err != nil || t.Value != r.rejected {
				return t, got.Err
			}
			// Nobody has refused this token to the caller whose flight brought it.
		}
	}
}

// guard makes an error of a panic: singleflight would end the process.
func guard(fetch func() (Token, error)) (t Token, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			t, err = Token{Origin: IdentityProvider}, fmt.Errorf("panic in a token exchange: %v", cause)
		}
	}()
	return fetch()
}

// fetch gets a token that memory does not have: one of another flight that has
// just ended, one of another replica, or a new one. What the provider has
// refused a moment ago is not asked for again.
func (c *Cache) fetch(ctx context.Context, r cacheRequest) (Token, error) {
	r.since = c.memory.generation(r.key, r.owner)
	now := time.Now()
	if e, ok := c.memory.get(r.key, now); ok {
		if e.refusal != nil || e.token != r.rejected || r.claims == "" && c.stays(r, e, now) {
			return c.give(r, e, Memory, now)
		}
		c.memory.delete(r.key)
	}
	wait, throttled := c.memory.get(r.throttle, now)
	lock := ""
	if c.shared != nil {
		e, found, up := c.look(ctx, &r)
		if !found && up && !throttled {
			e, lock, found = c.await(ctx, &r)
		}
		if found {
			c.memory.set(r.key, e, r.since)
			return c.give(r, e, Redis, now)
		}
	}
	if throttled {
		return c.give(r, wait, Memory, now)
	}
	return c.exchange(ctx, r, lock)
}

// give is what an entry answers to a request.
func (c *Cache) give(r cacheRequest, e entry, origin TokenOrigin, now time.Time) (Token, error) {
	if e.refusal != nil {
		return Token{Origin: origin}, e.refusal.after(now, e.until)
	}
	return Token{e.token, origin, c.trial(r, e)}, nil
}

// exchange makes the exchange and keeps what comes of it.
func (c *Cache) exchange(ctx context.Context, r cacheRequest, lock string) (Token, error) {
	g, err := c.client.exchange(ctx, r.tokenRequest)
	now := time.Now()
	if err == nil {
		e := newEntry(g, c.buffer, r.end, now)
		e.onTrial = r.rejected != ""
		c.store(r, e, lock, now)
		return Token{g.token, IdentityProvider, c.trial(r, e)}, nil
	}
	var refusal *Error
	if errors.As(err, &refusal) && (refusal.Kind == InteractionRequired || refusal.Kind == ConsentRequired) {
		// Asking again would only repeat it: for this assertion and API.
		c.store(r, entry{until: now.Add(refusalMemory), refusal: refusal}, lock, now)
		return Token{Origin: IdentityProvider}, err
	}
	c.keepThrottling(r, err, now)
	if c.shared != nil {
		// A token that was rejected is not to come back from there.
		c.shared.Enqueue(redistier.Write{Key: r.key, Delete: r.rejected != "", Lock: lock})
	}
	return Token{Origin: IdentityProvider}, err
}

// keepThrottling remembers that the provider asks to be left alone, for the user
// and API or for the tenant.
func (c *Cache) keepThrottling(r cacheRequest, err error, now time.Time) {
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Throttled {
		c.memory.set(r.throttle, entry{until: now.Add(refusal.RetryAfter), refusal: refusal, owner: short(r.owner)}, r.since)
	}
}

// look returns what the shared tier has under r's key, if it still counts, and notes
// the owner's generation. up is false where the tier did not answer.
func (c *Cache) look(ctx context.Context, r *cacheRequest) (e entry, found, up bool) {
	held, up := c.shared.Get(ctx, r.key, r.owner)
	r.sharedGeneration = held.Generation
	e, ok := decode(held.Entry)
	return e, ok && time.Now().Before(e.until) && (e.refusal != nil || e.token != r.rejected), up
}

// await takes the lock for a fetch of our own or, where another replica has it,
// waits for what that one brings for as long as the lock may last.
func (c *Cache) await(ctx context.Context, r *cacheRequest) (e entry, lock string, found bool) {
	deadline := time.Now().Add(lockLease)
	for {
		lock, mine := c.shared.Lock(ctx, r.key, r.owner, lockLease)
		if mine && lock == "" { // Redis does not answer: not to be waited for twice
			return entry{}, "", false
		}
		// Only now: the one who had the lock writes before it lets go.
		e, found, up := c.look(ctx, r)
		switch {
		case found:
			c.shared.Enqueue(redistier.Write{Key: r.key, Lock: lock})
			return e, "", true
		case mine, !up, time.Now().After(deadline):
			return entry{}, lock, false
		}
		time.Sleep(lockPoll + jitter(lockPoll))
	}
}

// renew fetches a new token behind the requests that go on with the held one.
// One renewal of a token runs at a time; one that fails is tried again later.
func (c *Cache) renew(r cacheRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.renewals.Add(1)
	r.claims = "" // those of one call's answer
	r.flight = newKey("renewal", r.key[:], "", "", "", nil)
	done := c.flight.DoChan(string(r.flight[:]), func() (any, error) {
		return guard(func() (Token, error) { return Token{}, c.renewNow(context.Background(), r) })
	})
	go func() {
		defer c.renewals.Done()
		<-done
	}()
}

func (c *Cache) renewNow(ctx context.Context, r cacheRequest) error {
	r.since = c.memory.generation(r.key, r.owner)
	now := time.Now()
	e, ok := c.memory.get(r.key, now)
	if !ok || e.refusal != nil || !e.due(now) {
		return nil // another flight was faster
	}
	// Until this one is through, requests need not start others.
	e = e.postponed(now)
	c.memory.set(r.key, e, r.since)
	// What comes takes its place unless it is gone by then: signed out, rejected
	// or replaced.
	if _, throttled := c.memory.get(r.throttle, now); throttled {
		return nil
	}
	lock := ""
	if c.shared != nil {
		mine := false
		lock, mine = c.shared.Lock(ctx, r.key, r.owner, lockLease)
		newer, found, _ := c.look(ctx, &r)
		found = found && newer.refusal == nil && newer.token != e.token && !newer.due(now)
		if found && c.memory.encodedIf(r.key, e) != nil {
			c.memory.set(r.key, newer, r.since)
		}
		if found || !mine { // another replica has renewed it, or is at it
			c.shared.Enqueue(redistier.Write{Key: r.key, Lock: lock})
			return nil
		}
	}
	g, err := c.client.exchange(ctx, r.tokenRequest)
	now = time.Now()
	if err == nil && c.memory.encodedIf(r.key, e) != nil {
		c.store(r, newEntry(g, c.buffer, r.end, now), lock, now)
		return nil
	}
	c.keepThrottling(r, err, now)
	if c.shared != nil {
		c.shared.Enqueue(redistier.Write{Key: r.key, Lock: lock})
	}
	return err
}

// after is a remembered refusal, with what is left of its time.
func (e *Error) after(now, until time.Time) *Error {
	left := *e
	if left.RetryAfter > 0 {
		left.RetryAfter = until.Sub(now)
	}
	return &left
}

// store keeps an entry and, behind the request, writes it to the shared tier and
// lets go of the lock there.
func (c *Cache) store(r cacheRequest, e entry, lock string, now time.Time) {
	key := r.key
	e.owner = short(r.owner)
	kept := c.memory.set(key, e, r.since)
	if c.shared == nil {
		return
	}
	w := redistier.Write{Key: key, Lock: lock}
	if life := e.until.Sub(now); kept && r.sharedGeneration != "" && life >= time.Millisecond { // without a life it would stay for ever
		w.Owner, w.Generation, w.Life = r.owner, r.sharedGeneration, life
		w.Current = func() []byte { return c.memory.encodedIf(key, e) }
	}
	c.shared.Enqueue(w)
}

// cacheKey is the SHA-256 over everything that changes the answer.
type cacheKey = redistier.Key

// short is what is told apart by in memory: two users of the same eight bytes
// would lose their tokens together, which costs an exchange.
func short(k cacheKey) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// newKey hashes the parts, each behind its length, so that no two lists of parts
// give the same bytes.
func newKey(flow string, assertion []byte, clientKey, tenant, claims string, scopes []string) cacheKey {
	var buf [512]byte
	b := buf[:0]
	part := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	part(flow)
	part(string(assertion))
	part(clientKey)
	part(tenant)
	part(claims)
	for _, s := range scopes {
		part(s)
	}
	return sha256.Sum256(b)
}
