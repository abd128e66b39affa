// Package quota limits how often each of many may do something, in bounded memory.
package quota

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Table has a quota for each key, such as a caller.
type Table[K comparable] struct {
	perSecond rate.Limit
	burst     int
	refill    time.Duration
	least     int

	mu sync.Mutex // guards the rest
	// A quota that was not used for refill is full, which is the same as new. So older can
	// be dropped after that time.
	recent, older map[K]*rate.Limiter
	rotated       time.Time // when recent became older
}

// New returns a table of quotas of perSecond, with bursts. It remembers least keys at least and
// twice as many at most: with more, those that were used least recently start anew.
func New[K comparable](perSecond float64, burst, least int) *Table[K] {
	return &Table[K]{
		perSecond: rate.Limit(perSecond), burst: burst, refill: time.Duration(float64(burst) / perSecond * float64(time.Second)), least: least,
		recent: map[K]*rate.Limiter{}, rotated: time.Now(),
	}
}

// Refill returns how long an exhausted quota takes to fill up.
func (t *Table[K]) Refill() time.Duration { return t.refill }

// Of returns the quota of a key.
func (t *Table[K]) Of(key K, now time.Time) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.rotated) >= t.refill || len(t.recent) >= t.least {
		t.recent, t.older, t.rotated = map[K]*rate.Limiter{}, t.recent, now
	}
	quota := t.recent[key]
	if quota == nil {
		if quota = t.older[key]; quota == nil {
			quota = rate.NewLimiter(t.perSecond, t.burst)
		}
		t.recent[key] = quota
	}
	return quota
}

// Len returns how many keys are remembered: those used since the last rotation, and those used
// before it only, or in both times.
func (t *Table[K]) Len() (recent, older int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.recent), len(t.older)
}
