package obo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

func TestOneUserOneExchange(t *testing.T) {
	k := start(t, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	for range 4 {
		k.want(user("alice"), "", "token-1", obo.Memory)
	}
	k.wantExchanges(1)
}

// caller is one of many who ask for the same token.
type caller struct {
	token obo.Token
	err   error
}

// crowd lets n callers ask for alice's token at once. The first one's context
// ends while all wait.
func (k kit) crowd(n int) []caller {
	k.t.Helper()
	callers := make([]caller, n)
	first, leave := context.WithCancel(k.t.Context())
	defer leave()
	var group sync.WaitGroup
	ask := func(ctx context.Context, i int) {
		group.Go(func() {
			callers[i].token, callers[i].err = k.cache.OnBehalfOf(ctx, user("alice"), todo, obo.Challenge{})
		})
	}
	ask(first, 0)
	synctest.Wait() // the first has begun the exchange
	for i := 1; i < n; i++ {
		ask(k.t.Context(), i)
	}
	synctest.Wait()
	leave()
	synctest.Wait()
	if callers[0].err == nil || !errors.Is(callers[0].err, context.Canceled) {
		k.t.Errorf("the caller that left: got %v, want context.Canceled at once", callers[0])
	}
	group.Wait()
	return callers
}

func TestExchangeServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = slowly(time.Second, numbered)
		begin := time.Now()
		for i, c := range k.crowd(300)[1:] {
			if c.err != nil || c.token.Value != "token-1" {
				t.Fatalf("caller %d: got %v, want token-1", i, c)
			}
		}
		k.wantExchanges(1)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v, want one exchange's second", took)
		}
		k.want(user("alice"), "", "token-1", obo.Memory)
	})
}

func TestFailedExchangeFailsAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = func(r sent) answer {
			if r.n <= 2 {
				return answer{status: 503, delay: time.Second}
			}
			return numbered(r)
		}
		for i, c := range k.crowd(300)[1:] {
			var refusal *obo.Error
			if !errors.As(c.err, &refusal) || refusal.Kind != obo.Unavailable {
				t.Fatalf("caller %d: got %v, want unavailable", i, c)
			}
		}
		k.wantExchanges(2)                                         // one retry
		k.want(user("alice"), "", "token-3", obo.IdentityProvider) // a failure is not remembered
	})
}

func TestCacheKeepsCallersApart(t *testing.T) {
	k := start(t, nil)
	sameDigestOtherTenant := userOf(guestTenant, "alice")
	for i, ask := range []func() (obo.Token, error){
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
		},
		func() (obo.Token, error) { return k.cache.OnBehalfOf(t.Context(), user("bob"), todo, obo.Challenge{}) },
		func() (obo.Token, error) { return k.cache.OnBehalfOf(t.Context(), user("alic"), todo, obo.Challenge{}) },
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), sameDigestOtherTenant, todo, obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), user("alice"), todo[:1], obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), user("alice"), todo[1:], obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), user("alice"), []string{"api://todo/.default"}, obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.OnBehalfOf(t.Context(), user("alice"), []string{"api://ledger/.default"}, obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
		},
		func() (obo.Token, error) {
			return k.cache.ForApp(t.Context(), "", "api://ledger/.default", obo.Challenge{})
		},
	} {
		want := fmt.Sprintf("token-%d", i+1)
		for _, source := range []obo.TokenOrigin{obo.IdentityProvider, obo.Memory} {
			if got, err := ask(); err != nil || got != (obo.Token{Value: want, Origin: source}) {
				t.Errorf("caller %d: got %v %v, want %s from %s", i, got, err, want, source)
			}
		}
	}
	k.wantExchanges(10)
}

func TestTokenIsUsedUntilItsBuffer(t *testing.T) {
	for _, c := range []struct {
		name               string
		expiresIn          int
		assertion, usedFor time.Duration
	}{
		{"buffer", 3600, 24 * time.Hour, 55 * time.Minute},
		{"buffer of a long life", 24 * 3600, 48 * time.Hour, 24*time.Hour - 5*time.Minute},
		{"half a short life", 480, 24 * time.Hour, 4 * time.Minute},
		{"half a life that MSAL refuses", 200, 24 * time.Hour, 100 * time.Second},
		{"one second", 1, 24 * time.Hour, 500 * time.Millisecond},
		{"the assertion ends first", 3600, 10 * time.Minute, 10 * time.Minute},
		{"the assertion ends within the buffer", 3600, 57 * time.Minute, 55 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := start(t, nil)
				k.token = func(r sent) answer { return granted(fmt.Sprintf("token-%d", r.n), c.expiresIn) }
				alice := user("alice")
				alice.Expires = time.Now().Add(c.assertion)
				k.want(alice, "", "token-1", obo.IdentityProvider)
				k.token = func(sent) answer { return answer{status: 400} } // also for renewals
				time.Sleep(c.usedFor - time.Millisecond)
				k.want(alice, "", "token-1", obo.Memory)
				synctest.Wait()
				time.Sleep(time.Millisecond)
				k.token = func(sent) answer { return granted("token-2", c.expiresIn) }
				k.want(alice, "", "token-2", obo.IdentityProvider)
			})
		})
	}
}

func TestAppTokenIsUsedUntilItsBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		want := func(value string, source obo.TokenOrigin) {
			t.Helper()
			got, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
			if err != nil || got != (obo.Token{Value: value, Origin: source}) {
				t.Fatalf("for app: got %v %v, want %s from %s", got, err, value, source)
			}
		}
		want("token-1", obo.IdentityProvider)
		k.token = func(sent) answer { return answer{status: 400} } // also for renewals
		time.Sleep(55*time.Minute - time.Millisecond)
		want("token-1", obo.Memory)
		synctest.Wait()
		time.Sleep(time.Millisecond)
		k.token = func(sent) answer { return granted("token-2", 3600) }
		want("token-2", obo.IdentityProvider)
	})
}

func TestRejectedTokenIsReplaced(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	k.want(alice, "", "token-1", obo.IdentityProvider)
	k.want(alice, "token-1", "token-2", obo.IdentityProvider)
	k.want(alice, "", "token-2", obo.Memory)
	k.want(alice, "token-1", "token-2", obo.Memory) // rejected before it was replaced
	k.wantExchanges(2)
	k.accepted(alice)
	k.want(alice, "token-2", "token-3", obo.IdentityProvider)
	k.want(user("bob"), "token-3", "token-4", obo.IdentityProvider)
	k.want(alice, "", "token-3", obo.Memory) // bob's words are not alice's

	got, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
	again, err2 := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{RejectedToken: got.Value})
	if got.Value != "token-5" || again.Value != "token-6" || again.Origin != obo.IdentityProvider {
		t.Errorf("for app, rejected: got %v %v then %v %v, want token-5 and token-6", got, err, again, err2)
	}
}

func TestManyRejectATokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.want(user("alice"), "", "token-1", obo.IdentityProvider)
		k.token = slowly(time.Second, numbered)
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond) // during the exchange, and after it
				got, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{RejectedToken: "token-1"})
				if err != nil || got.Value != "token-2" {
					t.Errorf("after token-1 was rejected: got %v %v, want token-2", got, err)
				}
			})
		}
		group.Wait()
		k.wantExchanges(2)
	})
}

func TestRejectedTokenIsDroppedThoughNoneComes(t *testing.T) {
	k := start(t, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	k.token = func(r sent) answer {
		if r.n == 2 || r.n == 3 {
			return answer{status: 503}
		}
		return numbered(r)
	}
	if _, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{RejectedToken: "token-1"}); err == nil {
		t.Error("no error from a platform that is down")
	}
	k.want(user("alice"), "", "token-4", obo.IdentityProvider)
}

func TestTokenTooLargeIsServedNotKept(t *testing.T) {
	k := start(t, nil)
	large := strings.Repeat("x", 600<<10) // beyond a shard of the smallest cache
	k.token = func(sent) answer { return granted(large, 3600) }
	k.want(user("alice"), "", large, obo.IdentityProvider)
	k.want(user("alice"), "", large, obo.IdentityProvider)
	k.token = numbered
	k.want(user("alice"), "", "token-3", obo.IdentityProvider)
	k.want(user("alice"), "", "token-3", obo.Memory)
	k.token = func(sent) answer { return granted(large, 3600) }
	k.want(user("alice"), "token-3", large, obo.IdentityProvider)
	k.want(user("alice"), "token-3", large, obo.IdentityProvider) // not token-3, which was there before
}

func TestOldestLeaveAFullCache(t *testing.T) {
	k := start(t, nil)
	large := strings.Repeat("x", 60<<10)
	k.token = func(sent) answer { return granted(large, 3600) }
	const users = 240 // 14 MiB of tokens in 8 MiB
	ask := func(i int) obo.TokenOrigin {
		t.Helper()
		token, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint(i)), todo, obo.Challenge{})
		if err != nil || token.Value != large {
			t.Fatalf("user %d: got %d bytes, %v", i, len(token.Value), err)
		}
		return token.Origin
	}
	kept := func(from, to int) (n int) {
		for i := to - 1; i >= from; i-- {
			if ask(i) == obo.Memory {
				n++
			}
		}
		return n
	}
	for i := range users {
		ask(i)
	}
	// Each shard is a ring of its own, so that the limit between old and new is
	// not sharp.
	if n := kept(users-40, users); n < 38 {
		t.Errorf("of the 40 newest %d were kept, want almost all", n)
	}
	if n := kept(0, 40); n > 5 {
		t.Errorf("of the 40 oldest %d were kept, want almost none", n)
	}
}
