package obo

import "time"

// rejectedPause is for how long no new token is fetched once an API has refused two in
// a row: a third would not fare better, and each costs an exchange.
const rejectedPause = 30 * time.Second

// Trial is the trial of a token that replaced another one, which its API had refused with 401.
type Trial struct {
	cache   *Cache
	request cacheRequest
	token   string
}

// Passed says that the API has accepted the token: the next 401 is the first again.
func (t *Trial) Passed() {
	t.cache.memory.update(t.request.key, time.Now(), func(e entry) (entry, bool) {
		passes := e.onTrial && e.token == t.token
		e.onTrial = false
		return e, passes
	})
}

// trial returns the trial of e's token for r, or nil if there is none.
func (c *Cache) trial(r cacheRequest, e entry) *Trial {
	if !e.onTrial {
		return nil
	}
	return &Trial{c, r, e.token}
}

// startOrCheckPause starts the pause at the second 401 in a row without a claims challenge,
// and reports whether one is running, in which the token is not replaced. Further 401s do
// not extend the pause, and a success of another call does not end it: an API may refuse on
// one path what it accepts on others.
func (c *Cache) startOrCheckPause(r cacheRequest, e entry, now time.Time) bool {
	if e.onTrial {
		e.keptUntil = now.Add(rejectedPause)
		c.memory.update(r.key, now, func(held entry) (entry, bool) {
			begins := held.onTrial && held.token == e.token
			held.onTrial, held.keptUntil = false, e.keptUntil
			return held, begins
		})
	}
	return now.Before(e.keptUntil)
}
