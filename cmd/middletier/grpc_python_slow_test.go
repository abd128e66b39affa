//go:build slow

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"middletier/internal/testkit/tooltest"
)

// Python's gRPC library, which shares its core with C++, Ruby and PHP, makes calls
// of all kinds.
func TestSlowGRPCFromPython(t *testing.T) {
	python := tooltest.Find(t, "python3", "python3-venv")
	environment := filepath.Join(t.TempDir(), "venv")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v (Python needs python3-venv: apt-get install python3-venv)\n%s", filepath.Base(name), err, out)
		}
	}
	run(python, "-m", "venv", environment)
	python = filepath.Join(environment, "bin", "python")
	run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "../../clients/python/requirements.txt")

	api := newGRPCAPI(t, true)
	w := newWorld(t, api.inFront, func(f *file) { f.Server.H2C, f.Server.MaxBodySize = true, 1000 })
	run(python, "../../clients/python/grpc_calls.py", strings.TrimPrefix(w.url, "http://"), w.alice())
}
