package session_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/records"
	"middletier/internal/session"
)

// A request that says that the session is used does not bring back the refresh token that another
// replica has replaced meanwhile: it would be refused, and end the session.
func TestTouchKeepsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := records.NewMemory(records.DefaultMemory)
		long := func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }
		one, other := k.start(store, long), k.start(store, long)
		b := one.browser()
		b.signIn(aliceID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", SingleUse: true})
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Delay: 300 * time.Millisecond})
		for range 4 {
			time.Sleep(100 * time.Minute)
			var group sync.WaitGroup
			group.Go(func() { b.wantToken() })
			time.Sleep(100 * time.Millisecond) // the refresh is under way
			b.on(other).user()
			b.user()
			group.Wait()
			if left := b.user("?slide=false")["bff:session_expires_in"]; left == nil {
				t.Error("the session has ended")
			}
		}
		if got := k.idp.Count("refresh_token"); got != 4 {
			t.Errorf("refreshes: got %d, want 4", got)
		}
	})
}

// Replicas that find the same old token at once redeem the refresh token once.
func TestReplicasShareARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := records.NewMemory(records.DefaultMemory)
		long := func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }
		replicas := []*replica{k.start(store, long), k.start(store, long), k.start(store, long)}
		b := replicas[0].browser()
		b.signIn(aliceID, "")
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", SingleUse: true})
		k.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Delay: 300 * time.Millisecond})
		time.Sleep(2 * time.Hour)
		var group sync.WaitGroup
		for i := range 30 {
			group.Go(func() { b.on(replicas[i%3]).wantToken() })
		}
		group.Wait()
		if got := k.idp.Count("refresh_token"); got != 1 {
			t.Errorf("refreshes: got %d, want 1", got)
		}
	})
}

// A session is written when it is used, but not at every request.
func TestUseIsWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, func(c *session.Config) { c.IdleTimeout = 5 * time.Minute }).browser()
		left := func() any { return b.user("?slide=false")["bff:session_expires_in"] }
		b.signIn(aliceID, "")
		for _, step := range []struct {
			pause time.Duration
			want  float64
		}{
			{29 * time.Second, 271}, // a tenth of idleTimeout has not passed
			{time.Second, 300},
			{10 * time.Second, 290},
			{2 * time.Minute, 300},
		} {
			time.Sleep(step.pause)
			if b.wantToken(); left() != step.want {
				t.Errorf("%s later: got %v s left, want %v", step.pause, left(), step.want)
			}
		}
	})
}

// In memory the oldest sessions make room for new ones. Who does not sign in takes no room.
func TestSessionsInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(records.NewMemory(records.MemoryConfig{MaxRecords: 3, MaxBytes: 1 << 20}), nil)
		var browsers []*browser
		for range 5 {
			b := r.browser()
			b.signIn(aliceID, "")
			browsers = append(browsers, b)
		}
		for range 50 {
			stranger := r.browser()
			callback := edited(stranger.callbackOf(bobID, ""), "code", "x")
			if a := stranger.send("GET", callback, true); a.status < 400 {
				t.Errorf("the callback with a wrong code: got %d %s", a.status, a.body)
			}
			stranger.setCookie(records.NewKey().Secret())
			stranger.wantProblem("401 session-required")
		}
		for i, b := range browsers {
			if i < 2 {
				b.wantUser("")
			} else {
				b.wantUser(aliceID)
			}
		}
	})
}
