package api

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"middletier/internal/validate"
)

// Rate is how often each caller may call. Its zero value is no limit.
type Rate struct {
	// PerSecond is how many calls a caller may make for long, and Burst how many
	// at once; 0: those of one second.
	PerSecond float64
	Burst     int
}

func (r Rate) check(report func(key, problem string)) {
	if r.PerSecond < 0 || r.PerSecond > maxPerSecond {
		report("requestsPerSecond", "must be a number up to a million, or 0 for no limit")
		return
	}
	if r.Burst < 0 || float64(r.burst()) > r.PerSecond*maxRefill.Seconds() {
		report("burst", "must be a number of requests that requestsPerSecond allows in a day")
	}
}

func (r Rate) burst() int {
	if r.Burst == 0 {
		return int(math.Ceil(r.PerSecond))
	}
	return r.Burst
}

const (
	// maxPerSecond is more than one process answers.
	maxPerSecond = 1e6

	// maxRefill is how long a quota that is used up may take to fill. Callers are
	// remembered for so long.
	maxRefill = 24 * time.Hour

	// maxCallers is how many callers are counted at least, which takes some 15 MB
	// at the most. Beyond, those that have not called for longest start afresh.
	maxCallers = 50_000
)

// callerID is who calls: the user, or the application that has none.
type callerID struct{ tenant, id string }

func newCallerID(c *validate.Caller) callerID {
	switch {
	case c.IsApp():
		return callerID{c.TenantID(), c.ClientID()}
	case c.ObjectID() == "":
		return callerID{c.TenantID(), c.Subject()}
	}
	return callerID{c.TenantID(), c.ObjectID()}
}

// quotas count the calls of each caller. Only who has shown a good token has one,
// so strangers cannot make them many.
type quotas struct {
	rate   rate.Limit
	burst  int
	policy []string      // the RateLimit-Policy header; its name is not the usual "default", which an API may use
	refill time.Duration // of a quota that is used up

	mu sync.Mutex // guards the rest
	// A quota that nobody has used for a refill is a new one, so whoever stays in
	// older for so long is forgotten with it.
	recent, older map[callerID]*rate.Limiter
	rotated       time.Time // when recent became older
}

func newQuotas(r Rate) *quotas {
	burst := r.burst()
	refill := time.Duration(float64(burst) / r.PerSecond * float64(time.Second))
	return &quotas{
		rate: rate.Limit(r.PerSecond), burst: burst, refill: refill,
		policy: []string{fmt.Sprintf(`"caller";q=%d;w=%d`, burst, ceilSeconds(refill))},
		recent: map[callerID]*rate.Limiter{}, rotated: time.Now(),
	}
}

// quotaFor returns the quota of a caller.
func (q *quotas) quotaFor(id callerID, now time.Time) *rate.Limiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.rotated) >= q.refill || len(q.recent) >= maxCallers {
		q.recent, q.older, q.rotated = map[callerID]*rate.Limiter{}, q.recent, now
	}
	quota := q.recent[id]
	if quota == nil {
		if quota = q.older[id]; quota == nil {
			quota = rate.NewLimiter(q.rate, q.burst)
		}
		q.recent[id] = quota
	}
	return quota
}

// rateError refuses a call beyond the caller's quota.
type rateError struct{ after time.Duration }

func (e *rateError) Error() string {
	return fmt.Sprintf("the caller is beyond server.rateLimit, for another %v", e.after)
}

// rateLimit lets a call on that is within its caller's quota, and tells the caller
// what is left of it (draft-ietf-httpapi-ratelimit-headers).
func (q *quotas) rateLimit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		now := time.Now()
		quota := q.quotaFor(newCallerID(eventOf(c.Request()).caller), now)
		allowed := quota.AllowN(now, 1)
		remaining := max(0, quota.TokensAt(now))
		h := c.Response().Header()
		h["Ratelimit-Policy"] = q.policy
		h["Ratelimit"] = []string{fmt.Sprintf(`"caller";r=%d;t=%d`, int(remaining), ceilSeconds(q.waitFor(float64(q.burst)-remaining)))}
		if !allowed {
			return &rateError{q.waitFor(1 - remaining)}
		}
		return next(c)
	}
}

// waitFor is how long it takes until so many calls more are allowed.
func (q *quotas) waitFor(calls float64) time.Duration {
	return time.Duration(calls / float64(q.rate) * float64(time.Second))
}

// ceilSeconds rounds up: who comes a moment too early is refused.
func ceilSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
