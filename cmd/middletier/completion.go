package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCommand prints a script that makes a shell complete the command line.
// The script is written from kong's model: kong has no completion of its own, and
// the libraries that add it (kongplete, kong-completion) are no longer maintained.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown below the usage.
func (completionCommand) Help() string {
	return `For bash, add to ~/.bashrc:                     source <(middletier completion bash)
For zsh, add to ~/.zshrc, after compinit:       source <(middletier completion zsh)
For fish, add to ~/.config/fish/config.fish:    middletier completion fish | source`
}

func (c completionCommand) run(_ context.Context, std streams) error {
	parser, err := kong.New(&commands{}, kong.Name("middletier"))
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer, []*kong.Node){"bash": writeBash, "zsh": writeZsh, "fish": writeFish}[c.Shell]
	var script strings.Builder
	write(&script, parser.Model.Children)
	_, err = io.WriteString(std.out, script.String())
	return err
}

// writeBash completes commands, their flags and the choices of their argument. If nothing
// matches, bash completes file names.
func writeBash(w io.Writer, commands []*kong.Node) {
	var names, cases []string
	for _, c := range commands {
		names = append(names, c.Name)
		words := choicesOf(c)
		for _, f := range flagsOf(c) {
			words = append(words, "--"+f.Name)
			if f.Short != 0 {
				words = append(words, "-"+string(f.Short))
			}
		}
		cases = append(cases, fmt.Sprintf("  %s) words=%s ;;\n", c.Name, quoteShell(strings.Join(words, " "))))
	}
	fmt.Fprintf(w, `_middletier() {
  local current=${COMP_WORDS[COMP_CWORD]} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W %s -- "$current"))
    return
  fi
  case ${COMP_WORDS[1]} in
%s  esac
  case $current in
  -*) ;;
  *) words=$(printf '%%s\n' $words | grep -v '^-') ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _middletier middletier
`, quoteShell(strings.Join(names, " ")), strings.Join(cases, ""))
}

// writeZsh lets zsh's own _arguments do the work.
func writeZsh(w io.Writer, commands []*kong.Node) {
	fmt.Fprint(w, "#compdef middletier\n_middletier() {\n  local -a commands\n  commands=(\n")
	for _, c := range commands {
		fmt.Fprintf(w, "    %s\n", quoteShell(c.Name+":"+strings.ReplaceAll(c.Help, ":", `\:`)))
	}
	fmt.Fprint(w, "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n"+
		"  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $command in\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %s) _arguments", c.Name)
		for _, f := range flagsOf(c) {
			value := ""
			if !f.IsBool() {
				value = ":value:_files"
			}
			help := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Help)
			fmt.Fprintf(w, " %s", quoteShell("--"+f.Name+"["+help+"]"+value))
		}
		if choices := choicesOf(c); len(choices) > 0 {
			fmt.Fprintf(w, " %s", quoteShell("1: :("+strings.Join(choices, " ")+")"))
		}
		fmt.Fprint(w, " ;;\n")
	}
	fmt.Fprint(w, "  esac\n}\ncompdef _middletier middletier\n")
}

// writeFish writes one line for each command, flag and choice.
func writeFish(w io.Writer, commands []*kong.Node) {
	for _, c := range commands {
		fmt.Fprintf(w, "complete -c middletier -f -n __fish_use_subcommand -a %s -d %s\n", c.Name, quoteFish(c.Help))
	}
	for _, c := range commands {
		within := fmt.Sprintf("complete -c middletier -n '__fish_seen_subcommand_from %s'", c.Name)
		for _, f := range flagsOf(c) {
			line := within + " -l " + f.Name
			if f.Short != 0 {
				line += " -s " + string(f.Short)
			}
			if !f.IsBool() {
				line += " -r"
			}
			fmt.Fprintf(w, "%s -d %s\n", line, quoteFish(f.Help))
		}
		if choices := choicesOf(c); len(choices) > 0 {
			fmt.Fprintf(w, "%s -f -a %s\n", within, quoteFish(strings.Join(choices, " ")))
		}
	}
}

// flagsOf returns the flags that may follow a command.
func flagsOf(c *kong.Node) (flags []*kong.Flag) {
	for _, group := range c.AllFlags(true) {
		flags = append(flags, group...)
	}
	return flags
}

// choicesOf returns the allowed values of a command's first argument, if it is an enum.
func choicesOf(c *kong.Node) []string {
	if len(c.Positional) == 0 || c.Positional[0].Enum == "" {
		return nil
	}
	return strings.Split(c.Positional[0].Enum, ",")
}

func quoteShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func quoteFish(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
