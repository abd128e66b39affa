package redistier

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"middletier/internal/failure"
)

const (
	// breakerFailures in a row, of reads or of writes, make us leave Redis alone,
	// so that an outage costs requests no more than these few waits. It is tried
	// every breakerPause, behind requests.
	breakerFailures = 3
	breakerPause    = 5 * time.Second

	// So does one that hangs for hangPercent of the timeout while nothing comes back
	// and as many wait, each for freshPercent at least: with 100 ms, a Redis that
	// falls silent delays no request of a busy service by more than 50. Where we look
	// later than latePercent, it may have been our own process that did not run.
	freshPercent = 12
	hangPercent  = 35
	latePercent  = 60
)

// attempt is an operation under way.
type attempt struct {
	kind    operation
	began   time.Time
	abandon func()
}

// operation is a kind of them. A replica that became read-only still reads well.
type operation int

const (
	read operation = iota
	write
)

// do runs an operation on Redis, unless the breaker is open, and reports whether
// it went well. That a key is absent is well.
func do[T any](ctx context.Context, s *Redis, kind operation, run func(ctx context.Context) (T, error)) (value T, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	a := s.begin(kind, cancel)
	if a == nil {
		return value, false
	}
	hang := time.AfterFunc(s.timeout*hangPercent/100, func() { s.suspect(a) })
	defer hang.Stop()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() { // it heeds ctx's deadline, but not that it is abandoned
		var r result
		r.err = safely(func() (err error) {
			r.value, err = run(ctx)
			return err
		})
		done <- r
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if errors.Is(r.err, redis.Nil) {
		r.err = nil
	}
	s.end(a, r.err)
	return r.value, r.err == nil
}

// IsOpen reports whether Redis is left alone.
func (s *Redis) IsOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// begin notes an operation that is to run, or returns nil where the breaker is
// open.
func (s *Redis) begin(kind operation, abandon func()) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return nil
	}
	a := &attempt{kind, time.Now(), abandon}
	s.running[a] = true
	return a
}

// end counts how an operation went.
func (s *Redis) end(a *attempt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, a)
	if err != nil {
		s.failed.Add(1)
		if s.failures[a.kind]++; s.failures[a.kind] >= breakerFailures {
			s.trip(err)
		}
		return
	}
	s.failures[a.kind], s.well[a.kind] = 0, time.Now()
}

var errHangs = failure.New("operations hang")

// connected notes that Redis has answered a new connection: in a burst nothing else
// may have come back yet. One to listen on says nothing of operations.
func (s *Redis) connected(ctx context.Context, _ *redis.Conn) error {
	if ctx.Value(listening{}) != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.well[read], s.well[write] = time.Now(), time.Now()
	return nil
}

// suspect opens the breaker where a is not the only operation that hangs.
func (s *Redis) suspect(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hanging := 0
	for other := range s.running {
		if other.kind == a.kind && s.over(freshPercent, other) {
			hanging++
		}
	}
	if !s.over(latePercent, a) && hanging >= breakerFailures && s.well[a.kind].Before(a.began) {
		s.trip(errHangs)
		select {
		case s.hung <- struct{}{}:
		default:
		}
	}
}

// over reports whether a has gone on for so much of the timeout.
func (s *Redis) over(percent time.Duration, a *attempt) bool {
	return time.Since(a.began) > s.timeout*percent/100
}

// trip opens the breaker, and lets go of all who wait. s.mu is held.
func (s *Redis) trip(err error) {
	if s.open {
		return
	}
	s.open = true
	s.log.Warn("Redis fails; going on without it", "address", s.address, "error", failure.Of(err))
	for a := range s.running {
		a.abandon()
	}
}

// close closes the breaker.
func (s *Redis) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	clear(s.failures)
	s.log.Info("Redis answers again")
}

const (
	// startPatience is how long after the start the log says whether Redis is
	// reached, and startPause is between two attempts: the first connections may take
	// longer than the timeout.
	startPatience = 1500 * time.Millisecond
	startPause    = 200 * time.Millisecond
	startAttempts = 4
)

// greet logs whether Redis is reached, so that it is not the first busy hour that
// tells. One that is not is left alone until it is tried again.
func (s *Redis) greet(ctx context.Context) {
	greeting, cancel := context.WithTimeout(ctx, max(startPatience, s.timeout))
	defer cancel()
	for left := startAttempts; ; {
		err := s.ping(greeting)
		if err == nil {
			s.log.Info("Redis is reached", "address", s.address)
			return
		}
		left--
		select {
		case <-greeting.Done():
			left = 0
		case <-time.After(startPause):
		}
		if ctx.Err() != nil || s.IsOpen() { // which was logged
			return
		}
		if left <= 0 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failed.Add(1)
			s.trip(err)
			return
		}
	}
}

// revive first says whether Redis is reached, and then tries whether Redis takes and
// gives values again, and makes up for deletions that failed. A Redis that hung may only
// be far away: it is tried at once, though not again in the same pause, since a
// cluster in which one node hangs passes too.
func (s *Redis) revive(ctx context.Context) {
	tick := time.NewTicker(breakerPause)
	defer tick.Stop()
	s.greet(ctx)
	hung := s.hung
	for {
		select {
		case <-ctx.Done():
			return
		case <-hung:
			hung = nil
		case <-tick.C:
			hung = s.hung
		}
		if s.IsOpen() && s.probe(ctx) == nil {
			s.close()
		}
		if !s.IsOpen() {
			s.settle(ctx)
		}
	}
}

func (s *Redis) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	name := s.prefix + "probe"
	if err := s.client.Set(ctx, name, "", time.Second).Err(); err != nil {
		return err
	}
	return s.client.GetRange(ctx, name, 0, 0).Err()
}

// ping is probe without a key.
func (s *Redis) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.client.Ping(ctx).Err()
}
