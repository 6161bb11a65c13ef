package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
)

type publishOptions struct {
	*global
	version int
	reason  string
	hold    bool

	approvedBy string

	breaking   []string
	repository string
	bases      []string
	insecure   []string
	buildkit   buildkitOptions
	changed    sinceOptions
}

func newPublish(g *global) *cobra.Command {
	o := &publishOptions{global: g}
	command := &cobra.Command{
		Use:   "publish [FOLDER…]",
		Short: "Validate, build and publish model folders, and roll them out",
		Long: `Validate, build and publish model folders (default: the one you are in), and
roll them out as their model.yaml says. The same content again is the same
version. One folder that fails doesn't keep the others from being published. What
breaks callers of the live version is refused, unless --allow-breaking or, with
--since, a line "Allow-Breaking: MODEL" in a commit's message allows it.

With --since REV it publishes the models of this git repository that changed since
that revision, also by a template or shared folder, and retires those whose folder
is gone; folders then narrow what is looked at. --dry-run prints the plan only. It
can be killed and run again, and pipelines of several commits may end in any order.

A server on Kubernetes runs images. Publishing to one makes the model's image
here, without Docker: its language's base image, the packages that its lock file
asks for, and its folder. The image is pushed with the rights of docker login.
The server says where to push it and which bases to take; --repository and --base
(or $MM_BASE_PYTHON, $MM_BASE_R …) say otherwise. A Dockerfile, and packages that
the base lacks, take BuildKit: --buildkit or $BUILDKIT_HOST.`,
		RunE: func(command *cobra.Command, args []string) error {
			end, err := o.contain() // models are tried before they are published
			if err != nil {
				return err
			}
			defer end()
			if err := sinceWhat(command); err != nil {
				return err
			}
			if o.changed.since != "" {
				return o.runSince(command.Context(), args)
			}
			if o.changed.supersede || o.changed.wait || o.changed.address != "" || command.Flags().Changed("revision") {
				return usageError{errors.New("--revision, --source, --supersede and --wait go with --since")}
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			if o.version != 0 && len(args) > 1 {
				return usageError{errors.New("--version goes with one folder")}
			}
			if o.changed.dryRun {
				return o.foresee(command.Context(), args)
			}
			return o.runAll(command.Context(), args)
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.version, "version", 0, "publish under this number; default: the next one")
	flags.StringVar(&o.reason, "reason", "", "why, for the history")
	flags.StringVar(&o.approvedBy, "approved-by", "", "who approved it; with --since, default: the trailers Approved-by and Reviewed-by of the commit")
	flags.BoolVar(&o.hold, "hold", false, "publish only: leave the traffic as it is")
	flags.StringSliceVar(&o.breaking, "allow-breaking", nil, "publish what breaks callers of the live version: all models, or those named (--allow-breaking=MODEL,…)")
	flags.Lookup("allow-breaking").NoOptDefVal = "*"
	flags.StringVar(&o.repository, "repository", "", "prefix of the repositories to push images to, such as registry.example.org/models; default: the server's")
	flags.StringArrayVar(&o.bases, "base", nil, "LANGUAGE=IMAGE: what a language's models are put on, such as python=registry.example.org/python:3.12; $MM_BASE_PYTHON")
	flags.StringSliceVar(&o.insecure, "insecure-registry", nil, "host:port of registries without TLS, beside those on this machine")
	o.from.add(flags)
	o.secrets.Add(flags, "")
	o.buildkit.add(flags)
	o.changed.add(flags)
	return command
}

// publication is what mm publish -o json says of a folder.
type publication struct {
	Folder string `json:"folder"`
	*modelmanager.PublishResult
	Problem string `json:"problem,omitempty"` // why it isn't published
}

func (o *publishOptions) runAll(ctx context.Context, folders []string) error {
	var results []publication
	err := o.each(ctx, folders, func(folder string) error {
		result, err := o.run(ctx, folder)
		if err != nil {
			results = append(results, publication{Folder: folder, Problem: err.Error()})
			return err
		}
		results = append(results, publication{Folder: folder, PublishResult: &result})
		if o.output == "table" {
			fmt.Fprintln(o.Out, publishedText(result)+o.whoAnswers(ctx, result.Model, result.Percent))
		}
		return nil
	})
	if o.output == "json" {
		return errors.Join(o.show(results, nil), err)
	}
	return err
}

// foresee prints what publishing folders would do.
func (o *publishOptions) foresee(ctx context.Context, folders []string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	publisher := &pipeline.Publisher{Server: api, AllowBreaking: pipeline.Allowing(o.breaking)}
	steps := []pipeline.PlanStep{}
	err = o.each(ctx, folders, func(dir string) error {
		dir, err := pipeline.ModelFolder(dir)
		if err != nil {
			return err
		}
		folder, err := spec.LoadFolder(dir)
		if err != nil {
			return err
		}
		step, err := publisher.Foresee(ctx, folder)
		if err != nil {
			return err
		}
		if o.hold && step.Action == pipeline.ActPublish {
			step.Rollout = "manual"
		}
		steps = append(steps, step)
		if step.Action == pipeline.ActBroken {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s", step.Why)
		}
		if o.output == "table" {
			fmt.Fprintf(o.Out, "%s: %s\n", step.Model, oneLine(stepText(step)))
		}
		return nil
	})
	if o.output == "json" {
		err = errors.Join(err, o.show(steps, nil))
	}
	return err
}

func (o *publishOptions) run(ctx context.Context, folder string) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	api, err := o.client()
	if err != nil {
		return none, err
	}
	images, err := o.images(ctx, api)
	if err != nil {
		return none, err
	}
	prepared, report, err := o.prepare(ctx, folder, images != nil)
	if prepared != nil {
		defer prepared.Close()
	}
	if report != nil && o.output == "table" {
		fmt.Fprint(o.Err, report.Text())
	}
	if err != nil {
		return none, err
	}
	if !pipeline.Allowing(o.breaking)(prepared.Spec.Name) {
		if err := pipeline.CheckBreaking(ctx, api, prepared.Spec); err != nil {
			return none, err
		}
	}
	source := pipeline.SourceOf(ctx, folder)
	return pipeline.PublishTried(ctx, prepared, uploading{api, o.Err}, pipeline.Publication{
		Source: source, Version: o.version, Reason: o.reason, Hold: o.hold, ApprovedBy: o.approvedBy,
		Images: images, Committed: pipeline.CommitTime(ctx, folder, source), Options: o.options(),
	})
}

// images says how to make images for a server that runs them; nil: it doesn't.
func (o *publishOptions) images(ctx context.Context, api *client.Client) (*pipeline.Images, error) {
	info, err := api.Info(ctx)
	if err != nil {
		return nil, err
	}
	server := info.Artifacts
	if server.Kind != modelmanager.ArtifactImage {
		if o.repository != "" || len(o.bases) > 0 {
			return nil, usageError{fmt.Errorf("the server at %s runs models as processes of its own machine; --repository and --base are for one that runs images", api.Server())}
		}
		return nil, nil
	}
	bases, err := pipeline.BasesOf(server.Bases, os.Environ(), o.bases)
	if err != nil {
		return nil, usageError{err}
	}
	repository := o.repository
	if repository == "" {
		repository = server.Repository
	}
	builder, err := o.buildkit.builder()
	if err != nil {
		return nil, err
	}
	return &pipeline.Images{
		Builder: builder, Afresh: o.buildkit.afresh, Repository: repository, Platform: server.Platform, Bases: bases, Insecure: o.insecure,
		Cache: filepath.Join(cacheDir(), "modelmanager", "images"), Environments: environments(),
	}, nil
}

// whoAnswers says who does while a version that was given traffic gets ready;
// "" if it takes what it was given.
func (g *global) whoAnswers(ctx context.Context, model string, percent int) string {
	if percent == 0 {
		return ""
	}
	api, err := g.client()
	if err != nil {
		return ""
	}
	info, err := api.Model(ctx, model)
	if err != nil || info.Traffic.Pending == nil {
		return ""
	}
	return ": " + printable(info.Traffic.Pending.Reason)
}

func publishedText(result modelmanager.PublishResult) string {
	text := fmt.Sprintf("%s version %d", result.Model, result.Version)
	if !result.New {
		text += " (published before; the same content)"
	}
	if result.Percent > 0 {
		return fmt.Sprintf("%s takes %d%% of the traffic", text, result.Percent)
	}
	return text + " takes no traffic yet"
}
