package obo_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"middletier/internal/obo"
)

// heap is what lives, in bytes.
func heap() int64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc)
}

func TestUsersWhoseTokensLeftTakeNoMemory(t *testing.T) {
	const maxSize, users, beside = 16 << 20, 50_000, 4 << 20
	before := heap()
	k := start(t, func(_ *obo.Config, c *obo.CacheConfig) { c.MaxSize = maxSize })
	token := strings.Repeat("x", 2048)
	for i := range users { // 100 MiB of tokens
		k.cache.Fill(t.Context(), user(fmt.Sprint(i)), todo, token)
	}
	if got := heap() - before; got > maxSize+beside {
		t.Errorf("after %d users: %d KiB, want %d at the most", users, got>>10, (maxSize+beside)>>10)
	}
	if got := k.cache.Stats(); got.Bytes > maxSize || got.Evictions == 0 || int64(got.Entries)+got.Evictions != users {
		t.Errorf("got %+v, want 16 MiB at the most, and all tokens accounted for", got)
	}
	k.want(user(fmt.Sprint(users-1)), "", token, obo.Memory)
	k.want(user("0"), "", "token-1", obo.IdentityProvider)
}
