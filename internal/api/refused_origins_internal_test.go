package api

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Anybody can send any origin: so many are logged in a minute, and each once.
func TestRefusedOriginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRefusedOrigins()
		logged := func(from, to int) (n int) {
			for i := from; i < to; i++ {
				if o.shouldLog(fmt.Sprint("https://", i, ".example")) {
					n++
				}
			}
			return n
		}
		for _, step := range []struct{ from, to, want int }{{0, 1, 1}, {0, 1, 0}, {0, 1000, maxLoggedOrigins - 1}, {1000, 2000, 0}} {
			if got := logged(step.from, step.to); got != step.want || len(o.logged) > maxLoggedOrigins {
				t.Errorf("%v: %d were logged of %d, want %d", step, got, len(o.logged), step.want)
			}
		}
		time.Sleep(originLogInterval)
		if got := logged(5000, 6000); got != maxLoggedOrigins {
			t.Errorf("a minute later %d were logged, want %d", got, maxLoggedOrigins)
		}
		if first := o.firstLogged; logged(6000, 7000) != 0 || o.firstLogged != first {
			t.Error("the list was cleared within the minute")
		}
	})
}
