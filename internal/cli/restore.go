package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/repository"
)

type restoreOptions struct {
	*global
	archives  string
	git       string
	revision  string
	noTraffic bool
}

func newRestore(g *global) *cobra.Command {
	o := &restoreOptions{global: g}
	command := &cobra.Command{
		Use:   "restore [STATE.json]",
		Short: "Make an empty server equal to an exported one, or to a git repository",
		Long: `Make an empty server equal to what mm export printed (- reads it from standard
input): the same versions, with their numbers and digests, and the same traffic.

Versions that are images are taken from their registry. Archives of folders are
taken from --archives, the artifacts folder of the lost server's storage (or its
whole data folder), or else made again of the commits they came from, out of the
git repository --git.

Without an exported state, the history of --git is published, commit by commit:
the versions get the numbers that they had if each commit was published. No
version takes traffic then: mm models promote gives it. Nothing goes live by accident.

It can be killed and run again.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				if o.git == "" {
					return usageError{errors.New("name the exported state, or a git repository by --git")}
				}
				return o.runHistory(command.Context())
			}
			return o.run(command.Context(), args[0])
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.archives, "archives", "", "a folder with the archives of the lost server")
	flags.StringVar(&o.git, "git", "", "a clone of the git repository that the versions came from")
	flags.StringVar(&o.revision, "revision", "HEAD", "without a state: the branch whose history is published")
	flags.BoolVar(&o.noTraffic, "no-traffic", false, "restore versions only: nothing goes live")
	return command
}

func (o *restoreOptions) run(ctx context.Context, file string) error {
	state, err := o.state(file)
	if err != nil {
		return err
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	restorer := &pipeline.Restorer{Server: api, NoTraffic: o.noTraffic, Progress: o.progress}
	if o.archives != "" {
		if restorer.Archives, err = filepath.Abs(o.archives); err != nil {
			return err
		}
	}
	if o.git != "" {
		if restorer.Repository, err = repository.Open(ctx, o.git); err != nil {
			return err
		}
	}
	results := []pipeline.Restored{}
	failed := 0
	err = restorer.Restore(ctx, state, func(restored pipeline.Restored) {
		results = append(results, restored)
		if restored.Err != nil {
			failed++
			PrintError(o.Err, restored.Err)
		} else if o.output == "table" {
			versions := "versions"
			if restored.Versions == 1 {
				versions = "version"
			}
			fmt.Fprintf(o.Out, "✓ %s: %d %s\n", restored.Model, restored.Versions, versions)
		}
	})
	if o.output == "json" {
		return errors.Join(o.show(results, nil), err)
	}
	if failed > 0 {
		fmt.Fprintf(o.Err, "mm: %d of %d models are not restored\n", failed, len(results))
		return errors.Join(errReported, err)
	}
	return err
}

func (o *restoreOptions) progress(model, text string) {
	fmt.Fprintf(o.Err, "%s: %s\n", model, printable(text))
}

func (o *restoreOptions) state(file string) (*pipeline.State, error) {
	var input io.Reader = o.In
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the exported state: %w", err)
		}
		defer opened.Close()
		input = opened
	}
	return pipeline.ReadState(input)
}

// runHistory publishes a repository's history, without traffic.
func (o *restoreOptions) runHistory(ctx context.Context) error {
	repo, err := repository.Open(ctx, o.git)
	if err != nil {
		return err
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	publish := &publishOptions{global: o.global}
	images, err := publish.images(ctx, api)
	if err != nil {
		return err
	}
	publisher := &pipeline.Publisher{
		Server: api, Validator: &pipeline.Validator{Environments: environments()}, Images: images, Progress: o.progress,
	}
	outcomes, err := publisher.History(ctx, repo, o.revision, func(outcome pipeline.Outcome) {
		if outcome.Err != nil {
			fmt.Fprintf(o.Err, "%s, at commit %.12s:\n", outcome.Folder, outcome.Commit)
			PrintError(o.Err, outcome.Err)
		} else if o.output == "table" && outcome.New {
			fmt.Fprintf(o.Out, "✓ %s version %d, of commit %.12s\n", outcome.Model, outcome.Version, outcome.Commit)
		}
	})
	if o.output == "json" {
		err = errors.Join(err, o.show(outcomes, nil))
	}
	return err
}
