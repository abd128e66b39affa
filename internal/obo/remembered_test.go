package obo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

// ask asks for a user's token for scopes and returns the refusal, nil for a
// token.
func (k kit) ask(a obo.Assertion, scopes ...string) *obo.Error {
	k.t.Helper()
	_, err := k.cache.OnBehalfOf(k.t.Context(), a, scopes, obo.Challenge{})
	var refusal *obo.Error
	if err != nil && !errors.As(err, &refusal) {
		k.t.Fatalf("got %T %v, want an *obo.Error", err, err)
	}
	return refusal
}

func TestRefusalThatNeedsTheUserIsRemembered(t *testing.T) {
	for name, a := range map[string]answer{
		"interaction": refused(400, "interaction_required", `"error_codes":[50076],"suberror":"basic_action","claims":"{\"access_token\":{}}",`),
		"revoked":     refused(400, "invalid_grant", `"error_codes":[50173],`),
		"consent":     refused(400, "invalid_grant", `"suberror":"consent_required",`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := start(t, nil)
				alice := user("alice")
				k.token = func(r sent) answer {
					if r.form.Get("assertion") == alice.Token && strings.Contains(r.form.Get("scope"), "api://todo/") {
						return a
					}
					return numbered(r)
				}
				first := k.fails(alice)
				for range 59 { // a client in a loop
					time.Sleep(time.Second)
					again := k.fails(alice)
					want := *first
					want.Err = again.Err
					if !reflect.DeepEqual(*again, want) || !strings.Contains(again.Error(), "AADSTS50") {
						t.Fatalf("remembered: got  %#v\nwant %#v", again, first)
					}
				}
				k.wantExchanges(1)
				if refusal := k.ask(alice, "api://ledger/.default"); refusal != nil {
					t.Errorf("another API: %v", refusal)
				}
				if refusal := k.ask(user("alice, signed in again"), todo...); refusal != nil {
					t.Errorf("another assertion: %v", refusal)
				}
				k.wantExchanges(3)
				time.Sleep(time.Second)
				k.fails(alice)
				k.wantExchanges(4)
				k.token = numbered
				time.Sleep(time.Minute)
				k.want(alice, "", "token-5", obo.IdentityProvider)
			})
		})
	}
}

func TestOtherFailuresAreNotRemembered(t *testing.T) {
	for name, a := range map[string]answer{
		"ill": {status: 500}, "client": refused(401, "invalid_client", ""), "nonsense": {body: "<html>"}, "cut off": {err: errors.New("reset")},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.token = func(sent) answer { return a }
			k.fails(user("alice"))
			k.token = numbered
			if refusal := k.ask(user("alice"), todo...); refusal != nil {
				t.Errorf("the next request: %v", refusal)
			}
		})
	}
}

func TestThrottledUserIsLeftAlone(t *testing.T) {
	date := func(d time.Duration) func() string {
		return func() string { return time.Now().UTC().Add(d).Format(http.TimeFormat) }
	}
	is := func(s string) func() string { return func() string { return s } }
	for _, c := range []struct {
		name   string
		status int
		value  func() string
		want   time.Duration
	}{
		{"seconds", 429, is("17"), 17 * time.Second},
		{"date", 429, date(90 * time.Second), 90 * time.Second},
		{"missing", 429, is(""), time.Minute},
		{"a day", 429, is("86400"), time.Hour},
		{"503 with a time", 503, is("17"), 17 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := start(t, nil)
				k.token = func(r sent) answer {
					if r.n == 1 {
						return answer{status: c.status, header: http.Header{"Retry-After": {c.value()}}}
					}
					return numbered(r)
				}
				alice := user("alice")
				if got := k.fails(alice); got.RetryAfter != c.want || !got.Throttled {
					t.Errorf("got %v, throttled %v; want %v, true", got.RetryAfter, got.Throttled, c.want)
				}
				time.Sleep(c.want / 2)
				if got := k.fails(alice); got.RetryAfter != c.want-c.want/2 || got.Status != c.status {
					t.Errorf("half way: got %v, want what is left of %v", got, c.want)
				}
				signedInAgain := user("alice, signed in again")
				signedInAgain.ObjectID = alice.ObjectID
				k.fails(signedInAgain) // it is the user who is throttled
				k.wantExchanges(1)
				for name, refusal := range map[string]*obo.Error{
					"another user": k.ask(user("bob"), todo...), "another API": k.ask(alice, "api://ledger/.default"),
					"the user's namesake elsewhere": k.ask(userOf(guestTenant, "alice"), todo...),
				} {
					if refusal != nil {
						t.Errorf("%s: %v", name, refusal)
					}
				}
				if _, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
					t.Errorf("for app: %v", err)
				}
				k.wantExchanges(5)
				time.Sleep(c.want - c.want/2 - time.Millisecond)
				k.fails(alice)
				time.Sleep(time.Millisecond)
				k.want(alice, "", "token-6", obo.IdentityProvider)
			})
		})
	}
}

func TestThrottledUserKeepsTheTokensHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = func(r sent) answer {
			if r.n == 1 {
				return refreshing(r)
			}
			return answer{status: 429, header: http.Header{"Retry-After": {"1200"}}}
		}
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		again := user("alice, signed in again")
		again.ObjectID = alice.ObjectID
		time.Sleep(32 * time.Minute)
		k.fails(again)
		for range 19 {
			k.want(alice, "", "token-1", obo.Memory)
			time.Sleep(time.Minute) // it is time to renew it, but not in Retry-After
		}
		k.wantExchanges(2)
		time.Sleep(time.Minute + time.Millisecond)
		k.fails(again)
		k.wantExchanges(3)
	})
}

// A renewal that is throttled says so to requests too.
func TestThrottledRenewalIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = func(r sent) answer {
			if r.n == 1 {
				return refreshing(r)
			}
			return answer{status: 429, header: http.Header{"Retry-After": {"600"}}}
		}
		alice := user("alice")
		k.want(alice, "", "token-1", obo.IdentityProvider)
		time.Sleep(32 * time.Minute)
		k.want(alice, "", "token-1", obo.Memory)
		synctest.Wait()
		again := user("alice, signed in again")
		again.ObjectID = alice.ObjectID
		if got := k.fails(again); got.RetryAfter != 10*time.Minute {
			t.Errorf("got %v, want the renewal's 10m", got.RetryAfter)
		}
		k.wantExchanges(2)
	})
}

func TestUsersWithoutAnIDAreThrottledApart(t *testing.T) {
	k := start(t, nil)
	k.token = func(r sent) answer {
		if r.n == 1 {
			return answer{status: 429}
		}
		return numbered(r)
	}
	one, other := user("one"), user("other")
	one.ObjectID, other.ObjectID = "", ""
	k.fails(one)
	k.fails(one)
	if refusal := k.ask(other, todo...); refusal != nil {
		t.Errorf("another user: %v", refusal)
	}
}

func TestThrottledTenantIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = func(r sent) answer {
			if r.n == 1 {
				return answer{status: 429, header: http.Header{"Retry-After": {"30"}}}
			}
			return numbered(r)
		}
		app := func(tenant, scope string) error {
			_, err := k.cache.ForApp(t.Context(), tenant, scope, obo.Challenge{})
			return err
		}
		for _, scope := range []string{"api://todo/.default", "api://todo/.default", "api://ledger/.default"} {
			if app("", scope) == nil {
				t.Errorf("%s: no error from a throttled tenant", scope)
			}
		}
		k.wantExchanges(1)
		if err := app(guestTenant, "api://todo/.default"); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		if refusal := k.ask(user("alice"), todo...); refusal != nil {
			t.Errorf("a user: %v", refusal)
		}
		time.Sleep(30 * time.Second)
		if err := app("", "api://ledger/.default"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// apiClaims is what a downstream API may ask for.
const apiClaims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`

// wantClaims checks the claims parameter: what we can do, and what was asked
// for, as JSON or "" for nothing.
func wantClaims(t *testing.T, form url.Values, asked string) {
	t.Helper()
	want := map[string]map[string]any{}
	if asked != "" {
		if err := json.Unmarshal([]byte(asked), &want); err != nil {
			t.Fatal(err)
		}
	}
	if want["access_token"] == nil {
		want["access_token"] = map[string]any{}
	}
	want["access_token"]["xms_cc"] = map[string]any{"values": []any{"cp1"}}
	var got map[string]map[string]any
	if err := json.Unmarshal([]byte(form.Get("claims")), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("claims: got %s %v, want %v", form.Get("claims"), err, want)
	}
}

func TestClaimsOfAnAPIGoIntoTheExchange(t *testing.T) {
	for name, claims := range map[string]string{
		"acrs": apiClaims, "revocation": `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`,
		"another token's": `{"id_token":{"auth_time":{"essential":true}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			alice := user("alice")
			k.want(alice, "", "token-1", obo.IdentityProvider)
			wantClaims(t, k.last().form, "")
			got, err := k.cache.OnBehalfOf(t.Context(), alice, todo, obo.Challenge{RejectedToken: "token-1", Claims: claims})
			if err != nil || got.Value != "token-2" {
				t.Fatalf("with claims: got %v %v, want token-2", got, err)
			}
			wantClaims(t, k.last().form, claims)
			k.want(alice, "", "token-2", obo.Memory) // it replaced the other
			got, err = k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{RejectedToken: "token-0", Claims: claims})
			if err != nil || got.Value != "token-3" {
				t.Fatalf("for app with claims: got %v %v, want token-3", got, err)
			}
			wantClaims(t, k.last().form, claims)
		})
	}
}

