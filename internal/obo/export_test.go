package obo

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"middletier/internal/redistier"
)

// Fill keeps a token of an hour for a, in memory and in Redis, as an exchange
// would.
func (c *Cache) Fill(ctx context.Context, a Assertion, scopes []string, token string) {
	now := time.Now()
	key, e := c.key(&Request{User: &a, Tenant: a.TenantID, Scopes: scopes}, ""), newEntry(grant{token: token, expires: now.Add(time.Hour)}, c.buffer, a.Expires, now)
	c.memory.set(key, e, c.memory.mark(key, cacheKey{}))
	if c.shared == nil {
		return
	}
	owner := c.ownerOf(a)
	lock, _ := c.shared.Lock(ctx, key, owner, time.Second)
	held, _ := c.shared.Get(ctx, key, owner)
	c.shared.Enqueue(redistier.Write{
		Key: key, Owner: owner, Generation: held.Generation, Current: e.encode, Life: time.Hour, Lock: lock,
	})
	for held.Entry == nil && ctx.Err() == nil {
		held, _ = c.shared.Get(ctx, key, owner)
	}
}

// Drop forgets a's token in memory, not in Redis.
func (c *Cache) Drop(a Assertion, scopes []string) {
	key := c.key(&Request{User: &a, Tenant: a.TenantID, Scopes: scopes}, "")
	c.memory.delete(key)
}

// HookRedis puts a hook around all that goes to Redis.
func (c *Cache) HookRedis(hook redis.Hook) { c.shared.(*redistier.Redis).AddHook(hook) }

// Holds reports whether memory has a token for a.
func (c *Cache) Holds(a Assertion, scopes []string) bool {
	_, ok := c.memory.get(c.key(&Request{User: &a, Tenant: a.TenantID, Scopes: scopes}, ""), time.Now())
	return ok
}
