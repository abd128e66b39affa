package records

import (
	"context"
	"fmt"
	"slices"
	"time"

	"middletier/internal/redistier"
)

// NewRedis returns a store in Redis, which replicas share. keys are its encryption keys.
func NewRedis(shared *redistier.Redis, keys []string) (*Store, error) {
	sealer, err := newSealer(keys)
	if err != nil {
		return nil, fmt.Errorf("tokenCache.redis.encryptionKeys: %w", err)
	}
	return &Store{backend: redisBackend{shared}, sealer: sealer}, nil
}

// redisBackend marks records with the generations of their owners: one that is deleted takes
// with it, in one step, all that was sealed with it. An operation goes on where its caller
// leaves, which says nothing of Redis; it is bounded by the timeout.
type redisBackend struct{ shared *redistier.Redis }

func (b redisBackend) begin(ctx context.Context, owners []Owner, life time.Duration) (since []string, err error) {
	since, ok := b.shared.BeginGenerations(context.WithoutCancel(ctx), owners, life)
	return since, available(ok)
}

// available returns ErrUnavailable unless Redis has answered.
func available(ok bool) error {
	if !ok {
		return ErrUnavailable
	}
	return nil
}

func (b redisBackend) holds(ctx context.Context, m Mark) (bool, error) {
	generations, ok := b.shared.Generations(context.WithoutCancel(ctx), m.owners)
	return slices.Equal(generations, m.since) && !slices.Contains(m.since, ""), available(ok)
}

func (b redisBackend) get(ctx context.Context, key redistier.Key) ([]byte, error) {
	value, ok := b.shared.ReadValue(context.WithoutCancel(ctx), key)
	if ok && value == nil {
		return nil, ErrUnknown
	}
	return value, available(ok)
}

func (b redisBackend) put(ctx context.Context, key redistier.Key, m Mark, sealed []byte, life time.Duration, replace bool) error {
	written, ok := b.shared.WriteValue(context.WithoutCancel(ctx), key, m.owners, sealed, life, replace)
	if ok && !written {
		return ErrUnknown
	}
	return available(ok)
}

func (b redisBackend) remove(ctx context.Context, key redistier.Key) error {
	return available(b.shared.RemoveValue(context.WithoutCancel(ctx), key))
}

func (b redisBackend) removeOwned(ctx context.Context, owner Owner) error {
	n := redistier.Notice{What: redistier.AllOfUser, Keys: []redistier.Key{owner}}
	return available(b.shared.Forget(context.WithoutCancel(ctx), owner, n) == nil)
}

// removeAll removes all of ours in Redis, what is cached too.
func (b redisBackend) removeAll(ctx context.Context) error {
	return available(b.shared.Forget(context.WithoutCancel(ctx), redistier.Key{}, redistier.Notice{What: redistier.Everything}) == nil)
}

func (b redisBackend) lock(ctx context.Context, key redistier.Key, owner Owner, lease time.Duration) (unlock func(), mine bool, err error) {
	lock, mine := b.shared.Lock(context.WithoutCancel(ctx), key, owner, lease)
	if mine && lock == "" { // Redis did not answer: a cache would go on without the lock
		return nil, false, ErrUnavailable
	}
	return func() { b.shared.Enqueue(redistier.Write{Key: key, Lock: lock}) }, mine, nil
}
