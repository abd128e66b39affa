package session

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/obo"
	"middletier/internal/records"
	"middletier/internal/testkit/recordstest"
	"middletier/internal/testkit/redistest"
)

// A refusal is remembered for a minute, and a provider in trouble is left alone for as long as it
// says, five seconds at least. What is left of that is what callers are told.
func TestPausesOfSessions(t *testing.T) {
	now := time.Now()
	for name, row := range map[string]struct {
		refusal *obo.Error
		want    time.Duration // of the pause
		told    time.Duration // a second before its end
	}{
		"the user must act":            {&obo.Error{Kind: obo.InteractionRequired}, time.Minute, 0},
		"trouble":                      {&obo.Error{Kind: obo.Unavailable}, 5 * time.Second, 0},
		"trouble for a moment":         {&obo.Error{Kind: obo.Unavailable, RetryAfter: 2 * time.Second}, 5 * time.Second, time.Second},
		"trouble for a while":          {&obo.Error{Kind: obo.Unavailable, RetryAfter: time.Hour}, time.Hour, time.Second},
		"a refusal that says how long": {&obo.Error{Kind: obo.InteractionRequired, RetryAfter: time.Hour}, time.Minute, time.Second},
	} {
		var p pauses
		one, other := [32]byte{1}, [32]byte{2}
		p.add(one, row.refusal, now)
		if err := p.of(other, now); err != nil {
			t.Errorf("%s: another session: got %v", name, err)
		}
		var got *obo.Error
		if err := p.of(one, now.Add(row.want-time.Second)); !errors.As(err, &got) || got.Kind != row.refusal.Kind || got.RetryAfter != row.told {
			t.Errorf("%s: a second before the end: got %v, want the refusal with RetryAfter %v", name, err, row.told)
		}
		if err := p.of(one, now.Add(row.want)); err != nil {
			t.Errorf("%s: at the end: got %v", name, err)
		}
	}
}

// The memory of pauses is bounded.
func TestPausesAreBounded(t *testing.T) {
	var p pauses
	for i := range maxPauses + 1 {
		p.add([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, &obo.Error{}, time.Now())
	}
	if len(p.all) > maxPauses {
		t.Errorf("got %d pauses, want at most %d", len(p.all), maxPauses)
	}
}

// A panic in what requests share is an error of theirs, and not the end of the process.
func TestPanicInAFlightIsAnError(t *testing.T) {
	m := New(Config{})
	_, err := m.share(t.Context(), "refresh", held{}, func(context.Context) (held, error) { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "refresh") {
		t.Errorf("got %v, want an error that names what panicked", err)
	}
}

// Where Redis dies before a refresh can begin, there is no token: nobody knows whether there is a
// session.
func TestRedisDiesBeforeARefresh(t *testing.T) {
	server := redistest.Start(t)
	provider, err := obo.NewClient(t.Context(), obo.Config{
		Instance: "https://login.example/", TenantID: "11111111-1111-4111-8111-111111111111", ClientID: "33333333-3333-4333-8333-333333333333",
		Credentials: []credential.Config{{SourceType: "ClientSecret", ClientSecret: "s3cret"}}, Timeout: time.Second, MaxConcurrent: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := New(Config{
		Lifetime: time.Hour, IdleTimeout: time.Hour, Provider: provider, Records: recordstest.Open(t, server, make([]byte, 32)),
	})
	mark, err := m.config.Records.Begin(t.Context(), time.Hour, userOwner("tenant", "user"))
	if err != nil {
		t.Fatal(err)
	}
	key, now := records.NewKey(), time.Now().UnixMilli()
	s := stored{AccessToken: "old", TokenExpires: now - 1, RefreshToken: "x", Created: now, LastSeen: now}
	if err := m.config.Records.Put(t.Context(), key, mark, s.encode(), time.Hour); err != nil {
		t.Fatal(err)
	}
	h, err := m.get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if got, err := m.refresh(t.Context(), h); !errors.Is(err, records.ErrUnavailable) {
		t.Errorf("got a token: %t, %v, want %v", got.AccessToken != "", err, records.ErrUnavailable)
	}
}
