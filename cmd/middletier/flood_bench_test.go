package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	floodRounds = 5
	floodSpan   = 6 * time.Second
	validRate   = 200   // requests a second with good tokens
	floodRate   = 5_000 // with garbage for tokens
	floodConns  = 64

	floodRequests = int(floodSpan / time.Second * validRate)
)

// BenchmarkFlood sends requests of known users, alone and together with many more
// with invalid tokens, and reports the known users' latency in both cases. It fails
// if one of them is not served. See docs/performance.md.
func BenchmarkFlood(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	s := startBenchServer(b, platform.CAPEM(), "middletier", "serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, "", ""))
	s.connect(b, benchRequests(platform, benchUsers))
	s.warmUp(b, benchWarmUp)
	fetches, exchanges := platform.Count("keys"), platform.Count("on_behalf_of")
	var garbage [][]byte
	for _, token := range garbageTokens(benchToken(platform, 0)) {
		garbage = append(garbage, fmt.Appendf(nil,
			"GET /api/todo/items HTTP/1.1\r\nHost: api.contoso.example\r\nAuthorization: Bearer %s\r\n\r\n", token))
	}
	var alone, flooded, ratios, costs []float64
	sent := new(atomic.Int64)
	for b.Loop() {
		for range floodRounds { // in turns, so that what else the machine does meets both alike
			start := s.used(b).CPU
			quiet := s.steady(b, validRate, floodRequests)
			between, before := s.used(b).CPU, sent.Load()
			ctx, stop := context.WithCancel(b.Context())
			var flood errgroup.Group
			for i := range floodConns {
				flood.Go(func() error { return s.flood(ctx, i, garbage[i*len(garbage)/floodConns:], sent) })
			}
			busy := s.steady(b, validRate, floodRequests)
			stop()
			if err := flood.Wait(); err != nil {
				b.Fatal(err)
			}
			costs = append(costs, float64(s.used(b).CPU-between-(between-start))/float64(sent.Load()-before))
			alone, flooded = append(alone, p99(quiet)), append(flooded, p99(busy))
			ratios = append(ratios, p99(busy)/p99(quiet))
		}
	}
	b.ReportMetric(median(alone), "p99-alone-ns")
	b.ReportMetric(median(flooded), "p99-flood-ns")
	b.ReportMetric(median(ratios), "x-p99")
	b.ReportMetric(median(costs), "cpu-ns/garbage")
	b.ReportMetric(float64(sent.Load())/(floodSpan.Seconds()*float64(len(alone))), "garbage/s")
	// A fetch is of the metadata and the keys of one version.
	b.ReportMetric(float64(platform.Count("keys")-fetches), "key-fetches")
	if n := platform.Count("on_behalf_of") - exchanges; n != 0 {
		b.Fatalf("%d exchanges while measuring, want none", n)
	}
}

func p99(sorted []time.Duration) float64 { return float64(sorted[len(sorted)*99/100]) }

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// steady sends n requests of known users at a rate a second. It returns how long each
// took from when it was due, shortest first, so that one that had to wait for another
// counts as slow.
func (s *benchServer) steady(b *testing.B, rate float64, n int) []time.Duration {
	b.Helper()
	start := time.Now()
	return s.send(b, n, func(i int) time.Time {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		return due
	})
}

// flood sends what falls to one of floodConns connections of floodRate, evenly
// spread, until ctx ends. Every answer must be a 401.
func (s *benchServer) flood(ctx context.Context, share int, requests [][]byte, sent *atomic.Int64) error {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	in, start := bufio.NewReader(conn), time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i*floodConns+share) * time.Second / floodRate)))
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("garbage was answered %s", resp.Status)
		}
		sent.Add(1)
	}
	return nil
}

// garbageTokens makes tokens that are refused at every depth: noise, claims that
// cannot be read, a key that nobody has, a signature that is not its own.
func garbageTokens(good string) []string {
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	noise := func(n int) string {
		data := make([]byte, n)
		_, _ = rand.Read(data) // it never fails
		return encode(data)
	}
	var tokens []string
	for range 400 {
		unknown := encode(fmt.Appendf(nil, `{"typ":"JWT","alg":"RS256","kid":%q}`, rand.Text()))
		tokens = append(tokens,
			noise(900),
			parts[0]+"."+noise(600)+"."+parts[2],
			unknown+"."+parts[1]+"."+noise(256),
			parts[0]+"."+parts[1]+"."+noise(256),
			noise(22<<10),
		)
	}
	return tokens
}
