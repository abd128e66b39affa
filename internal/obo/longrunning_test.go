package obo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
	"middletier/internal/records"
)

// sessions answers every grant with token-1, token-2, … for an hour, and with refresh tokens
// refresh-1, refresh-2, ….
func sessions(r sent) answer {
	return answer{body: fmt.Sprintf(
		`{"token_type":"Bearer","expires_in":3600,"access_token":"token-%d","refresh_token":"refresh-%d"}`, r.n, r.n)}
}

func startSessions(t testing.TB, answers func(sent) answer) kit {
	return (&platform{token: answers, metadata: goodMetadata}).start(t, nil)
}

// keep begins a session for a user.
func (k kit) keep(a obo.Assertion) (key string) {
	k.t.Helper()
	key, got, err := k.cache.Keep(k.t.Context(), obo.Request{User: &a, Scopes: todo})
	if err != nil || got.Value == "" || got.Origin != obo.IdentityProvider {
		k.t.Fatalf("Keep: got %v %v, want a new token", got, err)
	}
	return key
}

// resumes checks which token a key gives for r, by default for todo.
func (k kit) resumes(key string, r obo.Request, value string, origin obo.TokenOrigin) {
	k.t.Helper()
	if r.Scopes == nil {
		r.Scopes = todo
	}
	got, err := k.cache.Resume(k.t.Context(), key, r)
	if err != nil || got.Value != value || got.Origin != origin {
		k.t.Errorf("Resume: got %v %v, want %s from %s", got, err, value, origin)
	}
}

// ends checks that a key gives no token.
func (k kit) ends(key string) {
	k.t.Helper()
	got, err := k.cache.Resume(k.t.Context(), key, obo.Request{Scopes: todo})
	if !errors.Is(err, obo.ErrUnknownKey) || got.Value != "" {
		k.t.Errorf("Resume: got %v %v, want %v", got, err, obo.ErrUnknownKey)
	}
}

func TestSessionOutlivesTheUsersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startSessions(t, sessions)
		alice := user("alice")
		alice.Expires = time.Now().Add(time.Hour)
		key := k.keep(alice)
		k.resumes(key, obo.Request{}, "token-1", obo.Memory)
		time.Sleep(2 * time.Hour)
		k.resumes(key, obo.Request{}, "token-2", obo.IdentityProvider)
		form := k.last().form
		for name, want := range map[string]string{
			"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": ourClient, "client_secret": ourSecret,
		} {
			if got := form.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if got := form.Get("scope"); !strings.Contains(got, todo[0]) || !strings.Contains(got, "offline_access") {
			t.Errorf("scope: got %q, want it to hold %q and offline_access", got, todo[0])
		}
		time.Sleep(30 * 24 * time.Hour)
		k.resumes(key, obo.Request{}, "token-3", obo.IdentityProvider)
		if got := k.last().form.Get("refresh_token"); got != "refresh-2" {
			t.Errorf("refresh_token: got %q, want the newest", got)
		}
		time.Sleep(91 * 24 * time.Hour)
		k.ends(key)
	})
}

func TestSessionGivesOtherTokensOfItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startSessions(t, sessions)
		key, other := k.keep(user("alice")), k.keep(user("bob"))
		k.resumes(key, obo.Request{Scopes: []string{"api://mail/Read"}}, "token-3", obo.IdentityProvider)
		k.resumes(key, obo.Request{Scopes: []string{"api://mail/Read"}}, "token-3", obo.Memory)
		k.resumes(key, obo.Request{Tenant: guestTenant}, "token-4", obo.IdentityProvider)
		if got := k.last(); got.tenant != guestTenant || got.form.Get("refresh_token") != "refresh-3" {
			t.Errorf("got %v in %s, want the newest refresh token in %s", got.form, got.tenant, guestTenant)
		}
		k.resumes(key, obo.Request{Refresh: true}, "token-5", obo.IdentityProvider)
		k.resumes(key, obo.Request{}, "token-5", obo.Memory)
		claims := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
		k.resumes(key, obo.Request{Challenge: obo.Challenge{RejectedToken: "token-5", Claims: claims}}, "token-6", obo.IdentityProvider)
		if got := k.last().form.Get("claims"); !strings.Contains(got, `"c1"`) || !strings.Contains(got, "xms_cc") {
			t.Errorf("claims: got %s, want those of the API and our capabilities", got)
		}
		k.resumes(key, obo.Request{}, "token-6", obo.Memory)
		k.resumes(key, obo.Request{Claims: `{"access_token":{"nbf":{"essential":true}}}`}, "token-7", obo.IdentityProvider)
		k.resumes(key, obo.Request{}, "token-6", obo.Memory)
		k.resumes(other, obo.Request{}, "token-2", obo.Memory)
		k.resumes(strings.ToUpper(other), obo.Request{}, "token-2", obo.Memory)
		if got, err := k.cache.Token(t.Context(), obo.Request{SessionKey: key, Scopes: todo}); err != nil || got.Value != "token-6" {
			t.Errorf("Token: got %v %v, want token-6", got, err)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	for name, end := range map[string]func(k kit, key string, alice obo.Assertion) error{
		"by key": func(k kit, key string, _ obo.Assertion) error { return k.cache.ForgetKey(k.t.Context(), key) },
		"in capitals": func(k kit, key string, _ obo.Assertion) error {
			return k.cache.ForgetKey(k.t.Context(), strings.ToUpper(key))
		},
		"by sign-out": func(k kit, _ string, alice obo.Assertion) error {
			k.cache.Forget(k.t.Context(), alice, askedFor(todo))
			return nil
		},
		"by sign-out with another token": func(k kit, _ string, alice obo.Assertion) error {
			another := user("alice")
			another.Digest[0]++
			k.cache.Forget(k.t.Context(), another, nil)
			return nil
		},
		"with the user": func(k kit, _ string, alice obo.Assertion) error {
			return k.cache.ForgetUser(k.t.Context(), strings.ToUpper(alice.TenantID), strings.ToUpper(alice.ObjectID))
		},
		"with all": func(k kit, _ string, _ obo.Assertion) error { return k.cache.ForgetAll(k.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := startSessions(t, sessions)
				key, bobs := k.keep(user("alice")), k.keep(user("bob"))
				if err := end(k, key, user("alice")); err != nil {
					t.Fatal(err)
				}
				k.ends(key)
				if name != "with all" {
					k.resumes(bobs, obo.Request{}, "token-2", obo.Memory)
				}
				k.wantExchanges(2)
			})
		})
	}
	k := startSessions(t, sessions)
	for _, unknown := range []string{"", "AllocateForMe", records.NewKey().Secret()} {
		if err := k.cache.ForgetKey(t.Context(), unknown); err != nil {
			t.Errorf("ForgetKey(%q): got %v, want nil", unknown, err)
		}
		k.ends(unknown)
	}
}

// What ends a session ends it also while it is begun or refreshed.
func TestSessionsEndWhileTheProviderAnswers(t *testing.T) {
	alice := user("alice")
	for name, end := range map[string]func(c *obo.Cache){
		"sign-out": func(c *obo.Cache) { c.Forget(context.Background(), alice, nil) },
		"user":     func(c *obo.Cache) { _ = c.ForgetUser(context.Background(), alice.TenantID, alice.ObjectID) },
		"all":      func(c *obo.Cache) { _ = c.ForgetAll(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := startSessions(t, slowly(time.Second, sessions))
				key := k.keep(alice)
				time.Sleep(2 * time.Hour)
				var group sync.WaitGroup
				var late string
				group.Go(func() { k.ends(key) })
				group.Go(func() { late = k.keep(alice) })
				time.Sleep(500 * time.Millisecond)
				end(k.cache)
				group.Wait()
				k.ends(key)
				k.ends(late)
				k.wantExchanges(3)
			})
		})
	}
}

func TestOneRefreshServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startSessions(t, slowly(time.Second, sessions))
		key := k.keep(user("alice"))
		time.Sleep(2 * time.Hour)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { k.resumes(key, obo.Request{}, "token-2", obo.IdentityProvider) })
		}
		group.Wait()
		k.wantExchanges(2)
	})
}

// Where a refresh token is good once, refreshes for several APIs at once follow one another.
func TestRefreshesOfASessionFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		used := map[string]bool{}
		k := startSessions(t, slowly(200*time.Millisecond, func(r sent) answer {
			mu.Lock()
			defer mu.Unlock()
			if token := r.form.Get("refresh_token"); token != "" && used[token] {
				return answer{status: 400, body: `{"error":"invalid_grant","error_codes":[70000],"suberror":"bad_token"}`}
			}
			used[r.form.Get("refresh_token")] = true
			return sessions(r)
		}))
		key := k.keep(user("alice"))
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				scopes := []string{fmt.Sprintf("api://api-%d/Read", i)}
				if _, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: scopes}); err != nil {
					t.Errorf("Resume: %v", err)
				}
			})
		}
		group.Wait()
		k.wantExchanges(11)
	})
}

