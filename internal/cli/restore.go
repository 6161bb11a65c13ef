package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

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

	unpublished bool
	repository  string
	insecure    []string
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

Without an exported state, git and what the versions run are enough. Where they are
images, each tag in the registry is a version, with its number and digest, and the
commit that the tag names has its model.yaml. Where they are archives of folders, the
history of --git is published, commit by commit: the versions get the numbers that
they had if each commit was published, and a model's versions after a commit that
can't be published now are left out, rather than numbered wrongly (--unpublished).
No version takes traffic then: mm models promote gives it. Nothing goes live by accident.

Each version that isn't restored is named, and the exit code says that there is one.
It can be killed and run again.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			end, err := o.contain() // versions are built again
			if err != nil {
				return err
			}
			defer end()
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
	o.from.add(flags)
	o.secrets.Add(flags, "")
	flags.StringVar(&o.git, "git", "", "a clone of the git repository that the versions came from")
	flags.StringVar(&o.revision, "revision", "HEAD", "without a state: the branch whose history is published")
	flags.BoolVar(&o.unpublished, "unpublished", false, "without a state: what can't be published now couldn't be then either, and had no number")
	flags.StringVar(&o.repository, "repository", "", "prefix of the repositories that images were pushed to; default: the server's")
	flags.StringSliceVar(&o.insecure, "insecure-registry", nil, "host:port of registries without TLS, beside those on this machine")
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
	restorer := &pipeline.Restorer{Server: api, Files: o.from.files(), NoTraffic: o.noTraffic, Progress: o.progress}
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
	return o.told(func(told func(pipeline.Restored)) error { return restorer.Restore(ctx, state, told) })
}

// told runs a restoration and says what became of each model.
func (o *restoreOptions) told(restore func(told func(pipeline.Restored)) error) error {
	results := []pipeline.Restored{}
	failed := 0
	err := restore(func(restored pipeline.Restored) {
		results = append(results, restored)
		if restored.Err != nil {
			failed++
			PrintError(o.Err, restored.Err)
		}
		if o.output == "table" && (restored.Err == nil || restored.Versions > 0) {
			mark, versions := "✓", "versions"
			if restored.Err != nil {
				mark = "✗"
			}
			if restored.Versions == 1 {
				versions = "version"
			}
			fmt.Fprintf(o.Out, "%s %s: %d %s\n", mark, restored.Model, restored.Versions, versions)
			if restored.Note != "" {
				fmt.Fprintf(o.Out, "  %s\n", oneLine(restored.Note))
			}
		}
	})
	if o.output == "json" {
		return errors.Join(o.show(results, nil), err)
	}
	if failed > 0 {
		fmt.Fprintf(o.Err, "mm: %d of %d models are not restored as they were\n", failed, len(results))
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

// runHistory restores what git and the registry of images know, without traffic.
func (o *restoreOptions) runHistory(ctx context.Context) error {
	repo, err := repository.Open(ctx, o.git)
	if err != nil {
		return err
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	publish := &publishOptions{global: o.global, repository: o.repository, insecure: o.insecure}
	images, err := publish.images(ctx, api)
	if err != nil {
		return err
	}
	if images != nil {
		restorer := &pipeline.ImageRestorer{Server: api, Images: images, Repository: repo, Revision: o.revision, Progress: o.progress}
		return o.told(func(told func(pipeline.Restored)) error { return restorer.Restore(ctx, told) })
	}
	var mu sync.Mutex // two models are dealt with at a time
	publisher := &pipeline.Publisher{
		Server: api, Validator: o.validator(),
		Progress: func(model, text string) {
			mu.Lock()
			defer mu.Unlock()
			o.progress(model, text)
		},
	}
	outcomes, err := publisher.History(ctx, repo, o.revision, o.unpublished, func(outcome pipeline.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		if outcome.Err != nil {
			fmt.Fprintf(o.Err, "%s, at commit %.12s:\n", outcome.Folder, outcome.Commit)
			PrintError(o.Err, outcome.Err)
		} else if o.output == "table" && outcome.New {
			fmt.Fprintf(o.Out, "✓ %s version %d, of commit %.12s\n", outcome.Model, outcome.Version, outcome.Commit)
			if outcome.Locked {
				fmt.Fprintln(o.Out, "  its requirements are open, and mean what they mean today: it may be another version than it was")
			}
		}
	})
	if o.output == "json" {
		err = errors.Join(err, o.show(outcomes, nil))
	}
	return errors.Join(err, o.missing(outcomes))
}

// missing is the error of the commits that aren't restored, if there are any. A
// model.yaml that can't be read, or what --unpublished excuses, never was a version.
func (o *restoreOptions) missing(outcomes []pipeline.Outcome) error {
	var missing []error
	for _, outcome := range outcomes {
		if outcome.Err != nil && !outcome.Unpublished {
			missing = append(missing, outcome.Err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(o.Err, "mm: %d versions are not restored\n", len(missing))
	return errors.Join(errReported, errors.Join(missing...))
}
