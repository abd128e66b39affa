package redistier

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"middletier/internal/failure"
)

const (
	// breakerFailures in a row, of reads or of writes, open the breaker, so that an
	// outage costs requests no more than these few waits.
	breakerFailures = 3

	// So does a server that hangs for hangPercent of the timeout while nothing comes
	// back and as many wait, each for freshPercent at least: with 100 ms, a server that
	// falls silent delays no request of a busy service by more than 50. Where we look
	// later than latePercent, it may have been our own process that did not run.
	freshPercent = 12
	hangPercent  = 35
	latePercent  = 60
)

// breaker bounds operations on a server that may be slow or down, and begins none while
// it is open. What the operations are it does not know. It never closes by itself.
type breaker struct {
	timeout time.Duration   // of an operation
	opened  func(err error) // called when it opens, with mu held
	hung    chan struct{}   // holds one when it has opened because operations hang
	failed  atomic.Int64    // operations, since the start

	mu        sync.Mutex              // guards the rest
	failures  map[operation]int       // in a row
	succeeded map[operation]time.Time // when one last did
	running   map[*attempt]bool
	open      bool
}

func newBreaker(timeout time.Duration, opened func(err error)) *breaker {
	return &breaker{
		timeout: timeout, opened: opened, hung: make(chan struct{}, 1),
		failures: map[operation]int{}, succeeded: map[operation]time.Time{}, running: map[*attempt]bool{},
	}
}

// attempt is an operation under way.
type attempt struct {
	kind    operation
	began   time.Time
	abandon func()
}

// operation is a kind of operation. A replica that became read-only still reads well.
type operation int

const (
	read operation = iota
	write
)

// through runs an operation, unless b is open, and reports whether it succeeded. It waits
// for no longer than the timeout, and no longer once b opens.
func through[T any](ctx context.Context, b *breaker, kind operation, run func(ctx context.Context) (T, error)) (value T, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	a := b.begin(kind, cancel)
	if a == nil {
		return value, false
	}
	hang := time.AfterFunc(b.timeout*hangPercent/100, func() { b.suspect(a) })
	defer hang.Stop()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() { // run heeds ctx's deadline, but not that it is abandoned
		var r result
		r.value, r.err = run(ctx)
		done <- r
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	b.end(a, r.err)
	return r.value, r.err == nil
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// begin notes an operation that is to run, or returns nil where b is open.
func (b *breaker) begin(kind operation, abandon func()) *attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		return nil
	}
	a := &attempt{kind, time.Now(), abandon}
	b.running[a] = true
	return a
}

// end counts how an operation went.
func (b *breaker) end(a *attempt, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, a)
	if err != nil {
		b.failed.Add(1)
		if b.failures[a.kind]++; b.failures[a.kind] >= breakerFailures {
			b.trip(err)
		}
		return
	}
	b.failures[a.kind], b.succeeded[a.kind] = 0, time.Now()
}

// answered notes that the server has answered outside of an operation.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.succeeded[read], b.succeeded[write] = time.Now(), time.Now()
}

var errHangs = failure.New("operations hang")

// suspect opens b where a is not the only operation that hangs.
func (b *breaker) suspect(a *attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	hanging := 0
	for other := range b.running {
		if other.kind == a.kind && b.over(freshPercent, other) {
			hanging++
		}
	}
	if !b.over(latePercent, a) && hanging >= breakerFailures && b.succeeded[a.kind].Before(a.began) {
		b.trip(errHangs)
		select {
		case b.hung <- struct{}{}:
		default:
		}
	}
}

// over reports whether a has run for longer than so much of the timeout.
func (b *breaker) over(percent time.Duration, a *attempt) bool {
	return time.Since(a.began) > b.timeout*percent/100
}

// fail counts one failure and opens b at once.
func (b *breaker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed.Add(1)
	b.trip(err)
}

// trip opens b and abandons what runs. b.mu is held.
func (b *breaker) trip(err error) {
	if b.open {
		return
	}
	b.open = true
	b.opened(err)
	for a := range b.running {
		a.abandon()
	}
}

// close lets operations begin again.
func (b *breaker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = false
	clear(b.failures)
}
