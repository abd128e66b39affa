package obo

import (
	"context"
	"errors"
	"slices"
	"time"

	"middletier/internal/redistier"
)

const (
	// lockLease is how long other replicas wait for the exchange of one. A usual
	// exchange is faster; if one takes longer, another replica makes a second one.
	lockLease = 3 * time.Second

	// lockPoll is how often a waiting replica looks for the result.
	lockPoll = 25 * time.Millisecond
)

// mode says who waits for the token that acquire gets.
type mode int

const (
	// forCallers: callers wait for the token.
	forCallers mode = iota
	// forRenewal: nobody waits. The new token replaces the one in memory, unless that was
	// removed or replaced meanwhile, such as by a sign-out.
	forRenewal
)

// acquire gets a token that is not in memory, or replaces one that is due for renewal: from
// another flight that just ended, from another replica, or from the provider. A cached
// refusal is returned without a new exchange.
func (c *Cache) acquire(ctx context.Context, r cacheRequest, m mode) (Token, error) {
	r.since = c.memory.mark(r.key, r.owner)
	now := time.Now()
	held, ok := c.memory.get(r.key, now)
	switch {
	case m == forRenewal:
		if !ok || held.refusal != nil || !held.due(now) {
			return Token{}, nil // another flight was faster
		}
		// Requests do not start another renewal while this one runs.
		c.memory.update(r.key, now, func(e entry) (entry, bool) { return e.postponed(now), e.token == held.token })
		r.renews = &held
	case r.once, r.refresh:
		if refused, ok := c.memory.get(r.refusals, now); ok && refused.refusal != nil {
			return c.result(r, refused, Memory, now)
		}
		r.held[0] = held.token
	case ok:
		if held.refusal != nil || held.token != r.rejected || r.claims == "" && c.startOrCheckPause(r, held, now) {
			return c.result(r, held, Memory, now)
		}
		c.memory.delete(r.key)
	}
	wait, throttled := c.memory.get(r.throttle, now)
	shared := c.lookShared(ctx, &r, !throttled)
	switch {
	case shared.found != nil:
		if c.isStillWanted(r) {
			c.memory.set(r.key, *shared.found, r.since)
		}
		return c.result(r, *shared.found, Redis, now)
	case throttled:
		return c.result(r, wait, Memory, now)
	case shared.elsewhere && m == forRenewal:
		return Token{}, nil
	}
	return c.exchange(ctx, r, shared.lock)
}

// sharedResult is the result of lookShared.
type sharedResult struct {
	found     *entry // nil: nothing usable
	lock      string // held during the exchange; "" for none
	elsewhere bool   // another replica holds the lock
}

// lookShared looks for r's token in the shared tier. If the token is not there and an
// exchange will follow, it takes the lock for the exchange, or waits for the replica that
// holds the lock: for callers until the lease ends, for renewals not at all.
func (c *Cache) lookShared(ctx context.Context, r *cacheRequest, exchanging bool) sharedResult {
	if c.shared == nil || r.once {
		return sharedResult{}
	}
	found, up := c.getShared(ctx, r)
	if r.refresh && found != nil && found.refusal == nil {
		r.held[1], found = found.token, nil // another replica may replace it while this one waits
	}
	if found != nil || !up || !exchanging {
		return sharedResult{found: found}
	}
	deadline := time.Now()
	if r.renews == nil {
		deadline = deadline.Add(lockLease)
	}
	for {
		lock, mine := c.shared.Lock(ctx, r.key, r.owner, lockLease)
		if mine && lock == "" { // the tier does not answer: do not wait for it again
			return sharedResult{}
		}
		// After Lock: the replica that held the lock wrote before it released the lock.
		found, up := c.getShared(ctx, r)
		switch {
		case found != nil:
			c.enqueue(redistier.Write{Key: r.key, Lock: lock})
			return sharedResult{found: found}
		case mine, !up, !time.Now().Before(deadline):
			return sharedResult{lock: lock, elsewhere: !mine}
		}
		time.Sleep(lockPoll + jitter(lockPoll))
	}
}

// getShared returns the entry of the shared tier under r's key, if it is usable, and notes
// the owner's generation. up is false if the tier did not answer.
func (c *Cache) getShared(ctx context.Context, r *cacheRequest) (found *entry, up bool) {
	stored, up := c.shared.Get(ctx, r.key, r.owner)
	r.sharedGeneration = stored.Generation
	if e, ok := decode(stored.Entry); ok && r.canUse(e, time.Now()) {
		return &e, up
	}
	return nil, up
}

