package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"middletier/internal/obo"
)

const memoryAgentUsers = 10_000

// BenchmarkMemoryOfAgentUsers measures what 10,000 tokens hold in memory: of users who call,
// of the users of few agents, and of agents with one user each. It is to run once.
func BenchmarkMemoryOfAgentUsers(b *testing.B) {
	scopes := []string{"api://todo/.default"}
	agent := func(n int) string { return fmt.Sprintf("a9a9a9a9-0000-4000-8000-%012d", n) }
	as := func(n, agents int) obo.Request {
		return obo.Request{Agent: obo.Agent{ID: agent(n % agents), User: fmt.Sprintf("a9a9a9a9-0000-4000-9000-%012d", n)}, Scopes: scopes}
	}
	for _, row := range []struct {
		name    string
		request func(n int) obo.Request
		entries int
	}{
		{"users", func(n int) obo.Request {
			user := memoryAssertion(fmt.Sprint("the token of user ", n), fmt.Sprint(n))
			return obo.Request{Scopes: scopes, User: &user}
		}, memoryAgentUsers},
		{"agents=100", func(n int) obo.Request { return as(n, 100) }, memoryAgentUsers + 2*100},
		{"agents=10000", func(n int) obo.Request { return as(n, memoryAgentUsers) }, 3 * memoryAgentUsers},
	} {
		b.Run(row.name, func(b *testing.B) { measureTokens(b, row.request, row.entries) })
	}
}

// measureTokens gets memoryAgentUsers tokens, and reports the heap that each took.
func measureTokens(b *testing.B, request func(n int) obo.Request, entries int) {
	p, ctx := runProgram(b, demoConfig("https://login.example", "https://todo.example", testSecret))
	before := heap()
	var next atomic.Int64
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for n := int(next.Add(1)); n <= memoryAgentUsers; n = int(next.Add(1)) {
				if _, err := p.cache.Token(ctx, request(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	stats := p.cache.Stats()
	b.ReportMetric(float64(int64(heap())-int64(before)+preallocated)/memoryAgentUsers/(1<<10), "KiB/user")
	b.ReportMetric(float64(stats.Entries)/memoryAgentUsers, "entries/user")
	if stats.Entries != entries {
		b.Errorf("%d tokens are in memory, want %d", stats.Entries, entries)
	}
}

// preallocated is the part of the token cache that is there before the first token, in bytes.
const preallocated = 16 << 20

// heap is what lives on the heap.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}
