package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

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
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			if o.version != 0 && len(args) > 1 {
				return usageError{errors.New("--version goes with one folder")}
			}
			var results []modelmanager.PublishResult
			for _, folder := range args {
				result, err := o.run(command.Context(), folder)
				if err != nil {
					return err
				}
				results = append(results, result)
			}
			return o.show(results, func(w io.Writer) {
				for _, result := range results {
					fmt.Fprintln(w, publishedText(result))
				}
			})
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.version, "version", 0, "publish under this number; default: the next one")
	flags.StringVar(&o.reason, "reason", "", "why, for the history")
	flags.BoolVar(&o.hold, "hold", false, "publish only: leave the traffic as it is")
	return command
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
	if err != nil {
		return none, err
	}
	if o.output == "table" {
		fmt.Fprint(o.Err, report.Text())
	}
	if err := report.Err(); err != nil {
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
