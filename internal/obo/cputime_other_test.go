//go:build !unix

package obo_test

import "time"

// cpuTime is not measured elsewhere than on Unix.
func cpuTime() time.Duration { return 0 }
