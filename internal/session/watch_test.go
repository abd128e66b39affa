package session_test

import (
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A session that is watched ends when its requests end, is used by those of others, and its watch
// is no use.
func TestWatchIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		b := r.browser()
		b.signIn(aliceID, "")
		req := httptest.NewRequest("GET", base+"/bff/api/token", nil)
		req.AddCookie(b.cookies["__Host-middletier"])
		var ended atomic.Bool
		defer r.Watch(req, func() { ended.Store(true) })()
		time.Sleep(20 * time.Minute)
		b.wantToken()
		time.Sleep(30*time.Minute - time.Second)
		if ended.Load() {
			t.Error("the watch ended before the session")
		}
		time.Sleep(10 * time.Second)
		if !ended.Load() {
			t.Error("the watch did not end with the session")
		}
	})
}

// The end of one session is not that of another one.
func TestWatchesOfTwoSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		var ended [2]atomic.Bool
		for i, user := range []string{aliceID, bobID} {
			b := r.browser()
			b.signIn(user, "")
			req := httptest.NewRequest("GET", base+"/bff/api/token", nil)
			req.AddCookie(b.cookies["__Host-middletier"])
			defer r.Watch(req, func() { ended[i].Store(true) })()
		}
		if err := r.EndUser(t.Context(), tenant, bobID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if ended[0].Load() || !ended[1].Load() {
			t.Errorf("told of the end: alice %t, bob %t, want bob alone", ended[0].Load(), ended[1].Load())
		}
	})
}
