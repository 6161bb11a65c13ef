package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev/internal/cli"
	"modelmanager.dev/internal/server"
)

// serveOptions are the flags of mm serve.
type serveOptions struct {
	models    string
	data      string
	listen    string
	hosts     []string
	allowed   []string
	retention time.Duration
	slots     int
	logJSON   bool
	verbose   bool
}

func newServe() *cobra.Command {
	o := &serveOptions{}
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the server; with --models, keep it equal to a folder of models",
		Long: `Run the server on this machine: models run as its child processes, and all it
keeps is in the folder --data. With --models it publishes every model in that
folder, and a new version whenever one changes.

It listens on loopback only, unless --listen says otherwise, and answers no name
but loopback's and those of --host.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return o.run(command.Context(), command.ErrOrStderr()) },
	}
	flags := command.Flags()
	flags.StringVar(&o.models, "models", "", "a folder of models to publish and follow")
	flags.StringVar(&o.data, "data", "mm-data", "where everything is kept")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address of the API")
	flags.StringSliceVar(&o.hosts, "host", nil, "names by which callers may address the server, beside loopback")
	flags.StringSliceVar(&o.allowed, "allow-uri", nil, "prefixes of the URIs that jobs may read and write, such as file:///data/")
	flags.DurationVar(&o.retention, "retention", 0, "delete jobs' inputs and results after this long, never their manifests; 0: keep them")
	flags.IntVar(&o.slots, "job-slots", 0, "shards that run at once; default: one a core")
	flags.BoolVar(&o.logJSON, "log-json", false, "log as JSON")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return command
}

func (o *serveOptions) run(ctx context.Context, out io.Writer) error {
	logger := o.logger(out)
	config, err := o.config(ctx, logger)
	if err != nil {
		return err
	}
	s, err := server.New(ctx, config)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Model Manager %s listens on http://%s and keeps its data in %s\n", config.Version, s.Address(), o.data)
	if !s.Loopback() {
		logger.Warn("the API has no authentication yet, and listens where other machines may reach it", "listen", s.Address())
	}
	// A second Ctrl-C ends the program at once.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return s.Run(ctx, func(problems map[string]error) {
		if o.logJSON {
			logProblems(logger, problems)
		} else {
			printProblems(out, o.models, problems)
		}
	})
}

// printProblems says which folders of models aren't published, and why.
func printProblems(out io.Writer, models string, problems map[string]error) {
	if len(problems) == 0 {
		fmt.Fprintf(out, "every model in %s is published\n", models)
		return
	}
	for _, dir := range slices.Sorted(maps.Keys(problems)) {
		fmt.Fprintf(out, "%s is not published:\n", dir)
		cli.PrintError(out, problems[dir])
	}
}

// logProblems is printProblems for machines.
func logProblems(logger *slog.Logger, problems map[string]error) {
	for _, dir := range slices.Sorted(maps.Keys(problems)) {
		logger.Error("a model is not published", "folder", dir, "problem", problems[dir].Error())
	}
}

func (o *serveOptions) logger(out io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if o.logJSON {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(newLines(out, level))
}
