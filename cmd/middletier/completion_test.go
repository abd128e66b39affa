package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"middletier/internal/testkit/tooltest"
)

// completionScript returns what "middletier completion SHELL" prints, in a file.
func completionScript(t *testing.T, shell string) string {
	t.Helper()
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"completion", shell}, streams{strings.NewReader(""), &out, &errs}); code != exitOK {
		t.Fatalf("completion %s: got %d %s", shell, code, errs.String())
	}
	path := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// words returns the first word of each line that a shell prints.
func words(t *testing.T, shell string, args ...string) (first []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shell, args...)
	cmd.Dir = t.TempDir()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, output)
	}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			first = append(first, fields[0])
		}
	}
	slices.Sort(first)
	return first
}

// completions are what a shell offers after some words.
var completions = []struct {
	line string
	want []string
}{
	{"middletier se", []string{"serve"}},
	{"middletier c", []string{"call", "check", "completion"}},
	{"middletier completion ", []string{"bash", "fish", "zsh"}},
	{"middletier completion z", []string{"zsh"}},
	{"middletier check --o", []string{"--online"}},
}

func TestBashCompletes(t *testing.T) {
	bash := tooltest.Find(t, "bash", "bash")
	script := completionScript(t, "bash")
	for _, row := range completions {
		set := "COMP_WORDS=(" + strings.ReplaceAll(row.line, " ", "' '") + ")"
		set = strings.NewReplacer("(", "('", ")", "')").Replace(set)
		got := words(t, bash, "-euc", "source "+script+"; "+set+
			"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _middletier; printf '%s\\n' \"${COMPREPLY[@]}\"")
		if !slices.Equal(got, row.want) {
			t.Errorf("%q: got %q, want %q", row.line, got, row.want)
		}
	}
}

func TestCompletionKnowsThreeShells(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"completion", "tcsh"}, streams{strings.NewReader(""), &out, &errs}); code != exitUsage ||
		out.Len() > 0 {
		t.Errorf("got %d %q, want %d and the usage on standard error", code, out.String(), exitUsage)
	}
	if !strings.Contains(errs.String(), `"bash","zsh","fish"`) {
		t.Errorf("got %s", errs.String())
	}
}
