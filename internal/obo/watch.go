package obo

import (
	"sync"

	"middletier/internal/redistier"
)

// watches are the calls of OnForget whose token has not been forgotten. A notice names the keys
// of tokens, or of a user, so each watch is found under the two keys that end it.
type watches struct {
	mu  sync.Mutex // guards all
	all map[cacheKey]map[*watch]struct{}
}

// watch is one of them. forgotten is called at most once.
type watch struct {
	keys      [2]cacheKey // of the token and its owner; the latter is zero for an application
	forgotten func()
}

// OnForget calls forgotten, in a goroutine of its own, when the token that r asks for is
// dropped on purpose: by Forget for r's user and what r asks for, by ForgetUser, by ForgetAll,
// or by one of these in another replica. It does so even if the token is not cached. stop ends
// the watch; after forgotten has begun it does nothing.
func (c *Cache) OnForget(r Request, forgotten func()) (stop func()) {
	r = c.in(r)
	w := &watch{keys: [2]cacheKey{c.key(&r, "")}, forgotten: forgotten}
	if r.User != nil {
		w.keys[1] = c.ownerOf(*r.User)
	}
	c.watches.add(w)
	return func() { c.watches.remove(w) }
}

func (s *watches) add(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[cacheKey]map[*watch]struct{}{}
	}
	for _, key := range w.keys {
		if s.all[key] == nil {
			s.all[key] = map[*watch]struct{}{}
		}
		s.all[key][w] = struct{}{}
	}
}

func (s *watches) remove(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(w)
}

// take removes w, and reports whether it was there. s.mu is held.
func (s *watches) take(w *watch) (found bool) {
	for _, key := range w.keys {
		if _, ok := s.all[key][w]; !ok {
			continue
		}
		found = true
		if delete(s.all[key], w); len(s.all[key]) == 0 {
			delete(s.all, key)
		}
	}
	return found
}

// notify ends the watches that n is about.
func (s *watches) notify(n redistier.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.What == redistier.Everything {
		n.Keys = nil
		for key := range s.all {
			n.Keys = append(n.Keys, key)
		}
	}
	for _, key := range n.Keys {
		for w := range s.all[key] {
			if s.take(w) {
				go w.forgotten()
			}
		}
	}
}
