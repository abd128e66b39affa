package gctune

import (
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbageGrowsWithWhatLivesBesideTokens(t *testing.T) {
	const mebibyte = 1 << 20
	for _, c := range []struct {
		name                        string
		live, tokens, room, garbage int // MiB
	}{
		{"at the start", 20, 16, 240, 28},
		{"before the first collection", 0, 16, 240, 24},
		{"a full cache", 266, 256, 0, 26},
		{"a cache that is half full", 138, 128, 128, 26},
		{"a cache that is nearly half full", 130, 124, 132, 30},
		{"a full cache, and much beside it", 456, 256, 0, 216},
		{"tokens grew since the last collection", 140, 256, -1, 16},
		{"tokens beyond all else", 8200, 8192, 0, 82}, // GOGC is 1 at least
	} {
		live := c.live * mebibyte
		got := max(live, c.tokens*mebibyte) * percent(live, c.tokens*mebibyte, c.room*mebibyte) / 100 / mebibyte
		if got < c.garbage-3 || got > c.garbage {
			t.Errorf("%s: %d MiB of garbage may wait, want %d", c.name, got, c.garbage)
		}
	}
}

func TestRunSetsGOGCUnlessItIsSet(t *testing.T) {
	gogc := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
	for set, want := range map[string]uint64{"": 1, "80": 80} {
		t.Run("GOGC="+set, func(t *testing.T) {
			t.Setenv("GOGC", set)
			defer debug.SetGCPercent(debug.SetGCPercent(80))
			synctest.Test(t, func(t *testing.T) {
				go Run(t.Context(), func() (int, int) { return 1 << 40, 0 })
				time.Sleep(2 * interval)
				synctest.Wait()
			})
			runtimemetrics.Read(gogc)
			if got := gogc[0].Value.Uint64(); got != want {
				t.Errorf("with 1 TiB of tokens: GOGC is %d, want %d", got, want)
			}
		})
	}
}
