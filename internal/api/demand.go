package api

import (
	"sync/atomic"
	"time"
)

// demand is who counts on the service just now: requests that run, and load
// balancers, which have to notice its end before it comes.
type demand struct {
	running  atomic.Int64
	balancer atomic.Int64 // when one was last seen, in nanoseconds since 1970; 0: never
}

// begin counts a request, which ends with end.
func (d *demand) begin(proxied bool, now time.Time) {
	d.running.Add(1)
	if proxied {
		d.noteBalancer(now)
	}
}

func (d *demand) end() { d.running.Add(-1) }

func (d *demand) noteBalancer(now time.Time) { d.balancer.Store(now.UnixNano()) }

// Running returns how many requests are being answered, on both listeners.
func (s *Server) Running() int { return int(s.demand.running.Load()) }

// Balanced reports whether a load balancer seems to be in front: in the last span
// /readyz was asked, or a trusted proxy called.
func (s *Server) Balanced(span time.Duration) bool {
	last := s.demand.balancer.Load()
	return last != 0 && time.Since(time.Unix(0, last)) < span
}
