//go:build slow

package scaling_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/testkit/redistest"
)

// counts is what a span of time cost.
type counts struct {
	exchanges, commands, calls, fails int
	peak                              int // exchanges in the busiest second
	p99                               time.Duration
}

// measure counts while run runs.
func measure(p *provider, s *store, c *calls, run func()) counts {
	commands := func() int {
		if s == nil {
			return 0
		}
		return s.redis.CommandCount()
	}
	c.take()
	p.takePeak()
	before, beforeCommands := p.exchanges.Load(), commands()
	run()
	n := counts{exchanges: int(p.exchanges.Load() - before), commands: commands() - beforeCommands, peak: p.takePeak()}
	n.calls, n.fails, n.p99 = c.take()
	return n
}

// arrive lets users come within a minute, each with parallel calls at once, as a page makes
// them.
func arrive(t *testing.T, f *fleet, c *calls, users, parallel int) {
	var group sync.WaitGroup
	for i := range users {
		u := &user{name: fmt.Sprintf("user-%d", i)}
		time.Sleep(time.Minute / time.Duration(users))
		for range parallel {
			group.Go(func() { c.call(t, f, u.first()) })
		}
	}
	group.Wait()
}

// However many replicas share a Redis, a user who comes costs one exchange, and a restart of
// all of them none.
func TestSlowReplicasShareExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users, replicas, parallel = 100, 20, 5
		p := newProvider()
		for name, s := range map[string]*store{"Redis": newStore(t), "none": nil} {
			f := newFleet(t, p, s, replicas)
			var c calls
			cold := measure(p, s, &c, func() { arrive(t, f, &c, users, parallel) })
			warm := measure(p, s, &c, func() {
				for i := range replicas {
					f.restart(i)
				}
				arrive(t, f, &c, users, parallel)
			})
			if cold.calls != users*parallel || warm.calls != users*parallel || cold.fails+warm.fails > 0 {
				t.Errorf("%s: %d and %d calls, %d and %d failed, want %d and none", name, cold.calls, warm.calls, cold.fails, warm.fails, users*parallel)
			}
			switch {
			case s != nil && (cold.exchanges != users || warm.exchanges != 0):
				t.Errorf("%s: %d exchanges, and %d after restarts; want %d and none", name, cold.exchanges, warm.exchanges, users)
			case s == nil && (cold.exchanges <= 2*users || warm.exchanges <= 2*users): // else nothing was shown
				t.Errorf("%s: %d exchanges, and %d after restarts; want far more than %d", name, cold.exchanges, warm.exchanges, users)
			}
			f.end()
		}
	})
}

// TestScaling prints the tables of docs/scaling.md. `make scaling` runs it.
func TestScaling(t *testing.T) {
	for _, scenario := range []struct {
		name string
		run  func(t *testing.T, p *provider)
	}{
		{"steady", steady}, {"start", start}, {"restart", restart}, {"outage", outage}, {"lost data", lostData}, {"region", region},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { scenario.run(t, newProvider()) })
		})
	}
	t.Run("Redis memory", redisMemory)
}

const warmUp = 100 * time.Minute // longer than any token

// storeOr returns a store, or nil for replicas without one, and what tables say.
func storeOr(t *testing.T, shared bool) (*store, string) {
	if shared {
		return newStore(t), "one"
	}
	return nil, "none"
}

func row(columns ...any) {
	for _, c := range columns {
		if f, ok := c.(float64); ok {
			c = fmt.Sprintf("%.2f", f)
		}
		fmt.Printf("| %v ", c)
	}
	fmt.Println("|")
}

// per is how often something happened for each of n.
func per(count, n int) float64 { return float64(count) / float64(max(n, 1)) }

func steady(t *testing.T, p *provider) {
	const users, hours = 200, 2
	row("calls a user and hour", "replicas", "Redis", "exchanges a user and hour", "Redis commands a call", "p99 of the token's wait")
	for _, perHour := range []int{10, 60} {
		for _, shared := range []bool{true, false} {
			for _, replicas := range []int{1, 5, 20, 200} {
				s, name := storeOr(t, shared)
				f := newFleet(t, p, s, replicas)
				time.Sleep(time.Minute)
				idle := measure(p, s, &calls{}, func() { time.Sleep(10 * time.Minute) })
				c := newCrowd(t, f, users, perHour)
				time.Sleep(warmUp)
				n := measure(p, s, &c.calls, func() { time.Sleep(hours * time.Hour) })
				c.end()
				f.end()
				commands := n.commands - idle.commands*6*hours
				row(perHour, replicas, name, per(n.exchanges, users*hours), per(commands, n.calls), n.p99)
				if shared && perHour == 10 {
					fmt.Printf("A replica without calls sends Redis %.1f commands a minute.\n", per(idle.commands, replicas*10))
				}
			}
		}
	}
}

func start(t *testing.T, p *provider) {
	const users = 600
	row("replicas", "Redis", "calls a user at once", "exchanges a user", "exchanges in the busiest second", "failed calls")
	for _, shared := range []bool{true, false} {
		for _, replicas := range []int{1, 20, 200} {
			s, name := storeOr(t, shared)
			f := newFleet(t, p, s, replicas)
			var c calls
			n := measure(p, s, &c, func() { arrive(t, f, &c, users, 5) })
			f.end()
			row(replicas, name, 5, per(n.exchanges, users), n.peak, n.fails)
		}
	}
}

