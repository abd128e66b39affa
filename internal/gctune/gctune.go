// Package gctune paces Go's garbage collector for a program whose heap is mostly cached
// tokens.
package gctune

import (
	"context"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// slackBase is the garbage that may wait, in bytes, where next to nothing
	// lives beside tokens: less would have a small heap collected all the time.
	slackBase = 16 << 20

	// headroom is how much more may wait, in bytes, while tokens have more room
	// than they take: the seldomer the collector runs, the less it delays requests.
	headroom = 48 << 20

	// interval is how often the heap is measured. Memory for tokens grows with
	// exchanges, which are not that fast.
	interval = time.Second
)

// Run lets garbage grow as large as what lives beside tokens, and some more, until
// ctx ends. The function size returns the bytes of cached tokens and the bytes that
// are left for more. Go's default counts tokens too: a heap with 256 MiB of tokens
// would be collected at 512 MiB. To collect sooner costs little, because tokens hold
// no pointers to follow. Run does nothing where GOGC is set.
func Run(ctx context.Context, size func() (tokens, room int)) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		runtimemetrics.Read(live)
		tokens, room := size()
		debug.SetGCPercent(percent(int(live[0].Value.Uint64()), tokens, room))
	}
}

// percent is the GOGC at which a heap with live bytes, tokens among them,
// grows by what lives beside the tokens, slackBase, and as much of their room as headroom
// allows.
func percent(live, tokens, room int) int {
	slack := slackBase + min(max(room-tokens, 0), headroom)
	live = max(live, tokens, slackBase) // live is that of the last collection, and 0 before it
	return max(100*(live-tokens+slack)/live, 1)
}
