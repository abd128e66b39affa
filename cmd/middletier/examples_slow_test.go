//go:build slow

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The examples of docs/integration-testing.md run as they are there, but for the ports, and
// print what the page says. The one in C# is not run.
func TestSlowExamplesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/integration-testing.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{} // and what they print, in json
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		examples[block[1]] = block[2]
	}
	modules, err := filepath.Abs(filepath.Join(javascript, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]struct {
		file    string
		command func(t *testing.T, s *stack, path string) *exec.Cmd
	}{
		"go": {"example.go", func(t *testing.T, s *stack, path string) *exec.Cmd {
			return withEnvironment(exec.CommandContext(t.Context(), "go", "run", path), "SSL_CERT_FILE="+s.ca)
		}},
		"javascript": {"example.mjs", func(t *testing.T, s *stack, path string) *exec.Cmd {
			node := javascriptClients(t)
			if err := os.Symlink(modules, filepath.Join(filepath.Dir(path), "node_modules")); err != nil {
				t.Fatal(err)
			}
			return withEnvironment(exec.CommandContext(t.Context(), node, path), "NODE_EXTRA_CA_CERTS="+s.ca)
		}},
		"python": {"example.py", func(t *testing.T, s *stack, path string) *exec.Cmd {
			return withEnvironment(pythonClient(t, path), "REQUESTS_CA_BUNDLE="+s.ca)
		}},
		"java": {"Example.java", func(t *testing.T, s *stack, path string) *exec.Cmd {
			return s.javaClient(t, path)
		}},
	}
	for _, language := range slices.Sorted(maps.Keys(programs)) {
		t.Run(language, func(t *testing.T) {
			s := startStack(t)
			program := strings.NewReplacer("https://127.0.0.1:9443", s.platform, "http://127.0.0.1:8080", s.service).Replace(examples[language])
			path := filepath.Join(t.TempDir(), programs[language].file)
			writeTo(t, path, program)
			command := programs[language].command(t, s, path)
			var complaints strings.Builder
			command.Stderr = &complaints
			out, err := command.Output()
			if got, want := strings.TrimSpace(string(out)), strings.TrimSpace(examples["json"]); err != nil || got != want {
				t.Errorf("got %s (%v), want %s\n%s", got, err, want, complaints.String())
			}
		})
	}
}

// withEnvironment adds variables to those that a program gets.
func withEnvironment(program *exec.Cmd, variables ...string) *exec.Cmd {
	program.Env = append(program.Environ(), variables...)
	return program
}