// Each request that MSAL makes has the refresh token of its own session.
func TestSessionsOfManyUsersAtOnce(t *testing.T) {
	const users = 200
	k := startSessions(t, func(r sent) answer {
		whose := r.form.Get("assertion") + r.form.Get("refresh_token") // eyJ….NAME.signature, or refresh-NAME
		name := strings.TrimPrefix(whose, "refresh-")
		if parts := strings.Split(whose, "."); len(parts) == 3 {
			name = parts[1]
		}
		return answer{body: fmt.Sprintf(
			`{"token_type":"Bearer","expires_in":3600,"access_token":"token-%s-%s","refresh_token":"refresh-%s"}`,
			name, r.form.Get("grant_type")[:3], name)}
	})
	keys := make([]string, users)
	for i := range keys {
		keys[i] = k.keep(user(fmt.Sprintf("user%d", i)))
	}
	var group sync.WaitGroup
	for i, key := range keys {
		group.Go(func() {
			k.resumes(key, obo.Request{Refresh: true}, fmt.Sprintf("token-user%d-ref", i), obo.IdentityProvider)
		})
	}
	group.Wait()
	k.wantExchanges(2 * users)
}

var throttling = answer{status: 429, header: http.Header{"Retry-After": {"30"}}, body: `{"error":"temporarily_unavailable"}`}

func TestRefusedRefresh(t *testing.T) {
	const claims = `"claims":"{\"access_token\":{\"capolids\":{\"essential\":true}}}",`
	for name, c := range map[string]struct {
		answer answer
		tenant string
		kind   obo.Kind
		ends   bool
	}{
		"expired":          {refused(400, "invalid_grant", `"error_codes":[700082],`), "", obo.InteractionRequired, true},
		"revoked":          {refused(400, "invalid_grant", `"error_codes":[50173],`), "", obo.InteractionRequired, true},
		"bad token":        {refused(400, "invalid_grant", `"suberror":"bad_token",`), "", obo.InteractionRequired, true},
		"token expired":    {refused(400, "invalid_grant", `"suberror":"token_expired",`), "", obo.InteractionRequired, true},
		"without a number": {refused(400, "invalid_grant", ""), "", obo.InteractionRequired, true},
		"of the tenant":    {refused(400, "invalid_grant", `"error_codes":[700005],`), guestTenant, obo.InteractionRequired, false},
		"second factor":    {refused(400, "interaction_required", `"error_codes":[50076],`+claims), "", obo.InteractionRequired, false},
		"device":           {refused(400, "invalid_grant", `"error_codes":[53000],`+claims), "", obo.InteractionRequired, false},
		"blocked":          {refused(400, "invalid_grant", `"error_codes":[53003],`), "", obo.InteractionRequired, false},
		"consent":          {refused(400, "invalid_grant", `"error_codes":[65001],`), "", obo.ConsentRequired, false},
		"scope":            {refused(400, "invalid_scope", `"error_codes":[70011],`), "", obo.Misconfigured, false},
		"us":               {refused(400, "invalid_client", `"error_codes":[7000215],`), "", obo.Misconfigured, false},
		"throttled":        {throttling, "", obo.Unavailable, false},
		"ill":              {answer{status: 503}, "", obo.Unavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refusing := true
				k := startSessions(t, func(r sent) answer {
					if refusing && r.form.Get("grant_type") == "refresh_token" {
						return c.answer
					}
					return sessions(r)
				})
				key := k.keep(user("alice"))
				time.Sleep(2 * time.Hour)
				_, err := k.cache.Resume(t.Context(), key, obo.Request{Tenant: c.tenant, Scopes: todo})
				var refusal *obo.Error
				if !errors.As(err, &refusal) || refusal.Kind != c.kind {
					t.Fatalf("Resume: got %v, want %v", err, c.kind)
				}
				wantNoSecrets(t, err)
				refusing = false
				time.Sleep(2 * time.Minute)
				if c.ends {
					k.ends(key)
					return
				}
				if _, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: todo}); err != nil {
					t.Errorf("Resume: %v, want a token: the session has not ended", err)
				}
			})
		})
	}
}

func TestThrottledSessionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startSessions(t, func(r sent) answer {
			if r.form.Get("refresh_token") == "refresh-1" {
				return throttling
			}
			return sessions(r)
		})
		key, bobs := k.keep(user("alice")), k.keep(user("bob"))
		for range 3 {
			_, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: todo, Refresh: true})
			var refusal *obo.Error
			if !errors.As(err, &refusal) || !refusal.Throttled || refusal.RetryAfter > 30*time.Second {
				t.Fatalf("Resume: got %v, want it throttled", err)
			}
			time.Sleep(time.Second)
		}
		k.wantExchanges(3)
		k.resumes(bobs, obo.Request{Refresh: true}, "token-4", obo.IdentityProvider)
	})
}

func TestKeepNeedsARefreshToken(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	key, _, err := k.cache.Keep(t.Context(), obo.Request{User: &alice, Scopes: todo})
	var refusal *obo.Error
	if !errors.As(err, &refusal) || refusal.Kind != obo.InvalidResponse || key != "" {
		t.Errorf("Keep: got %q %v, want %v", key, err, obo.InvalidResponse)
	}
	if _, _, err := k.cache.Keep(t.Context(), obo.Request{Scopes: todo}); err == nil {
		t.Error("Keep without a user: got nil, want an error")
	}
}
