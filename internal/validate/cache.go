package validate

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	shards = 64

	// maxCachedIdentities and maxSharedClaims bound each of the cache's two generations. At
	// about 180 bytes for an identity, both take some 48 MB for the users of a few clients.
	// Of clients and tenants that have few users each, fewer tokens are cached: with as many
	// shared claims as identities, 65,536 to 131,072, of about 680 bytes each. If both
	// generations are full of both, they take some 113 MB.
	maxCachedIdentities = 1 << 17
	maxSharedClaims     = 1 << 16
)

// identityCache holds what verified tokens say, by the token's tag, until the
// token expires or its key is retired. Such a token needs no second signature
// check. The cache does not hold the tokens.
type identityCache struct {
	shards [shards]shard
}

// shard has two generations. A full newer one takes the place of the older one, and
// identities that have not been used since are dropped.
type shard struct {
	mu           sync.RWMutex
	newer, older generation // guarded by mu
}

// get returns the cached identity of a token that has not expired at the given time, and
// whether there is one.
func (c *identityCache) get(tag tokenTag, at time.Time) (identity, bool) {
	hash := hashOf(tag)
	s := c.shard(hash)
	s.mu.RLock()
	id, ok := s.newer.get(hash, tag)
	aged := false
	if !ok {
		id, ok = s.older.get(hash, tag)
		aged = ok
	}
	s.mu.RUnlock()
	if !ok || id.key.retired.Load() || !at.Before(id.expires) {
		return identity{}, false
	}
	if aged {
		s.put(hash, tag, id)
	}
	return id, true
}

// put caches the identity of a verified token.
func (c *identityCache) put(tag tokenTag, id identity) {
	hash := hashOf(tag)
	c.shard(hash).put(hash, tag, id)
}

// tagSeed keeps the bits of a tag from those who measure how long a look-up takes.
var tagSeed = maphash.MakeSeed()

// hashOf returns what chooses the shard and the slot of a token.
func hashOf(tag tokenTag) uint64 { return maphash.Bytes(tagSeed, tag[:]) }

// shard returns the shard of a token by the hash of its tag. Its table uses other bits.
func (c *identityCache) shard(hash uint64) *shard { return &c.shards[hash%shards] }

func (s *shard) put(hash uint64, tag tokenTag, id identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer.count >= maxCachedIdentities/shards || len(s.newer.shared) >= maxSharedClaims/shards {
		s.newer, s.older = generation{}, s.newer
	}
	s.newer.put(hash, tag, id)
}

// size returns how many bytes the cache takes, about.
func (c *identityCache) size() int {
	size := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		size += s.newer.size() + s.older.size()
		s.mu.RUnlock()
	}
	return size
}
