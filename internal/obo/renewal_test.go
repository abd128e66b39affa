package obo_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

// refreshing grants token-1, token-2, … for an hour, to be renewed after half of
// it.
func refreshing(r sent) answer {
	return answer{body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"refresh_in":1800,"access_token":"token-%d"}`, r.n)}
}

// flow is one of the two ways to a token.
type flow struct {
	name, grant string
	ask         func(k kit) (obo.Token, error)
}

var flows = []flow{
	{"on behalf of", "urn:ietf:params:oauth:grant-type:jwt-bearer", func(k kit) (obo.Token, error) {
		return k.cache.OnBehalfOf(k.t.Context(), user("alice"), todo, obo.Challenge{})
	}},
	{"for app", "client_credentials", func(k kit) (obo.Token, error) {
		return k.cache.ForApp(k.t.Context(), "", "api://todo/.default", obo.Challenge{})
	}},
}

// eachFlow runs a test in virtual time for both flows. want asks for a token and
// checks which one comes, from where, and that nobody waited for it.
func eachFlow(t *testing.T, test func(k kit, f flow, want func(value string, source obo.TokenOrigin))) {
	for _, f := range flows {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := start(t, nil)
				test(k, f, func(value string, source obo.TokenOrigin) {
					t.Helper()
					begin := time.Now()
					got, err := f.ask(k)
					if err != nil || got != (obo.Token{Value: value, Origin: source}) {
						t.Fatalf("got %v %v, want %s from %s", got, err, value, source)
					}
					if waited := time.Since(begin); source == obo.Memory && waited > 0 {
						t.Fatalf("waited %v for a token of memory", waited)
					}
				})
			})
		})
	}
}

func TestTokenIsRenewedBehindRequests(t *testing.T) {
	eachFlow(t, func(k kit, f flow, want func(string, obo.TokenOrigin)) {
		k.token = slowly(time.Second, refreshing)
		want("token-1", obo.IdentityProvider)
		time.Sleep(30 * time.Minute)
		want("token-1", obo.Memory)
		k.wantExchanges(1)          // not yet
		time.Sleep(2 * time.Minute) // jitter is a twentieth
		for range 20 {
			want("token-1", obo.Memory) // the renewal takes a second
			synctest.Wait()
		}
		k.wantExchanges(2)
		time.Sleep(time.Second)
		synctest.Wait()
		want("token-2", obo.Memory)
		k.wantExchanges(2)
		if got := k.last().form["grant_type"]; !slices.Equal(got, []string{f.grant}) {
			k.t.Errorf("renewed with grant_type %q, want %s", got, f.grant)
		}
	})
}

func TestFailedRenewalKeepsTheTokenAndBacksOff(t *testing.T) {
	for name, failure := range map[string]answer{
		"outage": {status: 503}, "interaction": refused(400, "interaction_required", ""), "nonsense": {body: "<html>"},
		"throttled": {status: 429, header: http.Header{"Retry-After": {"1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			eachFlow(t, func(k kit, _ flow, want func(string, obo.TokenOrigin)) {
				k.token = refreshing
				want("token-1", obo.IdentityProvider)
				time.Sleep(32 * time.Minute)
				k.token = func(sent) answer { return failure }
				tried := k.exchanges()
				for range 5 * 60 { // a request a second
					want("token-1", obo.Memory)
					time.Sleep(time.Second)
				}
				// After 15, 30, 60, 120, … s, and half as much of jitter.
				if n := k.exchanges() - tried; n < 4 || n > 2*6 {
					k.t.Errorf("tries to renew in five minutes: got %d, want a few, further and further apart", n)
				}
				k.token = numbered
				next := fmt.Sprintf("token-%d", k.exchanges()+1)
				time.Sleep(8 * time.Minute)
				want("token-1", obo.Memory)
				synctest.Wait()
				want(next, obo.Memory)
			})
		})
	}
}

// A token that comes without the provider's word on renewal is renewed late in
// its life, so that nobody who comes steadily ever waits for one.
func TestSteadyCallersNeverWait(t *testing.T) {
	eachFlow(t, func(k kit, f flow, want func(string, obo.TokenOrigin)) {
		k.token = slowly(time.Second, numbered)
		want("token-1", obo.IdentityProvider)
		for range 5 * 60 { // five hours, a request a minute
			time.Sleep(time.Minute)
			begin := time.Now()
			if got, err := f.ask(k); err != nil || got.Origin != obo.Memory || time.Since(begin) > 0 {
				k.t.Fatalf("after %d exchanges: got %v %v, %v later", k.exchanges(), got, err, time.Since(begin))
			}
		}
		if n := k.exchanges(); n < 6 || n > 8 { // every 41 to 47 minutes
			k.t.Errorf("exchanges in five hours: got %d, want 7 or so", n)
		}
	})
}

// Another token would end with the assertion too.
func TestTokenThatEndsWithTheAssertionIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		alice := user("alice")
		alice.Expires = time.Now().Add(50 * time.Minute)
		k.want(alice, "", "token-1", obo.IdentityProvider)
		for range 49 {
			time.Sleep(time.Minute)
			k.want(alice, "", "token-1", obo.Memory)
		}
		synctest.Wait()
		k.wantExchanges(1)
	})
}

func TestRenewalDoesNotBringBackWhatWasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = slowly(time.Second, refreshing)
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		time.Sleep(32 * time.Minute)
		k.want(alice, "", "token-1", obo.Memory)
		synctest.Wait() // the renewal is under way
		k.cache.Forget(t.Context(), alice, askedFor(todo))
		time.Sleep(time.Minute)
		k.wantExchanges(2)
		k.want(alice, "", "token-3", obo.IdentityProvider)
		time.Sleep(32 * time.Minute)
		k.want(alice, "", "token-3", obo.Memory)
		time.Sleep(time.Minute)
		k.want(alice, "", "token-4", obo.Memory) // what came afterwards is renewed
	})
}

func TestRenewalAsksWithoutTheClaimsOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = refreshing
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		time.Sleep(32 * time.Minute)
		ask := obo.Challenge{RejectedToken: "token-0", Claims: apiClaims}
		if got, err := k.cache.OnBehalfOf(t.Context(), alice, todo, ask); err != nil || got.Value != "token-1" {
			t.Fatalf("got %v %v, want token-1, which nobody rejected", got, err)
		}
		synctest.Wait()
		k.wantExchanges(2)
		wantClaims(t, k.last().form, "")
	})
}

// One call's token was refused, and memory has a newer one since, which is due. Its renewal
// does not wait with those whose token was refused.
func TestRenewalWaitsWithTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.MaxConcurrent = 4 })
		k.token = refreshing
		alice, bob := user("alice"), user("bob")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		k.want(bob, "", "token-2", obo.IdentityProvider)
		time.Sleep(32 * time.Minute)
		k.token = func(r sent) answer {
			a := numbered(r)
			a.delay = 2 * time.Second
			if r.n == 4 {
				a.delay = time.Second
			}
			return a
		}
		var group sync.WaitGroup
		ask := func(a obo.Assertion, rejected string) {
			group.Go(func() {
				if _, err := k.cache.OnBehalfOf(t.Context(), a, todo, obo.Challenge{RejectedToken: rejected}); err != nil {
					t.Errorf("%s: %v", a.ObjectID, err)
				}
			})
			synctest.Wait()
		}
		ask(bob, "token-2") // takes all that those with a refused token may have
		for i := range 3 {
			ask(user(fmt.Sprint("other-", i)), "")
		}
		ask(alice, "token-0") // the renewal waits
		ask(user("carol"), "")
		time.Sleep(1500 * time.Millisecond)
		if got := k.last().form.Get("assertion"); k.exchanges() != 7 || got != alice.Token {
			t.Errorf("exchange %d is with %s, want the 7th, alice's renewal", k.exchanges(), got)
		}
		group.Wait()
	})
}
