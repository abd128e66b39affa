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

	// garbageLent is how much more may wait, in bytes, while tokens have more room
	// than they take: the seldomer the collector runs, the less it delays requests.
	garbageLent = 48 << 20

	// garbageLook is how often the measure is taken. Memory for tokens grows with
	// exchanges, which are not that fast.
	garbageLook = time.Second
)

// boundGarbage lets garbage grow as large as what lives beside tokens, and some
// more, until ctx ends. It asks for the size of tokens and the room that is left for
// them, in bytes. Go counts tokens too: it leaves a heap with 256 MiB of them to
// garbage until there are 512 MiB. To collect sooner costs little, for tokens hold
// no pointers to follow. A GOGC that is set stands.
func boundGarbage(ctx context.Context, size func() (tokens, room int)) {
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
		tokens, room := size()
		debug.SetGCPercent(garbagePercent(int(live[0].Value.Uint64()), tokens, room))
	}
}

// garbagePercent is the GOGC at which a heap with live bytes, tokens among them,
// grows by what lives beside the tokens, garbageSlack, and what their room lends.
func garbagePercent(live, tokens, room int) int {
	slack := garbageSlack + min(max(room-tokens, 0), garbageLent)
	live = max(live, tokens, garbageSlack) // live is that of the last collection, and 0 before it
	return max(100*(live-tokens+slack)/live, 1)
}
