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
	// slackBase is the least garbage, in bytes, at which the collector runs. With less,
	// a small heap would be collected all the time.
	slackBase = 16 << 20

	// headroom is how much more garbage is allowed, in bytes, while the token cache is
	// not full. The less often the collector runs, the less it delays requests.
	headroom = 8 << 20

	// interval is how often the heap is measured. The token cache grows by exchanges,
	// which take longer.
	interval = time.Second
)

// Run sets the collector's target until ctx ends: it allows as much garbage as the live
// heap without tokens, and some more. The function size returns the bytes of cached
// tokens and the bytes that are left for more. Go's default counts tokens too: a heap
// with 256 MiB of tokens would be collected at 512 MiB. To collect earlier costs little,
// because tokens hold no pointers to follow. Run does nothing if GOGC is set.
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

// percent returns the GOGC for a heap of live bytes, which include tokens. It allows as
// much garbage as the rest of the heap, plus slackBase, plus the token cache's free room up
// to headroom.
func percent(live, tokens, room int) int {
	slack := slackBase + min(max(room-tokens, 0), headroom)
	live = max(live, tokens, slackBase) // live is that of the last collection, and 0 before it
	return max(100*(live-tokens+slack)/live, 1)
}
