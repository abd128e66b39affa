package redistier

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// set notes that what is under key is the owners', apart from one that is zero, and sets it by
// one more command. It reports whether that command set it.
func (s *Redis) set(
	ctx context.Context, key Key, owners []Key, life time.Duration, by func(p redis.Pipeliner) redis.Cmder,
) (written bool, err error) {
	listed := make([]*redis.IntCmd, len(owners)) // nil for one that is zero
	var setting redis.Cmder
	commands, _ := s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
		for i, owner := range owners {
			if owner != (Key{}) {
				index, now := s.index(owner), time.Now()
				listed[i] = p.ZAdd(ctx, index, redis.Z{Score: float64(now.Add(life).Unix()), Member: key[:]})
				p.ZRemRangeByScore(ctx, index, "-inf", strconv.FormatInt(now.Unix()-1, 10)) // what has expired
				p.Expire(ctx, index, max(maxLife, life))
			}
			p.Expire(ctx, s.generationName(owner), max(maxLife, life))
		}
		setting = by(p)
		return nil
	})
	err = firstError(commands)
	for i, command := range listed {
		if command != nil && redis.HasErrorPrefix(command.Err(), "WRONGTYPE") { // somebody else's value
			err = cmp.Or(setting.Err(), s.client.Del(ctx, s.index(owners[i])).Err())
		}
	}
	if conditional, ok := setting.(*redis.BoolCmd); ok {
		return conditional.Val(), err
	}
	return err == nil, err
}

// firstError returns the first error of commands. That a key is absent is none.
func firstError(commands []redis.Cmder) error {
	for _, command := range commands {
		if err := command.Err(); err != nil && err != redis.Nil {
			return err
		}
	}
	return nil
}
