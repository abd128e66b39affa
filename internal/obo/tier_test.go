package obo_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
	"middletier/internal/redistier"
)

// board is another kind of shared cache than Redis: a map that replicas in one process
// share. It shows what a redistier.Tier needs.
type board struct {
	mu          sync.Mutex // guards the rest
	entries     map[redistier.Key]posted
	generations map[redistier.Key]string
	locks       map[redistier.Key]string
	replicas    []*boardTier
}

// posted is an entry, which is worthless without its owner's generation.
type posted struct {
	entry      []byte
	generation string
}

// boardTier is one replica's view of a board.
type boardTier struct {
	*board
	heard func(redistier.Notice)
}

func newBoard() *board {
	return &board{entries: map[redistier.Key]posted{}, generations: map[redistier.Key]string{}, locks: map[redistier.Key]string{}}
}

func (b *boardTier) Run(ctx context.Context, heard func(redistier.Notice)) error {
	b.mu.Lock()
	b.heard = heard
	b.replicas = append(b.replicas, b)
	b.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (b *boardTier) Get(_ context.Context, key, owner redistier.Key) (found redistier.Stored, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found.Generation = b.generations[owner]
	if p := b.entries[key]; p.generation == found.Generation {
		found.Entry = p.entry
	}
	return found, true
}

func (b *boardTier) Lock(_ context.Context, key, owner redistier.Key, _ time.Duration) (lock string, mine bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.generations[owner] == "" {
		b.generations[owner] = rand.Text()
	}
	if b.locks[key] != "" {
		return "", false
	}
	b.locks[key] = rand.Text()
	return b.locks[key], true
}

func (b *boardTier) Enqueue(w redistier.Write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.Current != nil {
		b.entries[w.Key] = posted{w.Current(), w.Generation}
	}
	if w.Delete {
		delete(b.entries, w.Key)
	}
	if w.Lock != "" && b.locks[w.Key] == w.Lock {
		delete(b.locks, w.Key)
	}
}

func (b *boardTier) Forget(_ context.Context, owner redistier.Key, n redistier.Notice) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.What == redistier.Everything {
		clear(b.generations)
	}
	delete(b.generations, owner)
	return nil
}

func (b *boardTier) Publish(_ context.Context, n redistier.Notice) error {
	b.mu.Lock()
	replicas := b.replicas
	b.mu.Unlock()
	for _, other := range replicas {
		if other != b {
			other.heard(n)
		}
	}
	return nil
}

func (b *boardTier) Status() (up bool, failed int64) { return true, 0 }

// What replicas share does not depend on Redis.
func TestReplicasShareTokensByAnotherTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newBoard(), newPlatform()
		p.token = slowly(time.Second, numbered)
		replica := func() kit {
			return p.start(t, func(_ *obo.Config, c *obo.CacheConfig) { c.Shared = &boardTier{board: b} })
		}
		one, other := replica(), replica()
		synctest.Wait()
		alice := user("alice")
		var group sync.WaitGroup
		group.Go(func() { one.want(alice, "", "token-1", obo.IdentityProvider) })
		synctest.Wait()
		other.want(alice, "", "token-1", obo.Redis) // it has waited for the lock
		group.Wait()
		other.want(alice, "token-1", "token-2", obo.IdentityProvider)
		if err := one.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); err != nil {
			t.Fatal(err)
		}
		other.want(alice, "", "token-3", obo.IdentityProvider)
		one.want(alice, "", "token-3", obo.Redis)
		one.wantExchanges(3)
	})
}
