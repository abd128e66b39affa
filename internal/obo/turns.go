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
	name string
	most int
}

// turn is one that is asked for.
type turn struct {
	shares []share
	given  chan struct{} // closed once it may run
}

func newTurns(size int) *turns {
	return &turns{size: size, held: map[share]int{}, waiters: map[share]int{}}
}

// quarter and most are the parts of the turns that a share may hold; one turn at least.
func (t *turns) quarter(name string) share { return share{name, max(1, t.size/4)} }
func (t *turns) most(name string) share    { return share{name, max(1, t.size*3/4)} }

// take waits for a turn with these shares, all of them different, and returns what gives
// it back. It fails when ctx ends first.
func (t *turns) take(ctx context.Context, shares ...share) (giveBack func(), err error) {
	turn := &turn{shares: shares, given: make(chan struct{})}
	t.mu.Lock()
	t.wait(turn, 1)
	// Nobody who waits may go now, and more who wait change nothing about that: only
	// the newest is looked at.
	if t.mayRun(turn) {
		t.wait(turn, -1)
		t.run(turn)
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

// leave takes a turn out of those who wait, and reports whether it was still there.
func (t *turns) leave(turn *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, turn)
	if i < 0 {
		return false // it was given at the same moment
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	t.wait(turn, -1)
	t.pass() // somebody else may be alone now
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

// pass gives turns to those who wait and may run. t.mu is held, as in what follows.
func (t *turns) pass() {
	for t.running < t.size {
		i := slices.IndexFunc(t.waiting, t.mayRun)
		if i < 0 {
			return
		}
		turn := t.waiting[i]
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.wait(turn, -1)
		t.run(turn)
	}
}

// mayRun reports whether one of those who wait may run: there is room, and each of its
// shares is small enough or nobody waits without it.
func (t *turns) mayRun(turn *turn) bool {
	if t.running >= t.size {
		return false
	}
	all := t.waiters[everyone]
	for _, s := range turn.shares {
		if t.held[s] >= s.most && t.waiters[s] < all {
			return false
		}
	}
	return true
}

// everyone is the share that all who wait have.
var everyone = share{}

func (t *turns) wait(turn *turn, n int) {
	count(t.waiters, turn.shares, n)
	count(t.waiters, []share{everyone}, n)
}

func (t *turns) run(turn *turn) {
	t.running++
	count(t.held, turn.shares, 1)
	close(turn.given)
}

// count keeps no share that nobody has.
func count(m map[share]int, shares []share, n int) {
	for _, s := range shares {
		if m[s] += n; m[s] == 0 {
			delete(m, s)
		}
	}
}
