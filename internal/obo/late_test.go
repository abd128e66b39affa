package obo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"middletier/internal/obo"
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
			k.burst(3, "user")
			close(served)
			var locks []string
			eventually(t, func() bool {
				locks = slices.DeleteFunc(server.Keys(), func(key string) bool { return !strings.HasSuffix(key, ":lock") })
				return len(locks) == 0
			}, func() string { return fmt.Sprintf("nobody lets go of %q", locks) })
		})
	}
}

// Where Redis does not answer for the lock, it is not asked for the token again.
func TestRedisIsNotWaitedForTwice(t *testing.T) {
	server, p := startTier(t), newPlatform()
	k := server.replica(t, p, nil)
	var looks atomic.Int32
	k.cache.HookRedis(around(func(run func() error, commands ...redis.Cmder) error {
		if _, is := lockSet(commands); is {
			return errors.New("no answer")
		}
		if commands[0].Name() == "getrange" {
			looks.Add(1)
		}
		return run()
	}))
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	if got := looks.Load(); got != 1 {
		t.Errorf("Redis was asked %d times for the token, want once", got)
	}
}

// A user who signs out while the token is being written to Redis leaves none there.
func TestForgetReachesWhatIsBeingWritten(t *testing.T) {
	server, p := startTier(t), newPlatform()
	k := server.replica(t, p, nil)
	var signOut sync.Once
	k.cache.HookRedis(around(func(run func() error, commands ...redis.Cmder) error {
		if commands[len(commands)-1].Name() == "set" {
			if _, is := lockSet(commands); !is {
				signOut.Do(func() { k.cache.Forget(t.Context(), user("alice"), askedFor(todo)) })
			}
		}
		return run()
	}))
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	server.settles(t, 0)
	k.want(user("alice"), "", "token-2", obo.IdentityProvider)
	server.settles(t, 1)
}

// burst asks for tokens for many users at once, whose names begin so.
func (k kit) burst(users int, name string) {
	k.t.Helper()
	var group sync.WaitGroup
	for i := range users {
		group.Go(func() {
			if refusal := k.ask(user(fmt.Sprint(name, i)), todo...); refusal != nil {
				k.t.Errorf("%s %d: %v", name, i, refusal)
			}
		})
	}
	group.Wait()
}

// A Redis that is well but far away is used by bursts, for which most connections
// are yet to be made.
func TestBurstOnARedisThatIsFarAway(t *testing.T) {
	for _, users := range []int{5, 50} {
		t.Run(fmt.Sprint(users), func(t *testing.T) {
			t.Parallel()
			server, p := startTier(t), newPlatform()
			timeout := 2500 * time.Millisecond
			connections := server.farAway(t, timeout/5)
			server.config.Timeout = timeout
			k := server.replica(t, p, nil)
			// Two for operations, and one to listen.
			eventually(t, func() bool { return connections.Load() >= 3 }, func() string { return "no connections are kept" })
			k.burst(users, "user")
			if log, failed := server.log.String(), k.cache.Stats().RedisErrors; log != "" || failed > 0 {
				t.Errorf("%d operations failed, log %q, want no trouble with Redis", failed, log)
			}
		})
	}
}

// farAway moves the server to an address from which connections and answers take
// delay longer. It returns how many connections have been made.
func (s *tier) farAway(t *testing.T, delay time.Duration) *atomic.Int32 {
	t.Helper()
	address := s.Addr()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	s.config.URL = "redis://" + listener.Addr().String()
	var made atomic.Int32
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer near.Close()
				time.Sleep(delay)
				far, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				made.Add(1)
				running.Go(func() {
					_, _ = io.Copy(far, near)
					_ = far.Close()
				})
				_, _ = io.Copy(delayed{near, delay}, far)
			})
		}
	})
	return &made
}

// delayed writes after a delay.
type delayed struct {
	io.Writer
	delay time.Duration
}

func (d delayed) Write(b []byte) (int, error) {
	time.Sleep(d.delay)
	return d.Writer.Write(b)
}

// A Redis that hung is tried at once, and then no more often than one that failed.
func TestRedisThatHungIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	const pause = 5 * time.Second
	server, p := startTier(t), newPlatform()
	server.config.Timeout = 2 * time.Second
	began := time.Now()
	k := server.replica(t, p, nil)
	eventually(t, server.log.isReached, func() string { return "Redis is not reached" })
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	k.cache.HookRedis(around(func(run func() error, commands ...redis.Cmder) error {
		if commands[0].Name() == "getrange" && commands[0].Args()[1] != "middletier:probe" {
			<-over
		}
		return run()
	}))
	returns := func(n int) (after time.Duration) {
		t.Helper()
		eventually(t, func() bool { return strings.Count(server.log.String(), "Redis answers again") == n },
			func() string { return fmt.Sprintf("Redis is not used again:\n%s", server.log) })
		return time.Since(began)
	}
	k.burst(3, "user")
	if after := returns(1); after >= pause {
		t.Errorf("Redis was used again after %v, want at once", after)
	}
	k.burst(3, "another user")
	if after := returns(2); after < pause {
		t.Errorf("Redis was used again after %v, want the pause of %v", after, pause)
	}
}
