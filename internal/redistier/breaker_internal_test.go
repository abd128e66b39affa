package redistier

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

// Which operations open the breaker when they hang. The timeout is 100 ms.
func TestHangsThatOpenTheBreaker(t *testing.T) {
	type call struct {
		kind         operation
		after, takes time.Duration
	}
	for _, c := range []struct {
		name  string
		calls []call
		opens bool
	}{
		{"three reads", []call{{read, 0, 90 * ms}, {read, 5 * ms, 90 * ms}, {read, 10 * ms, 90 * ms}}, true},
		{"three writes", []call{{write, 0, 90 * ms}, {write, 0, 90 * ms}, {write, 0, 90 * ms}}, true},
		{"two reads", []call{{read, 0, 90 * ms}, {read, 0, 90 * ms}}, false},
		{"two reads and a write", []call{{read, 0, 90 * ms}, {read, 0, 90 * ms}, {write, 0, 90 * ms}}, false},
		{"two that have just begun", []call{{read, 0, 90 * ms}, {read, 25 * ms, 20 * ms}, {read, 25 * ms, 20 * ms}}, false},
		{"another went well", []call{{read, 0, 90 * ms}, {read, 0, 90 * ms}, {read, 0, 90 * ms}, {read, 5 * ms, 5 * ms}}, false},
		{"another went well before", []call{{read, 0, 5 * ms}, {read, 6 * ms, 90 * ms}, {read, 6 * ms, 90 * ms}, {read, 6 * ms, 90 * ms}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := testBreaker()
				var group sync.WaitGroup
				for _, call := range c.calls {
					group.Go(func() {
						time.Sleep(call.after)
						through(t.Context(), b, call.kind, func(context.Context) (any, error) {
							time.Sleep(call.takes)
							return nil, nil
						})
					})
				}
				group.Wait()
				if b.isOpen() != c.opens {
					t.Errorf("the breaker is open: %v, want %v", b.isOpen(), c.opens)
				}
				time.Sleep(time.Second) // what was abandoned ends
			})
		})
	}
}

// Where the process itself did not run, or a connection is made meanwhile, it says
// nothing that operations take long.
func TestHangsThatSayNothingOfRedis(t *testing.T) {
	for name, meanwhile := range map[string]func(b *breaker){
		"the process did not run": func(*breaker) { time.Sleep(70 * ms) },
		"a connection is made": func(b *breaker) {
			time.Sleep(10 * ms)
			b.answered()
			time.Sleep(20 * ms)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, kind := range []operation{read, write} {
					b := testBreaker()
					var hanging []*attempt
					for range 3 {
						hanging = append(hanging, b.begin(kind, func() {}))
					}
					meanwhile(b)
					for _, a := range hanging {
						b.suspect(a)
					}
					if b.isOpen() {
						t.Errorf("operation %v: the breaker is open", kind)
					}
				}
			})
		})
	}
}

// testBreaker has a timeout of 100 ms.
func testBreaker() *breaker { return newBreaker(100*ms, func(error) {}) }
