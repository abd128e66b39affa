package validate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// refreshInterval is how old keys may get while the provider answers. Entra
	// announces new keys well ahead of their first use.
	refreshInterval = time.Hour

	// minRefreshPause is the least time between two fetches that tokens with unknown
	// key ids or bad signatures bring about, so that invented ones cost the provider
	// nothing.
	minRefreshPause = 30 * time.Second

	// maxKeyWait is how long a caller waits for such a fetch and the first together.
	maxKeyWait = 2 * time.Second

	// fetchTimeout bounds the metadata and the keys together. With maxRetryDelay
	// it is under the 10 s within which a returned provider must be noticed.
	fetchTimeout = 4 * time.Second

	// absentInterval is how long a source without a document waits to look again.
	absentInterval = 5 * time.Minute

	minRetryDelay = 500 * time.Millisecond
	maxRetryDelay = 4 * time.Second
)

// refreshLimiter keeps fetches that tokens bring about apart, and shares them
// between the two documents of a provider: tokens that nobody signed cannot have one of them
// fetched for ever and the other never.
type refreshLimiter struct {
	mu          sync.Mutex // guards the rest
	last        time.Time
	lastFetched *document // which the last fetch was for
	refused     *document // the other, if it was refused since
}

// next returns the document that may be fetched now, where d asks: d, the other
// whose turn it is, or nil.
func (l *refreshLimiter) next(d *document) *document {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last) < minRefreshPause {
		if d != l.lastFetched {
			l.refused = d
		}
		return nil
	}
	if l.refused != nil && now.Sub(l.last) < 2*minRefreshPause { // later, who asks is more likely to be right
		d = l.refused
	}
	l.last, l.lastFetched, l.refused = now, d, nil
	return d
}

// run keeps the keys fresh until ctx ends. It is the only writer of d.current.
// It logs changes only: when fetching fails after it went well, and the reverse.
func (d *document) run(ctx context.Context) {
	delay, failing := minRetryDelay, false
	for first := true; ; first = false {
		err := d.refresh(ctx)
		if first {
			close(d.tried)
		}
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		switch {
		case err == nil:
			d.counts.succeeded()
			delay = minRetryDelay
			if failing {
				d.log.Info("signing keys are fetched again", "url", d.metadataURL)
			}
		case d.absent.Load():
			wait = absentInterval
		case first && d.optional != nil && errors.Is(err, errNoSuchDocument):
			wait = minRetryDelay // it is not sure yet that there is none
		default:
			d.counts.failed.Add(1)
			wait, delay = delay, min(2*delay, maxRetryDelay)
			if !failing {
				d.log.Warn("signing keys could not be fetched; any held stay in use", "url", d.metadataURL, "error", err)
			}
			failing = true
		}
		failing = failing && err != nil && !d.absent.Load()
		// Jitter, so that replicas do not come all at once.
		timer := time.NewTimer(wait - rand.N(wait/10))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-d.wake:
		}
		timer.Stop()
	}
}

// refresh fetches once and tells those who wait.
func (d *document) refresh(ctx context.Context) error {
	d.mu.Lock()
	d.busy = true
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	set, err := d.fetch(ctx)
	if err == nil {
		d.replace(set)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = false
	close(d.done)
	d.done = make(chan struct{})
	return err
}

// replace puts set in use, and retires the keys that are not in it any more.
func (d *document) replace(set *keySet) {
	var gone []*signingKey
	if old := d.current.Load(); old != nil {
		for id, key := range old.keys {
			if same, ok := set.keys[id]; ok && key.equal(same) {
				set.keys[id] = key
			} else {
				gone = append(gone, key)
			}
		}
	}
	d.current.Store(set)
	for _, key := range gone {
		key.retired.Store(true)
	}
}

// awaitFirstFetch waits for the first fetch until end, so that a service that has just
// started refuses nobody whom a moment later it would know.
func (d *document) awaitFirstFetch(ctx context.Context, end time.Time) {
	if d.current.Load() != nil {
		return
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-d.tried:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refetch has the keys fetched and waits for that until end, or joins a fetch that
// is under way. It reports whether there was one to wait for: not where the last was
// asked for a moment ago.
func (d *document) refetch(ctx context.Context, end time.Time) bool {
	done := d.ask()
	if done == nil {
		return false
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// ask returns a channel that is closed after the fetch that is under way, or
// after a new one; nil where the last one was asked for a moment ago.
func (d *document) ask() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy {
		return d.done
	}
	next := d.limiter.next(d)
	if next == nil {
		return nil
	}
	select {
	case next.wake <- struct{}{}:
	default: // run has yet to see the last one
	}
	if next != d {
		return nil
	}
	d.busy = true
	return d.done
}
