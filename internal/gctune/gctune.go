// Package gctune paces Go's garbage collector for a program whose heap is mostly caches, and
// returns memory that only the program's start used.
package gctune

import (
	"context"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// mostSlack and leastSlack are the garbage, in bytes, that is allowed beside as much as
	// the rest of the heap takes: the most while caches are small, the least with 32 MiB in
	// them. The less often the collector runs, the less it delays requests.
	mostSlack, leastSlack = 12 << 20, 8 << 20

	// leastLive is what counts as live before the first collection, in bytes. It is Go's
	// smallest heap.
	leastLive = 4 << 20

	// interval is how often the heap is measured. The token cache grows by exchanges,
	// which take longer.
	interval = time.Second
)

// Run sets the collector's target until ctx ends: it allows as much garbage as the live
// heap without caches, and some more. The function cached returns the bytes that caches take.
// Go's default counts them too: a heap with 256 MiB of tokens would be collected at 512 MiB.
// To collect earlier costs little, because caches hold hardly a pointer to follow. Once, after
// interval, it returns to the system what only the start used: heap, and pages of the program's
// file. Run does nothing if GOGC is set.
func Run(ctx context.Context, cached func() int) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if first {
			debug.FreeOSMemory()
			dropProgramPages()
		}
		runtimemetrics.Read(live)
		debug.SetGCPercent(percent(int(live[0].Value.Uint64()), cached()))
	}
}

// percent returns the GOGC for a heap of live bytes, which include cached ones.
func percent(live, cached int) int {
	live = max(live, cached, leastLive)
	slack := max(mostSlack-cached/8, leastSlack)
	return max(100*(live-cached+slack)/live, 1)
}
