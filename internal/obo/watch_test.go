package obo_test

import (
	"sync/atomic"
	"testing"

	"middletier/internal/obo"
)

// watched counts how often a watch of a's token for scopes was told.
func (k kit) watched(a *obo.Assertion, scopes []string) (told *atomic.Int32, stop func()) {
	told = new(atomic.Int32)
	return told, k.cache.OnForget(obo.Request{User: a, Scopes: scopes}, func() { told.Add(1) })
}

// Whoever holds something open on the strength of a token hears when the token is dropped,
// on every replica and whether or not it is cached, and nobody else does.
func TestWatchesHearOfForgottenTokens(t *testing.T) {
	for way, forget := range forgetters {
		t.Run(way, func(t *testing.T) {
			_, _, one, other := startListeners(t)
			alice, bob := user("alice"), user("bob")
			again := anotherOf(alice)
			here, _ := one.watched(&alice, todo)
			there, _ := other.watched(&alice, todo)
			stopped, stop := one.watched(&alice, todo)
			stop()
			bobs, _ := one.watched(&bob, todo)
			sameUsers, _ := one.watched(&again, todo)
			apps, stopApp := one.watched(nil, []string{"api://todo/.default"})
			defer stopApp()
			for range 2 { // a watch is told once
				if err := forget(one, alice); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, func() bool { return here.Load() == 1 && there.Load() == 1 }, func() string { return "the watches were not told" })
			byUser := int32(0)
			if way != "sign-out" {
				byUser = 1
			}
			eventually(t, func() bool { return sameUsers.Load() == byUser }, func() string { return "the watch of the user's other token" })
			all := int32(0)
			if way == "all" {
				all = 1
			}
			eventually(t, func() bool { return bobs.Load() == all && apps.Load() == all }, func() string { return "the watches of others" })
			if here.Load() != 1 || stopped.Load() != 0 {
				t.Errorf("told %d times, and %d times after stop; want 1 and 0", here.Load(), stopped.Load())
			}
		})
	}
}
