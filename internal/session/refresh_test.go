package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/records"
	"middletier/internal/session"
	"middletier/internal/testkit/recordstest"
	"middletier/internal/testkit/redistest"
	"middletier/internal/testkit/tokentest"
)

// idleLong keeps a session for hours without a request.
func idleLong(c *session.Config) { c.IdleTimeout = 8 * time.Hour }

// Requests of two sessions that refresh at the same time get a token of their own each.
func TestSessionsDoNotShareARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		r := k.start(nil, idleLong)
		alice, bob := r.browser(), r.browser()
		alice.signIn(aliceID, "")
		bob.signIn(bobID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Delay: 300 * time.Millisecond})
		time.Sleep(2 * time.Hour)
		var group sync.WaitGroup
		for user, b := range map[string]*browser{aliceID: alice, bobID: bob} {
			for range 5 {
				group.Go(func() {
					if got := tokentest.Read(t, b.wantToken())["oid"]; got != user {
						t.Errorf("got a token of %v, want one of %s", got, user)
					}
				})
			}
		}
		group.Wait()
		if got := k.idp.Count("refresh_token"); got != 2 {
			t.Errorf("refreshes: got %d, want 2", got)
		}
	})
}

// A token is replaced five minutes before it expires, since what it is traded for does not outlive
// it, and one of a short life when half of that is over.
func TestTokensAreReplacedBeforeTheyExpire(t *testing.T) {
	for life, margin := range map[time.Duration]time.Duration{
		time.Hour: 5 * time.Minute, 10 * time.Minute: 5 * time.Minute, 4 * time.Minute: 2 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newKitOf(t, func(d *mockidp.Directory) { d.Apps[0].TokenLifetime = life }).start(nil, idleLong).browser()
			b.signIn(aliceID, "")
			first := b.wantToken()
			time.Sleep(life - margin - time.Second)
			if b.wantToken() != first {
				t.Errorf("a token of %v was replaced more than %v before its end", life, margin)
			}
			time.Sleep(2 * time.Second)
			if b.wantToken() == first {
				t.Errorf("a token of %v was not replaced %v before its end", life, margin)
			}
		})
	}
}

// A refusal that a sign-in solves is not hidden by the old token, and the provider is not asked
// again for a minute. The session stays.
func TestRefusalAtARefreshIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, idleLong).browser()
		b.signIn(aliceID, "")
		expires := time.Unix(int64(tokentest.Read(t, b.wantToken())["exp"].(float64)), 0)
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Error: "interaction_required", ErrorCodes: []int{50076}})
		time.Sleep(time.Until(expires) - 4*time.Minute)
		for range 3 {
			b.wantProblem("401 interaction-required")
			time.Sleep(19 * time.Second)
		}
		if got := k.idp.Count("refresh_token"); got != 1 {
			t.Errorf("refreshes within a minute: got %d, want 1", got)
		}
		k.idp.ClearFaults()
		b.wantProblem("401 interaction-required")
		time.Sleep(3 * time.Second)
		b.wantToken()
	})
}

// A provider that gives no new refresh token leaves the old one in use (RFC 6749, section 6).
func TestRefreshWithoutANewRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, idleLong).browser()
		b.signIn(aliceID, "")
		time.Sleep(2 * time.Hour)
		token := k.idp.UserToken("alice", "web", "middle", "Read")
		k.idp.AddFault(mockidp.Fault{
			Flow: "refresh_token", Times: 1, Header: asJSON,
			Body: `{"token_type":"Bearer","expires_in":3600,"scope":"` + readScope + `","access_token":"` + token + `"}`,
		})
		if got := b.wantToken(); got != token {
			t.Errorf("got %q, want the provider's token", got)
		}
		time.Sleep(2 * time.Hour)
		if got := b.wantToken(); got == token {
			t.Error("got the same token after two hours")
		}
	})
}

// Without a refresh token a session ends with its access token, and the provider is not asked.
func TestSessionWithoutARefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, idleLong).browser()
		if a := b.signInWith(func(answer, _ map[string]any) { delete(answer, "refresh_token") }); a.status != http.StatusOK {
			t.Fatalf("the callback: got %d %s", a.status, a.body)
		}
		b.wantToken()
		time.Sleep(2 * time.Hour)
		before := k.idp.Count("refresh_token")
		b.wantProblem("401 session-required")
		b.wantUser("")
		if got := k.idp.Count("refresh_token") - before; got != 0 {
			t.Errorf("refreshes: got %d, want none", got)
		}
	})
}

// The refresh token of a user of another tenant is redeemed there.
func TestRefreshInTheUsersTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, func(c *session.Config) {
			idleLong(c)
			c.Validator, c.Authority = k.validatorOfAll(), k.idp.URL()+"/organizations"
		}).browser()
		a := b.signInWith(func(answer, claims map[string]any) {
			claims["iss"], claims["tid"], claims["oid"] = k.idp.URL()+"/"+fabrikam+"/v2.0", fabrikam, fridaID
			answer["access_token"] = k.idp.UserToken("frida", "web", "middle", "Read")
		})
		if a.status != http.StatusOK {
			t.Fatalf("the callback: got %d %s; log:\n%s", a.status, a.body, k.log)
		}
		time.Sleep(2 * time.Hour)
		b.token() // the made-up refresh token is refused
		var paths []string
		for _, r := range k.idp.Requests() {
			if r.Flow == "refresh_token" {
				paths = append(paths, r.Path)
			}
		}
		if want := []string{"/" + fabrikam + "/oauth2/v2.0/token"}; !slices.Equal(paths, want) {
			t.Errorf("refreshes at %q, want %q", paths, want)
		}
	})
}

