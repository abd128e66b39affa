package validate

import (
	"sync"
	"time"
)

const (
	shards = 64

	// maxCachedIdentities bounds the cache: at about 470 bytes each, it takes some
	// 60 MB when full.
	maxCachedIdentities = 1 << 17
)

// identityCache holds what verified tokens say, by the token's SHA-256, until the
// token expires or its key is retired. Such a token needs no second signature
// check. The cache does not hold the tokens.
type identityCache struct {
	shards [shards]shard
	texts  texts
}

type shard struct {
	mu         sync.RWMutex
	identities map[[32]byte]*identity // guarded by mu
}

func newIdentityCache() *identityCache {
	c := &identityCache{texts: texts{known: map[string]string{}}}
	for i := range c.shards {
		c.shards[i].identities = map[[32]byte]*identity{}
	}
	return c
}

// get returns the cached identity of a token that has not expired at the given
// time, or nil.
func (c *identityCache) get(digest [32]byte, at time.Time) *identity {
	s := &c.shards[digest[0]%shards]
	s.mu.RLock()
	id := s.identities[digest]
	s.mu.RUnlock()
	if id == nil || id.key.retired.Load() || !at.Before(id.expires) {
		return nil
	}
	return id
}

// put caches the identity of a verified token, and makes it smaller before anybody else
// has it. A full shard first evicts a few others, expired ones if possible.
func (c *identityCache) put(digest [32]byte, id *identity, now time.Time) {
	c.texts.share(id)
	s := &c.shards[digest[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.identities) >= maxCachedIdentities/shards {
		s.evict(now)
	}
	s.identities[digest] = id
}

// evict makes room: from a sample of 16 identities it removes those that have
// expired or whose key is retired, or one if there are none. The sample is random,
// since the order of a map is.
func (s *shard) evict(now time.Time) {
	var candidate [32]byte
	seen, removed := 0, 0
	for digest, id := range s.identities {
		candidate = digest
		if id.key.retired.Load() || now.After(id.expires) {
			delete(s.identities, digest)
			removed++
		}
		if seen++; seen == 16 {
			break
		}
	}
	if removed == 0 {
		delete(s.identities, candidate)
	}
}