func restart(t *testing.T, p *provider) {
	const users, perHour, span = 200, 60, 10 * time.Minute
	row("replicas", "Redis", "exchanges a user in the ten minutes before", "while all are restarted", "failed calls")
	for _, shared := range []bool{true, false} {
		for _, replicas := range []int{5, 20, 200} {
			s, name := storeOr(t, shared)
			f := newFleet(t, p, s, replicas)
			c := newCrowd(t, f, users, perHour)
			time.Sleep(warmUp)
			before := measure(p, s, &c.calls, func() { time.Sleep(span) })
			n := measure(p, s, &c.calls, func() {
				var group sync.WaitGroup
				for i := range replicas {
					group.Go(func() { f.restart(i) })
					time.Sleep(span / time.Duration(replicas))
				}
				group.Wait()
			})
			c.end()
			f.end()
			row(replicas, name, per(before.exchanges, users), per(n.exchanges, users), n.fails)
		}
	}
}

// phase is a span of time at whose begin something happens.
type phase struct {
	name  string
	begin func()
}

func nothing() {}

func (f phase) measure(p *provider, s *store, c *calls, span time.Duration) counts {
	return measure(p, s, c, func() {
		f.begin()
		time.Sleep(span)
	})
}

func outage(t *testing.T, p *provider) {
	const users, perHour, span = 200, 60, 10 * time.Minute
	row("replicas", "ten minutes", "exchanges a user", "exchanges in the busiest second", "failed calls", "p99 of the token's wait")
	for _, replicas := range []int{5, 20, 200} {
		s := newStore(t)
		f := newFleet(t, p, s, replicas)
		c := newCrowd(t, f, users, perHour)
		time.Sleep(warmUp)
		for _, phase := range []phase{{"before", nothing}, {"without Redis", s.cut}, {"after", s.join}, {"the next", nothing}} {
			n := phase.measure(p, s, &c.calls, span)
			row(replicas, phase.name, per(n.exchanges, users), n.peak, n.fails, n.p99)
		}
		c.end()
		f.end()
	}
}

// lostData takes from Redis what a node of three held.
func lostData(t *testing.T, p *provider) {
	const users, perHour, replicas, span = 200, 60, 20, 10 * time.Minute
	row("ten minutes", "exchanges a user", "exchanges in the busiest second", "failed calls")
	s := newStore(t)
	f := newFleet(t, p, s, replicas)
	c := newCrowd(t, f, users, perHour)
	time.Sleep(warmUp)
	for _, phase := range []phase{{"before", nothing}, {"after a node was lost", s.loseNode}, {"the next", nothing}} {
		n := phase.measure(p, s, &c.calls, span)
		row(phase.name, per(n.exchanges, users), n.peak, n.fails)
	}
	c.end()
	f.end()
}

// region ends one of two regions, each with its own Redis.
func region(t *testing.T, p *provider) {
	const users, perHour, replicas, span = 150, 60, 20, 10 * time.Minute
	row("ten minutes", "exchanges a user of the region that is lost", "exchanges in the busiest second, all users", "failed calls")
	one, other := newStore(t), newStore(t)
	here, there := newFleet(t, p, one, replicas), newFleet(t, p, other, replicas)
	moved, stay := newCrowd(t, here, users, perHour), newCrowd(t, there, users, perHour)
	time.Sleep(warmUp)
	before := measure(p, other, &moved.calls, func() { time.Sleep(span) })
	row("before (users of both)", per(before.exchanges, 2*users), before.peak, before.fails)
	for _, name := range []string{"after", "the next"} {
		n := measure(p, other, &moved.calls, func() {
			moved.moveTo(there)
			time.Sleep(span)
		})
		// Those who stay cost as before.
		row(name, per(n.exchanges-before.exchanges/2, users), n.peak, n.fails)
	}
	moved.end()
	stay.end()
	here.end()
	there.end()
}

// redisMemory prints what a real Redis needs for users' tokens, in real time.
func redisMemory(t *testing.T) {
	const users, parallel = 5000, 64
	server, p := redistest.Start(t), newProvider()
	config := cacheConfig
	config.Shared = newTier(t, server.URL(), nil)
	r := run(t, config, p.newClient(t))
	f := &fleet{t: t, replicas: []*replica{r}}
	before := usedMemory(t, server)
	var c calls
	var group sync.WaitGroup
	for first := range parallel {
		group.Go(func() {
			for i := first; i < users; i += parallel {
				u := &user{name: fmt.Sprintf("user-%d", i)}
				c.call(t, f, u.first())
			}
		})
	}
	group.Wait()
	r.end(t) // it writes what waits
	if n, fails, _ := c.take(); n != users || fails > 0 {
		t.Fatalf("%d calls, %d failed", n, fails)
	}
	fmt.Printf("Redis needs %d bytes for a user with one API, with tokens of %d bytes.\n", (usedMemory(t, server)-before)/users, tokenSize)
}

func usedMemory(t *testing.T, server *redistest.Server) int {
	t.Helper()
	for line := range strings.Lines(fmt.Sprint(server.Do("INFO", "memory"))) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("Redis does not say used_memory")
	return 0
}
