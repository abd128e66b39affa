package redistier

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"middletier/internal/failure"
)

var errNotForgotten = failure.New("Redis did not forget it")

// Forget implements Tier.
func (s *Redis) Forget(ctx context.Context, owner Key, n Notice) error {
	if n.What == Everything {
		return failure.Of(s.forgetAll(ctx))
	}
	deleted := s.deleteGeneration(ctx, owner)
	if removed := s.removeNoted(ctx, n); !deleted || !removed {
		return errNotForgotten
	}
	return nil
}

// removeNoted removes the entries that n is about, unless it is about all.
func (s *Redis) removeNoted(ctx context.Context, n Notice) bool {
	switch n.What {
	case TheseTokens:
		return s.remove(ctx, n.Keys)
	case AllOfUser:
		return s.removeOwned(ctx, n.Keys[0])
	}
	return true
}

// removeOwned removes the entries of an owner that are listed, and reports whether
// Redis did. Redis may have evicted the list, which leaves values that do not open.
func (s *Redis) removeOwned(ctx context.Context, owner Key) bool {
	listed, ok := do(ctx, s, read, func(ctx context.Context) ([]string, error) {
		listed, err := s.client.ZRange(ctx, s.index(owner), 0, -1).Result()
		if redis.HasErrorPrefix(err, "WRONGTYPE") { // somebody else's value, which would be in the way for ever
			err = errors.Join(err, s.client.Del(ctx, s.index(owner)).Err())
		}
		return listed, err
	})
	var keys []Key
	for _, member := range listed {
		if len(member) == len(Key{}) { // else it is not ours
			keys = append(keys, Key([]byte(member)))
		}
	}
	return ok && s.remove(ctx, keys)
}

// forgetAll removes everything of ours.
func (s *Redis) forgetAll(ctx context.Context) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return safely(func() error { return s.sweep(ctx, node) })
		})
	}
	return safely(func() error { return s.sweep(ctx, s.client) })
}

// sweepCount is how many keys Redis looks at before it lets others in.
const sweepCount = 1000

// sweep removes what is ours from one server, which may hold other things too.
// Every operation is bounded by the connection's own timeout.
func (s *Redis) sweep(ctx context.Context, node redis.Cmdable) error {
	suffixes := indexSuffix + "|" + lockSuffix + "|" + generationSuffix
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(s.prefix) + "[0-9a-f]{64}(" + suffixes + ")?$")
	for cursor := uint64(0); ; {
		names, next, err := node.Scan(ctx, cursor, globbing.Replace(s.prefix)+"*", sweepCount).Result()
		if err != nil {
			return err
		}
		_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range names {
				if ours.MatchString(name) {
					p.Unlink(ctx, name) // one by one, as in remove
				}
			}
			return nil
		})
		if cursor = next; err != nil || cursor == 0 {
			return err
		}
	}
}

// globbing takes the meaning from what is special in a pattern of Redis.
var globbing = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
