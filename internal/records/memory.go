package records

import (
	"container/list"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"middletier/internal/redistier"
)

// MemoryConfig bounds a store in memory. The oldest records leave first.
type MemoryConfig struct {
	MaxRecords int
	MaxBytes   int // of values; what keeps them takes about 500 bytes more for each
}

// DefaultMemory is for a service: what a refresh token takes is about 2 KB.
var DefaultMemory = MemoryConfig{MaxRecords: 20_000, MaxBytes: 64 << 20}

// NewMemory returns a store in the memory of this process, where records end with it.
func NewMemory(c MemoryConfig) *Store {
	sealer, _ := newSealer(nil) // no key is a bad one
	return &Store{backend: &memoryBackend{
		config: c, records: map[redistier.Key]*list.Element{}, owned: map[Owner]map[redistier.Key]bool{}, deleted: map[Owner]uint64{},
	}, sealer: sealer}
}

// memoryBackend marks records by a count of all deletions. For each owner it notes the count
// at which the owner's records were last deleted.
type memoryBackend struct {
	config MemoryConfig

	mu      sync.Mutex // guards the rest
	records map[redistier.Key]*list.Element
	owned   map[Owner]map[redistier.Key]bool
	byAge   list.List // of *entry, the oldest first
	bytes   int       // of all values
	count   uint64    // of deletions
	deleted map[Owner]uint64
	floor   uint64 // marks up to here have ended
}

// entry is a record in memory.
type entry struct {
	key    redistier.Key
	owners []Owner
	sealed []byte
	ends   time.Time
}

// maxDeleted bounds the owners whose deletion is noted. Beyond it, every mark that was begun
// before ends: a record is made within seconds.
const maxDeleted = 1 << 14

func (b *memoryBackend) begin(_ context.Context, owners []Owner, _ time.Duration) (since []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Repeat([]string{strconv.FormatUint(b.count+1, 10)}, len(owners)), nil
}

// holds is true: deleted records are not there to be asked about.
func (b *memoryBackend) holds(context.Context, Mark) (bool, error) { return true, nil }

func (b *memoryBackend) get(_ context.Context, key redistier.Key) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	element := b.find(key)
	if element == nil {
		return nil, ErrUnknown
	}
	return element.Value.(*entry).sealed, nil
}

// find returns what is under key, nil for nothing. It drops a record that has expired. b.mu is
// held.
func (b *memoryBackend) find(key redistier.Key) *list.Element {
	element := b.records[key]
	if element != nil && !time.Now().Before(element.Value.(*entry).ends) {
		b.drop(element)
		return nil
	}
	return element
}

func (b *memoryBackend) put(_ context.Context, key redistier.Key, m Mark, sealed []byte, life time.Duration, replace bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.find(key)
	if replace && old == nil {
		return ErrUnknown
	}
	if old != nil {
		b.drop(old)
	}
	if !replace && b.isDeleted(m) {
		return nil // before it was there
	}
	b.records[key] = b.byAge.PushBack(&entry{key, m.owners, sealed, time.Now().Add(life)})
	for _, owner := range m.owners {
		if b.owned[owner] == nil {
			b.owned[owner] = map[redistier.Key]bool{}
		}
		b.owned[owner][key] = true
	}
	b.bytes += len(sealed)
	b.makeRoom()
	return nil
}

// isDeleted reports whether records of an owner of m were deleted since. b.mu is held.
func (b *memoryBackend) isDeleted(m Mark) bool {
	for i, owner := range m.owners {
		since, err := strconv.ParseUint(m.since[i], 10, 64)
		if err != nil || since <= b.floor || since <= b.deleted[owner] {
			return true
		}
	}
	return false
}

// makeRoom drops what has expired among the oldest, and the oldest beyond the bounds. b.mu
// is held, as in drop.
func (b *memoryBackend) makeRoom() {
	for now := time.Now(); ; {
		first := b.byAge.Front()
		if first == nil {
			return
		}
		tooMany := len(b.records) > b.config.MaxRecords || b.bytes > b.config.MaxBytes
		if !tooMany && now.Before(first.Value.(*entry).ends) {
			return
		}
		b.drop(first)
	}
}

func (b *memoryBackend) drop(element *list.Element) {
	e := b.byAge.Remove(element).(*entry)
	delete(b.records, e.key)
	for _, owner := range e.owners {
		delete(b.owned[owner], e.key)
		if len(b.owned[owner]) == 0 {
			delete(b.owned, owner)
		}
	}
	b.bytes -= len(e.sealed)
}

func (b *memoryBackend) remove(_ context.Context, key redistier.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if element := b.records[key]; element != nil {
		b.drop(element)
	}
	return nil
}

func (b *memoryBackend) removeOwned(_ context.Context, owner Owner) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key := range b.owned[owner] {
		b.drop(b.records[key])
	}
	b.count++
	if b.deleted[owner] == 0 && len(b.deleted) >= maxDeleted {
		clear(b.deleted)
		b.floor = b.count
	}
	b.deleted[owner] = b.count
	return nil
}

func (b *memoryBackend) removeAll(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.records)
	clear(b.owned)
	clear(b.deleted)
	b.byAge.Init()
	b.bytes = 0
	b.count++
	b.floor = b.count
	return nil
}

// lock has nothing to do: Store.Lock is enough within a process.
func (*memoryBackend) lock(context.Context, redistier.Key, Owner, time.Duration) (unlock func(), mine bool, err error) {
	return func() {}, true, nil
}
