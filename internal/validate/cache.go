package validate

import (
	"sync"
	"time"
)

const (
	shards = 64

	// maxCachedIdentities bounds the tokens that are known again without a signature
	// check: at about 700 bytes each, some 90 MB when full.
	maxCachedIdentities = 1 << 17
)

// memory knows again the tokens that were verified, by their SHA-256, until
// they expire or their key is withdrawn. It holds no token.
type identityCache struct {
	shards [shards]shard
}

type shard struct {
	mu         sync.RWMutex
	identities map[[32]byte]*identity // guarded by mu
}

func newIdentityCache() *identityCache {
	c := &identityCache{}
	for i := range c.shards {
		c.shards[i].identities = map[[32]byte]*identity{}
	}
	return c
}

// get returns what is known of the token, if it was not expired at the time
// given.
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

// put remembers a verified token. A full shard first forgets a few of its
// tokens, preferring those that have ended.
func (c *identityCache) put(digest [32]byte, id *identity, now time.Time) {
	s := &c.shards[digest[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.identities) >= maxCachedIdentities/shards {
		s.evict(now)
	}
	s.identities[digest] = id
}

// forget makes room: of a sample of 16 tokens those that have ended go, or one
// where none has. The sample is random, as ranges over maps are.
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
