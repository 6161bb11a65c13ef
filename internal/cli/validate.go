package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
)

func newValidate(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FOLDER…]",
		Short: "Check model folders, and run their examples for real",
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return g.runValidate(command.Context(), args)
		},
	}
}

func (g *global) runValidate(ctx context.Context, folders []string) error {
	var reports []*pipeline.Report
	var failed error
	for _, folder := range folders {
		report, err := g.validate(ctx, folder)
		if report != nil {
			reports = append(reports, report)
			if g.output == "table" {
				fmt.Fprint(g.Out, report.Text())
			}
		}
		if err != nil && len(folders) > 1 {
			PrintError(g.Err, fmt.Errorf("%s: %w", folder, err))
		}
		if err != nil {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if g.output == "json" {
		if err := g.show(reports, func(io.Writer) {}); err != nil {
			return err
		}
	}
	return failed
}

// validate checks one folder; the report is there if its examples were run.
func (g *global) validate(ctx context.Context, dir string) (*pipeline.Report, error) {
	prepared, report, err := g.prepare(ctx, dir)
	if prepared != nil {
		defer prepared.Close()
	}
	if err != nil {
		return report, err
	}
	return report, report.Err()
}

// prepare loads, builds and validates one folder. The caller closes what was
// prepared, if anything was.
func (g *global) prepare(ctx context.Context, dir string) (*pipeline.Prepared, *pipeline.Report, error) {
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, warning := range folder.Warnings {
		fmt.Fprintf(g.Err, "warning: %s\n", warning)
	}
	options := pipeline.Options{Progress: func(text string) { fmt.Fprintf(g.Err, "%s\n", text) }}
	prepared, err := pipeline.Prepare(ctx, folder, options)
	if err != nil {
		return nil, nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	validator := &pipeline.Validator{
		Environments: &environment.Manager{Dir: filepath.Join(cache, "modelmanager", "environments")},
	}
	report, err := validator.Validate(ctx, prepared, options)
	return prepared, report, err
}
