package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkSidecar compares what the routes of the sidecar listener cost with a forwarded call
// of the same process: the users' tokens, and their tokens for the API, were seen before. See
// docs/performance.md.
func BenchmarkSidecar(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	side := "127.0.0.1:" + freePorts(b, 1)[0]
	more := filepath.Join(b.TempDir(), "sidecar.yaml")
	if err := os.WriteFile(more, []byte("server: {sidecarAddress: \""+side+"\"}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	forward := startBenchServer(b, platform, "middletier", "serve",
		"--config", benchConfig(b, platform.URL(), secret, api.URL, "", ""), "--config", more)
	forward.name = "api"
	requests := benchRequests(platform, benchUsers)
	forward.connect(b, requests)
	forward.warmUp(b)
	awaitListener(b, side)
	routes := []*benchServer{forward}
	for _, route := range []struct{ name, line string }{
		{"header", "GET /AuthorizationHeader/todo"},
		{"validate", "GET /Validate"},
		{"call", "POST /DownstreamApi/todo?optionsOverride.RelativePath=items"},
	} {
		s := &benchServer{
			name: route.name, address: side, ask: forward.ask, answers: forward.answers, // of the one process
			accepts: func(size int64) bool { return size > 1000 },
		}
		s.connect(b, besideRequests(route.line, requests))
		s.warmUp(b)
		routes = append(routes, s)
	}
	exchanges := platform.Count("on_behalf_of")
	if exchanges != benchUsers {
		b.Fatalf("%d exchanges of %d users, want one for each", exchanges, benchUsers)
	}
	for round := range benchRounds {
		forwarded := 0.0
		for _, s := range routes {
			ok := b.Run(fmt.Sprintf("route=%s/round=%d", s.name, round), func(b *testing.B) {
				cpu := s.measure(b)
				if s == forward {
					forwarded = cpu
				}
				if forwarded > 0 { // -bench did not leave it out
					b.ReportMetric(cpu/forwarded, "x-api")
				}
			})
			if !ok {
				return
			}
		}
	}
	if after := platform.Count("on_behalf_of"); after != exchanges {
		b.Fatalf("%d exchanges while measuring, want none", after-exchanges)
	}
}

// besideRequests are requests of the same users to the sidecar listener, by method and target.
func besideRequests(line string, requests [][]byte) [][]byte {
	beside := make([][]byte, len(requests))
	for i, request := range requests {
		_, rest, _ := bytes.Cut(request, []byte("Host: api.contoso.example\r\n"))
		beside[i] = fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: localhost\r\n%s", line, rest)
	}
	return beside
}

// awaitListener waits until something listens.
func awaitListener(b *testing.B, address string) {
	b.Helper()
	for end := time.Now().Add(benchAnswer); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close() // it was only to see whether it opens
			return
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}