// canUse reports whether r can use an entry of the shared tier.
func (r *cacheRequest) canUse(e entry, now time.Time) bool {
	switch {
	case !now.Before(e.until):
		return false
	case e.refusal != nil:
		return r.renews == nil
	case r.renews != nil && (e.token == r.renews.token || e.due(now)):
		return false
	case r.refresh && slices.Contains(r.held[:], e.token):
		return false
	}
	return e.token != r.rejected
}

// isStillWanted reports whether the token for r may be cached: for a renewal, whether memory
// still has the token that it replaces.
func (c *Cache) isStillWanted(r cacheRequest) bool {
	return r.renews == nil || c.memory.encodedIf(r.key, *r.renews) != nil
}

// exchange makes the exchange and caches its token or refusal.
func (c *Cache) exchange(ctx context.Context, r cacheRequest, lock string) (Token, error) {
	g, err := c.trade(ctx, r.tokenRequest)
	now := time.Now()
	afterRejection := r.rejected != "" && r.renews == nil
	switch {
	case err == nil && r.granted != nil:
		r.granted(g)
		return Token{g.token, IdentityProvider, nil}, nil
	case err == nil && r.once:
		return Token{g.token, IdentityProvider, nil}, nil
	case err == nil:
		e := newEntry(g, c.buffer, r.end, now)
		e.onTrial = afterRejection
		c.store(r, e, lock, now)
		return Token{g.token, IdentityProvider, c.trial(r, e)}, nil
	}
	var refusal *Error
	refused := errors.As(err, &refusal)
	if refused && r.renews == nil && (refusal.Kind == InteractionRequired || refusal.Kind == ConsentRequired) {
		// For this assertion and API, another exchange would be refused again.
		c.storeRefusal(r, entry{until: now.Add(refusalMemory), refusal: refusal}, lock, now)
		return Token{Origin: IdentityProvider}, err
	}
	if refused && refusal.Throttled { // the user with this API, or the tenant
		c.memory.set(r.throttle, entry{until: now.Add(refusal.RetryAfter), refusal: refusal, owner: short(r.owner)}, r.since)
	}
	// The rejected token must not come back from the shared tier.
	c.enqueue(redistier.Write{Key: r.key, Delete: afterRejection, Lock: lock})
	return Token{Origin: IdentityProvider}, err
}

// trade makes the exchange.
func (c *Cache) trade(ctx context.Context, r tokenRequest) (grant, error) {
	if r.session != nil {
		return c.refresh(ctx, r)
	}
	return c.exchangeAs(ctx, r)
}

// store writes an entry to memory, and in the background to the shared tier, where it then
// releases the lock.
func (c *Cache) store(r cacheRequest, e entry, lock string, now time.Time) {
	e.owner = short(r.owner)
	stored := c.isStillWanted(r) && c.memory.set(r.key, e, r.since)
	w := redistier.Write{Key: r.key, Lock: lock}
	if life := e.until.Sub(now); stored && r.sharedGeneration != "" && life >= time.Millisecond { // without a lifetime it would never expire
		w.Owner, w.Generation, w.Life = r.owner, r.sharedGeneration, life
		w.Current = func() []byte { return c.memory.encodedIf(r.key, e) }
	}
	c.enqueue(w)
}

// storeRefusal is store for a refusal. In the shared tier it stands only under the key of the
// token: there it does not replace one that others still use.
func (c *Cache) storeRefusal(r cacheRequest, e entry, lock string, now time.Time) {
	if r.refusals == r.key && !r.once {
		c.store(r, e, lock, now)
		return
	}
	e.owner = short(r.owner)
	c.memory.set(r.refusals, e, r.since)
	c.enqueue(redistier.Write{Key: r.key, Lock: lock})
}

// enqueue writes to the shared tier, if there is one.
func (c *Cache) enqueue(w redistier.Write) {
	if c.shared != nil {
		c.shared.Enqueue(w)
	}
}

// result makes the result of r from an entry: its token or its refusal.
func (c *Cache) result(r cacheRequest, e entry, origin TokenOrigin, now time.Time) (Token, error) {
	if e.refusal != nil {
		return Token{Origin: origin}, e.refusal.after(now, e.until)
	}
	return Token{e.token, origin, c.trial(r, e)}, nil
}

// after returns a cached refusal with the rest of its RetryAfter.
func (e *Error) after(now, until time.Time) *Error {
	left := *e
	if left.RetryAfter > 0 {
		left.RetryAfter = until.Sub(now)
	}
	return &left
}
