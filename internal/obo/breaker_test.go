package obo_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/obo"
)

// Redis breaks in many ways while requests go on. None fails or waits for long,
// and when Redis is well again it is used again.
func TestRedisBreaksAndRecovers(t *testing.T) {
	const timeout = 400 * time.Millisecond
	const atOnce, once = timeout / 2, 2 * timeout // the longest that a request may take: no timeout, or not two
	for name, c := range map[string]struct {
		most          time.Duration
		breaks, mends func(s tier)
	}{
		"killed":  {atOnce, func(s tier) { s.Kill() }, func(s tier) { s.Restart() }},
		"silent":  {once, func(s tier) { s.Freeze() }, func(s tier) { s.Thaw() }},
		"loading": {atOnce, func(s tier) { s.RestartLoading() }, func(s tier) { s.FinishLoading() }},
		"read-only replica": {
			atOnce,
			func(s tier) { s.Do("REPLICAOF 127.0.0.1 1") },
			func(s tier) { s.Do("REPLICAOF NO ONE") },
		},
		"too few replicas": {
			atOnce,
			func(s tier) { s.Do("CONFIG SET min-replicas-to-write 1") },
			func(s tier) { s.Do("CONFIG SET min-replicas-to-write 0") },
		},
		"out of memory": {
			atOnce,
			func(s tier) { s.Do("CONFIG SET maxmemory 1") },
			func(s tier) { s.Do("CONFIG SET maxmemory 0") },
		},
		"writes hang": {
			once,
			func(s tier) { s.Do("CLIENT PAUSE 600000 WRITE") },
			func(s tier) { s.Do("CLIENT UNPAUSE") },
		},
		"wrong password": {
			atOnce,
			func(s tier) {
				s.Do("CONFIG SET requirepass another")
				s.Do("CLIENT KILL TYPE normal SKIPME yes")
			},
			func(s tier) { s.Do("CONFIG SET requirepass", "") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis, p := startTier(t), newPlatform()
			redis.config.Timeout = timeout
			k := redis.replica(t, p, nil)
			k.want(user("alice"), "", "token-1", obo.IdentityProvider)
			redis.settles(t, 1)
			c.breaks(redis)
			users := 0
			next := func() (took time.Duration) {
				t.Helper()
				users++
				begin := time.Now()
				if refusal := k.ask(user(fmt.Sprint("user", users)), todo...); refusal != nil {
					t.Errorf("user %d: %v", users, refusal)
				}
				return time.Since(begin)
			}
			for !strings.Contains(redis.log.String(), "Redis fails") {
				if took := next(); took > c.most {
					t.Errorf("a request took %v, want %v at most", took, c.most)
				}
				if users > 20 {
					t.Fatal("the breaker does not open")
				}
			}
			if log := redis.log.String(); name == "loading" && !strings.Contains(log, "LOADING") {
				t.Errorf("log: got %s, want that Redis is loading", log)
			}
			if users > 5 {
				t.Errorf("%d requests until the breaker opened, want three or so", users)
			}
			failed := k.cache.Stats().RedisErrors
			if failed < 3 {
				t.Errorf("errors of Redis: got %d, want 3 at least", failed)
			}
			slow := 0 // because of the machine; if the breaker let requests wait, all of them would be
			for range 50 {
				if next() > atOnce {
					slow++
				}
			}
			if slow > 10 {
				t.Errorf("%d of 50 requests took more than %v with the breaker open", slow, atOnce)
			}
			c.mends(redis)
			answers := func() bool { return strings.Contains(redis.log.String(), "Redis answers again") }
			eventually(t, answers, func() string { return "Redis is not used again:\n" + redis.log.String() })
			next()
			eventually(t, func() bool {
				got, err := redis.replica(t, p, nil).cache.OnBehalfOf(t.Context(), user(fmt.Sprint("user", users)), todo, obo.Challenge{})
				if err != nil {
					t.Errorf("another replica: %v", err)
				}
				return got.Origin == obo.Redis
			}, func() string { return "nothing is written to Redis again" })
			if log := redis.log.String(); strings.Count(log, "Redis fails") != 1 || strings.Count(log, "\n") != 2 {
				t.Errorf("log: got\n%s\nwant one line for each change", log)
			}
		})
	}
}

func TestRedisIsDownAtTheStart(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	redis.Kill()
	k := redis.replica(t, p, nil)
	for i := range 10 {
		k.want(user(fmt.Sprint(i)), "", fmt.Sprintf("token-%d", i+1), obo.IdentityProvider)
	}
	if log := redis.log.String(); strings.Count(log, "\n") != 1 {
		t.Errorf("log: got\n%s\nwant one line", log)
	}
}

// A Redis that falls silent holds nobody up for the whole timeout where several
// requests wait for it.
func TestSilentRedisIsLeftByAllWhoWait(t *testing.T) {
	t.Parallel()
	redis, p := startTier(t), newPlatform()
	redis.config.Timeout = 4 * time.Second
	k := redis.replica(t, p, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	redis.Freeze()
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() {
			begin := time.Now()
			if refusal := k.ask(user(fmt.Sprint(i)), todo...); refusal != nil {
				t.Errorf("user %d: %v", i, refusal)
			}
			if took := time.Since(begin); took >= redis.config.Timeout {
				t.Errorf("user %d waited %v, want less than the timeout", i, took)
			}
		})
	}
	group.Wait()
	if log := redis.log.String(); strings.Count(log, "operations hang") != 1 {
		t.Errorf("log: got %s, want that operations hang", log)
	}
}
