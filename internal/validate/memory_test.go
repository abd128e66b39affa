package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"
)

func (m *memory) count() int {
	n := 0
	for i := range m.shards {
		n += len(m.shards[i].known)
	}
	return n
}

func testDigest(i int) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

func TestMemoryIsBounded(t *testing.T) {
	m, now := newMemory(), time.Now()
	id := &identity{key: &signingKey{}, expires: now.Add(time.Hour)}
	for i := range 3 * maxKnown {
		m.put(testDigest(i), id, now)
		if m.get(testDigest(i), now) != id {
			t.Fatal("what was just put is not there")
		}
	}
	if n := m.count(); n > maxKnown || n < maxKnown*9/10 {
		t.Errorf("remembers %d tokens, want at most, and about, %d", n, maxKnown)
	}
}

// When there is no room, the tokens that have ended go before those that have not.
func TestMemoryPrefersToForgetWhatHasEnded(t *testing.T) {
	now := time.Now()
	live := &identity{key: &signingKey{}, expires: now.Add(time.Hour)}
	for name, ended := range map[string]*identity{
		"expired":   {key: &signingKey{}, expires: now.Add(-time.Hour)},
		"withdrawn": {key: retiredKey(), expires: now.Add(time.Hour)},
	} {
		s, left := &shard{known: map[[32]byte]*identity{}}, 0
		for i := range 2000 {
			s.known[testDigest(i)] = []*identity{ended, live}[i%2]
		}
		for range 50 {
			s.forget(now)
		}
		for _, id := range s.known {
			if id == live {
				left++
			}
		}
		if left < 990 || len(s.known) > 1950 {
			t.Errorf("%s: %d live tokens of 1000 are left, of %d in all", name, left, len(s.known))
		}
	}
}

func retiredKey() *signingKey {
	key := &signingKey{}
	key.retired.Store(true)
	return key
}
