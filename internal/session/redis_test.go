package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/records"
	"middletier/internal/redistier"
	"middletier/internal/session"
	"middletier/internal/testkit/redistest"
)

// inRedis returns a store of records in a server.
func inRedis(t *testing.T, server *redistest.Server) *records.Store {
	t.Helper()
	keys := []string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))}
	shared, err := redistier.New(redistier.Config{
		URL: server.URL(), KeyPrefix: "middletier:", Timeout: time.Second, EncryptionKeys: keys, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- shared.Run(ctx, func(redistier.Notice) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	store, err := records.NewRedis(shared, keys)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// Replicas share a session, its one refresh, and its end.
func TestReplicasShareSessions(t *testing.T) {
	server := redistest.Start(t)
	k := newKit(t)
	one, other := k.start(inRedis(t, server), nil), k.start(inRedis(t, server), nil)
	b := one.browser()
	at := b.callbackOf(aliceID, "")
	if a := b.on(other).send("GET", at, true); a.status != 200 {
		t.Fatalf("the callback at another replica: got %d %s", a.status, a.body)
	}
	b.wantUser(aliceID)
	b.age(t, server)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() { b.on([]*replica{one, other}[i%2]).wantToken() })
	}
	group.Wait()
	if got := k.idp.Count("refresh_token"); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
	if err := other.EndUser(t.Context(), tenant, aliceID); err != nil {
		t.Fatal(err)
	}
	b.wantUser("")
}

// age makes the session's access token an old one, as time would.
func (b *browser) age(t *testing.T, server *redistest.Server) {
	t.Helper()
	store := inRedis(t, server)
	key, _ := records.ParseKey(b.sessionCookie())
	r, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Replace(r.Value, []byte(`"tokenExpires":`), []byte(`"tokenExpires":1,"formerly":`), 1)
	if err := store.Replace(t.Context(), key, r, old, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// While Redis cannot be read nobody is signed out, and nobody's cookie goes.
func TestSessionsWithoutRedisAreUnknown(t *testing.T) {
	server := redistest.Start(t)
	b := newKit(t).start(inRedis(t, server), nil).browser()
	b.signIn(aliceID, "")
	key := b.sessionCookie()
	server.Kill()
	b.wantProblem("503 shared-cache-unavailable")
	for _, path := range []string{"/bff/user", "/bff/logout?sid=x", "/bff/login", "/bff/silent-login-callback"} {
		if a := b.get(path, "X-CSRF", "1"); a.status != 503 || a.problem() != "shared-cache-unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("GET %s: got %d %s, want 503", path, a.status, a.body)
		}
	}
	if b.sessionCookie() != key {
		t.Error("the cookie is gone")
	}
}

// A dump of Redis shows nobody's tokens or claims, and with our encryption keys it opens nothing.
func TestRedisHoldsNothingReadable(t *testing.T) {
	server := redistest.Start(t)
	k := newKit(t)
	r := k.start(inRedis(t, server), nil)
	b := r.browser()
	b.signIn(aliceID, "")
	secrets := []string{b.sessionCookie(), "alice", aliceID, "eyJ", b.user()["sid"].(string), `"refreshToken"`}
	for _, name := range server.Keys() {
		value := name
		if kind := server.Do("TYPE", name); kind == "string" {
			value += server.Get(name)
		}
		for _, secret := range secrets {
			if strings.Contains(value, secret) {
				t.Errorf("Redis holds %q in %q", secret, value)
			}
		}
	}
	for range 100 { // our keys are the replica's, and no key of a record is there to be found
		if _, err := r.find(records.NewKey()); err == nil {
			t.Error("a guessed cookie opens a session")
		}
	}
	for _, secret := range secrets {
		if strings.Contains(k.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func (r *replica) find(key records.Key) (session.Session, error) {
	b := r.browser()
	b.setCookie(key.Secret())
	if _, problem := b.token(); problem != "" {
		return session.Session{}, records.ErrUnknown
	}
	return session.Session{}, nil
}
