// Package tooltest finds the programs that tests need beside Go.
package tooltest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Find returns the path of a program of Debian's package pkg. Without it the test
// is skipped, and says how to get it; with CI=true it fails.
func Find(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program) // not on everyone's path
	}
	if err != nil {
		Missing(t, fmt.Sprintf("%s is needed: apt-get install %s", program, pkg))
	}
	return path
}

// Missing skips the test for want of something, or with CI=true fails it.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
