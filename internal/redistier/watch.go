package redistier

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// probeInterval is how often Redis is tried behind requests while it is left alone.
	probeInterval = 5 * time.Second

	// startPatience is how long after the start the log says whether Redis is
	// reached, and startPause is between two attempts: the first connections may take
	// longer than the timeout.
	startPatience = 1500 * time.Millisecond
	startPause    = 200 * time.Millisecond
	startAttempts = 4
)

// connected notes that Redis has answered a new connection: in a burst nothing else
// may have come back yet. One to listen on says nothing of operations.
func (s *Redis) connected(ctx context.Context, _ *redis.Conn) error {
	if ctx.Value(listening{}) == nil {
		s.breaker.answered()
	}
	return nil
}

// greet logs whether Redis is reached, so that it does not show in the
// first busy hour only. One that is not is left alone until it is tried again.
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
		if ctx.Err() != nil || s.breaker.isOpen() { // which was logged
			return
		}
		if left <= 0 {
			s.breaker.fail(err)
			return
		}
	}
}

// watch first says whether Redis is reached, and then tries whether Redis takes and
// gives values again, and makes up for deletions that failed. A Redis that hung may only
// be far away: it is tried at once, though not again in the same pause, since a
// cluster in which one node hangs passes too.
func (s *Redis) watch(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	s.greet(ctx)
	hung := s.breaker.hung
	for {
		select {
		case <-ctx.Done():
			s.endDeletions(context.WithoutCancel(ctx))
			return
		case <-hung:
			hung = nil
		case <-tick.C:
			hung = s.breaker.hung
		}
		if s.isAnswering(ctx) {
			s.retryDeletions(ctx)
		}
	}
}

// isAnswering reports whether operations may begin. If the breaker is open, it tries Redis
// first, and closes the breaker if Redis answers.
func (s *Redis) isAnswering(ctx context.Context) bool {
	if s.breaker.isOpen() && s.probe(ctx) == nil {
		s.breaker.close()
		s.log.Info("Redis answers again")
	}
	return !s.breaker.isOpen()
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
