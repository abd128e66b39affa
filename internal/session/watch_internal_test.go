package session

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
)

// endings are the ends of sessions that a test decides about, and who was told of them.
type endings struct {
	t       *testing.T
	watches watches
	end     map[byte]chan struct{} // closed: the session has ended

	mu      sync.Mutex   // guards the rest
	running map[byte]int // watches of a session that have begun and not ended
	told    map[string]int
}

// add watches a session for a watcher.
func (e *endings) add(session byte, watcher string) (stop func()) {
	if e.end[session] == nil {
		e.end[session] = make(chan struct{})
	}
	end := e.end[session]
	count := func(change func()) {
		e.mu.Lock()
		defer e.mu.Unlock()
		change()
	}
	return e.watches.add([32]byte{session}, func() { count(func() { e.told[watcher]++ }) }, func(ctx context.Context) {
		count(func() { e.running[session]++ })
		select {
		case <-ctx.Done():
		case <-end:
		}
		count(func() { e.running[session]-- })
	})
}

// finish ends a session.
func (e *endings) finish(session byte) {
	close(e.end[session])
	delete(e.end, session)
}

// want checks how many watches of a session run, and who was told so far.
func (e *endings) want(session byte, running int, told ...string) {
	e.t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running[session] != running || len(e.told) != len(told) {
		e.t.Errorf("session %d: got %d watches and %v told, want %d and %q", session, e.running[session], e.told, running, told)
	}
	for _, watcher := range told {
		if e.told[watcher] != 1 {
			e.t.Errorf("%s was told %d times, want once", watcher, e.told[watcher])
		}
	}
}

func testWatches(t *testing.T, test func(e *endings)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := &endings{t: t, running: map[byte]int{}, end: map[byte]chan struct{}{}, told: map[string]int{}}
		test(e)
		synctest.Wait()
		if len(e.watches.all) != 0 {
			t.Errorf("watches at the end: got %d, want none", len(e.watches.all))
		}
	})
}

// All who watch a session are told once that it has ended, by one goroutine, and nobody who watches
// another one.
func TestAllWatchersAreTold(t *testing.T) {
	testWatches(t, func(e *endings) {
		for _, watcher := range []string{"a", "b", "c"} {
			defer e.add(1, watcher)()
		}
		defer e.add(2, "other")()
		e.want(1, 1)
		e.want(2, 1)
		e.finish(1)
		e.want(1, 0, "a", "b", "c")
		e.want(2, 1, "a", "b", "c")
	})
}

// Who stops is not told, and the others still are. Without any there is nothing to run.
func TestWatchersStop(t *testing.T) {
	testWatches(t, func(e *endings) {
		stopA, stopB := e.add(1, "a"), e.add(1, "b")
		stopA()
		defer e.add(1, "c")() // after one that has left
		e.want(1, 1)
		e.finish(1)
		e.want(1, 0, "b", "c")
		stopB() // too late
		stop := e.add(1, "d")
		e.want(1, 1, "b", "c")
		stop()
		e.want(1, 0, "b", "c")
	})
}

// A late stop of those who watched a session does not end the watch of their successors.
func TestLateStopLeavesSuccessors(t *testing.T) {
	testWatches(t, func(e *endings) {
		late := e.add(1, "a")
		e.finish(1)
		e.want(1, 0, "a")
		stop := e.add(1, "b")
		late()
		defer e.add(1, "c")() // it shares b's
		e.want(1, 1, "a")
		e.finish(1)
		e.want(1, 0, "a", "b", "c")
		stop()
	})
}

// A request without a session has nothing to watch: it has ended.
func TestWatchOfARequestWithoutASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := false
		stop := New(Config{}).Watch(httptest.NewRequest("GET", "/", nil), func() { told = true })
		synctest.Wait()
		if stop(); !told {
			t.Error("nobody was told")
		}
	})
}