func TestRefusedClaims(t *testing.T) {
	const newer = `{"access_token":{"acrs":{"essential":true,"value":"c2"}}}`
	quoted, err := json.Marshal(newer)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		answer answer
		want   string
	}{
		{"the provider's are newer", refused(400, "interaction_required", `"claims":`+string(quoted)+`,`), newer},
		{"the provider has none", refused(400, "interaction_required", ""), apiClaims},
		{"invalid grant", refused(400, "invalid_grant", `"error_codes":[50173],`), apiClaims},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := start(t, nil)
			alice := user("alice")
			k.want(alice, "", "token-1", obo.IdentityProvider)
			k.token = func(sent) answer { return c.answer }
			ask := obo.Challenge{RejectedToken: "token-1", Claims: apiClaims}
			for i := range 3 { // the same call, and other calls of the same user
				_, err := k.cache.OnBehalfOf(t.Context(), alice, todo, ask)
				var refusal *obo.Error
				if !errors.As(err, &refusal) || refusal.Kind != obo.InteractionRequired || refusal.Claims != c.want {
					t.Errorf("call %d: got %v with %q, want the claims %s", i, err, refusal.Claims, c.want)
				}
				ask = obo.Challenge{}
			}
			k.wantExchanges(2)
		})
	}
}

func TestForgetDropsTokensAndRefusals(t *testing.T) {
	k := start(t, nil)
	alice, ledger := user("alice"), []string{"api://ledger/.default"}
	k.want(alice, "", "token-1", obo.IdentityProvider)
	if refusal := k.ask(alice, ledger...); refusal != nil {
		t.Fatal(refusal)
	}
	k.want(user("bob"), "", "token-3", obo.IdentityProvider)
	k.cache.Forget(t.Context(), alice, askedFor(todo, ledger, []string{"api://never/.default"}))
	k.want(user("bob"), "", "token-3", obo.Memory)
	k.token = func(r sent) answer { return refused(400, "interaction_required", "") }
	k.fails(alice)
	k.wantExchanges(4)
	k.cache.Forget(t.Context(), alice, askedFor(todo, ledger))
	k.token = numbered
	k.want(alice, "", "token-5", obo.IdentityProvider)
	if refusal := k.ask(alice, ledger...); refusal != nil {
		t.Fatal(refusal)
	}
	k.wantExchanges(6)
}

func TestStats(t *testing.T) {
	k := start(t, nil)
	if got := k.cache.Stats(); got.Entries != 0 || got.Evictions != 0 {
		t.Errorf("at the start: got %+v, want nothing", got)
	}
	large := strings.Repeat("x", 60<<10)
	k.token = func(sent) answer { return granted(large, 3600) }
	for range 3 {
		k.want(user("alice"), "", large, map[bool]obo.TokenOrigin{true: obo.IdentityProvider, false: obo.Memory}[k.exchanges() == 0])
	}
	if got := k.cache.Stats(); got.Entries != 1 || got.Bytes < 60<<10 || got.Evictions != 0 || got.RedisErrors != 0 {
		t.Errorf("with one token: got %+v", got)
	}
	const users = 160 // 10 MiB of tokens in 8 MiB
	for i := range users {
		k.want(user(fmt.Sprint(i)), "", large, obo.IdentityProvider)
	}
	got := k.cache.Stats()
	if got.Bytes > 8<<20 || got.Evictions == 0 || int64(got.Entries)+got.Evictions != users+1 {
		t.Errorf("full: got %+v, want 8 MiB at most, and all tokens accounted for", got)
	}
	evicted := got.Evictions
	k.cache.Forget(t.Context(), user(fmt.Sprint(users-1)), askedFor(todo))
	if got := k.cache.Stats(); got.Evictions != evicted {
		t.Errorf("after Forget: got %d evictions, want %d: that was on purpose", got.Evictions, evicted)
	}
}

// Everything at once, for the race detector: what comes is the caller's own
// token, or an error.
func TestManyCallersAtOnce(t *testing.T) {
	k := start(t, nil)
	k.token = func(r sent) answer {
		who := r.form.Get("assertion")
		switch r.n % 7 {
		case 3:
			return refused(400, "interaction_required", "")
		case 5:
			return answer{status: 500}
		}
		return answer{body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"refresh_in":1,"access_token":"token-%s"}`, who)}
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := range 40 {
				a := user(fmt.Sprint("user", (i+n)%5))
				ask := obo.Challenge{}
				switch n % 10 {
				case 4:
					ask = obo.Challenge{RejectedToken: "token-" + a.Token, Claims: apiClaims}
				case 7:
					k.cache.Forget(t.Context(), a, askedFor(todo))
				}
				got, err := k.cache.OnBehalfOf(t.Context(), a, todo, ask)
				if err == nil && got.Value != "token-"+a.Token {
					t.Errorf("got %v, want %s's token", got, a.ObjectID)
				}
				k.cache.Stats()
			}
		})
	}
	group.Wait()
}
