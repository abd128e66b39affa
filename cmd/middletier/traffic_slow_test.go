//go:build slow

package main

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// traffic is a steady stream of requests.
type traffic struct {
	stop func()
	url  string
	mark func(*http.Request) // with whom the next request is for

	mu      sync.Mutex // guards samples
	samples []sample
}

// sample is an answered request of traffic.
type sample struct {
	began time.Time
	took  time.Duration
}

const (
	// trafficRate is how many requests of new users begin in a second: the machine
	// signs each one's token.
	trafficRate = 120

	// maxRunning is how many unanswered requests there are before no more begin.
	maxRunning = 32
)

// startTraffic begins traffic of tokens that the service has not seen: each needs
// an exchange.
func (w *world) startTraffic() *traffic { return w.startTrafficOf(trafficRate, w.alice) }

// startTrafficOf begins traffic to /api of so many requests a second, as startRequests.
func (w *world) startTrafficOf(rate int, token func() string) *traffic {
	return w.startRequests(rate, w.url+"/api/todo/items", func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+token()) })
}

// startRequests begins so many requests a second, whether or not those before them are
// answered. It goes on until its stop. Each answer but 200 is an error of the test.
func (w *world) startRequests(rate int, url string, mark func(*http.Request)) *traffic {
	ended := make(chan struct{})
	f := &traffic{url: url, mark: mark}
	var running sync.WaitGroup
	places := make(chan struct{}, maxRunning)
	running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
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
	req, err := http.NewRequest("GET", f.url, nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	f.mark(req)
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
	now, got := time.Now(), 0
	for got < n {
		eventually(t, func() bool {
			before := got
			got = len(f.between(now, time.Now()))
			return got > before
		}, func() string { return "the traffic stands still" })
	}
}
