package obo

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"middletier/internal/failure"
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
	ctx = context.WithoutCancel(ctx) // also of a caller who does not wait for it
	if c.shared != nil {
		c.shared.endGeneration(ctx, c.ownerOf(a))
		c.shared.forget(ctx, keys)
	}
	c.dropTokens(keys) // after Redis, from which they could come back
	if c.shared != nil {
		c.shared.tell(ctx, notice{theseTokens, keys})
	}
}

// ForgetUser drops every token held for a user, and what is remembered of
// refusals, as Forget does. The error is ErrRedis.
func (c *Cache) ForgetUser(ctx context.Context, tenantID, objectID string) error {
	key := c.ownerKey(tenantID, objectID)
	if c.shared == nil {
		c.dropOwner(key)
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	ended := c.shared.endGeneration(ctx, key)
	removed := c.shared.forgetOwner(ctx, key)
	c.dropOwner(key) // after Redis, from which they could come back
	if told := c.shared.tell(ctx, notice{allOfUser, []cacheKey{key}}); !ended || !removed || !told {
		return ErrRedis
	}
	return nil
}

// ForgetAll drops everything, as ForgetUser does for one user.
func (c *Cache) ForgetAll(ctx context.Context) error {
	if c.shared == nil {
		return c.dropAll()
	}
	ctx = context.WithoutCancel(ctx)
	removed := c.shared.forgetAll(ctx)
	if err := c.dropAll(); err != nil { // after Redis, from which it could come back
		return err
	}
	told := c.shared.tell(ctx, notice{what: everything})
	if removed != nil {
		return fmt.Errorf("%w: %w", ErrRedis, failure.Of(removed))
	}
	if !told {
		return ErrRedis
	}
	return nil
}

// heard forgets what another replica has forgotten. What we were just writing to
// Redis may have come there after the other one looked.
func (c *Cache) heard(n notice) {
	switch n.what {
	case theseTokens:
		c.dropTokens(n.keys)
		c.shared.behind(func(ctx context.Context) { c.shared.forget(ctx, n.keys) })
	case allOfUser:
		c.dropOwner(n.keys[0])
		c.shared.behind(func(ctx context.Context) { c.shared.forgetOwner(ctx, n.keys[0]) })
	case everything:
		_ = c.dropAll() // nobody waits for it
	}
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
		if e, ok := decode(held.Value()); ok && e.owner == key.short() {
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

func (k cacheKey) slot() uint64 { return k.short() % forgottenSlots }

// outdate keeps what is being fetched for a key or an owner from being kept.
func (c *Cache) outdate(key cacheKey) {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	c.forgotten[key.slot()]++
}

func (c *Cache) outdateAll() {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	for slot := range c.forgotten {
		c.forgotten[slot]++
	}
}

// begin notes in an order what was forgotten before it is fetched.
func (c *Cache) begin(o order) order {
	c.forgetting.Lock()
	defer c.forgetting.Unlock()
	o.forgotten = c.timesForgotten(o)
	return o
}

// timesForgotten grows when o's token or owner is forgotten. c.forgetting is held.
func (c *Cache) timesForgotten(o order) uint64 {
	return c.forgotten[o.key.slot()] + c.forgotten[o.owner.slot()]
}

// forgetOwner removes the entries of an owner that are listed, and reports whether
// Redis did. Redis may have evicted the list, which leaves values that do not open.
func (s *shared) forgetOwner(ctx context.Context, owner cacheKey) bool {
	listed, ok := do(ctx, s, read, func(ctx context.Context) ([]string, error) {
		listed, err := s.client.ZRange(ctx, s.index(owner), 0, -1).Result()
		if redis.HasErrorPrefix(err, "WRONGTYPE") { // somebody else's value, which would be in the way for ever
			err = errors.Join(err, s.client.Del(ctx, s.index(owner)).Err())
		}
		return listed, err
	})
	var keys []cacheKey
	for _, member := range listed {
		if len(member) == len(cacheKey{}) { // else it is not ours
			keys = append(keys, cacheKey([]byte(member)))
		}
	}
	return ok && s.forget(ctx, keys)
}

// forgetAll removes everything of ours.
func (s *shared) forgetAll(ctx context.Context) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return safely(func() error { return s.sweep(ctx, node) })
		})
	}
	return safely(func() error { return s.sweep(ctx, s.client) })
}

// sweepCount is how many keys Redis looks at before it lets others in.
const sweepCount = 1000

// sweep removes what is ours from one server, which may hold other things too.
// Every operation is bounded by the connection's own timeout.
func (s *shared) sweep(ctx context.Context, node redis.Cmdable) error {
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(s.prefix) + "[0-9a-f]{64}(:user|:lock|:generation)?$")
	for cursor := uint64(0); ; {
		names, next, err := node.Scan(ctx, cursor, globbing.Replace(s.prefix)+"*", sweepCount).Result()
		if err != nil {
			return err
		}
		_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range names {
				if ours.MatchString(name) {
					p.Unlink(ctx, name) // one by one, as in forget
				}
			}
			return nil
		})
		if cursor = next; err != nil || cursor == 0 {
			return err
		}
	}
}

// globbing takes the meaning from what is special in a pattern of Redis.
var globbing = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
