package obo_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"middletier/internal/obo"
)

// What is forgotten stays forgotten, whatever Redis has evicted meanwhile.
func TestForgottenIsNotServedAfterEviction(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one := redis.replica(t, p, nil)
	alice := user("alice")
	one.want(alice, "", "token-1", obo.IdentityProvider)
	one.want(anotherOf(alice), "", "token-2", obo.IdentityProvider)
	redis.settles(t, 2)
	for _, key := range redis.Keys() {
		if strings.HasSuffix(key, ":user") {
			redis.Do("DEL", key)
		}
	}
	if err := one.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); err != nil {
		t.Fatal(err)
	}
	other := redis.replica(t, p, nil)
	other.want(alice, "", "token-3", obo.IdentityProvider)
	other.want(anotherOf(alice), "", "token-4", obo.IdentityProvider)
}

// Users whose tokens name no one share nothing, and so no sign-out.
func TestSignOutOfAUserWithoutAnIDLeavesOthers(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one := redis.replica(t, p, nil)
	alice, bob := user("alice"), user("bob")
	alice.ObjectID, bob.ObjectID = "", ""
	one.want(alice, "", "token-1", obo.IdentityProvider)
	one.want(bob, "", "token-2", obo.IdentityProvider)
	redis.settles(t, 2)
	one.cache.Forget(t.Context(), alice, askedFor(todo))
	other := redis.replica(t, p, nil)
	other.want(bob, "", "token-2", obo.Redis)
	other.want(alice, "", "token-3", obo.IdentityProvider)
}

// Evicting any key loses a token at most.
func TestEvictionLosesATokenAtMost(t *testing.T) {
	for _, evicted := range []string{":generation", ":user", ""} {
		redis, p := startTier(t), newPlatform()
		redis.replica(t, p, nil).want(user("alice"), "", "token-1", obo.IdentityProvider)
		redis.settles(t, 1)
		for _, key := range redis.Keys() {
			if evicted != "" && strings.HasSuffix(key, evicted) || evicted == "" && strings.Count(key, ":") == 1 {
				redis.Do("DEL", key)
			}
		}
		if evicted == ":user" {
			redis.replica(t, p, nil).want(user("alice"), "", "token-1", obo.Redis)
			continue
		}
		redis.replica(t, p, nil).want(user("alice"), "", "token-2", obo.IdentityProvider)
		redis.settles(t, 1)
		redis.replica(t, p, nil).want(user("alice"), "", "token-2", obo.Redis)
	}
}

// A list of another type is an error once, and in nobody's way.
func TestForgetUserWhoseListIsOverwritten(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one := redis.replica(t, p, nil)
	alice := user("alice")
	one.want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	for _, key := range redis.Keys() {
		if strings.HasSuffix(key, ":user") {
			redis.Do("SET", key, "x")
		}
	}
	if err := one.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); !errors.Is(err, obo.ErrRedis) {
		t.Errorf("got %v, want ErrRedis", err)
	}
	other := redis.replica(t, p, nil)
	other.want(alice, "", "token-2", obo.IdentityProvider)
	if err := one.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID); err != nil {
		t.Errorf("again: got %v", err)
	}
}

// Who can write to Redis cannot bring a token back that somebody signed out of.
func TestForgottenValueIsNotServedWhenItIsPutBack(t *testing.T) {
	for name, forget := range map[string]func(k kit, a obo.Assertion) error{
		"sign-out": func(k kit, a obo.Assertion) error {
			k.cache.Forget(k.t.Context(), a, askedFor(todo))
			return nil
		},
		"user": func(k kit, a obo.Assertion) error { return k.cache.ForgetUser(k.t.Context(), a.TenantID, a.ObjectID) },
		"all":  func(k kit, _ obo.Assertion) error { return k.cache.ForgetAll(k.t.Context()) },
	} {
		redis, p := startTier(t), newPlatform()
		one := redis.replica(t, p, nil)
		one.want(user("alice"), "", "token-1", obo.IdentityProvider)
		key := redis.settles(t, 1)[0]
		value := redis.Get(key)
		if err := forget(one, user("alice")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		redis.Do("SET", key, value)
		redis.replica(t, p, nil).want(user("alice"), "", "token-2", obo.IdentityProvider)
		redis.settles(t, 1)
		redis.Do("SET", key, value) // now there is a generation again
		redis.replica(t, p, nil).want(user("alice"), "", "token-3", obo.IdentityProvider)
	}
}

// The tokens of applications can be forgotten, evicted and put back as well.
func TestForgottenAppTokenIsNotServedWhenItIsPutBack(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	wants := func(token string, source obo.TokenOrigin) {
		t.Helper()
		got, err := redis.replica(t, p, nil).cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
		if want := (obo.Token{Value: token, Origin: source}); err != nil || got != want {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
	}
	wants("token-1", obo.IdentityProvider)
	key := redis.settles(t, 1)[0]
	value := redis.Get(key)
	wants("token-1", obo.Redis)
	if err := redis.replica(t, p, nil).cache.ForgetAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	redis.Do("SET", key, value)
	wants("token-2", obo.IdentityProvider)
}

// A fetch that was under way at another replica when the user was forgotten, and of
// which that replica did not hear, brings nothing back to Redis.
func TestForgottenMeanwhileIsNotServedFromRedis(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one, other := redis.replica(t, p, nil), redis.replica(t, p, nil)
	alice := user("alice")
	p.token = func(r sent) answer {
		if r.n == 1 {
			for _, key := range redis.Keys() { // as a replica that does not hear of it does
				if strings.HasSuffix(key, ":generation") {
					redis.Do("DEL", key)
				}
			}
		}
		return numbered(r)
	}
	one.want(alice, "", "token-1", obo.IdentityProvider)
	eventually(t, func() bool { return len(redis.Keys()) > 0 }, func() string { return "nothing is written" })
	redis.settles(t, 1)
	other.want(alice, "", "token-2", obo.IdentityProvider)
}

// A returning user's token comes from Redis in one round trip.
func TestRedisIsAskedOnceForATokenThatItHas(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	redis.replica(t, p, nil).want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	other := redis.replica(t, p, nil)
	var mu sync.Mutex // guards trips
	var trips []string
	other.cache.HookRedis(around(func(run func() error, commands ...goredis.Cmder) error {
		mu.Lock()
		if name := commands[0].Name(); name != "hello" && name != "ping" { // of new connections, and of the start
			trips = append(trips, fmt.Sprint(len(commands), " ", commands[0].Name()))
		}
		mu.Unlock()
		return run()
	}))
	other.want(user("alice"), "", "token-1", obo.Redis)
	mu.Lock()
	defer mu.Unlock()
	if len(trips) != 1 || trips[0] != "2 getrange" {
		t.Errorf("round trips: got %q, want one", trips)
	}
}
