package api

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuotaFillsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuotas(Rate{PerSecond: 0.5, Burst: 3})
		allowed := func(id string) (n int) {
			for now := time.Now(); q.Of(callerID{"tenant", id}, now).AllowN(now, 1); {
				n++
			}
			return n
		}
		want := func(id string, n int) {
			t.Helper()
			if got := allowed(id); got != n {
				t.Errorf("%s: %d calls are allowed, want %d", id, got, n)
			}
		}
		want("alice", 3)
		want("bob", 3)
		time.Sleep(4 * time.Second)
		want("alice", 2)
		time.Sleep(2 * time.Second) // a refill's time after the first: the generations turn
		want("alice", 1)
		want("bob", 3)
		time.Sleep(time.Hour)
		want("alice", 3)
	})
}

// Callers who are back at a full quota are forgotten, and more than are counted
// do not take more memory.
func TestQuotasAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuotas(Rate{PerSecond: 1, Burst: 60})
		for i := range 5 * maxCallers / 2 {
			q.Of(callerID{"tenant", fmt.Sprint(i)}, time.Now())
		}
		recent, older := q.Len()
		if got := recent + older; got > 2*maxCallers || got < maxCallers {
			t.Errorf("%d callers are counted, want %d to %d", got, maxCallers, 2*maxCallers)
		}
		for range 2 {
			time.Sleep(time.Minute)
			q.Of(callerID{"tenant", "alice"}, time.Now())
		}
		if recent, older = q.Len(); recent != 1 || older != 1 {
			t.Errorf("%d and %d callers are remembered after two minutes, want alice only", recent, older)
		}
	})
}

func TestBurstIsOneSecondsCallsUnlessSaid(t *testing.T) {
	for _, row := range []struct {
		rate   Rate
		policy string
	}{
		{Rate{PerSecond: 10}, `"caller";q=10;w=1`},
		{Rate{PerSecond: 0.1}, `"caller";q=1;w=10`},
		{Rate{PerSecond: 2.5}, `"caller";q=3;w=2`},
		{Rate{PerSecond: 10, Burst: 600}, `"caller";q=600;w=60`},
	} {
		if got := newQuotas(row.rate).policy[0]; got != row.policy {
			t.Errorf("%+v: got %s, want %s", row.rate, got, row.policy)
		}
	}
}
