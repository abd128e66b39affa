package obo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

func TestOnBehalfOfRequest(t *testing.T) {
	k := start(t, nil)
	for _, tenant := range []string{ourTenant, guestTenant} {
		a := userOf(tenant, "alice")
		if _, err := k.cache.OnBehalfOf(t.Context(), a, todo, obo.Challenge{}); err != nil {
			t.Fatalf("on behalf of a user of %s: %v", tenant, err)
		}
		got := k.last()
		if got.tenant != tenant {
			t.Errorf("tenant of the exchange: got %s, want the assertion's %s", got.tenant, tenant)
		}
		wantForm(t, got.form, map[string]string{
			"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use": "on_behalf_of",
			"assertion": a.Token, "client_id": ourClient, "client_secret": ourSecret,
		})
		wantScopes(t, got.form, todo)
	}
}

// wantScopes checks which scopes are asked for, besides the three of OpenID
// Connect, which MSAL always adds.
func wantScopes(t *testing.T, form url.Values, want []string) {
	t.Helper()
	got := slices.DeleteFunc(strings.Fields(form.Get("scope")), func(s string) bool {
		return s == "openid" || s == "offline_access" || s == "profile"
	})
	if !slices.Equal(got, want) {
		t.Errorf("scope: got %q, want %q", form["scope"], want)
	}
}

func TestForAppRequest(t *testing.T) {
	k := start(t, nil)
	for _, want := range []obo.Token{{Value: "token-1", Origin: obo.IdentityProvider}, {Value: "token-1", Origin: obo.Memory}} {
		got, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{})
		if err != nil || got != want {
			t.Fatalf("for app: got %v %v, want %v", got, err, want)
		}
	}
	k.wantExchanges(1)
	got := k.last()
	if got.tenant != ourTenant {
		t.Errorf("tenant: got %s, want ours", got.tenant)
	}
	wantForm(t, got.form, map[string]string{
		"grant_type": "client_credentials", "client_id": ourClient, "client_secret": ourSecret,
	})
	wantScopes(t, got.form, []string{"api://todo/.default"})
	if got.form.Has("assertion") || got.form.Has("requested_token_use") {
		t.Errorf("form: got %v, want nothing of on-behalf-of", got.form)
	}
}

// wantForm checks parameters, each of which must be there once, and that we
// declare that we handle claims challenges.
func wantForm(t *testing.T, form url.Values, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if !slices.Equal(form[name], []string{value}) {
			t.Errorf("%s: got %q, want %q", name, form[name], value)
		}
	}
	var claims struct {
		AccessToken struct {
			Capabilities struct {
				Values []string `json:"values"`
			} `json:"xms_cc"`
		} `json:"access_token"`
	}
	err := json.Unmarshal([]byte(form.Get("claims")), &claims)
	if err != nil || !slices.Equal(claims.AccessToken.Capabilities.Values, []string{"cp1"}) {
		t.Errorf("claims: got %s %v, want xms_cc with cp1", form.Get("claims"), err)
	}
}

func TestMetadataIsFetchedOncePerTenant(t *testing.T) {
	k := start(t, nil)
	for _, name := range []string{"alice", "bob", "carol"} {
		for _, tenant := range []string{ourTenant, guestTenant} {
			if _, err := k.cache.OnBehalfOf(t.Context(), userOf(tenant, name), todo, obo.Challenge{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if k.metadatas != 2 {
		t.Errorf("requests for metadata: got %d, want 2", k.metadatas)
	}
}

// External ID's issuers have the tenant's GUID for a host, and their authority its
// name.
func TestExternalIDsIssuerIsAtAnotherHostThanItsAuthority(t *testing.T) {
	k := start(t, nil)
	k.metadata = func(tenant string) answer {
		a := goodMetadata(tenant)
		a.body = strings.Replace(a.body, `"issuer":"https://login.example/`, `"issuer":"https://`+tenant+`.ciamlogin.com/`, 1)
		return a
	}
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
}

func TestExchangesWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.MaxConcurrent = 2 })
		k.token = slowly(time.Second, numbered)
		begin := time.Now()
		for name, err := range k.together("alice", "bob", "carol", "dave", "erin") {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if took := time.Since(begin); took != 3*time.Second || k.maxRunning != 2 {
			t.Errorf("five exchanges, two at a time: took %v, %d at once; want 3s, 2", took, k.maxRunning)
		}
	})
}

func TestWaitingForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.MaxConcurrent, c.Timeout = 2, 3*time.Second })
		k.token = slowly(4*time.Second, numbered)
		begin := time.Now()
		for name, err := range k.together("alice", "bob", "carol", "dave", "erin", "frida") {
			var refusal *obo.Error
			if !errors.As(err, &refusal) || refusal.Kind != obo.Unavailable || refusal.RetryAfter <= 0 || !slices.Equal(refusal.Scopes, todo) {
				t.Errorf("%s: got %+v, want unavailable, with a Retry-After and the scopes", name, err)
			}
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want the timeout, 3s", took)
		}
		k.token = numbered
		if _, err := k.cache.OnBehalfOf(t.Context(), user("gina"), todo, obo.Challenge{}); err != nil {
			t.Errorf("after the turns came back: %v", err)
		}
	})
}

