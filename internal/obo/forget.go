package obo

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"middletier/internal/redistier"
)

// ErrRedis says that what is in Redis could not be dropped, or other replicas not
// be told. What belongs to one user is made worthless as soon as Redis does it; the rest
// stays until it expires.
var ErrRedis = errors.New("entries in Redis could not be dropped, or other replicas not be told")

// Forget drops every token held for a's assertion and the lists of scopes, and
// what is remembered of refusals. What is being fetched is served and not kept.
// Replicas that share Redis do the same as soon as they hear of it; one that does
// not hear it at the moment keeps what it has in memory until that ends. Where Redis
// cannot be reached, what is in it is made worthless as soon as it can.
func (c *Cache) Forget(ctx context.Context, a Assertion, scopes [][]string) {
	var keys []cacheKey
	for _, s := range scopes {
		keys = append(keys, c.userKey(a, s, ""))
	}
	_ = c.forget(ctx, c.ownerOf(a), redistier.Notice{What: redistier.TheseTokens, Keys: keys}) // nobody can do more about it
}

// ForgetUser drops every token held for a user, and what is remembered of
// refusals, as Forget does. The error is ErrRedis.
func (c *Cache) ForgetUser(ctx context.Context, tenantID, objectID string) error {
	owner := c.ownerKey(tenantID, objectID)
	return c.forget(ctx, owner, redistier.Notice{What: redistier.AllOfUser, Keys: []cacheKey{owner}})
}

// ForgetAll drops everything, as ForgetUser does for one user.
func (c *Cache) ForgetAll(ctx context.Context) error {
	return c.forget(ctx, cacheKey{}, redistier.Notice{What: redistier.Everything})
}

// forget drops what n is about here, in Redis and in other replicas. n.Keys are owner's.
func (c *Cache) forget(ctx context.Context, owner cacheKey, n redistier.Notice) error {
	if c.shared == nil {
		return c.drop(n)
	}
	ctx = context.WithoutCancel(ctx) // also of a caller who does not wait for it
	err := c.shared.Forget(ctx, owner, n)
	if dropErr := c.drop(n); dropErr != nil { // after Redis, from which it could come back
		return dropErr
	}
	published := c.shared.Publish(ctx, n)
	if err = cmp.Or(err, published); err != nil {
		return fmt.Errorf("%w: %w", ErrRedis, err)
	}
	return nil
}

// drop empties memory of what n is about.
func (c *Cache) drop(n redistier.Notice) error {
	switch n.What {
	case redistier.TheseTokens:
		c.dropTokens(n.Keys)
	case redistier.AllOfUser:
		c.dropOwner(n.Keys[0])
	case redistier.Everything:
		return c.dropAll()
	}
	return nil
}

// dropTokens empties memory of tokens.
func (c *Cache) dropTokens(keys []cacheKey) {
	for _, key := range keys {
		c.outdate(key)
		_ = c.memory.Delete(string(key[:])) // it may not be there
	}
}

// dropOwner empties memory of what is kept for a user.
func (c *Cache) dropOwner(key cacheKey) {
	c.outdate(key)
	for entries := c.memory.Iterator(); entries.SetNext(); {
		held, err := entries.Value()
		if err != nil {
			continue // it has left by itself
		}
		if e, ok := decode(held.Value()); ok && e.owner == short(key) {
			_ = c.memory.Delete(held.Key()) // it may have left
		}
	}
}

// dropAll empties memory.
func (c *Cache) dropAll() error {
	c.outdateAll()
	return c.memory.Reset()
}

// forgottenSlots bound what is kept of what was forgotten. Where a fetch shares its
// slot with somebody else's sign-out, what it brings is not kept: another follows.
const forgottenSlots = 4096

func slot(k cacheKey) uint64 { return short(k) % forgottenSlots }

// outdate keeps what is being fetched for a key or an owner from being kept.
func (c *Cache) outdate(key cacheKey) {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	c.forgotten[slot(key)]++
}

func (c *Cache) outdateAll() {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	for slot := range c.forgotten {
		c.forgotten[slot]++
	}
}

// begin notes in a request what was forgotten before it is fetched.
func (c *Cache) begin(r cacheRequest) cacheRequest {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	r.forgotten = c.timesForgotten(r)
	return r
}

// timesForgotten grows when r's token or owner is forgotten. c.forgetting is held.
func (c *Cache) timesForgotten(r cacheRequest) uint64 {
	return c.forgotten[slot(r.key)] + c.forgotten[slot(r.owner)]
}
