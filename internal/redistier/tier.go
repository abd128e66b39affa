// Package redistier is the cache that all replicas share: Redis.
//
// An entry is sealed with its name and with the generation of its owner, a random value
// beside it. Lock gives the owner a generation; Get returns it with the entry; what is
// written is sealed with the generation that Get returned before the exchange. Forget
// deletes the generation, which makes every entry of the owner worthless at once, and then
// the entries that are listed. If a generation cannot be deleted, the deletion is pending:
// the owner's entries are a miss for this replica, and the deletion is retried. Publish
// sends a notice to the other replicas, which empty their memory.
//
// Operations go through the breaker, which bounds each by the timeout and lets none begin
// while it is open. Letting go of a lock goes past it, since other replicas would wait for
// the lock's end.
//
// Locks. breaker.mu, Redis.mu (pending deletions) and passwordFile.mu are held for a few
// statements; none is held while another of them is taken, and none across the network.
// breaker.opened, called with breaker.mu held, only logs.
//
// Goroutines. Run owns the writers, the one that tries Redis while it is left alone
// (watch), and the one that listens for notices, and waits for all of them. An operation
// runs in a goroutine of its own, which ends with the connection's timeout.
package redistier

import (
	"context"
	"crypto/sha256"
	"time"
)

// Tier is a cache that all replicas share. It may be slow, down or wrong at any time:
// then it holds nothing, and its user goes on without it.
type Tier interface {
	// Run does what is done behind requests until ctx ends, and calls heard with what
	// other replicas forget.
	Run(ctx context.Context, heard func(Notice)) error
	// Get returns the entry under key and the generation of its owner. ok is false where
	// the tier does not answer.
	Get(ctx context.Context, key, owner Key) (found Stored, ok bool)
	// Lock tries to be the one replica that fetches what belongs under key, until Enqueue
	// lets go of the lock or the lease ends. It sees to it that the owner has a generation.
	// If the tier does not answer, it returns "", true: the caller fetches without a lock.
	Lock(ctx context.Context, key, owner Key, lease time.Duration) (lock string, mine bool)
	// Enqueue ends a fetch behind the request. Where too many wait, it is dropped.
	Enqueue(w Write)
	// Forget makes what n is about worthless. The entries of n.Keys are owner's.
	Forget(ctx context.Context, owner Key, n Notice) error
	// Publish sends n to the other replicas.
	Publish(ctx context.Context, n Notice) error
	// Status says whether the tier is asked now, and how many operations have failed since
	// the start.
	Status() (up bool, failed int64)
}

// Key names an entry, or an owner of entries. It is a hash.
type Key [sha256.Size]byte

// Stored is what the tier holds for a key and its owner.
type Stored struct {
	Entry      []byte // nil for none
	Generation string // of the owner; "" for none
}

// Write is what is done at the end of a fetch, in this order.
type Write struct {
	Key, Owner Key
	// Current returns the entry to write, or nil where it does not count any more, which is
	// asked again once it is written. nil: nothing is written.
	Current func() []byte
	// Generation is what Get returned before the fetch: what was forgotten since does not
	// come back.
	Generation string
	Life       time.Duration // of the entry
	Delete     bool          // what is there goes
	Lock       string        // to let go of; "" for none
}
