//go:build slow

package main

import (
	"testing"
	"time"

	"middletier/internal/testkit/redistest"
)

// No request fails or waits long when Redis is lost. The times are logged without a
// limit: they depend on the machine.
func TestSlowRedisLostUnderLoad(t *testing.T) {
	for _, row := range []struct {
		name          string
		lose, restore func(*redistest.Server)
		change        func(*file)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart, patientWithRedis}, // what is dead refuses at once
		{"silent", (*redistest.Server).Freeze, (*redistest.Server).Thaw, func(*file) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			redis := redistest.Start(t)
			w := newWorld(t, withRedis(redis), row.change, unhurried)
			traffic := w.startTraffic()
			traffic.awaitAnswers(t, trafficRate/2) // warm
			began := time.Now()
			traffic.awaitAnswers(t, trafficRate)
			eventually(t, func() bool { return entries(redis) > 0 }, func() string { return "nothing is written to Redis" })

			lost := time.Now()
			row.lose(redis)
			opened := w.awaitLine("Redis fails", time.Time{})
			traffic.awaitAnswers(t, trafficRate)
			back := time.Now()
			row.restore(redis)
			closed := w.awaitLine("Redis answers again", back)
			if row.name == "killed" { // else what it holds may be from before
				eventually(t, func() bool { return entries(redis) > 0 }, func() string { return "nothing is written to Redis again" })
			}
			traffic.awaitAnswers(t, trafficRate/2)
			traffic.stop()

			base := traffic.between(began, lost)
			usual := base[len(base)/2]
			for _, phase := range []struct {
				name     string
				from, to time.Time
			}{
				{"before", began, lost},
				{"until the breaker opens", lost.Add(-100 * time.Millisecond), opened}, // those under way, too
				{"with the breaker open", opened, back},
				{"in use again", closed, time.Now()},
			} {
				if times := traffic.between(phase.from, phase.to); len(times) > 0 {
					t.Logf("%s: %d requests, more than usual (%v): half %v, 99%% %v, all %v", phase.name, len(times), usual,
						times[len(times)/2]-usual, times[len(times)*99/100]-usual, times[len(times)-1]-usual)
				}
			}
			t.Logf("the breaker opened after %v; Redis was in use again after %v", opened.Sub(lost), closed.Sub(back))
		})
	}
}

// Two processes share one Redis: a server, a cluster, or one behind a sentinel.
func TestSlowTwoProgramsShareOneRedis(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *redistest.Server{
		"server":   func(t testing.TB) *redistest.Server { return redistest.Start(t) },
		"cluster":  redistest.StartCluster,
		"sentinel": redistest.StartSentinel,
	} {
		t.Run(name, func(t *testing.T) { twoProgramsShareOneRedis(t, start(t), 300) })
	}
}
