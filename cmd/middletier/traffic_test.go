package main

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// traffic is a steady stream of requests, each with a token that the service has
// not seen: each needs an exchange.
type traffic struct {
	stop func()

	mu      sync.Mutex // guards samples
	samples []sample
}

// sample is an answered request of traffic.
type sample struct {
	began time.Time
	took  time.Duration
}

// trafficRate is how many requests begin in a second, whether or not those before
// them are answered, unless the machine is so busy that maxRunning are not.
const (
	trafficRate = 120
	maxRunning  = 32
)

// startTraffic begins traffic, which goes on until its stop. Each answer but 200
// is an error of the test.
func (w *world) startTraffic() *traffic {
	ended := make(chan struct{})
	f := &traffic{}
	var running sync.WaitGroup
	places := make(chan struct{}, maxRunning)
	running.Go(func() {
		tick := time.NewTicker(time.Second / trafficRate)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				select {
				case places <- struct{}{}:
					running.Go(func() {
						f.send(w)
						<-places
					})
				default:
				}
			case <-ended:
				return
			}
		}
	})
	f.stop = sync.OnceFunc(func() {
		close(ended)
		running.Wait()
	})
	w.t.Cleanup(f.stop)
	return f
}

func (f *traffic) send(w *world) {
	req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Errorf("a request of the traffic: %v", err)
		return
	}
	took := time.Since(began)
	_ = resp.Body.Close() // what it says is not of interest
	if resp.StatusCode != 200 {
		w.t.Errorf("a request of the traffic: got %d, want 200", resp.StatusCode)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.samples = append(f.samples, sample{began, took})
}

// between returns the times of the requests begun from one moment to another,
// shortest first.
func (f *traffic) between(from, to time.Time) (times []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.samples {
		if !s.began.Before(from) && s.began.Before(to) {
			times = append(times, s.took)
		}
	}
	slices.Sort(times)
	return times
}

// awaitAnswers waits until n requests that began from now on are answered.
func (f *traffic) awaitAnswers(t *testing.T, n int) {
	t.Helper()
	now := time.Now()
	eventually(t, func() bool { return len(f.between(now, time.Now())) >= n }, func() string { return "the traffic stands still" })
}
