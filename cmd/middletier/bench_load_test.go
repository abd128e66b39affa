package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

const (
	// capacityRequests are enough to see how many requests a second our service answers.
	capacityRequests = 5000

	// loadShare is the load, as a part of that.
	loadShare = 0.8
)

// BenchmarkLoad compares latencies at 80 % load: requests are due at fixed times, and latency
// counts from when a request was due. In each round, the service first shows how many requests
// a second it answers to callers that wait for each answer. Then the proxy and the service get
// 0.8 of that, both the same, although the proxy could answer more. The load takes its share
// of the machine in all three.
func BenchmarkLoad(b *testing.B) {
	servers, _ := startLoadServers(b)
	service := servers[1]
	for round := range benchRounds {
		start := time.Now()
		service.load(b, capacityRequests)
		rate := loadShare * capacityRequests / time.Since(start).Seconds()
		highest := map[string]float64{}
		for _, s := range servers {
			ok := b.Run(fmt.Sprintf("server=%s/round=%d", s.name, round), func(b *testing.B) {
				latencies := s.steady(b, rate, b.N)
				highest[s.name] = p99(latencies)
				b.ReportMetric(float64(latencies[b.N/2]), "p50-ns")
				b.ReportMetric(highest[s.name], "p99-ns")
				b.ReportMetric(rate, "requests/s")
				if floor := highest["pooled"]; floor > 0 { // -bench did not leave it out
					b.ReportMetric(highest[s.name]/floor, "x-pooled-p99")
				}
			})
			if !ok {
				return
			}
		}
	}
}

// BenchmarkRates measures what a request costs a server that has less to do than it could. Each
// then costs more, probably because the caches of its core hold something else by then and threads
// must be woken. The proxy and the service get requests at the same rate. Sleep ends on whole
// milliseconds in a process that is idle otherwise, so the requests of a millisecond come together.
func BenchmarkRates(b *testing.B) {
	servers, platform := startLoadServers(b)
	for _, rate := range []float64{8000, 4000, 2000} {
		b.Run(fmt.Sprintf("rate=%.0f", rate), func(b *testing.B) {
			for _, s := range servers {
				s.rate = rate
			}
			takeTurns(b, platform, "server", servers, besideProxies)
		})
	}
}

// startLoadServers starts the proxy with a BufferPool and our service, in this order, and warms
// them up with benchUsers users.
func startLoadServers(b *testing.B) ([]*benchServer, *mockidp.Server) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	requests := benchRequests(platform, benchUsers)
	args := map[string][]string{
		"pooled":     {api.URL, platform.UserToken(benchUser(0), "middletier", "todo")},
		"middletier": {"serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, "", "")},
	}
	return startWithPooled(b, platform.CAPEM(), args, func(s *benchServer) {
		s.connect(b, requests)
		s.warmUp(b, benchWarmUp)
	}), platform
}
