package obo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// line plays callers who ask for turns. A name is the caller's, behind it the API's:
// "alice/todo". All of a test run in one bubble.
type line struct {
	t     *testing.T
	turns *turns
	leave map[string][]context.CancelFunc

	mu    sync.Mutex          // guards the rest, until synctest.Wait returns
	gave  map[string][]func() // what gives the turns of a caller back
	order []string            // who got a turn, in order
}

func newLine(t *testing.T, size int) *line {
	return &line{t: t, turns: newTurns(size), gave: map[string][]func(){}, leave: map[string][]context.CancelFunc{}}
}

func (l *line) shares(name string) []share {
	caller, api, _ := strings.Cut(name, "/")
	return []share{l.turns.quarter("caller " + caller), l.turns.threeQuarters("api " + api)}
}

// ask asks for n turns. What comes of it is there when it returns.
func (l *line) ask(name string, n int) {
	for range n {
		ctx, cancel := context.WithCancel(l.t.Context())
		l.leave[name] = append(l.leave[name], cancel)
		go func() {
			giveBack, err := l.turns.take(ctx, l.shares(name)...)
			if err == nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.gave[name] = append(l.gave[name], giveBack)
				l.order = append(l.order, name)
			}
		}()
		synctest.Wait()
	}
}

func (l *line) giveBack(name string) {
	first := l.gave[name][0]
	l.gave[name] = l.gave[name][1:]
	first() // whoever waits gets it meanwhile
	synctest.Wait()
}

// want checks how many turns each of the names has.
func (l *line) want(what string, held map[string]int) {
	l.t.Helper()
	for name, want := range held {
		if got := len(l.gave[name]); got != want {
			l.t.Errorf("%s: %s holds %d, want %d", what, name, got, want)
		}
	}
}

func (l *line) wantOrder(want ...string) {
	l.t.Helper()
	if !slices.Equal(l.order, want) {
		l.t.Errorf("order: got %q, want %q", l.order, want)
	}
}

func TestWhoIsAloneMayHoldAllTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 8)
		l.ask("mallory/todo", 10)
		l.want("alone", map[string]int{"mallory/todo": 8})
		l.giveBack("mallory/todo")
		l.want("still alone", map[string]int{"mallory/todo": 8})
		for len(l.gave["mallory/todo"]) > 0 {
			l.giveBack("mallory/todo")
		}
		if l.turns.inUse() != 0 || len(l.turns.held) != 0 || len(l.turns.waiters) != 0 || len(l.turns.waiting) != 0 {
			t.Errorf("afterwards: got %+v, want nothing kept", l.turns)
		}
	})
}

func TestTurnsAreGivenInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 1)
		for _, name := range []string{"alice/todo", "bob/todo", "carol/ledger", "dave/todo"} {
			l.ask(name, 1)
		}
		for _, name := range []string{"alice/todo", "bob/todo", "carol/ledger", "dave/todo"} {
			l.giveBack(name)
		}
		l.wantOrder("alice/todo", "bob/todo", "carol/ledger", "dave/todo")
	})
}

func TestCallerHoldsAQuarterOfTheTurnsWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 8)
		l.ask("mallory/todo", 20)
		l.ask("alice/todo", 1)
		l.ask("bob/todo", 1)
		l.want("none is free", map[string]int{"mallory/todo": 8, "alice/todo": 0, "bob/todo": 0})
		l.giveBack("mallory/todo")
		l.want("first come", map[string]int{"mallory/todo": 7, "alice/todo": 1, "bob/todo": 0})
		l.giveBack("mallory/todo")
		l.want("nobody else waits any more", map[string]int{"mallory/todo": 6, "alice/todo": 1, "bob/todo": 1})
		l.giveBack("alice/todo")
		l.want("alone again", map[string]int{"mallory/todo": 7, "alice/todo": 0, "bob/todo": 1})

		l.ask("trudy/todo", 20) // another one of that kind: both wait now
		for len(l.gave["mallory/todo"]) > 2 {
			l.giveBack("mallory/todo")
		}
		l.want("two of them", map[string]int{"mallory/todo": 2, "trudy/todo": 2, "bob/todo": 1})
		l.ask("carol/todo", 1)
		l.want("what they leave free is for others", map[string]int{"carol/todo": 1})
		l.giveBack("mallory/todo")
		l.want("up to a quarter", map[string]int{"mallory/todo": 2, "trudy/todo": 2})
	})
}

