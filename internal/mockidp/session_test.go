package mockidp

import (
	"fmt"
	"testing"
	"time"
)

// A session ends when it is not used, and there is room for a bounded number: the one unused
// for longest gives way.
func TestSessionsEnd(t *testing.T) {
	var s sessions
	begin := time.Now()
	alice := &User{ObjectID: "a"}
	at := func(i int) browser { return browser{id: fmt.Sprint(i)} }
	for i := range maxSessions {
		s.signIn(at(i), alice, begin.Add(time.Duration(i)))
	}
	if len(s.accounts(at(0), begin.Add(sessionIdle))) != 1 {
		t.Error("an account is gone before its time")
	}
	if len(s.accounts(at(1), begin.Add(sessionIdle+time.Second))) != 0 {
		t.Error("an idle session still signs in")
	}
	s.signIn(at(maxSessions), alice, begin.Add(time.Hour))
	if len(s.byBrowser) != maxSessions || s.byBrowser["1"] != nil || s.byBrowser["0"] == nil {
		t.Errorf("got %d sessions, want %d without the one unused for longest", len(s.byBrowser), maxSessions)
	}
	s.signOut(at(0), "a")
	if len(s.accounts(at(0), begin.Add(time.Hour))) != 0 {
		t.Error("signed out, and still signed in")
	}
	s.endUser("A")
	if len(s.accounts(at(2), begin.Add(time.Hour))) != 0 {
		t.Error("ended, and still signed in")
	}
}

func TestForgetSignIns(t *testing.T) {
	var s Server
	user, app := &User{ObjectID: "a"}, &App{ClientID: "b"}
	now := time.Now()
	s.sessions.signIn(browser{id: "b"}, user, now)
	s.consents.add(user, app, app, []string{"Read"})
	s.revocations.add("a", now)
	s.forgetSignIns()
	if len(s.sessions.accounts(browser{id: "b"}, now)) != 0 || s.consents.of(user, app, app) != nil || s.revocations.covers("a", now) {
		t.Errorf("something is left: %v %v %v", s.sessions.byBrowser, s.consents.scopes, s.revocations.until)
	}
}
