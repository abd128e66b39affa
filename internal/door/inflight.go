package door

import (
	"net/http"
	"sync/atomic"
	"time"
)

// load is what a shutdown waits for: requests in flight, and load balancers, which must
// stop sending requests first.
type load struct {
	inFlight     atomic.Int64
	loadBalancer atomic.Int64 // when one was last seen, in nanoseconds since 1970; 0: never
}

// begin counts a request as in flight until end.
func (l *load) begin(proxied bool, now time.Time) {
	l.inFlight.Add(1)
	if proxied {
		l.noteLoadBalancer(now)
	}
}

func (l *load) end() { l.inFlight.Add(-1) }

func (l *load) noteLoadBalancer(now time.Time) { l.loadBalancer.Store(now.UnixNano()) }

// InFlight returns how many requests are being answered.
func (d *Door) InFlight() int { return int(d.load.inFlight.Load()) }

// BehindLoadBalancer reports whether there seems to be a load balancer: within the last
// span it probed /readyz, or a trusted proxy sent a request.
func (d *Door) BehindLoadBalancer(span time.Duration) bool {
	last := d.load.loadBalancer.Load()
	return last != 0 && time.Since(time.Unix(0, last)) < span
}

// NoteLoadBalancer says that a load balancer asked whether this replica is ready.
func (d *Door) NoteLoadBalancer(r *http.Request) { d.load.noteLoadBalancer(EventOf(r).Start) }
