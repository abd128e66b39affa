package redistier

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

// A value is what package records keeps in Redis: it seals values itself, since it knows
// their owner only once a value is open, and its callers go no further where Redis does not
// answer. Names, owners, generations, locks and Forget are those of entries.

// ReadValue returns the value under key, nil for none. ok is false where Redis does not
// answer.
func (s *Redis) ReadValue(ctx context.Context, key Key) (value []byte, ok bool) {
	value, ok = do(ctx, s, read, func(ctx context.Context) ([]byte, error) {
		return ours(s.client.GetRange(ctx, s.name(key), 0, maxSealed))
	})
	if len(value) == 0 || len(value) > maxSealed {
		return nil, ok
	}
	return value, ok
}

// WriteValue writes a value under key, to expire after life, and notes that it is owner's.
// With replace it does so only where there is a value. ok is false where Redis did not
// say whether the value is written.
func (s *Redis) WriteValue(ctx context.Context, key, owner Key, value []byte, life time.Duration, replace bool) (written, ok bool) {
	return do(ctx, s, write, func(ctx context.Context) (bool, error) {
		return s.set(ctx, key, owner, life, func(p redis.Pipeliner) redis.Cmder {
			if replace {
				return p.SetXX(ctx, s.name(key), value, life)
			}
			return p.Set(ctx, s.name(key), value, life)
		})
	})
}

// RemoveValue removes the value under key, if there is one, and reports whether Redis did.
func (s *Redis) RemoveValue(ctx context.Context, key Key) bool { return s.remove(ctx, []Key{key}) }

// Generation returns the generation of an owner, "" for none. ok is false where Redis does
// not answer.
func (s *Redis) Generation(ctx context.Context, owner Key) (generation string, ok bool) {
	current, ok := do(ctx, s, read, func(ctx context.Context) ([]byte, error) {
		return ours(s.client.GetRange(ctx, s.generationName(owner), 0, generationSize))
	})
	if len(current) != generationSize || s.isDeletionPending(owner) {
		return "", ok
	}
	return string(current), ok
}

// BeginGeneration is Generation for values that are to live so long: where the owner has
// none, it gets one.
func (s *Redis) BeginGeneration(ctx context.Context, owner Key, life time.Duration) (generation string, ok bool) {
	var fresh [generationSize]byte
	_, _ = rand.Read(fresh[:]) // it never fails
	_, ok = do(ctx, s, write, func(ctx context.Context) (any, error) {
		commands, _ := s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
			p.SetNX(ctx, s.generationName(owner), fresh[:], max(maxLife, life))
			p.Expire(ctx, s.generationName(owner), max(maxLife, life))
			return nil
		})
		return nil, firstError(commands)
	})
	if !ok {
		return "", false
	}
	generation, ok = s.Generation(ctx, owner)
	return generation, ok && generation != ""
}
