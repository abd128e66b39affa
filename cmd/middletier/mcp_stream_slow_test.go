//go:build slow

package main

import (
	"testing"
	"time"
)

// Nothing on the way takes a stream for dead that is silent for two minutes.
func TestSlowMCPStreamsAreSilentForMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withMCP)
	w.api.handle(serveStreams(2 * time.Minute))
	w.wantStreams(t)
}
