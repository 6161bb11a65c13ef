package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/pipeline"
)

type publishOptions struct {
	*global
	version int
	reason  string
	hold    bool
}

func newPublish(g *global) *cobra.Command {
	o := &publishOptions{global: g}
	command := &cobra.Command{
		Use:   "publish [FOLDER…]",
		Short: "Validate, build and publish model folders, and roll them out",
		Long: `Validate, build and publish model folders (default: the one you are in), and
roll them out as their model.yaml says. The same content again is the same
version. One folder that fails doesn't keep the others from being published.`,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			if o.version != 0 && len(args) > 1 {
				return usageError{errors.New("--version goes with one folder")}
			}
			return o.runAll(command.Context(), args)
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.version, "version", 0, "publish under this number; default: the next one")
	flags.StringVar(&o.reason, "reason", "", "why, for the history")
	flags.BoolVar(&o.hold, "hold", false, "publish only: leave the traffic as it is")
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
			fmt.Fprintln(o.Out, publishedText(result))
		}
		return nil
	})
	if o.output == "json" {
		return errors.Join(o.show(results, nil), err)
	}
	return err
}

func (o *publishOptions) run(ctx context.Context, folder string) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	api, err := o.client()
	if err != nil {
		return none, err
	}
	prepared, report, err := o.prepare(ctx, folder)
	if prepared != nil {
		defer prepared.Close()
	}
	if report != nil && o.output == "table" {
		fmt.Fprint(o.Err, report.Text())
	}
	if err != nil {
		return none, err
	}
	return pipeline.Publish(ctx, prepared, api, pipeline.Publication{
		Source: pipeline.SourceOf(ctx, folder), Version: o.version, Reason: o.reason, Hold: o.hold,
	})
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
