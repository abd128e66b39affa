package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"
)

func (c *identityCache) count() int {
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].identities)
	}
	return n
}

func testDigest(i int) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

func TestCacheIsBounded(t *testing.T) {
	c, now := newIdentityCache(), time.Now()
	id := &identity{key: &signingKey{}, expires: now.Add(time.Hour)}
	for i := range 3 * maxCachedIdentities {
		c.put(testDigest(i), id, now)
		if c.get(testDigest(i), now) != id {
			t.Fatal("what was just put is not there")
		}
	}
	if n := c.count(); n > maxCachedIdentities || n < maxCachedIdentities*9/10 {
		t.Errorf("remembers %d tokens, want at most, and about, %d", n, maxCachedIdentities)
	}
}

// When there is no room, the tokens that have ended go before those that have not.
func TestCachePrefersToEvictWhatHasExpired(t *testing.T) {
	now := time.Now()
	live := &identity{key: &signingKey{}, expires: now.Add(time.Hour)}
	for name, ended := range map[string]*identity{
		"expired":   {key: &signingKey{}, expires: now.Add(-time.Hour)},
		"withdrawn": {key: retiredKey(), expires: now.Add(time.Hour)},
	} {
		s, left := &shard{identities: map[[32]byte]*identity{}}, 0
		for i := range 2000 {
			s.identities[testDigest(i)] = []*identity{ended, live}[i%2]
		}
		for range 50 {
			s.evict(now)
		}
		for _, id := range s.identities {
			if id == live {
				left++
			}
		}
		if left < 990 || len(s.identities) > 1950 {
			t.Errorf("%s: %d live tokens of 1000 are left, of %d in all", name, left, len(s.identities))
		}
	}
}

func retiredKey() *signingKey {
	key := &signingKey{}
	key.retired.Store(true)
	return key
}
