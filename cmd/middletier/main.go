// Command middletier is a middle-tier web API for Microsoft Entra: it checks the
// caller's token, exchanges it for a token for the downstream API, and forwards the
// call.
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

func main() { os.Exit(execute()) }

// execute runs the program with its arguments, streams and signals.
func execute() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go cancelOnSignal(signals, cancel)
	return run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
}

// cancelOnSignal calls cancel at the first signal, for a graceful shutdown. At the
// second signal it ends the process with the signal's default action. It lasts
// as long as the process.
func cancelOnSignal(signals <-chan os.Signal, cancel func()) {
	<-signals
	cancel()
	second := <-signals
	signal.Reset(second)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Signal(second) // an error leaves nothing else to do
	}
}

// commands is the command line.
type commands struct {
	Serve      serveCommand      `cmd:"" help:"Run the service."`
	Demo       demoCommand       `cmd:"" help:"Run everything on this machine, with nothing to configure: an identity platform, a ToDo API and the service."`
	Check      checkCommand      `cmd:"" help:"Report every mistake in a configuration; with --online, try the provider, the credentials, Redis and the APIs."`
	Call       callCommand       `cmd:"" help:"Call an API as the application itself, and print its answer."`
	Import     importCommand     `cmd:"" help:"Turn the configuration of another program into config.yaml: an appsettings.json, a .env, a parameters.json."`
	Mock       mockCommand       `cmd:"" help:"Run only the identity platform, for integration tests."`
	Completion completionCommand `cmd:"" help:"Print a script for completion in a shell."`
	Version    versionCommand    `cmd:"" help:"Print version, commit and Go version."`

	ShowVersion versionFlag `name:"version" help:"Print version, commit and Go version."`
}

// versionFlag is the command version in the form of a flag.
type versionFlag bool

// BeforeReset is called by kong before it checks anything else.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := printVersion(app.Stdout); err != nil {
		return err
	}
	app.Exit(exitOK)
	return nil
}

// streams are the standard streams of the program.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command is implemented by every command.
type command interface {
	run(ctx context.Context, std streams) error
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	var cli commands
	helpShown := false
	parser, err := kong.New(&cli, kong.Name("middletier"),
		kong.Description("A middle tier for Microsoft Entra: validates a caller's token, "+
			"exchanges it for a token for a downstream API, and forwards the call."),
		kong.Writers(std.out, std.err), kong.Exit(func(int) { helpShown = true }))
	if err != nil {
		fmt.Fprintln(std.err, "middletier:", err)
		return exitError
	}
	parsed, err := parser.Parse(helpAsFlag(args))
	if helpShown {
		return exitOK
	}
	var parseErr *kong.ParseError
	if errors.As(err, &parseErr) {
		fmt.Fprintf(std.err, "middletier: %s\nRun \"%s --help\" for help.\n", usageMistake(parseErr), commandName(parseErr.Context))
		return exitUsage
	}
	cmd := parsed.Selected().Target.Interface().(command)
	if err := cmd.run(ctx, std); err != nil {
		if !errors.Is(err, errAlreadyReported) {
			fmt.Fprintln(std.err, err)
		}
		return exitError
	}
	return exitOK
}

type versionCommand struct{}

func (versionCommand) run(_ context.Context, std streams) error { return printVersion(std.out) }

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "middletier %s, commit %s, %s\n", version, revision(), runtime.Version())
	return err
}

// revision is the commit that the program was built from, or unknown.
func revision() string {
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
	return revision
}
