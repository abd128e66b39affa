package validate

import (
	"sync/atomic"
	"time"
)

// Stats counts the fetches of signing keys, those of v1.0 and v2.0 tokens together.
type Stats struct {
	Refreshed, Failed int64     // successful and failed fetches since the start
	Fetched           time.Time // the last successful fetch, the earlier of both versions; zero: none yet
}

// Stats returns the current numbers.
func (v *Validator) Stats() Stats {
	var s Stats
	for _, doc := range []*document{v.provider.v2, v.provider.v1} {
		s.Refreshed += doc.counts.refreshed.Load()
		s.Failed += doc.counts.failed.Load()
		if at := doc.counts.fetched.Load(); at != nil && (s.Fetched.IsZero() || at.Before(s.Fetched)) {
			s.Fetched = *at
		}
	}
	return s
}

// CachedBytes returns how much memory the cache of verified tokens takes, about.
func (v *Validator) CachedBytes() int { return v.cache.size() }

// counts are the fetches of one document.
type counts struct {
	refreshed, failed atomic.Int64
	fetched           atomic.Pointer[time.Time]
}

func (c *counts) succeeded() {
	now := time.Now()
	c.fetched.Store(&now)
	c.refreshed.Add(1)
}
