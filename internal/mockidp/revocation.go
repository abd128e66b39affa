package mockidp

import (
	"strings"
	"sync"
	"time"
)

// revocations say until when sign-ins are revoked.
type revocations struct {
	mu       sync.Mutex           // guards the fields below
	until    map[string]time.Time // by object id; as many as users were revoked
	everyone time.Time            // likewise, of all users
}

func (r *revocations) add(userID string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[string]time.Time{}
	}
	r.until[strings.ToLower(userID)] = now
}

// covers reports whether a sign-in at that time is revoked.
func (r *revocations) covers(userID string, signedIn time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, revoked := r.until[strings.ToLower(userID)]
	return revoked && !signedIn.After(until) || !signedIn.After(r.everyone)
}

// addEveryone revokes the sign-ins of all users.
func (r *revocations) addEveryone(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until, r.everyone = nil, now
}

// RevokeSignIns ends the sign-ins of a user, named by name or object ID: the sessions of their
// browsers, and the codes and refresh tokens that came of them. Access tokens stay good until
// they expire, as at Entra.
func (s *Server) RevokeSignIns(user string) {
	account := s.dir().mustUser(user)
	s.revocations.add(account.ObjectID, time.Now())
	s.sessions.endUser(account.ObjectID)
}

// forgetSignIns ends all sessions and the sign-ins of devices, revokes the codes and refresh
// tokens that came of any, and forgets what users consented to.
func (s *Server) forgetSignIns() {
	s.sessions.clear()
	s.consents.clear()
	s.revocations.addEveryone(time.Now())
	s.devices.clear()
}
