package validate

import (
	"sync/atomic"
	"time"
)

// Stats says how the signing keys are doing, those of v1.0 and v2.0 tokens
// together.
type Stats struct {
	Refreshed, Failed int64     // fetches that brought keys and that did not, since the start
	Fetched           time.Time // when keys last came; of the older of the two, zero for never
}

// Stats returns the numbers of now.
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

// counts are of the fetches of one document.
type counts struct {
	refreshed, failed atomic.Int64
	fetched           atomic.Pointer[time.Time]
}

func (c *counts) succeeded() {
	now := time.Now()
	c.fetched.Store(&now)
	c.refreshed.Add(1)
}
