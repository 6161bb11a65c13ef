// Package cli is the commands of mm, but for serve and agent, which cmd/mm adds.
// One command is one file: its options, its constructor, its run.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/spec"
)

// Exit codes of mm.
const (
	ExitOK          = 0
	ExitFailed      = 1   // it was tried, and failed
	ExitUsage       = 2   // the command line is wrong; nothing was tried
	ExitRejected    = 3   // a job ended, but rows were rejected
	ExitInvalid     = 4   // a model, a file or rows are invalid
	ExitUnavailable = 5   // no server, or the model can't answer now
	ExitInterrupted = 130 // Ctrl-C
)

// Streams are what a command reads from and writes to.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// global holds the flags that every command has.
type global struct {
	Streams
	server string
	from   filesOptions // of the commands that prepare models

	secrets Secrets // of the same
	token   credentials
	output  string
}

func (g *global) client() (*client.Client, error) {
	return client.New(g.server, client.WithTokenSource(g.token.source(g.Streams)))
}

// usageError is a command line that can't be understood.
type usageError struct{ error }

// misused is an error that is the command line's fault, if it is one of a bad
// request: a revision that isn't there, say.
func misused(err error) error {
	if modelmanager.CodeOf(err) == modelmanager.CodeBadRequest {
		return usageError{err}
	}
	return err
}

// rejectedError ends a job some of whose rows were rejected.
type rejectedError struct{ error }

// invalidError is a model that can't be what its model.yaml says, whatever the
// reason: its own code failed, or took too long.
type invalidError struct{ error }

func (e invalidError) Unwrap() error { return e.error }

// errReported ends a command that has said already what was wrong.
var errReported = errors.New("reported")

// NewRoot makes the mm command with its subcommands, and with more of them from
// the program that can do more.
func NewRoot(streams Streams, more ...*cobra.Command) *cobra.Command {
	g := &global{Streams: streams}
	root := &cobra.Command{
		Use:   "mm",
		Short: "Model Manager: a folder with a model.yaml becomes a product",
		Long: `Model Manager turns a folder with a model.yaml into a model that answers in
real time and in batch, through one API.

Exit codes: 0 done; 1 failed; 2 wrong command line; 3 a job ended, but rows were
rejected; 4 a model, file or row is invalid; 5 no server, or the model can't
answer now; 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	flags := root.PersistentFlags()
	flags.StringVar(&g.server, "server", fromEnv("MM_SERVER", "http://127.0.0.1:8080"), "the server's address; $MM_SERVER")
	flags.StringVar(&g.token.token, "token", "", "bearer token, which other users of this machine may see; $MM_TOKEN")
	flags.StringVar(&g.token.file, "token-file", "", "file with a bearer token, read again for each call; $MM_TOKEN_FILE; or $MM_TOKEN_COMMAND prints one")
	flags.StringVarP(&g.output, "output-format", "o", "table", "table, for people, or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if g.token.token != "" && g.token.file != "" {
			return usageError{errors.New("give --token or --token-file, not both")}
		}
		g.token.fromEnvironment()
		if g.output != "table" && g.output != "json" {
			return usageError{errors.New("-o is table or json")}
		}
		return nil
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newModels(g), newPredict(g), newJobs(g), newLogs(g),
		newInit(g), newValidate(g), newComment(g), newPublish(g), newExport(g), newRestore(g), newSchema(g), newVersion(g),
	)
	root.AddCommand(more...)
	group(root)
	g.completeModels(root)
	return root
}

// group makes a command that only holds others name the nearest of them when it
// is asked for one that there isn't, and show its help without one.
func group(command *cobra.Command) {
	command.Args = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range command.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		hint := command.CommandPath() + " --help lists what there is"
		if near := spec.Nearest(args[0], names); near != "" {
			hint = "did you mean " + near + "?"
		}
		return usageError{fmt.Errorf("%s has no command %q; %s", command.CommandPath(), args[0], hint)}
	}
	command.RunE = func(command *cobra.Command, _ []string) error { return command.Help() }
}

// ExitCode is what mm exits with after err.
func ExitCode(err error) int {
	var usage usageError
	var rejected rejectedError
	var invalid invalidError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &rejected):
		return ExitRejected
	case errors.As(err, &invalid):
		return ExitInvalid
	}
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeInvalidSpec, modelmanager.CodeInvalidRows, modelmanager.CodeInvalidInput,
		modelmanager.CodeMissingColumn, modelmanager.CodeRowDependent, modelmanager.CodeInvalidPredictions:
		return ExitInvalid
	case modelmanager.CodeRejectedRows:
		return ExitRejected
	case modelmanager.CodeUnavailable, modelmanager.CodeTooManyRequests, modelmanager.CodeDeadlineExceeded:
		return ExitUnavailable
	}
	return ExitFailed
}

func fromEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// exactly is cobra.ExactArgs with the arguments' names in the message.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return wrongArguments(command)
	}
}

// atLeastOne is cobra.MinimumNArgs(1) with the usage in the message.
func atLeastOne(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return wrongArguments(command)
}

func wrongArguments(command *cobra.Command) error {
	return usageError{fmt.Errorf("usage: %s; %s --help says more", command.UseLine(), command.CommandPath())}
}
