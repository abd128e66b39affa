package mockidp

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// sessionCookie names the browser. With the prefix only this host can have set it.
	sessionCookie = "__Host-mockidp"
	// sessionIdle ends a session that was not used for so long, as at Entra.
	sessionIdle = 24 * time.Hour
	// maxSessions limits the sessions of a mock that runs for days.
	maxSessions = 10_000
)

// browser is who sends a request to a page: the value of its cookie.
type browser struct {
	id    string
	fresh bool // it has no cookie yet
}

// browserOf returns the browser of the request. One without a cookie gets a new id, for the
// answer to set.
func browserOf(r *http.Request) browser {
	if cookie, err := r.Cookie(sessionCookie); err == nil && len(cookie.Value) == sessionIDLength {
		return browser{id: cookie.Value}
	}
	return browser{id: randomID(sessionIDSize), fresh: true}
}

const sessionIDSize = 32

var sessionIDLength = base64.RawURLEncoding.EncodedLen(sessionIDSize)

// cookie is SameSite=None so that a hidden frame of an application finds the session.
func (b browser) cookie() string {
	cookie := http.Cookie{
		Name: sessionCookie, Value: b.id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode,
	}
	return cookie.String()
}

// print names the browser in what it is given, without being its cookie.
func (b browser) print() string {
	sum := sha256.Sum256([]byte(b.id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// account is a user who is signed in in a browser.
type account struct {
	userID   string // object id
	tenantID string
	signIn   signIn
	clients  []string // that got an answer for it, for the front-channel logout
}

// session is the single sign-on of one browser.
type session struct {
	accounts []account
	used     time.Time
}

// sessions are the sessions of all browsers.
type sessions struct {
	mu        sync.Mutex // guards byBrowser and what it holds
	byBrowser map[string]*session
}

// accounts returns the accounts that are signed in in the browser.
func (s *sessions) accounts(b browser, now time.Time) []account {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byBrowser[b.id]
	if known == nil || now.Sub(known.used) > sessionIdle {
		return nil
	}
	known.used = now
	accounts := slices.Clone(known.accounts)
	for i := range accounts {
		accounts[i] = accounts[i].clone()
	}
	return accounts
}

func (a account) clone() account {
	a.signIn.Contexts, a.clients = slices.Clone(a.signIn.Contexts), slices.Clone(a.clients)
	return a
}

// signIn signs the user in in the browser, again if they are signed in already.
func (s *sessions) signIn(b browser, user *User, now time.Time) account {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byBrowser[b.id]
	if known == nil || now.Sub(known.used) > sessionIdle {
		s.makeRoom(now)
		known = &session{}
		s.byBrowser[b.id] = known
	}
	known.used = now
	for i := range known.accounts {
		if known.accounts[i].userID == user.ObjectID {
			known.accounts[i].signIn.Time = now
			return known.accounts[i].clone()
		}
	}
	in := account{userID: user.ObjectID, tenantID: user.TenantID, signIn: signIn{SessionID: newGUID(), Time: now}}
	known.accounts = append(known.accounts, in)
	return in.clone()
}

// makeRoom forgets sessions that ended, and the one that was unused for longest where there
// are too many; the caller holds mu.
func (s *sessions) makeRoom(now time.Time) {
	if s.byBrowser == nil {
		s.byBrowser = map[string]*session{}
	}
	if len(s.byBrowser) < maxSessions {
		return
	}
	oldest := ""
	for id, known := range s.byBrowser {
		if now.Sub(known.used) > sessionIdle {
			delete(s.byBrowser, id)
		} else if oldest == "" || known.used.Before(s.byBrowser[oldest].used) {
			oldest = id
		}
	}
	if len(s.byBrowser) >= maxSessions {
		delete(s.byBrowser, oldest)
	}
}

// edit changes an account of the browser, and returns it as it is then; ok is false where
// the user is not signed in.
func (s *sessions) edit(b browser, userID string, change func(*account)) (edited account, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.byBrowser[b.id]
	if known == nil {
		return account{}, false
	}
	for i := range known.accounts {
		if known.accounts[i].userID == userID {
			change(&known.accounts[i])
			return known.accounts[i].clone(), true
		}
	}
	return account{}, false
}

// prove remembers that the user met authentication contexts.
func (s *sessions) prove(b browser, userID string, contexts []string) (account, bool) {
	return s.edit(b, userID, func(a *account) {
		a.signIn.Strong = true
		a.signIn.Contexts = union(a.signIn.Contexts, contexts)
	})
}

// join remembers that the client got an answer for the user.
func (s *sessions) join(b browser, userID, clientID string) {
	s.edit(b, userID, func(a *account) { a.clients = union(a.clients, []string{clientID}) })
}

// signOut ends a user's sign-in in the browser.
func (s *sessions) signOut(b browser, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byBrowser[b.id]; known != nil {
		known.remove(userID)
	}
}

// endUser ends a user's sign-ins in all browsers.
func (s *sessions) endUser(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.byBrowser {
		known.remove(userID)
	}
}

func (s *session) remove(userID string) {
	s.accounts = slices.DeleteFunc(s.accounts, func(a account) bool { return strings.EqualFold(a.userID, userID) })
}

// clear ends all sessions.
func (s *sessions) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byBrowser = nil
}
