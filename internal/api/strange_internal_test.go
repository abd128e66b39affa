package api

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Anybody can send any origin: so many are named in a minute, and each once.
func TestRefusedOriginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigins()
		named := func(from, to int) (n int) {
			for i := from; i < to; i++ {
				if o.isNew(fmt.Sprint("https://", i, ".example")) {
					n++
				}
			}
			return n
		}
		for _, step := range []struct{ from, to, want int }{{0, 1, 1}, {0, 1, 0}, {0, 1000, maxOrigins - 1}, {1000, 2000, 0}} {
			if got := named(step.from, step.to); got != step.want || len(o.named) > maxOrigins {
				t.Errorf("%v: %d were named of %d, want %d", step, got, len(o.named), step.want)
			}
		}
		time.Sleep(originPause)
		if got := named(5000, 6000); got != maxOrigins {
			t.Errorf("a minute later %d were named, want %d", got, maxOrigins)
		}
		if first := o.first; named(6000, 7000) != 0 || o.first != first {
			t.Error("the list was cleared within the minute")
		}
	})
}
