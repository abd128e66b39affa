package obo_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/obo"
	"middletier/internal/records"
	"middletier/internal/redistier"
)

// sessionReplica is replica, with sessions in Redis.
func (s tier) sessionReplica(t testing.TB, p *platform) kit {
	t.Helper()
	shared, err := redistier.New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	store, err := records.NewRedis(shared, s.config.EncryptionKeys)
	if err != nil {
		t.Fatal(err)
	}
	return p.start(t, func(_ *obo.Config, c *obo.CacheConfig) { c.Shared, c.Records = shared, store })
}

// once answers as sessions do, to refresh tokens that were not used before.
func once() func(sent) answer {
	var mu sync.Mutex
	used := map[string]bool{}
	return func(r sent) answer {
		mu.Lock()
		defer mu.Unlock()
		token := r.form.Get("refresh_token")
		if used[token] {
			return refused(400, "invalid_grant", `"suberror":"bad_token",`)
		}
		used[token] = token != ""
		return sessions(r)
	}
}

// Fifty requests at two replicas are one refresh; those for other APIs follow it, each with
// the newest refresh token, which is good once.
func TestReplicasRefreshASessionOnce(t *testing.T) {
	redis, p := startTier(t), &platform{token: slowly(100*time.Millisecond, once()), metadata: goodMetadata}
	replicas := []kit{redis.sessionReplica(t, p), redis.sessionReplica(t, p)}
	key := replicas[0].keep(user("alice"))
	other := []string{"api://mail/Read"}
	var group sync.WaitGroup
	for i := range 50 {
		k := replicas[i%2]
		group.Go(func() {
			got, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: other})
			if err != nil || got.Value != "token-2" {
				t.Errorf("Resume: got %v %v, want token-2", got, err)
			}
		})
	}
	group.Wait()
	replicas[0].wantExchanges(2)
	for i := range 6 {
		k := replicas[i%2]
		group.Go(func() {
			scopes := []string{fmt.Sprintf("api://api-%d/Read", i)}
			if got, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: scopes}); err != nil {
				t.Errorf("Resume: got %v %v, want a token", got, err)
			}
		})
	}
	group.Wait()
	replicas[0].wantExchanges(8)
}

func TestReplicasEndSessions(t *testing.T) {
	alice := user("alice")
	redis, p := startTier(t), &platform{token: sessions, metadata: goodMetadata}
	one, other := redis.sessionReplica(t, p), redis.sessionReplica(t, p)
	for name, end := range map[string]func(key string) error{
		"by key": func(key string) error { return one.cache.ForgetKey(t.Context(), key) },
		"by sign-out": func(string) error {
			one.cache.Forget(t.Context(), alice, []obo.Request{{Scopes: todo}})
			return nil
		},
		"with the user": func(string) error { return one.cache.ForgetUser(t.Context(), alice.TenantID, alice.ObjectID) },
		"with all":      func(string) error { return one.cache.ForgetAll(t.Context()) },
	} {
		key := one.keep(alice)
		if _, err := other.cache.Resume(t.Context(), key, obo.Request{Scopes: todo}); err != nil {
			t.Fatalf("%s: Resume: %v", name, err)
		}
		if err := end(key); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		one.ends(key)
		other.ends(key) // although it has a token in memory
	}
}

// A sign-out at one replica wins over a refresh and a Keep that run at another.
func TestSignOutWinsOverARefreshElsewhere(t *testing.T) {
	alice := user("alice")
	arrived, goOn := make(chan bool), make(chan bool)
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if r.n == 2 || r.n == 3 {
			arrived <- true
			<-goOn
		}
		return sessions(r)
	}}
	redis := startTier(t)
	redis.config.Timeout = 2 * time.Second
	one, other := redis.sessionReplica(t, p), redis.sessionReplica(t, p)
	key := one.keep(alice)
	var group sync.WaitGroup
	var late string
	group.Go(func() {
		// Whether this request is answered does not matter.
		_, _ = one.cache.Resume(t.Context(), key, obo.Request{Scopes: todo, Refresh: true})
	})
	group.Go(func() { late = one.keep(alice) })
	<-arrived
	<-arrived
	other.cache.Forget(t.Context(), alice, nil)
	close(goOn)
	group.Wait()
	for _, k := range []kit{one, other} {
		k.ends(key)
		k.ends(late)
	}
}

func TestSessionsWithoutRedisAreUnavailable(t *testing.T) {
	redis, p := startTier(t), &platform{token: sessions, metadata: goodMetadata}
	k := redis.sessionReplica(t, p)
	alice := user("alice")
	key, ended := k.keep(alice), k.keep(alice)
	redis.Freeze()
	_, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: todo})
	_, _, keepErr := k.cache.Keep(t.Context(), obo.Request{User: &alice, Scopes: todo})
	// What Redis was sent it may do once it runs again: the session that returns is another.
	forgetErr := k.cache.ForgetKey(t.Context(), ended)
	userErr := k.cache.ForgetUser(t.Context(), "another", "user")
	redis.Thaw()
	if !errors.Is(userErr, obo.ErrRedis) {
		t.Errorf("ForgetUser: got %v, want %v", userErr, obo.ErrRedis)
	}
	for what, err := range map[string]error{"Resume": err, "Keep": keepErr, "ForgetKey": forgetErr} {
		if !errors.Is(err, records.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", what, err, records.ErrUnavailable)
		}
	}
	k.wantExchanges(2)
	eventually(t, func() bool {
		_, err := k.cache.Resume(t.Context(), key, obo.Request{Scopes: todo})
		return err == nil
	}, func() string { return "the session does not come back with Redis" })
}

// Neither a refresh token nor a key is readable in Redis.
func TestSessionsInRedisAreSealed(t *testing.T) {
	redis, p := startTier(t), &platform{token: sessions, metadata: goodMetadata}
	k := redis.sessionReplica(t, p)
	key := k.keep(user("alice"))
	for _, name := range redis.Keys() {
		if strings.Contains(name, key) {
			t.Errorf("the name %q holds the key", name)
		}
		if strings.HasSuffix(name, ":user") {
			continue
		}
		for _, secret := range []string{"refresh-", "token-", key, "alice"} {
			if value := redis.Get(name); strings.Contains(value, secret) {
				t.Errorf("%s is readable: %q", name, value)
			}
		}
	}
}
