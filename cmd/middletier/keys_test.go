package main

import (
	"context"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/tokentest"
)

// If a key is replaced by another one with the same ID, the first token that the new
// key signed is accepted.
func TestKeyReplacedUnderItsNameIsFetched(t *testing.T) {
	w := newStoppedWorld(t)
	keys := tokentest.Encode(map[string]any{"keys": []any{tokentest.JWK(w.idp.KeyID(), tokentest.ForeignKey(), "issuer", nil)}})
	w.idp.AddFault(mockidp.Fault{Flow: "keys", Body: keys})
	w.startReady()
	w.idp.ClearFaults()
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("got %d %s, want 200; the log says %q", r.StatusCode, r.body, w.lastError())
	}
}

// Redirects of metadata or keys are not followed: they are failures of the provider.
func TestKeysAreNotFetchedFromElsewhere(t *testing.T) {
	t.Parallel()
	for _, flow := range []string{"metadata", "keys"} {
		t.Run(flow, func(t *testing.T) {
			w := newStoppedWorld(t)
			elsewhere, connections := countingServer(t)
			w.idp.AddFault(mockidp.Fault{Flow: flow, Status: 302, Header: map[string]string{"Location": elsewhere}})
			p := w.start()
			for deadline := time.Now().Add(10 * time.Second); w.idp.Count(flow) < 4; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d fetches in 10 s, want it tried again", w.idp.Count(flow))
				}
			}
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 503 ||
				r.kind() != "identity-provider-unavailable" || r.Header.Get("Retry-After") == "" {
				t.Errorf("got %d %s, want 503 with Retry-After", r.StatusCode, r.body)
			}
			w.idp.ClearFaults()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := p.validator.AwaitKeys(ctx); err != nil {
				t.Fatalf("10 s after the provider's return: %v", err)
			}
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
				t.Errorf("got %d %s", r.StatusCode, r.body)
			}
			if n := connections.Load(); n != 0 {
				t.Errorf("%d connections to where the provider pointed", n)
			}
		})
	}
}
