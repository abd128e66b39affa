package gctune

import (
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbageGrowsWithWhatLivesBesideCaches(t *testing.T) {
	const mebibyte = 1 << 20
	for _, c := range []struct {
		name                  string
		live, cached, garbage int // MiB
	}{
		{"1,000 users", 10, 4, 17},
		{"at the start", 6, 2, 15},
		{"a quarter of a full cache", 80, 64, 24},
		{"half of a full cache", 148, 128, 28},
		{"a full cache", 266, 256, 18},
		{"a full cache, and much beside it", 456, 256, 208},
		{"the cache grew since the last collection", 140, 256, 8},
		{"caches beyond all else", 8200, 8192, 82}, // GOGC is 1 at least
	} {
		live := c.live * mebibyte
		got := max(live, c.cached*mebibyte) * percent(live, c.cached*mebibyte) / 100 / mebibyte
		if got < c.garbage-3 || got > c.garbage {
			t.Errorf("%s: %d MiB of garbage may wait, want %d", c.name, got, c.garbage)
		}
	}
}

func TestGarbageIsBoundedBeforeTheFirstCollection(t *testing.T) {
	if got := percent(0, 2<<20); got < 100 || got > 500 {
		t.Errorf("GOGC is %d, want 100 to 500", got)
	}
}

// runFor has Run run for d, in virtual time, with so many bytes in caches.
func runFor(t *testing.T, d time.Duration, cached int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		go Run(t.Context(), func() int { return cached })
		time.Sleep(d)
		synctest.Wait()
	})
}

func TestRunSetsGOGCUnlessItIsSet(t *testing.T) {
	gogc := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
	for set, want := range map[string]uint64{"": 1, "80": 80} {
		t.Run("GOGC="+set, func(t *testing.T) {
			t.Setenv("GOGC", set)
			defer debug.SetGCPercent(debug.SetGCPercent(80))
			runFor(t, 2*interval, 1<<40)
			runtimemetrics.Read(gogc)
			if got := gogc[0].Value.Uint64(); got != want {
				t.Errorf("with 1 TiB in caches: GOGC is %d, want %d", got, want)
			}
		})
	}
}

func TestRunReturnsMemoryOfTheStartOnce(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(80))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runFor(t, 10*interval+interval/2, 0)
	runtime.ReadMemStats(&after)
	if n := after.NumForcedGC - before.NumForcedGC; n != 1 {
		t.Errorf("in ten intervals memory is returned %d times, want once", n)
	}
}
