package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// roles are what the test binary can be besides itself: it starts itself again,
// with roleVariable set, where a test needs a process of its own.
var roles = map[string]func() int{
	"middletier":       execute,
	"few-descriptors":  withDescriptors(fewDescriptors),
	"crowded":          crowded,
	"bench-middletier": counted(execute),
	"bench-quiet":      counted(execute),
	"bench-traced":     counted(execute),
	"bench-proxy":      counted(peer(func() error { return proxy(nil) })),
	"bench-pooled":     counted(peer(func() error { return proxy(newCopyBuffers()) })),
	"bench-obvious":    counted(peer(obvious)),
}

// fewDescriptors is enough to begin with.
const fewDescriptors = 64

// withDescriptors is the program, which may have so many files and connections.
func withDescriptors(n uint64) func() int {
	return func() int {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintf(os.Stderr, "%d descriptors are needed (ulimit -n): %v\n", n, err)
			return exitError
		}
		return execute()
	}
}

const roleVariable = "MIDDLETIER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		os.Exit(role())
	}
	os.Exit(m.Run())
}
