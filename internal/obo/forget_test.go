package obo_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"middletier/internal/obo"
)

// anotherOf returns another assertion of the same user, as after a new sign-in.
func anotherOf(a obo.Assertion) obo.Assertion {
	a.Token += "2"
	a.Digest = sha256.Sum256([]byte(a.Token))
	return a
}

// A user's tokens go, whichever of the user's assertions they were got with, and
// nobody else's.
func TestForgetUser(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k, other := redis.replica(t, p, nil), redis.replica(t, p, nil)
	alice, guest := user("alice"), userOf("99999999-9999-4999-8999-999999999999", "alice")
	k.want(alice, "", "token-1", obo.IdentityProvider)
	k.want(anotherOf(alice), "", "token-2", obo.IdentityProvider)
	k.want(user("bob"), "", "token-3", obo.IdentityProvider)
	k.want(guest, "", "token-4", obo.IdentityProvider)
	if _, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
		t.Fatal(err)
	}
	redis.settles(t, 5)

	if err := k.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); err != nil {
		t.Fatal(err)
	}
	redis.settles(t, 3)
	for _, kept := range []struct {
		who   obo.Assertion
		token string
	}{{user("bob"), "token-3"}, {guest, "token-4"}} {
		k.want(kept.who, "", kept.token, obo.Memory)
		other.want(kept.who, "", kept.token, obo.Redis)
	}
	k.want(alice, "", "token-6", obo.IdentityProvider)
	other.want(anotherOf(alice), "", "token-7", obo.IdentityProvider)
}

// What was remembered against the user goes too.
func TestForgetUserDropsRefusals(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	k.token = func(sent) answer { return refused(400, "interaction_required", "") }
	k.fails(alice)
	k.token = func(sent) answer { return refused(429, "", "") }
	k.fails(anotherOf(alice))
	k.token = numbered
	k.fails(alice)
	k.fails(anotherOf(alice))
	k.wantExchanges(2)
	if err := k.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); err != nil {
		t.Fatal(err)
	}
	k.want(alice, "", "token-3", obo.IdentityProvider)
	k.want(anotherOf(alice), "", "token-4", obo.IdentityProvider)
}

// Everything goes that is ours, and nothing else, whatever the prefix looks like.
func TestForgetAll(t *testing.T) {
	for _, prefix := range []string{"middletier:", "", `a*[b]?\:`} {
		redis, p := startTier(t), newPlatform()
		redis.config.KeyPrefix = prefix
		k := redis.replica(t, p, nil)
		k.want(user("alice"), "", "token-1", obo.IdentityProvider)
		if _, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
			t.Fatal(err)
		}
		redis.settles(t, 2)
		foreign := []string{prefix + "theirs", "axxbx:" + strings.Repeat("0", 64), "sessions:1"}
		for _, name := range foreign {
			redis.Do("SET", name, "x")
		}
		if err := k.cache.ForgetAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := redis.Keys()
		slices.Sort(left)
		slices.Sort(foreign)
		if !slices.Equal(left, foreign) {
			t.Errorf("prefix %q: Redis holds %q, want %q", prefix, left, foreign)
		}
		if got := k.cache.Stats().Entries; got != 0 {
			t.Errorf("prefix %q: %d entries in memory", prefix, got)
		}
		k.want(user("alice"), "", "token-3", obo.IdentityProvider)
	}
}

// Where Redis is gone, memory is emptied all the same, and that is said.
func TestForgetWithoutRedis(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k := redis.replica(t, p, nil)
	alice := user("alice")
	k.want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	redis.Kill()
	if err := k.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); !errors.Is(err, obo.ErrRedis) {
		t.Errorf("a user: got %v, want ErrRedis", err)
	}
	k.want(alice, "", "token-2", obo.IdentityProvider)
	if err := k.cache.ForgetAll(t.Context()); !errors.Is(err, obo.ErrRedis) {
		t.Errorf("all: got %v, want ErrRedis", err)
	}
	k.want(alice, "", "token-3", obo.IdentityProvider)
}

