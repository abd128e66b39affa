package main

import (
	"os"
	"testing"
)

// roles are what the test binary can be besides itself: it starts itself again,
// with roleVariable set, where a test needs a process of its own.
var roles = map[string]func() int{
	"middletier":       execute,
	"bench-middletier": counted(execute),
	"bench-quiet":      counted(execute),
	"bench-traced":     counted(execute),
	"bench-proxy":      counted(peer(func() error { return proxy(nil) })),
	"bench-pooled":     counted(peer(func() error { return proxy(newCopyBuffers()) })),
	"bench-bare":       counted(peer(bare)),
	"bench-grown":      counted(peer(grown)),
	"bench-obvious":    counted(peer(obvious)),
}

// fewDescriptors is enough to begin with.
const fewDescriptors = 64

const roleVariable = "MIDDLETIER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		os.Exit(role())
	}
	// A process with the race detector waits for a second at its end, in case of a
	// last report. Those that tests start in their hundreds do not.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	os.Exit(m.Run())
}
