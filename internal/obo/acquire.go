package obo

import (
	"context"
	"errors"
	"time"

	"middletier/internal/redistier"
)

const (
	// lockLease is how long one replica may keep the others waiting for its
	// exchange. It covers a usual exchange; where it does not, two are made.
	lockLease = 3 * time.Second

	// lockPoll is how often a waiting replica looks for the result.
	lockPoll = 25 * time.Millisecond
)

// mode says who waits for what acquire gets.
type mode int

const (
	// forCallers: callers wait, and get what comes.
	forCallers mode = iota
	// forRenewal: nobody waits. What comes takes the place of the token that is held, unless
	// that is gone by then: signed out, rejected or replaced.
	forRenewal
)

// acquire gets a token that memory lacks, or replaces one that is due: from another flight
// that just ended, another replica, or the provider. A cached refusal is returned without
// a new exchange.
func (c *Cache) acquire(ctx context.Context, r cacheRequest, m mode) (Token, error) {
	r.since = c.memory.generation(r.key, r.owner)
	now := time.Now()
	held, ok := c.memory.get(r.key, now)
	switch {
	case m == forRenewal:
		if !ok || held.refusal != nil || !held.due(now) {
			return Token{}, nil // another flight was faster
		}
		// Until this one is through, requests need not start others.
		c.memory.update(r.key, now, func(e entry) (entry, bool) { return e.postponed(now), e.token == held.token })
		r.renews = &held
	case ok:
		if held.refusal != nil || held.token != r.rejected || r.claims == "" && c.stays(r, held, now) {
			return c.answer(r, held, Memory, now)
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
		return c.answer(r, *shared.found, Redis, now)
	case throttled:
		return c.answer(r, wait, Memory, now)
	case shared.elsewhere && m == forRenewal:
		return Token{}, nil
	}
	return c.exchange(ctx, r, shared.lock)
}

// sharedAnswer is what the shared tier says to a request.
type sharedAnswer struct {
	found     *entry // nil: nothing that is of use
	lock      string // with which the exchange is to be made, "" for none
	elsewhere bool   // another replica holds the lock
}

// lookShared looks for r's token in the shared tier. Where it is not there, and an exchange
// is to follow, it takes the lock for that or waits for the replica that has it: for callers
// as long as the lock may last, for renewals not at all.
func (c *Cache) lookShared(ctx context.Context, r *cacheRequest, exchanging bool) sharedAnswer {
	if c.shared == nil {
		return sharedAnswer{}
	}
	found, up := c.get(ctx, r)
	if found != nil || !up || !exchanging {
		return sharedAnswer{found: found}
	}
	deadline := time.Now()
	if r.renews == nil {
		deadline = deadline.Add(lockLease)
	}
	for {
		lock, mine := c.shared.Lock(ctx, r.key, r.owner, lockLease)
		if mine && lock == "" { // it does not answer: not to be waited for twice
			return sharedAnswer{}
		}
		// Only now: the replica that had the lock writes before it lets go.
		found, up := c.get(ctx, r)
		switch {
		case found != nil:
			c.enqueue(redistier.Write{Key: r.key, Lock: lock})
			return sharedAnswer{found: found}
		case mine, !up, !time.Now().Before(deadline):
			return sharedAnswer{lock: lock, elsewhere: !mine}
		}
		time.Sleep(lockPoll + jitter(lockPoll))
	}
}

// get returns what the shared tier has under r's key, if it is of use, and notes the owner's
// generation. up is false where the tier did not answer.
func (c *Cache) get(ctx context.Context, r *cacheRequest) (found *entry, up bool) {
	stored, up := c.shared.Get(ctx, r.key, r.owner)
	r.sharedGeneration = stored.Generation
	if e, ok := decode(stored.Entry); ok && r.isOfUse(e, time.Now()) {
		return &e, up
	}
	return nil, up
}

// isOfUse reports whether an entry of the shared tier is an answer to r.
func (r *cacheRequest) isOfUse(e entry, now time.Time) bool {
	switch {
	case !now.Before(e.until):
		return false
	case e.refusal != nil:
		return r.renews == nil
	case r.renews != nil && (e.token == r.renews.token || e.due(now)):
		return false
	}
	return e.token != r.rejected
}

// isStillWanted reports whether the token for r may be cached: with a renewal, whether
// memory still has the token to be replaced.
func (c *Cache) isStillWanted(r cacheRequest) bool {
	return r.renews == nil || c.memory.encodedIf(r.key, *r.renews) != nil
}

// exchange makes the exchange and keeps what comes of it.
func (c *Cache) exchange(ctx context.Context, r cacheRequest, lock string) (Token, error) {
	g, err := c.client.exchange(ctx, r.tokenRequest)
	now := time.Now()
	afterRejection := r.rejected != "" && r.renews == nil
	if err == nil {
		e := newEntry(g, c.buffer, r.end, now)
		e.onTrial = afterRejection
		c.store(r, e, lock, now)
		return Token{g.token, IdentityProvider, c.trial(r, e)}, nil
	}
	var refusal *Error
	refused := errors.As(err, &refusal)
	if refused && r.renews == nil && (refusal.Kind == InteractionRequired || refusal.Kind == ConsentRequired) {
		// Asking again would only repeat it: for this assertion and API.
		c.store(r, entry{until: now.Add(refusalMemory), refusal: refusal}, lock, now)
		return Token{Origin: IdentityProvider}, err
	}
	if refused && refusal.Throttled { // the user with this API, or the tenant
		c.memory.set(r.throttle, entry{until: now.Add(refusal.RetryAfter), refusal: refusal, owner: short(r.owner)}, r.since)
	}
	// A token that was rejected is not to come back from there.
	c.enqueue(redistier.Write{Key: r.key, Delete: afterRejection, Lock: lock})
	return Token{Origin: IdentityProvider}, err
}

// store keeps an entry and, behind the request, writes it to the shared tier and
// lets go of the lock there.
func (c *Cache) store(r cacheRequest, e entry, lock string, now time.Time) {
	e.owner = short(r.owner)
	kept := c.isStillWanted(r) && c.memory.set(r.key, e, r.since)
	w := redistier.Write{Key: r.key, Lock: lock}
	if life := e.until.Sub(now); kept && r.sharedGeneration != "" && life >= time.Millisecond { // without a life it would stay for ever
		w.Owner, w.Generation, w.Life = r.owner, r.sharedGeneration, life
		w.Current = func() []byte { return c.memory.encodedIf(r.key, e) }
	}
	c.enqueue(w)
}

// enqueue writes to the shared tier, if there is one.
func (c *Cache) enqueue(w redistier.Write) {
	if c.shared != nil {
		c.shared.Enqueue(w)
	}
}

// answer is what an entry answers to a request.
func (c *Cache) answer(r cacheRequest, e entry, origin TokenOrigin, now time.Time) (Token, error) {
	if e.refusal != nil {
		return Token{Origin: origin}, e.refusal.after(now, e.until)
	}
	return Token{e.token, origin, c.trial(r, e)}, nil
}

// after is a remembered refusal, with what is left of its time.
func (e *Error) after(now, until time.Time) *Error {
	left := *e
	if left.RetryAfter > 0 {
		left.RetryAfter = until.Sub(now)
	}
	return &left
}
