//go:build slow

package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// release runs make release on a copy of the source in a directory of its own,
// for one platform, and returns where it wrote.
func release(t *testing.T) string {
	t.Helper()
	source, dist := t.TempDir(), t.TempDir()
	for _, part := range []string{"cmd", "internal", "tools"} {
		if err := os.CopyFS(filepath.Join(source, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "make", "release",
		"PLATFORMS=linux/amd64", "DIST="+dist, "VERSION=v1.2.3", "COMMIT=0123456789abcdef")
	cmd.Dir = source
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, output)
	}
	return dist
}

// Two builds of the same source give the same bytes, and the SBOM names what is in
// the binary.
func TestSlowReleaseIsReproducible(t *testing.T) {
	requireTools(t, "make", "sha256sum")
	first, second := release(t), release(t)
	const binary = "middletier-linux-amd64"
	for _, dist := range []string{first, second} {
		check := exec.CommandContext(t.Context(), "sha256sum", "--check", "SHA256SUMS")
		check.Dir = dist
		if output, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	}
	for _, name := range []string{binary, binary + ".cdx.json", "SHA256SUMS"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s: two builds differ: %v %v", name, errA, errB)
		}
	}
	checkSBOM(t, filepath.Join(first, binary))
}

// checkSBOM compares a binary's SBOM with the modules that Go says are in it.
func checkSBOM(t *testing.T, binary string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(binary + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &sbom); err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for _, c := range sbom.Components {
		named[c.Name] = c.Version
	}
	if named["std"] == "" {
		t.Error("the SBOM does not name the standard library")
	}
	for _, m := range info.Deps {
		if named[m.Path] != m.Version {
			t.Errorf("%s: the SBOM has version %q, the binary %q", m.Path, named[m.Path], m.Version)
		}
	}
	if len(info.Deps) < 10 {
		t.Errorf("got %d modules in the binary", len(info.Deps))
	}
}
