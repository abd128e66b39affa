package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// roles are what the test binary can be besides itself: it starts itself again,
// with roleVariable set, where a test needs a process of its own.
var roles = map[string]func() int{
	"middletier":       middletier,
	"bench-middletier": counted(middletier),
	"bench-proxy":      counted(peer(func() error { return proxy(nil) })),
	"bench-pooled":     counted(peer(func() error { return proxy(newCopyBuffers()) })),
	"bench-obvious":    counted(peer(obvious)),
}

// middletier is the program itself.
func middletier() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
}

const roleVariable = "MIDDLETIER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		os.Exit(role())
	}
	os.Exit(m.Run())
}
