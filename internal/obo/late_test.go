package obo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// around is a redis.Hook: it runs the commands of one round trip.
type around func(run func() error, commands ...redis.Cmder) error

func (a around) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a around) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		return a(func() error { return next(ctx, command) }, command)
	}
}

func (a around) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		return a(func() error { return next(ctx, commands) }, commands...)
	}
}

// lockSet reports whether one of the commands takes a lock, and its key.
func lockSet(commands []redis.Cmder) (key string, is bool) {
	for _, command := range commands {
		if key, _ := command.Args()[1].(string); command.Name() == "set" && strings.HasSuffix(key, ":lock") {
			return key, true
		}
	}
	return "", false
}

// A lock whose answer nobody heard does not hold up other replicas.
func TestLockThatNobodyHeardOfIsLetGo(t *testing.T) {
	for name, lost := range map[string]error{"late": nil, "lost": errors.New("connection reset")} {
		t.Run(name, func(t *testing.T) {
			server, p := startTier(t), newPlatform()
			k := server.replica(t, p, nil)
			served := make(chan struct{})
			k.cache.HookRedis(around(func(run func() error, commands ...redis.Cmder) error {
				err := run()
				key, is := lockSet(commands)
				if !is || err != nil {
					return err
				}
				server.Do("PERSIST", key) // it does not end by itself
				if lost == nil {
					<-served
				}
				return lost
			}))
			var group sync.WaitGroup
			for i := range 3 {
				group.Go(func() {
					if refusal := k.ask(user(fmt.Sprint(i)), todo...); refusal != nil {
						t.Errorf("user %d: %v", i, refusal)
					}
				})
			}
			group.Wait()
			close(served)
			var locks []string
			eventually(t, func() bool {
				locks = slices.DeleteFunc(server.Keys(), func(key string) bool { return !strings.HasSuffix(key, ":lock") })
				return len(locks) == 0
			}, func() string { return fmt.Sprintf("nobody lets go of %q", locks) })
		})
	}
}
