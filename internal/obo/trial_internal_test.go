package obo

import (
	"sync"
	"testing"
	"time"
)

// An API accepts a token at the moment at which another request replaces it, or at which
// its user signs out.
func TestTrialDoesNotUndoWhatHappensAtTheSameMoment(t *testing.T) {
	memory, err := newMemory(minCacheSize)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.close()
	c := &Cache{memory: memory}
	r := cacheRequest{key: cacheKey{1}, owner: cacheKey{2}}
	until := time.Now().Add(time.Hour)
	for name, meanwhile := range map[string]struct {
		do   func()
		want string
	}{
		"replaced":  {func() { memory.set(r.key, entry{token: "new", until: until}, memory.mark(r.key, r.owner)) }, "new"},
		"deleted":   {func() { memory.delete(r.key) }, ""},
		"forgotten": {func() { memory.forgetTokens([]cacheKey{r.key}) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 50_000 {
				memory.set(r.key, entry{token: "old", until: until, onTrial: true}, memory.mark(r.key, r.owner))
				var group sync.WaitGroup
				group.Go(func() { (&Trial{c, r, "old"}).Passed() })
				group.Go(meanwhile.do)
				group.Wait()
				if e, _ := memory.get(r.key, time.Now()); e.token != meanwhile.want {
					t.Fatalf("at the %dth attempt: got token %q, want %q", i+1, e.token, meanwhile.want)
				}
			}
		})
	}
}