func TestAPIHoldsThreeQuartersOfTheTurnsWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 8)
		for i := range 20 {
			l.ask(fmt.Sprintf("user-%d/todo", i), 1)
		}
		l.ask("alice/ledger", 1)
		l.ask("bob/ledger", 1)
		l.ask("carol/ledger", 1)
		for i := range 2 {
			l.giveBack(fmt.Sprintf("user-%d/todo", i))
		}
		l.want("beyond three quarters", map[string]int{"user-8/todo": 0, "alice/ledger": 1, "bob/ledger": 1, "carol/ledger": 0})
		l.giveBack("user-2/todo")
		l.want("at three quarters, by arrival", map[string]int{"user-8/todo": 1, "carol/ledger": 0})
		l.giveBack("alice/ledger")
		l.want("no more than three quarters", map[string]int{"user-9/todo": 0, "carol/ledger": 1})
	})
}

func TestWhoLeavesTheLineFreesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, 8)
		l.ask("mallory/todo", 8)
		l.ask("trudy/todo", 3)
		for range 6 {
			l.giveBack("mallory/todo")
		}
		l.want("mallory is gone from the line", map[string]int{"mallory/todo": 2, "trudy/todo": 3})
		l.ask("mallory/todo", 2)
		l.ask("trudy/todo", 4)
		l.want("room is left", map[string]int{"mallory/todo": 4, "trudy/todo": 4})
		l.ask("trudy/todo", 2)
		l.ask("mallory/todo", 2)
		l.giveBack("mallory/todo")
		l.giveBack("trudy/todo")
		l.want("both wait, above their share", map[string]int{"mallory/todo": 3, "trudy/todo": 3})
		for _, cancel := range l.leave["mallory/todo"] {
			cancel()
		}
		synctest.Wait()
		l.want("one does not wait any more", map[string]int{"mallory/todo": 3, "trudy/todo": 5})
	})
}

func TestTurnThatIsNotGivenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		giveBack, err := turns.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that time is over", err)
		}
		giveBack()
		if giveBack, err = turns.take(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		giveBack()
	})
}

// After every step of a random history nobody waits who may run by the rule, and nobody
// was given a turn before somebody who came earlier and might have had it.
func TestTurnsByTheRule(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			l := newLine(t, 1+random.IntN(12))
			names := []string{"alice/todo", "alice/ledger", "bob/todo", "carol/ledger", "dave/todo", "erin/todo"}
			for range 100 {
				name := names[random.IntN(len(names))]
				switch n := random.IntN(10); {
				case n < 5:
					l.ask(name, 1)
				case n < 9 && len(l.gave[name]) > 0:
					l.giveBack(name)
				case n == 9 && len(l.leave[name]) > 0:
					l.leave[name][random.IntN(len(l.leave[name]))]()
					synctest.Wait()
				}
				l.checkRule(seed)
			}
			for _, all := range l.leave {
				for _, cancel := range all {
					cancel()
				}
			}
		})
	}
}

// checkRule tells by counting whether somebody waits who may run.
func (l *line) checkRule(seed uint64) {
	l.t.Helper()
	running, held := 0, map[share]int{}
	for name, all := range l.gave {
		running += len(all)
		for _, s := range l.shares(name) {
			held[s] += len(all)
		}
	}
	if running > l.turns.size || running != l.turns.inUse() {
		l.t.Fatalf("seed %d: %d run, in use are %d of %d", seed, running, l.turns.inUse(), l.turns.size)
	}
	for _, waiting := range l.turns.waiting {
		blocked := running == l.turns.size
		for _, s := range waiting.shares {
			others := slices.ContainsFunc(l.turns.waiting, func(other *turn) bool { return !slices.Contains(other.shares, s) })
			blocked = blocked || others && held[s] >= s.limit
		}
		if !blocked {
			l.t.Fatalf("seed %d: %v waits and may run", seed, waiting.shares)
		}
	}
}
