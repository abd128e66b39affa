package obo_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/obo"
)

// listens waits until n replicas hear what others forget.
func (s tier) listens(t *testing.T, n int64) {
	t.Helper()
	var got any
	eventually(t, func() bool {
		got = s.Do("PUBSUB", "NUMSUB", s.config.KeyPrefix+"forgotten")
		return fmt.Sprint(got) == fmt.Sprint([]any{s.config.KeyPrefix + "forgotten", n})
	}, func() string { return fmt.Sprintf("listeners: got %v, want %d", got, n) })
}

// startListeners starts two replicas that hear each other.
func startListeners(t *testing.T) (redis tier, p *platform, one, other kit) {
	t.Helper()
	redis, p = startTier(t), newPlatform()
	one, other = redis.replica(t, p, nil), redis.replica(t, p, nil)
	redis.listens(t, 2)
	return redis, p, one, other
}

// forgets waits until k holds nothing more for a.
func (k kit) forgets(a obo.Assertion, scopes []string) {
	k.t.Helper()
	eventually(k.t, func() bool { return !k.cache.Holds(a, scopes) }, func() string { return "the other replica still holds the token" })
}

func TestForgettingReachesOtherReplicas(t *testing.T) {
	for way, forget := range forgetters {
		t.Run(way, func(t *testing.T) {
			redis, _, one, other := startListeners(t)
			alice, bob := user("alice"), user("bob")
			one.want(alice, "", "token-1", obo.IdentityProvider)
			one.want(bob, "", "token-2", obo.IdentityProvider)
			redis.settles(t, 2)
			other.want(alice, "", "token-1", obo.Redis)
			other.want(bob, "", "token-2", obo.Redis)

			if err := forget(one, alice); err != nil {
				t.Fatal(err)
			}
			other.forgets(alice, todo)
			if kept := way != "all"; other.cache.Holds(bob, todo) != kept || one.cache.Holds(bob, todo) != kept {
				t.Errorf("somebody else's token: kept is not %v", kept)
			}
			other.want(alice, "", "token-3", obo.IdentityProvider)
			if log := redis.log.String(); log != "" {
				t.Errorf("log: got %s", log)
			}
		})
	}
}

// What another replica is fetching at that moment is served there and not kept.
func TestForgettingReachesFetchesOfOtherReplicas(t *testing.T) {
	redis, p, one, other := startListeners(t)
	alice, notes := user("alice"), []string{"api://notes/.default"}
	if refusal := other.ask(alice, notes...); refusal != nil {
		t.Fatal(refusal)
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	p.token = func(r sent) answer {
		if r.n == 2 {
			close(asked)
			<-goOn
		}
		return numbered(r)
	}
	refusal := make(chan *obo.Error, 1)
	go func() { refusal <- other.ask(alice, todo...) }()
	<-asked
	one.cache.Forget(t.Context(), alice, askedFor(todo, notes))
	other.forgets(alice, notes) // and so it has heard
	release()
	if r := <-refusal; r != nil {
		t.Fatal(r)
	}
	redis.settles(t, 0)
	other.want(alice, "", "token-3", obo.IdentityProvider)
}

// Nobody else can write a notice, nor move one from another prefix.
func TestForeignNoticesAreNotHeeded(t *testing.T) {
	redis, p, one, other := startListeners(t)
	alice, bob := user("alice"), user("bob")
	one.want(alice, "", "token-1", obo.IdentityProvider)
	one.want(bob, "", "token-2", obo.IdentityProvider)
	for _, message := range []string{"", "a", strings.Repeat("x", 17), strings.Repeat("\x00", 100), strings.Repeat("x", 1<<20)} {
		redis.Do("PUBLISH", "middletier:forgotten", message)
	}
	elsewhere := redis
	elsewhere.config.KeyPrefix = "elsewhere:"
	if err := elsewhere.replica(t, p, nil).cache.ForgetAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.cache.Forget(t.Context(), bob, askedFor(todo))
	one.forgets(bob, todo)
	one.want(alice, "", "token-1", obo.Memory)
}

// A Redis that comes back is listened to again.
func TestListeningOutlivesRedis(t *testing.T) {
	redis, _, one, other := startListeners(t)
	redis.Kill()
	redis.Restart()
	redis.listens(t, 2)
	alice := user("alice")
	one.want(alice, "", "token-1", obo.IdentityProvider)
	eventually(t, func() bool { return other.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID) == nil },
		func() string { return "Redis is not asked again" })
	one.forgets(alice, todo)
}

// A user of Redis may lack the permission: all but the notices goes on, and that
// is said.
func TestNoticesWithoutPermission(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	redis.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "resetchannels", "+@all")
	redis.config.URL = strings.Replace(redis.config.URL, "redis://", "redis://limited:secret@", 1)
	k := redis.replica(t, p, nil)
	alice := user("alice")
	eventually(t, func() bool { return strings.Contains(redis.log.String(), "does not let us hear") },
		func() string { return "no log line: " + redis.log.String() })
	k.want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	for range 5 { // the breaker would open
		if err := k.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); !errors.Is(err, obo.ErrRedis) {
			t.Errorf("got %v, want ErrRedis", err)
		}
	}
	redis.settles(t, 0)
	k.want(alice, "", "token-2", obo.IdentityProvider)
	redis.settles(t, 1)
	if stats := k.cache.Stats(); !stats.RedisUp || stats.RedisErrors != 5 {
		t.Errorf("got %+v, want Redis up and 5 errors", stats)
	}
	log := redis.log.String()
	if strings.Count(log, "does not let us hear") != 1 || !strings.Contains(log, "does not pass on") || strings.Contains(log, "secret") {
		t.Errorf("log: got %s", log)
	}
}

// The end of the program does not wait for notices.
func TestListeningEnds(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	t.Run("replica", func(t *testing.T) {
		redis.replica(t, p, nil)
		redis.listens(t, 1)
	})
	begun := time.Now()
	redis.listens(t, 0)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
