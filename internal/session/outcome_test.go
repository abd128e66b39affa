package session_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"middletier/internal/mockidp"
	"middletier/internal/session"
	"middletier/internal/testkit/recordstest"
	"middletier/internal/testkit/redistest"
)

// Each sign-in that comes back counts once, by how it ended.
func TestSignInsAreCountedByOutcome(t *testing.T) {
	server := redistest.Start(t)
	var got []string
	k := newKit(t)
	r := k.start(recordstest.Open(t, server, encryptionKey), func(c *session.Config) {
		c.SignInEnded = func(_ context.Context, outcome string) { got = append(got, outcome) }
	})
	refused := func(code string) func(at string) string {
		return func(at string) string { return edited(at, "code", "", "error", code) }
	}
	for _, row := range []struct {
		change func(at string) string
		want   string
	}{
		{func(at string) string { return at }, "ok"},
		{refused("access_denied"), "denied"},
		{refused("login_required"), "interaction_required"},
		{refused("consent_required"), "consent_required"},
		{refused("temporarily_unavailable"), "unavailable"},
		{refused("unauthorized_client"), "misconfigured"},
		{func(at string) string { return at + "&iss=https://evil.example" }, "invalid_response"},
		{func(at string) string { return edited(at, "state", strings.Repeat("A", 26)) }, "no_attempt"},
		{func(at string) string { return edited(at, "code", "") }, "invalid_request"},
		{func(at string) string { return at + "&code=x" }, "invalid_request"},
		{func(at string) string {
			k.idp.AddFault(mockidp.Fault{Flow: "authorization_code", Times: 1, Error: "invalid_client"})
			return at
		}, "misconfigured"},
		{func(at string) string { server.Kill(); return at }, "redis_unavailable"}, // the last: it stays away
	} {
		b := r.browser()
		at := row.change(b.callbackOf(aliceID, ""))
		got = nil
		if a := b.send("GET", at, true); !slices.Equal(got, []string{row.want}) {
			t.Errorf("%s: got %d %s, counted as %q, want %q", at, a.status, a.problem(), got, row.want)
		}
	}
}

// A hidden frame whose user the provider does not know counts as well.
func TestSilentSignInsAreCounted(t *testing.T) {
	var got []string
	b := newKit(t).start(nil, func(c *session.Config) {
		c.SignInEnded = func(_ context.Context, outcome string) { got = append(got, outcome) }
	}).browser()
	a := b.get("/bff/silent-login")
	at := strings.TrimPrefix(b.atPlatform(a.header.Get("Location"), aliceID), b.public)
	b.send("GET", at, true)
	if want := []string{"interaction_required"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
