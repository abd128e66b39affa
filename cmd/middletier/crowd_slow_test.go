//go:build slow

package main

import (
	"testing"

	"middletier/internal/mockidp"
)

// If an exchange fails, it fails for all waiting requests, and the failure is not
// cached.
func TestSlowFailedExchangeFailsAllWhoWait(t *testing.T) {
	for _, row := range []struct {
		name   string
		fault  mockidp.Fault
		tries  int
		status int
		kind   string
	}{
		{"refused", mockidp.Fault{Error: "invalid_scope", ErrorCodes: []int{70011}}, 1, 500, "misconfigured"},
		{"no sense", mockidp.Fault{Status: 200, Body: "<html>"}, 1, 502, "identity-provider-error"},
		{"5xx", mockidp.Fault{Status: 503}, 2, 503, "identity-provider-unavailable"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, unhurried)
			g := w.newGate()
			row.fault.Flow = "on_behalf_of"
			w.idp.AddFault(row.fault)
			alice, answers := w.alice(), make(chan []*reply)
			go func() { answers <- w.crowd(300, alice, w.url) }()
			awaitCrowd(t, 300)
			g.open()
			details := map[string]int{}
			for _, r := range <-answers {
				if r.StatusCode != row.status || r.kind() != row.kind {
					t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
				}
				details[r.problem.Detail+r.problem.CorrelationID]++
			}
			if len(details) != 1 {
				t.Errorf("got %v, want one answer for all", details)
			}
			if got := w.exchanges(); got != row.tries {
				t.Errorf("got %d exchanges for 300 callers, want %d", got, row.tries)
			}
			w.idp.ClearFaults()
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 || w.exchanges() != row.tries+1 {
				t.Errorf("the next: got %d after %d exchanges, want 200 after another", r.StatusCode, w.exchanges())
			}
		})
	}
}
