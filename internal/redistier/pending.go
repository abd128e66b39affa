package redistier

import (
	"context"
	"maps"
	"time"
)

const (
	// maxPendingDeletions limits the owners whose generation is still to be deleted, at
	// about 100 bytes each. Each further one counts as a failed operation, and its deletion
	// is not retried.
	maxPendingDeletions = 1 << 16

	// lastRetry limits how long the end of the process waits for deletions that are pending.
	lastRetry = time.Second
)

// deleteGeneration makes all values of an owner that are in Redis now worthless, and reports
// whether Redis did it. If not, this replica treats the owner's values as missing, and
// retryDeletions deletes the generation later.
func (s *Redis) deleteGeneration(ctx context.Context, owner Key) bool {
	if s.tryDeleteGeneration(ctx, owner) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pendingDeletions[owner] == 0 && len(s.pendingDeletions) >= maxPendingDeletions {
		s.breaker.failed.Add(1)
		if !s.dropsDeletions {
			s.dropsDeletions = true
			s.log.Warn("too many deletions wait for Redis: further ones are not retried, and what they are about is kept until it expires",
				"waiting", len(s.pendingDeletions))
		}
		return false
	}
	s.pendingDeletions[owner]++
	return false
}

func (s *Redis) tryDeleteGeneration(ctx context.Context, owner Key) bool {
	_, ok := do(ctx, s, write, func(ctx context.Context) (int64, error) { return s.client.Del(ctx, s.generationName(owner)).Result() })
	return ok
}

// isDeletionPending reports whether an owner's generation is still to be deleted.
func (s *Redis) isDeletionPending(owner Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pendingDeletions[owner] > 0
}

// retryDeletions deletes the generations that are still to be deleted, until one fails.
func (s *Redis) retryDeletions(ctx context.Context) {
	s.mu.Lock()
	pending := maps.Clone(s.pendingDeletions)
	s.mu.Unlock()
	for owner, times := range pending {
		if ctx.Err() != nil || !s.tryDeleteGeneration(ctx, owner) {
			return
		}
		s.mu.Lock()
		if s.pendingDeletions[owner] == times { // else the owner was forgotten again meanwhile
			delete(s.pendingDeletions, owner)
			s.dropsDeletions = false
		}
		s.mu.Unlock()
	}
}

// endDeletions retries pending deletions once more before the process ends, and logs how many
// are given up.
func (s *Redis) endDeletions(ctx context.Context) {
	if s.countPending() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastRetry)
	defer cancel()
	if s.isAnswering(ctx) {
		s.retryDeletions(ctx)
	}
	if given := s.countPending(); given > 0 {
		s.log.Warn("deletions that wait for Redis are given up: what they are about is kept until it expires", "waiting", given)
	}
}

func (s *Redis) countPending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pendingDeletions)
}
