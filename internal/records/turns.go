package records

import (
	"context"
	"sync"
)

// turns lets one goroutine at a time have a key.
type turns struct {
	mu     sync.Mutex // guards queues
	queues map[[32]byte]*queue
}

// queue is of those that have a key or wait for it.
type queue struct {
	token chan struct{} // holds one while nobody has the key
	users int           // guarded by turns.mu
}

// take waits for a key. leave ends the turn.
func (t *turns) take(ctx context.Context, key [32]byte) (leave func(), err error) {
	t.mu.Lock()
	if t.queues == nil {
		t.queues = map[[32]byte]*queue{}
	}
	q := t.queues[key]
	if q == nil {
		q = &queue{token: make(chan struct{}, 1)}
		q.token <- struct{}{}
		t.queues[key] = q
	}
	q.users++
	t.mu.Unlock()
	quit := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(t.queues, key)
		}
	}
	select {
	case <-q.token:
		return func() {
			q.token <- struct{}{}
			quit()
		}, nil
	case <-ctx.Done():
		quit()
		return nil, ctx.Err()
	}
}
