package mockidp

import (
	"strings"
	"sync"
	"time"
)

// revocations say until when the sign-ins of a user are revoked.
type revocations struct {
	mu    sync.Mutex           // guards until
	until map[string]time.Time // by object id; as many as users were revoked
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
	return revoked && !signedIn.After(until)
}

func (r *revocations) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = nil
}

// RevokeSignIns ends the sign-ins of a user, named by name or object ID: the sessions of their
// browsers, and the codes and refresh tokens that came of them. Access tokens stay good until
// they expire, as at Entra.
func (s *Server) RevokeSignIns(user string) {
	account := s.dir().mustUser(user)
	s.revocations.add(account.ObjectID, time.Now())
	s.sessions.endUser(account.ObjectID)
}

// forgetSignIns ends all sessions and the sign-ins of devices, and forgets what users consented
// to and which sign-ins were revoked. Codes and refresh tokens end with the key that sealed
// them.
func (s *Server) forgetSignIns() {
	s.sessions.clear()
	s.consents.clear()
	s.revocations.clear()
	s.devices.clear()
}
