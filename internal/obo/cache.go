package obo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"middletier/internal/failure"
	"middletier/internal/records"
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
	// Records keeps long-running sessions; nil: in memory.
	Records *records.Store
}

const (
	mebibyte = 1 << 20

	shardCount = 16 // of BigCache: few lock each other out, and each is large

	// maxEntry is the largest token that is kept, in bytes: four times what any
	// server accepts in a header by default.
	maxEntry = 64 << 10

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
	records   *records.Store
	flight    singleflight.Group
	watches   watches

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
	if c.Records == nil {
		c.Records = records.NewMemory(records.DefaultMemory)
	}
	return &Cache{
		clientKey: client.config.authority(client.config.TenantID) + " " + client.config.ClientID,
		buffer:    c.ExpiryBuffer, client: client, memory: memory, shared: c.Shared, records: c.Records,
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
	Evictions      int64 // entries that left for want of space, since the start
	RedisErrors    int64 // operations that failed, since the start
	Redis, RedisUp bool  // whether there is a shared tier, and whether it is asked
}

// Stats returns the numbers of now.
func (c *Cache) Stats() Stats {
	s := c.memory.stats()
	if c.shared != nil {
		s.Redis = true
		s.RedisUp, s.RedisErrors = c.shared.Status()
	}
	return s
}

// OnBehalfOf returns a token for scopes on behalf of a's user. The error is an
// *Error, or ctx's.
func (c *Cache) OnBehalfOf(ctx context.Context, a Assertion, scopes []string, challenge Challenge) (Token, error) {
	key, now := newKey(string(OnBehalfOf), a.Digest[:], c.clientKey, a.TenantID, "", scopes), time.Now()
	if e, ok := c.memory.get(key, now); ok && e.isToken(challenge.RejectedToken) && e.isSettled(now) {
		return Token{e.token, Memory, nil}, nil
	}
	user := a // on the heap, where a would be for every call
	return c.Token(ctx, Request{User: &user, Scopes: scopes, Challenge: challenge})
}

// ForApp returns a token for scope, RESOURCE/.default, as ourselves in tenant,
// "" for our own. The error is as OnBehalfOf's.
func (c *Cache) ForApp(ctx context.Context, tenant, scope string, challenge Challenge) (Token, error) {
	return c.Token(ctx, Request{Tenant: tenant, Scopes: []string{scope}, Challenge: challenge})
}

// Token returns the token that r asks for. The error is an *Error, or ctx's; with a session
// key it is as Resume's.
func (c *Cache) Token(ctx context.Context, r Request) (Token, error) {
	if r.SessionKey != "" {
		return c.Resume(ctx, r.SessionKey, r)
	}
	r = c.in(r)
	key := c.key(&r, "")
	if r.Claims != "" || r.Refresh {
		return c.fetch(ctx, c.request(key, &r))
	}
	now := time.Now()
	e, ok := c.memory.get(key, now)
	switch {
	case !ok || !e.isToken(r.Challenge.RejectedToken):
		return c.fetch(ctx, c.request(key, &r))
	case e.isSettled(now):
		return Token{e.token, Memory, nil}, nil
	}
	request := c.request(key, &r)
	if e.due(now) {
		c.renew(request)
	}
	return c.result(request, e, Memory, now)
}

// fetch waits for the flight that gets the token for r.
func (c *Cache) fetch(ctx context.Context, r cacheRequest) (Token, error) {
	for {
		ours := false // the flight
		// The exchange serves every waiting request, so it must outlive the one that
		// happened to start it. It is timed by itself.
		done := c.flight.DoChan(string(r.flight[:]), func() (any, error) {
			ours = true
			return guard(func() (Token, error) { return c.acquire(context.WithoutCancel(ctx), r, forCallers) })
		})
		select {
		case <-ctx.Done():
			return Token{Origin: IdentityProvider}, ctx.Err() // it is the provider that most wait for
		case got := <-done:
			t := got.Val.(Token)
			if ours || got.Err != nil || t.Value != r.rejected {
				return t, got.Err
			}
			// The flight of a caller whose token was not refused brought the refused one
			// again: another flight fetches a new one.
		}
	}
}

// guard returns an error if acquire panics: singleflight would end the process.
func guard(acquire func() (Token, error)) (t Token, err error) {
	t.Origin = IdentityProvider // with a panic
	err = failure.OfPanic(func() (err error) {
		t, err = acquire()
		return err
	}, func(cause any) error { return fmt.Errorf("panic in a token exchange: %v", cause) })
	return t, err
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
	r.claims, r.again = "", false // they belong to one call, not to the token that is renewed
	r.flight = newKey("renewal", r.key[:], "", "", "", nil)
	done := c.flight.DoChan(string(r.flight[:]), func() (any, error) {
		return guard(func() (Token, error) { return c.acquire(context.Background(), r, forRenewal) })
	})
	go func() {
		defer c.renewals.Done()
		<-done
	}()
}
