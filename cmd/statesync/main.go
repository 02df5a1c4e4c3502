// Command statesync is the operator's tool: it shows what is in a region, what
// was, and how the daemon is doing, has the daemon go back, checks a directory of
// configs before they are committed, and signs bundles of them.
//
// It never writes a region: it asks the daemon for changes. It exits with 0 if all is
// well, with 1 if the answer is no, and with 64 if it was called wrongly; diff exits with
// 1 for a difference and with 2 for an error. Results go to the standard output; errors
// and summaries go to the standard error. Text from a region that a terminal could take
// for a command is shown as an escape.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/cmd/internal/cli"
)

// The exit codes.
const (
	exitOK = 0
	exitNo = 1
)

func main() { os.Exit(start()) }

func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
}

// errNo is the error of a command whose output says already that the answer is
// no.
var errNo = errors.New("no")

// usageError is a mistake in the call itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// run is the whole program: one command, and its exit code.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	a := &app{env: env, stdin: os.Stdin, stdout: stdout, stderr: stderr}
	root := a.command()
	if args == nil {
		args = []string{} // nil would mean this process's own
	}
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNo):
		return exitNo
	case !a.running, errors.As(err, new(usageError)):
		// What cobra says may continue with suggestions, on lines of their own.
		fmt.Fprintf(stderr, "statesync: %s\n", escapeLines(strings.TrimSpace(err.Error())))
		fmt.Fprintf(stderr, "Run '%s --help' to see how it is used.\n", command.CommandPath())
		return cli.ExitUsage
	}
	for _, err := range parts(err) {
		fmt.Fprintf(stderr, "statesync: %s\n", escape(err.Error()))
	}
	var coded exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitNo
}

// parts takes an error apart that errors.Join made.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, parts(err)...)
	}
	return all
}
