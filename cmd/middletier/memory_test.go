package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"middletier/internal/obo"
)

const (
	memoryUsers = 1_000_000

	// memoryBeside is how much, in bytes, the process may grow beside
	// tokenCache.maxSize.
	memoryBeside = 64 << 20
)

// runProgram runs the program without listeners until the benchmark ends.
func runProgram(b *testing.B, f file) (*program, context.Context) {
	p, err := build(b.Context(), f, swiftPlatform{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- p.run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return p, ctx
}

// BenchmarkMemoryOfAMillionUsers measures what the program holds while a million
// users come whose tokens do not all fit. It is to run once, whatever b.N is.
func BenchmarkMemoryOfAMillionUsers(b *testing.B) {
	f := demoConfig("https://login.example", "https://todo.example", testSecret)
	before, err := resident()
	if err != nil {
		b.Fatal("memory is measured on Linux: ", err)
	}
	p, ctx := runProgram(b, f)
	var next, peak atomic.Int64
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for n := next.Add(1); n <= memoryUsers; n = next.Add(1) {
				if n%1000 == 0 {
					now, err := resident()
					if err != nil {
						return err
					}
					peak.Store(max(peak.Load(), now-before)) // two of these at once differ by little
				}
				a := memoryAssertion(fmt.Sprint("the token of user ", n), fmt.Sprint(n))
				if _, err := p.cache.OnBehalfOf(ctx, a, []string{"api://todo/.default"}, obo.Challenge{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	after, err := resident()
	if err != nil {
		b.Fatal(err)
	}
	stats, most := p.cache.Stats(), int64(f.TokenCache.MaxSize)+memoryBeside
	b.ReportMetric(float64(peak.Load())/(1<<20), "peak-MiB")
	for unit, n := range map[string]int64{"heap-MiB": int64(memory.HeapInuse), "held-MiB": after - before} {
		b.ReportMetric(float64(n)/(1<<20), unit)
		if n > most {
			b.Errorf("%.0f %s, want %d at the most", float64(n)/(1<<20), unit, most>>20)
		}
	}
	if all := int64(stats.Entries) + stats.Evictions; all != memoryUsers {
		b.Errorf("%d tokens are in memory or were evicted, want %d", all, memoryUsers)
	}
}

// memoryAssertion is the token of a user, as it is after it was verified.
func memoryAssertion(token, user string) obo.Assertion {
	return obo.Assertion{
		Token: token, Digest: sha256.Sum256([]byte(token)), TenantID: demoTenant,
		ObjectID: user, Expires: time.Now().Add(24 * time.Hour),
	}
}

// resident is what the process holds of the machine's memory, in bytes (proc(5),
// /proc/pid/statm).
func resident() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int64
	_, err = fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize()), err
}

// swiftPlatform plays the identity platform in this process. It takes no time, and
// gives everyone a token of 2 KB.
type swiftPlatform struct{}

var swiftToken = fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":%q}`, strings.Repeat("x", 2048))

func (swiftPlatform) RoundTrip(r *http.Request) (*http.Response, error) {
	body := swiftToken
	if r.Method == http.MethodGet {
		base := "https://login.example/" + demoTenant
		body = fmt.Sprintf(
			`{"issuer":"%s/v2.0","authorization_endpoint":"%[1]s/oauth2/v2.0/authorize","token_endpoint":"%[1]s/oauth2/v2.0/token"}`, base)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}
