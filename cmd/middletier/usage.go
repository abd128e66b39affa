package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"middletier/internal/config"
	"middletier/internal/diagnosis"
)

// helpAsFlag replaces the word help by the flag, such as in "help serve" and "serve help".
func helpAsFlag(args []string) []string {
	switch {
	case len(args) > 0 && args[0] == "help":
		if len(args) > 1 {
			return []string{args[1], "--help"}
		}
		return []string{"--help"}
	case len(args) == 2 && args[1] == "help":
		return []string{args[0], "--help"}
	}
	return args
}

// commandName is the command line up to the command.
func commandName(c *kong.Context) string {
	if selected := c.Selected(); selected != nil {
		return "middletier " + selected.Name
	}
	return "middletier"
}

// usageMistake explains a mistake in a command line in one line. For an unknown flag or
// command it names the nearest one.
func usageMistake(e *kong.ParseError) string {
	node := e.Context.Selected()
	if node == nil {
		node = e.Context.Model.Node
	}
	text := e.Error()
	if flag, ok := strings.CutPrefix(text, "unknown flag "); ok {
		flag, _, _ = strings.Cut(flag, ",")
		var names []string
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				names = append(names, f.Name)
			}
		}
		nearest := config.Closest(strings.TrimLeft(flag, "-"), names)[0]
		return fmt.Sprintf("unknown flag %s; did you mean --%s?", diagnosis.Clean(flag, 100), nearest)
	}
	if _, ok := strings.CutPrefix(text, "unexpected argument "); ok && len(node.Children) > 0 {
		word, _, _ := strings.Cut(strings.TrimPrefix(text, "unexpected argument "), ",")
		var names []string
		for _, child := range node.Children {
			names = append(names, child.Name)
		}
		return fmt.Sprintf("unknown command %q; did you mean %q?", diagnosis.Clean(word, 100), config.Closest(word, names)[0])
	}
	return diagnosis.Clean(text, 400)
}
