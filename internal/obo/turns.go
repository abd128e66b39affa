package obo

import (
	"context"
	"slices"
	"sync"
)

// turns limits how many exchanges run at once. Further ones wait in order of arrival. While
// others wait, an exchange does not start if one of its shares has reached its limit and
// some waiting exchange does not have that share. Without competition, one share may hold
// all turns.
type turns struct {
	size int

	mu      sync.Mutex // guards the rest
	running int
	held    map[share]int // turns that run, by share; a share without any is not there
	waiting []*turn       // in the order of arrival
	waiters map[share]int // how many of them have a share
}

// share is a group of exchanges, such as those of one caller, and how many of them may run
// while others wait.
type share struct {
	name  string
	limit int
}

// turn is a request for one of the turns.
type turn struct {
	shares []share
	given  chan struct{} // closed once the exchange may run
}

func newTurns(size int) *turns {
	return &turns{size: size, held: map[share]int{}, waiters: map[share]int{}}
}

// quarter returns a share that may hold a quarter of the turns while others wait, and
// threeQuarters one that may hold three; one turn at least.
func (t *turns) quarter(name string) share       { return share{name, max(1, t.size/4)} }
func (t *turns) threeQuarters(name string) share { return share{name, max(1, t.size*3/4)} }

// take waits for a turn with these shares, all of them different. giveBack ends the turn.
// take fails if ctx ends first.
func (t *turns) take(ctx context.Context, shares ...share) (giveBack func(), err error) {
	turn := &turn{shares: shares, given: make(chan struct{})}
	t.mu.Lock()
	t.countWaiting(turn, 1)
	// None of those that waited before may run now, and a further one does not change
	// that: only the new one needs a look.
	if t.mayRun(turn) {
		t.countWaiting(turn, -1)
		t.grantTurn(turn)
	} else {
		t.waiting = append(t.waiting, turn)
	}
	t.mu.Unlock()
	select {
	case <-turn.given:
	case <-ctx.Done():
		if t.leave(turn) {
			return nil, ctx.Err()
		}
	}
	return func() { t.giveBack(turn) }, nil
}

// inUse returns how many turns are taken.
func (t *turns) inUse() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running
}

// leave removes a turn from the waiting ones, and reports whether it was still there.
func (t *turns) leave(turn *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, turn)
	if i < 0 {
		return false // it was given at the same moment
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	t.countWaiting(turn, -1)
	t.pass() // the remaining ones may all have the same share now
	return true
}

// giveBack ends a turn that ran.
func (t *turns) giveBack(turn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	count(t.held, turn.shares, -1)
	t.pass()
}

// pass grants turns to those that wait and may run. t.mu is held, as in the methods below.
func (t *turns) pass() {
	for t.running < t.size {
		i := slices.IndexFunc(t.waiting, t.mayRun)
		if i < 0 {
			return
		}
		turn := t.waiting[i]
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.countWaiting(turn, -1)
		t.grantTurn(turn)
	}
}

// mayRun reports whether a waiting turn may run: there is room, and each of its shares is
// below its limit, or all waiting turns have that share.
func (t *turns) mayRun(turn *turn) bool {
	if t.running >= t.size {
		return false
	}
	all := t.waiters[everyone]
	for _, s := range turn.shares {
		if t.held[s] >= s.limit && t.waiters[s] < all {
			return false
		}
	}
	return true
}

// everyone is the share that all waiting turns have.
var everyone = share{}

// countWaiting adds n to the number of waiting turns of each share of turn.
func (t *turns) countWaiting(turn *turn, n int) {
	count(t.waiters, turn.shares, n)
	count(t.waiters, []share{everyone}, n)
}

// grantTurn lets an exchange run.
func (t *turns) grantTurn(turn *turn) {
	t.running++
	count(t.held, turn.shares, 1)
	close(turn.given)
}

// count adds n to each share, and removes shares that reach 0.
func count(m map[share]int, shares []share, n int) {
	for _, s := range shares {
		if m[s] += n; m[s] == 0 {
			delete(m, s)
		}
	}
}