// The list of a user's entries does not outgrow them.
func TestListOfAUsersEntriesIsPruned(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k := redis.replica(t, p, nil)
	alice := user("alice")
	k.want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	lists := slices.DeleteFunc(redis.Keys(), func(name string) bool { return !strings.HasSuffix(name, ":user") })
	if len(lists) != 1 {
		t.Fatalf("got the lists %q, want one", lists)
	}
	redis.Do("ZADD", lists[0], time.Now().Unix()-10, "expired")
	k.want(anotherOf(alice), "", "token-2", obo.IdentityProvider)
	redis.settles(t, 2)
	if got := redis.Do("ZCOUNT", lists[0], "-inf", time.Now().Unix()); got != int64(0) {
		t.Errorf("%v entries in the list have expired", got)
	}
	if got := redis.Do("ZCARD", lists[0]); got != int64(2) {
		t.Errorf("%v entries in the list, want 2", got)
	}
	if left := redis.Do("TTL", lists[0]).(int64); left <= 0 {
		t.Errorf("the list lives for %d s", left)
	}
}

// forgetters are the ways to forget a user's token.
var forgetters = map[string]func(k kit, a obo.Assertion) error{
	"sign-out": func(k kit, a obo.Assertion) error {
		k.cache.Forget(k.t.Context(), a, askedFor(todo))
		return nil
	},
	"user": func(k kit, a obo.Assertion) error { return k.cache.ForgetUser(k.t.Context(), a.TenantID, a.ObjectID) },
	"all":  func(k kit, _ obo.Assertion) error { return k.cache.ForgetAll(k.t.Context()) },
}

// What is being fetched meanwhile is served, but not kept, be it a token or a
// refusal.
func TestForgetReachesWhatIsBeingFetched(t *testing.T) {
	for way, forget := range forgetters {
		for name, first := range map[string]answer{"token": granted("token-1", 3600), "refusal": refused(400, "interaction_required", "")} {
			t.Run(way+" "+name, func(t *testing.T) {
				server, p := startTier(t), newPlatform()
				k := server.replica(t, p, nil)
				alice := user("alice")
				p.token = func(r sent) answer {
					if r.n > 1 {
						return numbered(r)
					}
					if err := forget(k, alice); err != nil {
						t.Error(err)
					}
					return first
				}
				if refusal := k.ask(alice, todo...); (refusal != nil) != (name == "refusal") {
					t.Errorf("who waits for it: got %v, want a %s", refusal, name)
				}
				server.settles(t, 0)
				k.want(alice, "", "token-2", obo.IdentityProvider)
				k.want(alice, "", "token-2", obo.Memory)
			})
		}
	}
}

// Nor is what Redis gave before it was forgotten.
func TestForgetReachesWhatRedisHasGiven(t *testing.T) {
	for way, forget := range forgetters {
		t.Run(way, func(t *testing.T) {
			server, p := startTier(t), newPlatform()
			alice := user("alice")
			server.replica(t, p, nil).want(alice, "", "token-1", obo.IdentityProvider)
			server.settles(t, 1)
			k := server.replica(t, p, nil)
			var once sync.Once
			k.cache.HookRedis(around(func(run func() error, commands ...redis.Cmder) error {
				err := run()
				if commands[0].Name() == "getrange" {
					once.Do(func() {
						if err := forget(k, alice); err != nil {
							t.Error(err)
						}
					})
				}
				return err
			}))
			k.want(alice, "", "token-1", obo.Redis)
			k.want(alice, "", "token-2", obo.IdentityProvider)
		})
	}
}

// What is fetched for others is kept.
func TestForgetLeavesOthersFetches(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	k.token = func(r sent) answer {
		k.cache.Forget(t.Context(), user("bob"), askedFor(todo))
		if err := k.cache.ForgetUser(t.Context(), ourTenant, "bob"); err != nil {
			t.Error(err)
		}
		return numbered(r)
	}
	k.want(alice, "", "token-1", obo.IdentityProvider)
	k.want(alice, "", "token-1", obo.Memory)
}
