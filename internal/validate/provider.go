package validate

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// refreshInterval is how old keys may get while the provider answers. Entra
	// announces new keys well ahead of their first use.
	refreshInterval = time.Hour

	// minRefreshPause is the least time between two fetches that tokens with unknown
	// key ids or bad signatures trigger. It keeps forged tokens from causing load at
	// the provider.
	minRefreshPause = 30 * time.Second

	// maxKeyWait is how long a caller waits for the first fetch and for one that its
	// token triggers, together.
	maxKeyWait = 2 * time.Second

	// fetchTimeout bounds metadata and keys together. With maxRetryDelay, it is below
	// the 10 s within which the end of an outage must be noticed.
	fetchTimeout = 4 * time.Second

	// missingInterval is the pause before a document that the provider does not have
	// is looked for again.
	missingInterval = 5 * time.Minute

	minRetryDelay = 500 * time.Millisecond
	maxRetryDelay = 4 * time.Second
)

// provider holds both metadata documents of the identity provider. One
// goroutine, run, owns them: it alone begins fetches and puts their results in
// use. Others read what it has published, or send it a request.
type provider struct {
	v1, v2   *document // of v1.0 and v2.0 tokens
	log      *slog.Logger
	requests chan request
	ready    chan struct{} // closed when keys are loaded; see Validator.Ready
	ended    chan struct{} // closed when run has returned

	// Owned by run.
	results chan result
	limiter refreshLimiter
	isReady bool
}

// request asks run for newer keys of a document, since its current ones did not
// verify a token. Run closes done when a fetch has ended, or at once if none may
// begin.
type request struct {
	document *document
	done     chan struct{}
}

// result is how a fetch ended.
type result struct {
	document *document
	keys     *keySet
	err      error
}

func newProvider(c Config) *provider {
	p := &provider{
		v1: newDocument(c, ""), v2: newDocument(c, "/v2.0"), log: c.Log,
		requests: make(chan request), ready: make(chan struct{}), ended: make(chan struct{}),
		results: make(chan result, 2), // one of each document: no fetch waits for run
	}
	p.v1.optional = true // some providers have v2.0 only
	return p
}

// run keeps both documents fresh until ctx ends. A fetch has a goroutine of its
// own, so that neither document waits for the other. Run returns when the last
// of them has ended.
func (p *provider) run(ctx context.Context) {
	defer close(p.ended)
	for _, d := range []*document{p.v1, p.v2} {
		d.timer = time.NewTimer(refreshInterval)
		p.begin(ctx, d)
	}
	for {
		select {
		case r := <-p.requests:
			p.serve(ctx, r)
		case r := <-p.results:
			p.finish(ctx, r)
		case <-p.v1.timer.C:
			p.begin(ctx, p.v1)
		case <-p.v2.timer.C:
			p.begin(ctx, p.v2)
		case <-ctx.Done():
			for p.v1.fetching || p.v2.fetching { // their requests end with ctx
				p.finish(ctx, <-p.results)
			}
			return
		}
	}
}

// begin starts a fetch of d, which must have none under way.
func (p *provider) begin(ctx context.Context, d *document) {
	d.timer.Stop()
	d.fetching = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		keys, err := d.fetch(ctx)
		p.results <- result{d, keys, err}
	}()
}

// serve lets r wait for the fetch that is under way, or for a new one. If none
// may begin now, there is nothing to wait for.
func (p *provider) serve(ctx context.Context, r request) {
	if d := r.document; !d.fetching {
		next := p.limiter.next(d)
		if next != nil && !next.fetching {
			p.begin(ctx, next)
		}
		if next != d {
			close(r.done)
			return
		}
	}
	r.document.waiting = append(r.document.waiting, r.done)
}

// finish publishes the result of a fetch, wakes those who wait for it, and sets
// the time of the next one.
func (p *provider) finish(ctx context.Context, r result) {
	d := r.document
	d.fetching = false
	if r.err == nil {
		d.replace(r.keys)
	}
	// A 404 proves that there is no such document once v2.0 has been fetched. In an
	// outage, anything may answer for the provider.
	d.missing.Store(d.optional && errors.Is(r.err, errNoMetadata) && p.v2.current.Load() != nil)
	for _, done := range d.waiting {
		close(done)
	}
	d.waiting = nil
	first := !d.fetched
	if first {
		d.fetched = true
		close(d.firstFetch)
	}
	if !p.isReady && p.v1.fetched && p.v2.current.Load() != nil {
		p.isReady = true
		close(p.ready)
	}
	if ctx.Err() != nil {
		return
	}
	pause := p.schedule(d, r.err, first)
	d.timer.Reset(pause - rand.N(pause/10)) // jitter, so that replicas do not fetch at the same time
}

// schedule returns the pause before the next fetch of d, where the last one
// ended with err. It logs changes only: when fetches begin to fail, and when
// they succeed again.
func (p *provider) schedule(d *document, err error, first bool) time.Duration {
	failed := d.failing
	d.failing = false
	switch {
	case err == nil:
		d.counts.succeeded()
		d.retryDelay = minRetryDelay
		if failed {
			p.log.Info("signing keys were fetched again", "url", d.metadataURL)
		}
		return refreshInterval
	case d.missing.Load():
		return missingInterval
	case first && d.optional && errors.Is(err, errNoMetadata):
		return minRetryDelay // v2.0 may not have been fetched yet
	}
	d.failing = true
	d.counts.failed.Add(1)
	if !failed {
		p.log.Warn("signing keys could not be fetched; loaded keys stay in use", "url", d.metadataURL, "error", err)
	}
	pause := d.retryDelay
	d.retryDelay = min(2*pause, maxRetryDelay)
	return pause
}

// refetch asks for newer keys of d and waits for them until end. It does not
// wait if the last fetch was a moment ago. The error is that of ctx.
func (p *provider) refetch(ctx context.Context, d *document, end time.Time) error {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	r := request{d, make(chan struct{})}
	select {
	case p.requests <- r:
	case <-p.ended:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// refreshLimiter keeps the fetches that tokens trigger apart, and shares them
// between the two documents of a provider: a flood of forged tokens of one
// version must not use up the fetches of the other. The provider's goroutine
// owns it.
type refreshLimiter struct {
	last        time.Time
	lastFetched *document
	refused     *document // the other one, if it was refused a fetch since
}

// next returns the document that may be fetched now that d asks: d, the other
// one, whose turn it is, or nil.
func (l *refreshLimiter) next(d *document) *document {
	now := time.Now()
	if now.Sub(l.last) < minRefreshPause {
		if d != l.lastFetched {
			l.refused = d
		}
		return nil
	}
	if l.refused != nil && now.Sub(l.last) < 2*minRefreshPause { // later, d is more likely to need it
		d = l.refused
	}
	l.last, l.lastFetched, l.refused = now, d, nil
	return d
}
