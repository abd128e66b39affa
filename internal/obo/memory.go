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

// memory is the tier in this process. For what is being fetched it knows whether it was
// forgotten meanwhile.
type memory struct {
	entries   *bigcache.BigCache
	size      int // the most that it holds, in bytes
	evictions atomic.Int64

	mu          sync.Mutex // guards generations, and is held while an entry is written or removed
	generations [generationSlots]uint64
}

// generationSlots bound what is noted of what was forgotten. Where a fetch shares its
// slot with somebody else's sign-out, what it brings is not kept: another follows.
const generationSlots = 4096

// generation is how often a token and its owner had been forgotten when a fetch began.
type generation struct {
	tokenSlot, ownerSlot uint64
	forgotten            uint64
}

// newMemory returns a memory for size bytes.
func newMemory(size int64) (*memory, error) {
	m := &memory{size: int(size)}
	settings := bigcache.Config{
		Shards:      shardCount,
		LifeWindow:  longestLife, // every entry carries its own end
		CleanWindow: 10 * time.Minute,
		// The two sizes decide only how much is allocated at once: 16 MiB, which a
		// busy service needs soon. It is ballast too: a heap that would be smaller
		// is collected more often, at 6% more CPU for a request.
		MaxEntriesInWindow: 8192,
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
	s := Stats{Entries: m.entries.Len(), Bytes: m.entries.Capacity(), Evictions: m.evictions.Load()}
	s.Room = max(0, m.size-s.Bytes)
	return s
}

func (m *memory) close() error { return m.entries.Close() }

// get returns the entry under key, if it still counts.
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

// set puts an entry under key, unless what it belongs to was forgotten after since, and
// reports whether it did. One that is too large is not kept: BigCache would empty a
// shard before it refuses it.
func (m *memory) set(key cacheKey, e entry, since generation) bool {
	b := e.encode()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.forgotten(since) != since.forgotten {
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

// generation returns the one of now, for what is to be fetched under key for owner.
func (m *memory) generation(key, owner cacheKey) generation {
	g := generation{tokenSlot: slot(key), ownerSlot: slot(owner)}
	m.mu.Lock()
	defer m.mu.Unlock()
	g.forgotten = m.forgotten(g)
	return g
}

// forgotten grows when g's token or owner is forgotten. m.mu is held.
func (m *memory) forgotten(g generation) uint64 {
	return m.generations[g.tokenSlot] + m.generations[g.ownerSlot]
}

func slot(k cacheKey) uint64 { return short(k) % generationSlots }

// invalidate has what is being fetched for a key or an owner not be kept.
func (m *memory) invalidate(key cacheKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generations[slot(key)]++
}

// forgetTokens removes what is under keys.
func (m *memory) forgetTokens(keys []cacheKey) {
	for _, key := range keys {
		m.invalidate(key)
		m.delete(key)
	}
}

// forgetOwner removes what is kept for an owner.
func (m *memory) forgetOwner(owner cacheKey) {
	m.invalidate(owner)
	for entries := m.entries.Iterator(); entries.SetNext(); {
		held, err := entries.Value()
		if err != nil {
			continue // it has left by itself
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
	for slot := range m.generations {
		m.generations[slot]++
	}
	return m.entries.Reset()
}
