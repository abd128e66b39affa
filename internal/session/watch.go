package session

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"middletier/internal/problem"
	"middletier/internal/records"
)

// lookEvery is how often a session that is watched is read: it may end on any replica.
const lookEvery = 3 * time.Second

// Watch calls ended, in a goroutine of its own, when the session of r has ended, whose token
// Token has returned. To be watched is no use of a session: one with open WebSockets ends like
// every other. stop ends the watch; ended may still be called meanwhile. It must not block.
func (m *Manager) Watch(r *http.Request, ended func()) (stop func()) {
	key, ok := m.keyOf(r)
	if !ok { // Token has refused r
		go ended()
		return func() {}
	}
	return m.watches.add(key.Digest(), ended, func(ctx context.Context) { m.awaitEnd(ctx, key) })
}

// awaitEnd returns when the session under key has ended, or ctx. While nobody can say whether it
// has, it lasts as long as it would without a further request.
func (m *Manager) awaitEnd(ctx context.Context, key records.Key) {
	end := time.Now().Add(m.config.IdleTimeout) // a request of it has just been answered
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		h, err := m.get(ctx, key)
		switch {
		case err == nil:
			end = time.Now().Add(h.left(m.config, time.Now()))
		case errors.Is(err, problem.ErrNoSession), !time.Now().Before(end):
			return
		}
	}
}

// watches are the sessions that are watched. Each is read by one goroutine, whatever the number
// of those that watch it. The zero value is ready for use.
type watches struct {
	mu  sync.Mutex // guards all, and what it holds
	all map[[32]byte]*watch
}

// watch is a session that is watched.
type watch struct {
	watchers map[int]func() // by the number of those before
	added    int
	cancel   context.CancelFunc // ends its goroutine
}

// add has ended called when awaitEnd, which runs once for all watchers of a session, returns
// before its context has ended.
func (w *watches) add(session [32]byte, ended func(), awaitEnd func(context.Context)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.all[session]
	if found == nil {
		ctx, cancel := context.WithCancel(context.Background())
		found = &watch{watchers: map[int]func(){}, cancel: cancel}
		if w.all == nil {
			w.all = map[[32]byte]*watch{}
		}
		w.all[session] = found
		go func() {
			defer cancel()
			awaitEnd(ctx)
			for _, ended := range w.remove(session, found) {
				ended()
			}
		}()
	}
	n := found.added
	found.added++
	found.watchers[n] = ended
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(found.watchers, n); len(found.watchers) == 0 {
			w.forget(session, found)
		}
	}
}

// remove ends a watch, and returns its watchers.
func (w *watches) remove(session [32]byte, ended *watch) map[int]func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	watchers := ended.watchers
	ended.watchers = nil
	w.forget(session, ended)
	return watchers
}

// forget ends the goroutine of a watch. w.mu is held.
func (w *watches) forget(session [32]byte, old *watch) {
	old.cancel()
	if w.all[session] == old { // else it has a successor
		delete(w.all, session)
	}
}
