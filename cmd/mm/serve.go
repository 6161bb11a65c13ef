package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/cli"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/repository"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/spec"
)

// serveOptions are the flags of mm serve.
type serveOptions struct {
	platform  string
	storage   string
	cluster   clusterOptions
	models    string
	follow    repository.Mirror
	interval  time.Duration
	data      string
	listen    string
	hosts     []string
	allowed   []string
	filesFrom []string
	retention time.Duration
	maxUpload size
	slots     int
	logJSON   bool
	verbose   bool
}

// size is a flag's number of bytes, as it was written.
type size struct {
	text  string
	bytes int64
}

// Set implements pflag.Value.
func (s *size) Set(text string) (err error) {
	s.text = text
	s.bytes, err = spec.ParseSize(text)
	return err
}

// String implements pflag.Value.
func (s *size) String() string { return s.text }

// Type implements pflag.Value.
func (s *size) Type() string { return "size" }

func newServe() *cobra.Command {
	o := &serveOptions{maxUpload: size{"1Ti", 1 << 40}}
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the server; with --models, keep it equal to a folder of models",
		Long: `Run the server on this machine: models run as its child processes, and all it
keeps is in the folder --data. With --models it publishes every model in that
folder, and a new version whenever one changes. With --repository it does so with
a branch of a git repository: what is merged there is in production.

With --platform kubernetes it is one replica of a server on a cluster: models run
in pods, and all it keeps is the cluster's objects and the storage that --storage
names.

It listens on loopback only, unless --listen says otherwise, and answers no name
but loopback's and those of --host.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return o.run(command.Context(), command.ErrOrStderr()) },
	}
	flags := command.Flags()
	flags.StringVar(&o.platform, "platform", "local", "what runs models: local (this machine) or kubernetes")
	flags.StringVar(&o.models, "models", "", "a folder of models to publish and follow")
	flags.StringVar(&o.follow.URL, "repository", "", "a git repository, an address or a path, whose models to publish and follow")
	flags.StringVar(&o.follow.Branch, "branch", "main", "with --repository: the branch")
	flags.DurationVar(&o.interval, "repository-interval", 10*time.Second, "with --repository: how often to look at it")
	flags.StringVar(&o.data, "data", "mm-data", "where everything is kept")
	flags.StringVar(&o.storage, "storage", "", "object storage: file:///…, s3://…, gs://…, azblob://…; default: a folder in --data")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address of the API")
	flags.StringSliceVar(&o.hosts, "host", nil, "names by which callers may address the server, beside loopback")
	flags.StringSliceVar(&o.allowed, "allow-uri", nil, "prefixes of the URIs that jobs may read and write, such as file:///data/")
	flags.StringSliceVar(&o.filesFrom, "files-from", cli.FilesFrom(), "with --models and --repository: prefixes of the addresses that models' files: may name; default: any https address; $MM_FILES_FROM")
	flags.DurationVar(&o.retention, "retention", 0, "delete jobs' inputs and results after this long, never their manifests; 0: keep them")
	flags.Var(&o.maxUpload, "max-upload", "the largest file that may be uploaded, for a job or as a model's folder, such as 10Gi")
	flags.IntVar(&o.slots, "job-slots", 0, "shards that run at once; default: one a core")
	o.cluster.flags(flags)
	flags.BoolVar(&o.logJSON, "log-json", false, "log as JSON")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return command
}

func (o *serveOptions) run(ctx context.Context, out io.Writer) error {
	if err := proc.Seal(); err != nil { // the server's key, and its rights to the storage
		return err
	}
	logger := o.logger(out)
	config, err := o.config(ctx, logger)
	if err != nil {
		return err
	}
	if err := o.followRepository(ctx, &config); err != nil {
		return errors.Join(err, config.Store.Close(), config.Bucket.Close())
	}
	s, err := server.New(ctx, config)
	if err != nil {
		return err
	}
	if o.logJSON {
		logger.Info("listening", "version", config.Version, "address", s.Address(), "platform", o.platform)
	} else {
		fmt.Fprintf(out, "Model Manager %s listens on http://%s and keeps its data in %s\n", config.Version, s.Address(), o.keeps())
	}
	if o.platform == "local" && !s.Loopback() {
		logger.Warn("the API asks nobody who they are on --platform local, and listens where other machines may reach it: let only those reach it who may do everything", "listen", s.Address())
	}
	// A second Ctrl-C ends the program at once.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	return s.Run(ctx, func(problems map[string]error) {
		if o.logJSON {
			logProblems(logger, problems)
		} else {
			printProblems(out, cmp.Or(o.models, repository.WithoutSecret(o.follow.URL)), problems)
		}
	})
}

// followRepository adds the repository to follow. Its copy lies in the data
// folder, and can be deleted.
func (o *serveOptions) followRepository(ctx context.Context, config *server.Config) error {
	if o.follow.URL == "" {
		return nil
	}
	if o.models != "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "a server follows a folder or a repository: give --models or --repository")
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	// A path means the same wherever git runs.
	if info, err := os.Stat(o.follow.URL); err == nil && info.IsDir() {
		if o.follow.URL, err = filepath.Abs(o.follow.URL); err != nil {
			return err
		}
	}
	o.follow.Dir = filepath.Join(data, "repository")
	config.Repository, config.RepositoryInterval = o.follow, o.interval
	return o.follow.Check(ctx)
}

// keeps says where the server's data is.
func (o *serveOptions) keeps() string {
	if o.platform == "kubernetes" {
		return "the namespace " + o.cluster.namespace
	}
	return o.data
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
