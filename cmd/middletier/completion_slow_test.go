//go:build slow

package main

import (
	"slices"
	"strings"
	"testing"

	"middletier/internal/testkit/tooltest"
)

func TestSlowFishCompletes(t *testing.T) {
	fish := tooltest.Find(t, "fish", "fish")
	t.Setenv("HOME", t.TempDir())
	script := completionScript(t, "fish")
	for _, row := range completions {
		if got := words(t, fish, "--no-config", "-c", "source "+script+"; complete -C '"+row.line+"'"); !slices.Equal(got, row.want) {
			t.Errorf("%q: got %q, want %q", row.line, got, row.want)
		}
	}
}

// zsh completes only in an interactive shell: functions in place of its own record
// what would be offered.
func TestSlowZshCompletes(t *testing.T) {
	zsh := tooltest.Find(t, "zsh", "zsh")
	script := completionScript(t, "zsh")
	for _, row := range []struct{ words, current, want string }{
		{"middletier ''", "2", "serve:Run"},
		{"middletier completion ''", "3", "1:"},
		{"middletier check ''", "3", "--online["},
	} {
		got := words(t, zsh, "-fc", "compdef() { : }; _describe() { print -l -- $commands }; _arguments() { print -l -- $@ }; "+
			"source "+script+"; words=("+row.words+"); CURRENT="+row.current+"; _middletier")
		if !slices.ContainsFunc(got, func(word string) bool { return strings.HasPrefix(word, row.want) }) {
			t.Errorf("%s: got %q, want one that begins with %q", row.words, got, row.want)
		}
	}
}