// together asks for tokens of several users at once.
func (k kit) together(names ...string) map[string]error {
	errs := map[string]error{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, name := range names {
		group.Go(func() {
			_, err := k.cache.OnBehalfOf(k.t.Context(), user(name), todo, obo.Challenge{})
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	group.Wait()
	return errs
}

func TestTimeoutBoundsAnExchange(t *testing.T) {
	for name, change := range map[string]func(k kit){
		"token endpoint": func(k kit) { k.token = slowly(hangs, numbered) },
		"metadata":       func(k kit) { k.metadata = func(string) answer { return answer{delay: hangs} } },
		"body":           func(k kit) { k.token = func(sent) answer { return answer{reader: stalled{}} } },
		"metadata's body": func(k kit) {
			k.metadata = func(string) answer { return answer{reader: stalled{}} }
		},
		"both slow": func(k kit) {
			k.metadata = func(tenant string) answer {
				a := goodMetadata(tenant)
				a.delay = 3 * time.Second
				return a
			}
			k.token = slowly(3*time.Second, numbered)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := start(t, nil)
				change(k)
				begin := time.Now()
				refusal := k.fails(user("alice"))
				if took := time.Since(begin); refusal.Kind != obo.Unavailable || refusal.RetryAfter <= 0 || took != 5*time.Second {
					t.Errorf("got %v after %v, want unavailable after 5s", refusal, took)
				}
			})
		})
	}
}

func TestNetworkFailures(t *testing.T) {
	broken := error(syscall.ECONNRESET)
	for name, change := range map[string]func(k kit){
		"token endpoint": func(k kit) { k.token = func(sent) answer { return answer{err: broken} } },
		"metadata":       func(k kit) { k.metadata = func(string) answer { return answer{err: broken} } },
		"body": func(k kit) {
			k.token = func(sent) answer {
				return answer{reader: errReader{strings.NewReader(`{"token_type":"Bearer","expires_in":3600,"access_token":"token-`), broken}}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			change(k)
			refusal := k.fails(user("alice"))
			if refusal.Kind != obo.Unavailable || refusal.RetryAfter <= 0 || refusal.Status != 0 ||
				!strings.Contains(refusal.Error(), "reset by peer") {
				t.Errorf("got %+v, want unavailable with its reason", refusal)
			}
			k.token, k.metadata = numbered, goodMetadata
			if _, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{}); err != nil {
				t.Errorf("after the failure: %v", err)
			}
		})
	}
}

// errReader ends in an error.
type errReader struct {
	*strings.Reader
	err error
}

func (r errReader) Read(p []byte) (int, error) {
	if r.Len() == 0 {
		return 0, r.err
	}
	return r.Reader.Read(p)
}

func TestPanicIsAnError(t *testing.T) {
	for name, change := range map[string]func(k kit){
		"token endpoint": func(k kit) { k.token = func(sent) answer { panic("in the transport") } },
		"metadata":       func(k kit) { k.metadata = func(string) answer { panic("in the transport") } },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.MaxConcurrent = 1 })
			change(k)
			for range 3 {
				_, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
				if err == nil || !strings.Contains(err.Error(), "in the transport") {
					t.Errorf("got %v, want the panic's text", err)
				}
				wantNoSecrets(t, err)
			}
			k.token, k.metadata = numbered, goodMetadata
			if _, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{}); err != nil {
				t.Errorf("after the panics: %v", err)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		k := start(t, nil)
		k.token = func(sent) answer {
			return answer{status: status, header: http.Header{"Location": {"https://login.example/" + guestTenant + "/oauth2/v2.0/token"}}}
		}
		if refusal := k.fails(user("alice")); refusal.Kind != obo.InvalidResponse || refusal.Status != status {
			t.Errorf("redirect %d: got %v, want nonsense", status, refusal)
		}
		k.wantExchanges(1)
	}
}

func TestMSALRemembersNothing(t *testing.T) {
	k := start(t, nil)
	long := strings.Repeat("x", 12<<10)
	exchange := func(n int) {
		t.Helper()
		for i := range n {
			if _, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint(long, n, i)), todo, obo.Challenge{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	heap := func() int64 {
		k.sent = nil // the test's own copies
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	exchange(10)
	before := heap()
	exchange(400)
	// MSAL's own cache would have kept 5 MB.
	if grown := heap() - before; grown > 3<<19 {
		t.Errorf("400 exchanges left %d bytes, want almost none", grown)
	}
}

// One user with many tokens, with a provider that takes a second, waits for others and
// not they for one. Each new user would have waited 6 s, which is beyond the timeout.
func TestOneCallersExchangesLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, nil)
		k.token = slowly(time.Second, numbered)
		var group sync.WaitGroup
		for i := range 400 {
			group.Go(func() {
				a := user(fmt.Sprint("mallory-", i))
				a.ObjectID = "mallory"
				_, _ = k.cache.OnBehalfOf(t.Context(), a, todo, obo.Challenge{}) // may be too late
			})
		}
		synctest.Wait()
		for i := range 100 {
			group.Go(func() {
				begin := time.Now()
				if _, err := k.cache.OnBehalfOf(t.Context(), user(fmt.Sprint("new-", i)), todo, obo.Challenge{}); err != nil {
					t.Errorf("a new user, after %v: %v", time.Since(begin), err)
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		group.Wait()
	})
}

func TestCallerWhoLeavesWhileWaitingForATurnIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.MaxConcurrent = 1 })
		k.token = slowly(2*time.Second, numbered)
		var group sync.WaitGroup
		group.Go(func() { k.want(user("alice"), "", "token-1", obo.IdentityProvider) })
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		group.Go(func() {
			if _, err := k.client.NewToken(ctx, obo.Request{Scopes: appScopes}); !errors.Is(err, context.Canceled) || obo.Outcome(err) != "canceled" {
				t.Errorf("got %v with outcome %s, want canceled", err, obo.Outcome(err))
			}
		})
		synctest.Wait()
		leave()
		group.Wait()
		k.wantExchanges(1)
	})
}
