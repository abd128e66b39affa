package obo

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allegro/bigcache/v3"
)

// memory is the tier in this process. It notes whether a token or its owner is forgotten
// while the token is fetched.
type memory struct {
	entries   *bigcache.BigCache
	evictions atomic.Int64

	mu      sync.Mutex        // guards forgets, and is held while an entry is written or removed
	forgets [markSlots]uint64 // how often something in a slot was forgotten
}

// markSlots is the number of counters. If a fetch shares its counter with another user's
// sign-out, its token is not cached, and the next request fetches again.
const markSlots = 4096

// forgetMark says how often a token and its owner had been forgotten when a fetch began. If
// the count has grown when the fetch ends, its token is not cached.
type forgetMark struct {
	tokenSlot, ownerSlot uint64
	count                uint64
}

// newMemory returns a memory for size bytes.
func newMemory(size int64) (*memory, error) {
	m := &memory{}
	settings := bigcache.Config{
		Shards:      shardCount,
		LifeWindow:  longestLife, // every entry carries its own end
		CleanWindow: 10 * time.Minute,
		// The two sizes decide only how much is allocated at once: 2 MiB. With 16 MiB the
		// collector would run less often, at 2% less CPU for a request.
		MaxEntriesInWindow: 1024,
		MaxEntrySize:       2048,
		HardMaxCacheSize:   int(size / mebibyte),
		Hasher:             keyHash{},
		OnRemoveWithReason: func(string, []byte, bigcache.RemoveReason) { m.evictions.Add(1) },
	}
	var err error
	if m.entries, err = bigcache.New(context.Background(), settings.OnRemoveFilterSet(bigcache.NoSpace)); err != nil {
		return nil, fmt.Errorf("tokenCache: %w", err)
	}
	return m, nil
}

// keyHash is BigCache's 64-bit hash: the keys are hashes already.
type keyHash struct{}

func (keyHash) Sum64(key string) uint64 { return binary.BigEndian.Uint64([]byte(key[:8])) }

// stats returns what there is to say of memory.
func (m *memory) stats() Stats {
	return Stats{Entries: m.entries.Len(), Bytes: m.entries.Capacity(), Evictions: m.evictions.Load()}
}

func (m *memory) close() error { return m.entries.Close() }

// get returns the entry under key, unless it has expired.
func (m *memory) get(key cacheKey, now time.Time) (entry, bool) {
	b, err := m.entries.Get(string(key[:]))
	if err != nil {
		return entry{}, false
	}
	e, ok := decode(b)
	return e, ok && now.Before(e.until)
}

// encodedIf returns the encoded entry under key, or nil if it no longer holds e's token
// with e's end. Trial state and renewal time may differ from e.
func (m *memory) encodedIf(key cacheKey, e entry) []byte {
	b, err := m.entries.Get(string(key[:]))
	if err != nil {
		return nil
	}
	if held, ok := decode(b); !ok || held.token != e.token || held.until.UnixMilli() != e.until.UnixMilli() {
		return nil
	}
	return b
}

// set writes an entry under key, unless its token or owner was forgotten after since, and
// reports whether it did. An entry that is too large is not written: BigCache would empty a
// shard before it refuses the entry.
func (m *memory) set(key cacheKey, e entry, since forgetMark) bool {
	b := e.encode()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.forgetCount(since) != since.count {
		return false
	}
	return m.put(key, b)
}

// put writes an encoded entry, or removes an older one if it cannot. m.mu is held.
func (m *memory) put(key cacheKey, encoded []byte) bool {
	if len(encoded) > maxEntry || m.entries.Set(string(key[:]), encoded) != nil {
		m.remove(key)
		return false
	}
	return true
}

// update replaces the entry under key by what change makes of it, in one step. It does
// nothing if there is no such entry or if change returns false.
func (m *memory) update(key cacheKey, now time.Time, change func(entry) (entry, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.get(key, now)
	if !ok {
		return
	}
	if e, ok = change(e); ok {
		m.put(key, e.encode())
	}
}

// delete removes the entry under key, if there is one.
func (m *memory) delete(key cacheKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
}

// remove is delete for a caller that holds m.mu.
func (m *memory) remove(key cacheKey) { _ = m.entries.Delete(string(key[:])) }

// mark returns the mark of now, for a token that is fetched under key for owner.
func (m *memory) mark(key, owner cacheKey) forgetMark {
	mark := forgetMark{tokenSlot: slot(key), ownerSlot: slot(owner)}
	m.mu.Lock()
	defer m.mu.Unlock()
	mark.count = m.forgetCount(mark)
	return mark
}

// forgetCount grows when the token or the owner of mark is forgotten. m.mu is held.
func (m *memory) forgetCount(mark forgetMark) uint64 {
	return m.forgets[mark.tokenSlot] + m.forgets[mark.ownerSlot]
}

func slot(k cacheKey) uint64 { return short(k) % markSlots }

// outdate makes the marks of a token or an owner out of date, so that fetches that run now
// do not cache what they bring.
func (m *memory) outdate(key cacheKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgets[slot(key)]++
}

// forgetTokens removes the entries under keys.
func (m *memory) forgetTokens(keys []cacheKey) {
	for _, key := range keys {
		m.outdate(key)
		m.delete(key)
	}
}

// forgetOwner removes all entries of an owner.
func (m *memory) forgetOwner(owner cacheKey) {
	m.outdate(owner)
	for entries := m.entries.Iterator(); entries.SetNext(); {
		held, err := entries.Value()
		if err != nil {
			continue // it was evicted meanwhile
		}
		if e, ok := decode(held.Value()); ok && e.owner == short(owner) {
			m.delete(cacheKey([]byte(held.Key())))
		}
	}
}

// forgetAll removes everything.
func (m *memory) forgetAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for slot := range m.forgets {
		m.forgets[slot]++
	}
	return m.entries.Reset()
}
