package redistier

import (
	"context"
	"maps"
)

// maxOwed bounds the owners whose generation is still to be deleted, at about 100 bytes
// each. What is lost beyond it counts as a failed operation.
const maxOwed = 1 << 16

// endGeneration makes all values of an owner that are in Redis now worthless, and
// reports whether Redis did. Where it did not, the owner's values are a miss for this
// replica from now on, and the deletion is tried again until Redis does it or the
// process ends.
func (s *Redis) endGeneration(ctx context.Context, owner Key) bool {
	if s.deleteGeneration(ctx, owner) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed[owner] == 0 && len(s.owed) >= maxOwed {
		s.breaker.failed.Add(1)
		return false
	}
	s.owed[owner]++
	return false
}

func (s *Redis) deleteGeneration(ctx context.Context, owner Key) bool {
	_, ok := do(ctx, s, write, func(ctx context.Context) (int64, error) { return s.client.Del(ctx, s.generationName(owner)).Result() })
	return ok
}

// owes reports whether an owner's generation is still to be deleted.
func (s *Redis) owes(owner Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed[owner] > 0
}

// settle deletes the generations that are owed, until one fails.
func (s *Redis) settle(ctx context.Context) {
	s.mu.Lock()
	owed := maps.Clone(s.owed)
	s.mu.Unlock()
	for owner, times := range owed {
		if ctx.Err() != nil || !s.deleteGeneration(ctx, owner) {
			return
		}
		s.mu.Lock()
		if s.owed[owner] == times { // else it was forgotten again meanwhile
			delete(s.owed, owner)
		}
		s.mu.Unlock()
	}
}
