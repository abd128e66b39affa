//go:build slow

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Python's gRPC library, which shares its core with C++, Ruby and PHP, makes calls
// of all kinds.
func TestSlowGRPCFromPython(t *testing.T) {
	api := newGRPCAPI(t, true)
	w := newWorld(t, api.inFront, func(f *file) { f.Server.H2C, f.Server.MaxBodySize = true, 1000 })
	runClient(t, pythonClient(t, filepath.Join(python, "grpc_calls.py"), strings.TrimPrefix(w.url, "http://"), w.alice()))
}
