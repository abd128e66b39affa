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

	// refreshFloor is the least time between two fetches that tokens with unknown
	// key ids or bad signatures bring about, so that invented ones cost the provider
	// nothing.
	refreshFloor = 30 * time.Second

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

// floor keeps fetches that tokens bring about apart, and shares them between the two
// documents of a provider: tokens that nobody signed cannot have one of them
// fetched for ever and the other never.
type floor struct {
	mu    sync.Mutex // guards the rest
	last  time.Time
	had   *keySource // which the last fetch was for
	wants *keySource // the other, if it was refused one since
}

// pass returns the source that may be fetched now, where s asks: s, the other
// whose turn it is, or nil.
func (f *floor) pass(s *keySource) *keySource {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.last) < refreshFloor {
		if s != f.had {
			f.wants = s
		}
		return nil
	}
	if f.wants != nil && now.Sub(f.last) < 2*refreshFloor { // later, who asks is more likely to be right
		s = f.wants
	}
	f.last, f.had, f.wants = now, s, nil
	return s
}

// run keeps the keys fresh until ctx ends. It is the only writer of s.current.
// It logs changes only: when fetching fails after it went well, and the reverse.
func (s *keySource) run(ctx context.Context) {
	delay, failing := minRetryDelay, false
	for first := true; ; first = false {
		err := s.refresh(ctx)
		if first {
			close(s.tried)
		}
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		switch {
		case err == nil:
			s.counts.succeeded()
			delay = minRetryDelay
			if failing {
				s.log.Info("signing keys are fetched again", "url", s.metadataURL)
			}
		case s.absent.Load():
			wait = absentInterval
		case first && s.optional != nil && errors.Is(err, errNoSuchDocument):
			wait = minRetryDelay // it is not sure yet that there is none
		default:
			s.counts.failed.Add(1)
			wait, delay = delay, min(2*delay, maxRetryDelay)
			if !failing {
				s.log.Warn("signing keys could not be fetched; any held stay in use", "url", s.metadataURL, "error", err)
			}
			failing = true
		}
		failing = failing && err != nil && !s.absent.Load()
		// Jitter, so that replicas do not come all at once.
		timer := time.NewTimer(wait - rand.N(wait/10))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// refresh fetches once and tells those who wait.
func (s *keySource) refresh(ctx context.Context) error {
	s.mu.Lock()
	s.busy = true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	set, err := s.fetch(ctx)
	if err == nil {
		s.replace(set)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	close(s.done)
	s.done = make(chan struct{})
	return err
}

// replace puts set in use, and retires the keys that are not in it any more.
func (s *keySource) replace(set *keySet) {
	var gone []*signingKey
	if old := s.current.Load(); old != nil {
		for id, key := range old.keys {
			if same, ok := set.keys[id]; ok && key.equal(same) {
				set.keys[id] = key
			} else {
				gone = append(gone, key)
			}
		}
	}
	s.current.Store(set)
	for _, key := range gone {
		key.retired.Store(true)
	}
}

// awaitFirst waits for the first fetch until end, so that a service that has just
// started refuses nobody whom a moment later it would know.
func (s *keySource) awaitFirst(ctx context.Context, end time.Time) {
	if s.current.Load() != nil {
		return
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-s.tried:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refetch has the keys fetched and waits for that until end, or joins a fetch that
// is under way. It reports whether there was one to wait for: not where the last was
// asked for a moment ago.
func (s *keySource) refetch(ctx context.Context, end time.Time) bool {
	done := s.ask()
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
func (s *keySource) ask() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return s.done
	}
	next := s.floor.pass(s)
	if next == nil {
		return nil
	}
	select {
	case next.wake <- struct{}{}:
	default: // run has yet to see the last one
	}
	if next != s {
		return nil
	}
	s.busy = true
	return s.done
}
