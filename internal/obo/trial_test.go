package obo_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
	"middletier/internal/redistier"
)

// accepted has the API accept the token that is held for a user.
func (k kit) accepted(a obo.Assertion) {
	k.t.Helper()
	got, err := k.cache.OnBehalfOf(k.t.Context(), a, todo, obo.Challenge{})
	if err != nil {
		k.t.Fatal(err)
	}
	if got.Trial != nil {
		got.Trial.Passed()
	}
}

func TestSecondRejectionInARowEndsReplacingForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		k.want(alice, "token-1", "token-2", obo.IdentityProvider)
		for range 30 {
			k.want(alice, "token-2", "token-2", obo.Memory)
			time.Sleep(999 * time.Millisecond)
		}
		k.want(alice, "", "token-2", obo.Memory)
		k.wantExchanges(2)
		time.Sleep(time.Second)
		k.want(alice, "token-2", "token-3", obo.IdentityProvider)
		k.want(alice, "token-3", "token-3", obo.Memory) // the second in a row again
		k.wantExchanges(3)
		k.want(user("bob"), "", "token-4", obo.IdentityProvider)
		k.want(user("bob"), "token-4", "token-5", obo.IdentityProvider)
	})
}

func TestAcceptedTokenEndsTheRowOfRejections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		for i := 1; i < 5; i++ { // each of them worked for a time
			k.want(alice, fmt.Sprint("token-", i), fmt.Sprint("token-", i+1), obo.IdentityProvider)
			k.accepted(alice)
		}
		k.want(alice, "token-5", "token-6", obo.IdentityProvider)
		k.want(alice, "token-6", "token-6", obo.Memory)
		k.accepted(alice) // on another path: that does not end the pause
		k.want(alice, "token-6", "token-6", obo.Memory)
	})
}

func TestClaimsChallengeAlwaysCountsAsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		k.want(alice, "token-1", "token-2", obo.IdentityProvider)
		k.want(alice, "token-2", "token-2", obo.Memory)
		for i := 2; i < 5; i++ {
			ask := obo.Challenge{RejectedToken: fmt.Sprint("token-", i), Claims: apiClaims}
			if got, err := k.cache.OnBehalfOf(t.Context(), alice, todo, ask); err != nil || got.Value != fmt.Sprint("token-", i+1) {
				t.Errorf("got %v %v, want token-%d", got, err, i+1)
			}
		}
	})
}

// After a sign-out nothing of it is left: neither the pause nor, by what was under way,
// the token.
func TestForgottenTokenIsNotPutBackByItsTrial(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	k.want(alice, "", "token-1", obo.IdentityProvider)
	k.want(alice, "token-1", "token-2", obo.IdentityProvider)
	got, err := k.cache.OnBehalfOf(t.Context(), alice, todo, obo.Challenge{})
	if err != nil || got.Trial == nil {
		t.Fatalf("got %v %v, want token-2 on trial", got, err)
	}
	k.cache.Forget(t.Context(), alice, askedFor(todo))
	got.Trial.Passed()
	k.want(alice, "", "token-3", obo.IdentityProvider)
	k.want(alice, "token-3", "token-4", obo.IdentityProvider)
}

// A token that its API accepts before it is written to Redis is written all the same.
func TestTokenAcceptedBeforeItIsSharedIsShared(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	alice := user("alice")
	redis.replica(t, p, nil).want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	client, err := obo.NewClient(t.Context(), p.config())
	if err != nil {
		t.Fatal(err)
	}
	shared, err := redistier.New(redis.config)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := obo.NewCache(obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute, Shared: shared}, client)
	if err != nil {
		t.Fatal(err)
	}
	k := kit{p, t, client, cache}
	k.want(alice, "token-1", "token-2", obo.IdentityProvider)
	k.accepted(alice)
	runCache(t, cache) // only now it writes
	redis.settles(t, 1)
	redis.replica(t, p, nil).want(alice, "", "token-2", obo.Redis)
}

// A caller whose token was refused joins the flight of one whose token was not, and that
// brings the refused token.
func TestRefusedTokenDoesNotComeBackFromAnothersFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = slowly(time.Second, func(r sent) answer {
			if r.n == 1 {
				return granted("token-refused", 3600)
			}
			return numbered(r)
		})
		alice := user("alice")
		var group sync.WaitGroup
		group.Go(func() { k.want(alice, "", "token-refused", obo.IdentityProvider) })
		synctest.Wait()
		for range 3 { // they share one
			group.Go(func() { k.want(alice, "token-refused", "token-2", obo.IdentityProvider) })
		}
		group.Wait()
		k.wantExchanges(2)
	})
}

// An API that answers 401 to everybody, and a provider that takes a second: 400 users'
// calls, again and again, leave room for new users.
func TestAPIThatRefusesEverybodyLocksNoNewUserOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, func(_ *obo.Config, c *obo.CacheConfig) { c.MaxSize = 64 << 20 })
		k.token = numbered
		held := make([]string, 400)
		for i := range held {
			got, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint("mallory-", i)), todo, obo.Challenge{})
			if err != nil {
				t.Fatal(err)
			}
			held[i] = got.Value
		}
		k.token = slowly(time.Second, numbered)
		before := k.exchanges()
		stop := time.Now().Add(29 * time.Second)
		var group sync.WaitGroup
		for i, token := range held {
			group.Go(func() {
				for time.Now().Before(stop) {
					got, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint("mallory-", i)), todo, obo.Challenge{RejectedToken: token})
					if err == nil {
						token = got.Value
					}
					time.Sleep(300 * time.Millisecond)
				}
			})
		}
		synctest.Wait()
		const newUsers = 200
		for i := range newUsers {
			group.Go(func() {
				begin := time.Now()
				if _, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint("new-", i)), todo, obo.Challenge{}); err != nil {
					t.Errorf("a new user, after %v: %v", time.Since(begin), err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		group.Wait()
		if got := k.exchanges() - before; got > newUsers+2*len(held) {
			t.Errorf("%d exchanges, want at most two for each of %d tokens and one for each of %d new users", got, len(held), newUsers)
		}
	})
}
