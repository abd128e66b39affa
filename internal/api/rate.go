package api

import (
	"fmt"
	"math"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
	"middletier/internal/quota"
	"middletier/internal/validate"
)

// Rate limits how often each caller may call. The zero value is no limit.
type Rate struct {
	// PerSecond is the sustained rate per caller, and Burst the largest burst; 0: one
	// second's worth.
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
	// maxPerSecond is more than one process can answer.
	maxPerSecond = 1e6

	// maxRefill is the longest time for an exhausted quota to fill up. Callers are
	// remembered for so long.
	maxRefill = 24 * time.Hour

	// maxCallers is the least number of callers that are counted, which takes about 15
	// MB at most. With more callers, those that called least recently start with a new
	// quota.
	maxCallers = 50_000
)

// callerID identifies a caller: the user, or the application if there is no user.
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

// quotas count the calls of each caller. Only callers with a valid token have one, so
// strangers cannot use up memory.
type quotas struct {
	*quota.Table[callerID]
	perSecond float64
	burst     int
	policy    []string // the RateLimit-Policy header; an API may use the usual name "default"
}

func newQuotas(r Rate) *quotas {
	burst := r.burst()
	table := quota.New[callerID](r.PerSecond, burst, maxCallers)
	return &quotas{table, r.PerSecond, burst, []string{fmt.Sprintf(`"caller";q=%d;w=%d`, burst, ceilSeconds(table.Refill()))}}
}

// rateLimit passes on the calls within the caller's quota, and reports the rest of the
// quota in headers (draft-ietf-httpapi-ratelimit-headers).
func (q *quotas) rateLimit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		now := time.Now()
		quota := q.Of(newCallerID(door.EventOf(c.Request()).Caller), now)
		allowed := quota.AllowN(now, 1)
		remaining := max(0, quota.TokensAt(now))
		h := c.Response().Header()
		h["Ratelimit-Policy"] = q.policy
		h["Ratelimit"] = []string{fmt.Sprintf(`"caller";r=%d;t=%d`, int(remaining), ceilSeconds(q.waitFor(float64(q.burst)-remaining)))}
		if !allowed {
			return &problem.RateError{After: q.waitFor(1 - remaining)}
		}
		return next(c)
	}
}

// waitFor returns how long it takes until that many more calls are allowed.
func (q *quotas) waitFor(calls float64) time.Duration {
	return time.Duration(calls / q.perSecond * float64(time.Second))
}

// ceilSeconds rounds up: a caller that waits less is rejected again.
func ceilSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
