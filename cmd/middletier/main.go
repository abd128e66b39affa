// Command middletier is a middle-tier web API for Microsoft Entra: it checks the
// caller's token, trades it for one for the API behind it, and forwards the call.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// version and commit are stamped by the linker: -X main.version=… -X main.commit=…
var (
	version = "dev"
	commit  = ""
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands is the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the service."`
	Demo    demoCommand    `cmd:"" help:"Run everything on this machine, with nothing to configure: an identity platform, a ToDo API and the service."`
	Version versionCommand `cmd:"" help:"Print version, commit and Go version."`
}

// command is what every command can do.
type command interface {
	run(ctx context.Context, stdout io.Writer) error
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var cli commands
	helped := false
	parser, err := kong.New(&cli, kong.Name("middletier"),
		kong.Description("A middle tier for Microsoft Entra: checks a caller's token, trades it for one for the API behind it, and forwards the call."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }))
	if err != nil {
		fmt.Fprintln(stderr, "middletier:", err)
		return exitError
	}
	chosen, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		fmt.Fprintf(stderr, "middletier: %v\n\n", wrong)
		parser.Stdout = stderr
		_ = wrong.Context.PrintUsage(false) // to standard error: nothing more can be done
		return exitUsage
	}
	cmd := chosen.Selected().Target.Interface().(command)
	if err := cmd.run(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

type versionCommand struct{}

func (versionCommand) run(_ context.Context, stdout io.Writer) error {
	revision := commit
	if info, ok := debug.ReadBuildInfo(); ok && revision == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if revision == "" {
		revision = "unknown"
	}
	_, err := fmt.Fprintf(stdout, "middletier %s, commit %s, %s\n", version, revision, runtime.Version())
	return err
}
