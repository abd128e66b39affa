package redistier

import (
	"context"
	"crypto/rand"
	"slices"
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

// WriteValue writes a value under key, to expire after life, and notes that it is the owners'.
// With replace it does so only where there is a value. ok is false where Redis did not
// say whether the value is written.
func (s *Redis) WriteValue(ctx context.Context, key Key, owners []Key, value []byte, life time.Duration, replace bool) (written, ok bool) {
	return do(ctx, s, write, func(ctx context.Context) (bool, error) {
		return s.set(ctx, key, owners, life, func(p redis.Pipeliner) redis.Cmder {
			if replace {
				return p.SetXX(ctx, s.name(key), value, life)
			}
			return p.Set(ctx, s.name(key), value, life)
		})
	})
}

// RemoveValue removes the value under key, if there is one, and reports whether Redis did.
func (s *Redis) RemoveValue(ctx context.Context, key Key) bool { return s.remove(ctx, []Key{key}) }

// Generations returns the generation of each owner, "" for none. ok is false where Redis does
// not answer.
func (s *Redis) Generations(ctx context.Context, owners []Key) (generations []string, ok bool) {
	return s.askGenerations(ctx, read, owners, nil)
}

// BeginGenerations is Generations for values that are to live so long: an owner that has no
// generation gets one. ok is false also where one has none yet.
func (s *Redis) BeginGenerations(ctx context.Context, owners []Key, life time.Duration) (generations []string, ok bool) {
	generations, ok = s.askGenerations(ctx, write, owners, func(p redis.Pipeliner, name string) {
		var fresh [generationSize]byte
		_, _ = rand.Read(fresh[:]) // it never fails
		p.SetNX(ctx, name, fresh[:], max(maxLife, life))
		p.Expire(ctx, name, max(maxLife, life))
	})
	return generations, ok && !slices.Contains(generations, "")
}

// askGenerations reads the generations of owners in one round trip, each after before, if
// there is one, has sent more commands for its name.
func (s *Redis) askGenerations(
	ctx context.Context, kind operation, owners []Key, before func(p redis.Pipeliner, name string),
) (generations []string, ok bool) {
	generations, ok = do(ctx, s, kind, func(ctx context.Context) ([]string, error) {
		var commands []*redis.StringCmd
		all, _ := s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
			for _, owner := range owners {
				name := s.generationName(owner)
				if before != nil {
					before(p, name)
				}
				commands = append(commands, p.GetRange(ctx, name, 0, generationSize))
			}
			return nil
		})
		var found []string
		for _, command := range commands {
			generation, err := ours(command)
			if err != nil {
				return nil, err
			}
			found = append(found, string(generation))
		}
		if before != nil {
			return found, firstError(all)
		}
		return found, nil
	})
	for i, generation := range generations {
		if len(generation) != generationSize || s.isDeletionPending(owners[i]) {
			generations[i] = ""
		}
	}
	return generations, ok
}
