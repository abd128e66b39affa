// Package gctune paces Go's garbage collector for a program whose heap is mostly caches.
package gctune

import (
	"context"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// slack is the least garbage, in bytes, at which the collector runs, unless the heap is
	// smaller than slack. With less, it would run all the time.
	slack = 8 << 20

	// interval is how often the heap is measured. The token cache grows by exchanges,
	// which take longer.
	interval = time.Second
)

// Run sets the collector's target until ctx ends: it allows as much garbage as the live
// heap without caches, and slack. The function cached returns the bytes that caches take.
// Go's default counts them too: a heap with 256 MiB of tokens would be collected at 512 MiB.
// To collect earlier costs little, because caches hold hardly a pointer to follow. Once, after
// interval, it returns memory that only the start used to the system. Run does nothing if
// GOGC is set.
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
		}
		runtimemetrics.Read(live)
		debug.SetGCPercent(percent(int(live[0].Value.Uint64()), cached()))
	}
}

// percent returns the GOGC for a heap of live bytes, which include cached ones. A heap that
// is smaller than slack counts as one of that size, and so is allowed less garbage.
func percent(live, cached int) int {
	live = max(live, cached, slack) // live is that of the last collection, and 0 before it
	return max(100*(live-cached+slack)/live, 1)
}
