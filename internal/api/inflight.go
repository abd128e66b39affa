package api

import (
	"sync/atomic"
	"time"
)

// load is what a shutdown waits for: requests in flight, and load balancers, which must
// stop sending requests first.
type load struct {
	inFlight     atomic.Int64
	loadBalancer atomic.Int64 // when one was last seen, in nanoseconds since 1970; 0: never
}

// begin counts a request, which ends with end.
func (l *load) begin(proxied bool, now time.Time) {
	l.inFlight.Add(1)
	if proxied {
		l.noteLoadBalancer(now)
	}
}

func (l *load) end() { l.inFlight.Add(-1) }

func (l *load) noteLoadBalancer(now time.Time) { l.loadBalancer.Store(now.UnixNano()) }

// InFlight returns how many requests are being answered, on both listeners.
func (s *Server) InFlight() int { return int(s.load.inFlight.Load()) }

// BehindLoadBalancer reports whether a load balancer seems to be in front: in the last
// span /readyz was asked, or a trusted proxy called.
func (s *Server) BehindLoadBalancer(span time.Duration) bool {
	last := s.load.loadBalancer.Load()
	return last != 0 && time.Since(time.Unix(0, last)) < span
}
