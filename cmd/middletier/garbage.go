package main

import (
	"context"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// garbageSlack is the garbage that may wait, in bytes, where next to nothing
	// lives beside tokens: less would have a small heap collected all the time.
	garbageSlack = 16 << 20

	// garbageLook is how often the measure is taken. Memory for tokens grows with
	// exchanges, which are not that fast.
	garbageLook = time.Second
)

// boundGarbage lets garbage grow as large as what lives beside tokens, whose size
// in bytes it asks for, until ctx ends. Go counts tokens too: it leaves a heap with
// 256 MiB of them to garbage until there are 512 MiB. To collect sooner costs
// little, for tokens hold no pointers to follow. A GOGC that is set stands.
func boundGarbage(ctx context.Context, tokens func() int) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(garbageLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		runtimemetrics.Read(live)
		debug.SetGCPercent(garbagePercent(int(live[0].Value.Uint64()), tokens()))
	}
}

// garbagePercent is the GOGC at which a heap with live bytes, tokens among them,
// grows by garbageSlack and what lives beside the tokens.
func garbagePercent(live, tokens int) int {
	live = max(live, tokens, garbageSlack) // live is that of the last collection, and 0 before it
	return max(100*(live-tokens+garbageSlack)/live, 1)
}
