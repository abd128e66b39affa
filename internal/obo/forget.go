package obo

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"middletier/internal/redistier"
)

// ErrRedis says that entries in Redis were not dropped, or other replicas did not get the
// notice. One user's entries are dropped when Redis answers again; others stay until they
// expire.
var ErrRedis = errors.New("entries in Redis were not dropped, or other replicas were not notified")

// Forget drops every token held for a's assertion and what requests ask for, and what is
// remembered of refusals, and ends the long-running sessions of a's user. What is being
// fetched is served and not kept.
// Replicas that share Redis do the same as soon as they hear of it; one that does
// not hear it at the moment keeps what it has in memory until that ends. Where Redis
// cannot be reached, what is in it is made worthless as soon as it can.
func (c *Cache) Forget(ctx context.Context, a Assertion, requests []Request) {
	var keys []cacheKey
	for _, r := range requests {
		r.User = &a
		r = c.in(r)
		keys = append(keys, c.key(&r, ""))
	}
	owner := c.ownerOf(a)
	_ = c.forgetSessions(ctx, owner) // nobody can do more about it, also below
	_ = c.forget(ctx, owner, redistier.Notice{What: redistier.TheseTokens, Keys: keys})
}

// ForgetUser drops every token held for a user, and what is remembered of
// refusals, as Forget does. The error is ErrRedis.
func (c *Cache) ForgetUser(ctx context.Context, tenantID, objectID string) error {
	return c.forgetOwner(ctx, c.ownerKey(tenantID, objectID))
}

// ForgetUserOf is ForgetUser for a's user, who may have no object ID. It drops what was traded
// for a in ways that nobody can list, and for other tokens of the user.
func (c *Cache) ForgetUserOf(ctx context.Context, a Assertion) error {
	return c.forgetOwner(ctx, c.ownerOf(a))
}

// ForgetTokens is ForgetUser without an end of the user's long-running sessions.
func (c *Cache) ForgetTokens(ctx context.Context, tenantID, objectID string) error {
	return c.forgetTokens(ctx, c.ownerKey(tenantID, objectID))
}

func (c *Cache) forgetOwner(ctx context.Context, owner cacheKey) error {
	err := c.forgetSessions(ctx, owner)
	return cmp.Or(c.forgetTokens(ctx, owner), err)
}

func (c *Cache) forgetTokens(ctx context.Context, owner cacheKey) error {
	return c.forget(ctx, owner, redistier.Notice{What: redistier.AllOfUser, Keys: []cacheKey{owner}})
}

// ForgetAll drops everything, as ForgetUser does for one user.
func (c *Cache) ForgetAll(ctx context.Context) error {
	err := recordsError(c.records.DeleteAll(ctx))
	return cmp.Or(c.forget(ctx, cacheKey{}, redistier.Notice{What: redistier.Everything}), err)
}

// forgetSessions ends the long-running sessions of an owner.
func (c *Cache) forgetSessions(ctx context.Context, owner cacheKey) error {
	return recordsError(c.records.DeleteOwned(ctx, longRunning(owner)))
}

// recordsError is ErrRedis for a deletion of records that failed.
func recordsError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRedis, err)
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

// drop empties memory of what n is about, and ends the watches of it.
func (c *Cache) drop(n redistier.Notice) error {
	defer c.watches.notify(n) // once nothing is left
	switch n.What {
	case redistier.TheseTokens:
		c.memory.forgetTokens(n.Keys)
	case redistier.AllOfUser:
		c.memory.forgetOwner(n.Keys[0])
	case redistier.Everything:
		return c.memory.forgetAll()
	}
	return nil
}