const fridaID = "dddddddd-0000-4000-8000-000000000004"

// A session that ends during its refresh stays ended.
func TestSessionEndsDuringItsRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		r := k.start(nil, idleLong)
		b := r.browser()
		b.signIn(aliceID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Delay: 300 * time.Millisecond})
		time.Sleep(2 * time.Hour)
		var group sync.WaitGroup
		group.Go(func() { b.wantProblem("401 session-required") })
		time.Sleep(100 * time.Millisecond)
		if err := r.EndUser(t.Context(), tenant, aliceID); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		b.wantUser("")
	})
}

// lock holds the lock of the browser's session, as another replica does while it refreshes.
func (b *browser) lock(store *records.Store, lease time.Duration) (unlock func()) {
	b.t.Helper()
	key, _ := records.ParseKey(b.sessionCookie())
	record, err := store.Get(b.t.Context(), key)
	if err != nil {
		b.t.Fatal(err)
	}
	if unlock, err = store.Lock(b.t.Context(), key, record, lease); err != nil {
		b.t.Fatal(err)
	}
	return unlock
}

// A request does not wait long to say that its session is used.
func TestUseWaitsForNoRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := records.NewMemory(records.DefaultMemory)
		b := newKit(t).start(store, nil).browser()
		b.signIn(aliceID, "")
		time.Sleep(10 * time.Minute)
		defer b.lock(store, time.Minute)()
		start := time.Now()
		if b.wantToken(); time.Since(start) > 500*time.Millisecond {
			t.Errorf("the request took %v, want half a second at most", time.Since(start))
		}
	})
}

// A request that needs a new token does not take the old one of a request that was content with
// it.
func TestRefreshIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := records.NewMemory(records.DefaultMemory)
		b := newKit(t).start(store, idleLong).browser()
		b.signIn(aliceID, "")
		first := b.wantToken()
		expires := time.Unix(int64(tokentest.Read(t, first)["exp"].(float64)), 0)
		time.Sleep(time.Until(expires) - 5*time.Minute - 100*time.Millisecond)
		unlock := b.lock(store, time.Minute)
		var group sync.WaitGroup
		group.Go(func() {
			if b.wantToken() != first {
				t.Error("a token of more than five minutes was replaced")
			}
		})
		time.Sleep(200 * time.Millisecond) // the use is waiting
		group.Go(func() {
			if b.wantToken() == first {
				t.Error("a token of less than five minutes was not replaced")
			}
		})
		time.Sleep(100 * time.Millisecond)
		unlock()
		group.Wait()
	})
}

// While other replicas refresh the same session for ever, a request of it is answered within the
// time of two refreshes: with the old token if that is good.
func TestRefreshWaitsForOthersOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := records.NewMemory(records.DefaultMemory)
		b := newKit(t).start(store, idleLong).browser()
		b.signIn(aliceID, "")
		first := b.wantToken()
		expires := time.Unix(int64(tokentest.Read(t, first)["exp"].(float64)), 0)
		time.Sleep(time.Until(expires) - 4*time.Minute)
		defer b.lock(store, 10*time.Hour)()
		const bound = 2 * (5 + 2) * time.Second
		start := time.Now()
		if got := b.wantToken(); got != first || time.Since(start) != bound {
			t.Errorf("got the old token: %t after %v, want it after %v", got == first, time.Since(start), bound)
		}
		time.Sleep(time.Until(expires))
		start = time.Now()
		a := b.get("/bff/api/token", "X-CSRF", "1")
		if got := fmt.Sprint(a.status, " ", a.problem(), " ", a.header.Get("Retry-After")); got != "503 identity-provider-unavailable 5" ||
			time.Since(start) != bound {
			t.Errorf("with an old token that has expired: got %s after %v, want 503 after %v", got, time.Since(start), bound)
		}
	})
}

// A request whose browser has left waits for nothing, and what it did not note is no failure.
func TestUseOfARequestWhoseBrowserLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := records.NewMemory(records.DefaultMemory)
		r := k.start(store, func(c *session.Config) {
			c.Log = slog.New(slog.NewJSONHandler(k.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		b := r.browser()
		b.signIn(aliceID, "")
		time.Sleep(10 * time.Minute)
		defer b.lock(store, time.Minute)()
		ctx, leave := context.WithCancel(t.Context())
		defer time.AfterFunc(100*time.Millisecond, leave).Stop()
		req := httptest.NewRequestWithContext(ctx, "GET", base+"/bff/api/token", nil)
		req.AddCookie(b.cookies["__Host-middletier"])
		start := time.Now()
		_, err := r.Token(req)
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("got %v after %v, want an answer when the browser has left", err, took)
		}
		if strings.Contains(k.log.String(), "is not noted") {
			t.Errorf("log: got %s, want no line about it", k.log)
		}
	})
}

// What Redis does not keep of a refresh is used nevertheless, once: the exchange went well.
func TestRedisDiesDuringARefresh(t *testing.T) {
	server := redistest.Start(t)
	k := newKit(t)
	store := recordstest.Open(t, server, encryptionKey)
	b := k.start(store, nil).browser()
	b.signIn(aliceID, "")
	b.age(t, server)
	asked, killed := make(chan bool), make(chan bool)
	k.way.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			asked <- true
			<-killed
		}
		k.idp.ServeHTTP(w, r)
	})
	var group sync.WaitGroup
	group.Go(func() { b.wantToken() })
	<-asked
	server.Kill()
	close(killed)
	group.Wait()
	if !strings.Contains(k.log.String(), "the new refresh token of a session is not kept") {
		t.Errorf("log: got %s, want a line that the refresh token is lost", k.log)
	}
}
