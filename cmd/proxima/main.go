// Command proxima is a global traffic router for model inference.
//
// This package is the only place where the parts of Proxima meet, and the only
// one that starts process-level goroutines. Each subcommand has a file of its
// own; service.go joins the parts into a router, serve.go runs it and reload.go
// changes it while it runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"proxima/admin"
	"proxima/configs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes. 5, partly done, says that streams were cut when the router stopped.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitConfig   = 3
	exitNoAccess = 4
	exitPartly   = 5
	exitTimedOut = 6
)

// app is what a subcommand may use of the world.
type app struct {
	env    func(string) (string, bool)
	stdin  io.Reader
	stdout io.Writer // data
	stderr io.Writer // progress and errors
}

// exit is an error that decides the exit code. Its text was not printed yet.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

func usage(format string, about ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, about...)}
}

// run is the program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "proxima:", text)
	}
	if errors.Is(err, admin.ErrUnreachable) {
		fmt.Fprintln(stderr, "Is proxima serve running there? If its admin.listen is another address, say --server URL.")
	}
	return codeOf(err)
}

func codeOf(err error) int {
	var e *exit
	var problems configs.Problems
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &problems):
		return exitConfig
	case errors.Is(err, admin.ErrUnreachable), errors.Is(err, admin.ErrUnauthorised):
		return exitNoAccess
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimedOut
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "proxima",
		Short: "Send each inference request to the region whose first token comes soonest",
		Long: "Proxima is a global traffic router for model inference: one URL for the whole world, each\n" +
			"request answered by the nearest healthy regional model endpoint, and by the next one when\n" +
			"that fails.\n\nTry it: proxima demo",
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		Args:                       noArgs,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w\nSee %s --help.", err, cmd.CommandPath())
	})
	root.AddCommand(
		a.demoCommand(),
		a.serveCommand(),
		a.validateCommand(),
		a.explainCommand(),
		a.statusCommand(),
		a.geoCommand(),
		a.simulateCommand(),
		a.versionCommand(),
	)
	return root
}

// noArgs refuses words that no flag asked for.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasParent() {
		names := cmd.SuggestionsFor(args[0])
		if len(names) > 0 {
			return usage("unknown command %q: did you mean %q?", args[0], names[0])
		}
		return usage("unknown command %q: see proxima --help", args[0])
	}
	return usage("unexpected %q: %s takes no arguments; see %[2]s --help", args[0], cmd.CommandPath())
}
