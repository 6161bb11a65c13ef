package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
)

func newValidate(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FOLDER…]",
		Short: "Check model folders, and run their examples for real",
		Long: `Check model folders (default: the one you are in) as publish does: read
model.yaml, fetch and build what it names, make its environment, start it, and
run its examples together, one by one and in reverse order.`,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return g.runValidate(command.Context(), args)
		},
	}
}

// validation is what mm validate -o json says of a folder.
type validation struct {
	Folder string `json:"folder"`
	*pipeline.Report
	Problem string `json:"problem,omitempty"` // "": the model is fit to be published
}

func (g *global) runValidate(ctx context.Context, folders []string) error {
	var results []validation
	err := g.each(ctx, folders, func(folder string) error {
		report, err := g.validate(ctx, folder)
		result := validation{Folder: folder, Report: report}
		if err != nil {
			result.Problem = err.Error()
		}
		results = append(results, result)
		if report != nil && g.output == "table" {
			fmt.Fprint(g.Out, report.Text())
		}
		return err
	})
	if g.output == "json" {
		return errors.Join(g.show(results, nil), err)
	}
	return err
}

// each deals with every folder, whatever becomes of the others. With several,
// each error is printed at once, below its folder's name.
func (g *global) each(ctx context.Context, folders []string, deal func(folder string) error) error {
	if len(folders) == 1 {
		return deal(folders[0])
	}
	var worst error
	failed := 0
	for _, folder := range folders {
		err := deal(folder)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		fmt.Fprintf(g.Err, "%s:\n", folder)
		PrintError(g.Err, err)
		failed++
		if worst == nil || ExitCode(err) > ExitCode(worst) {
			worst = err
		}
	}
	if failed == 0 {
		return nil
	}
	fmt.Fprintf(g.Err, "mm: %d of %d folders failed\n", failed, len(folders))
	return errors.Join(errReported, worst)
}

// validate checks one folder; the report is there if its examples were run.
func (g *global) validate(ctx context.Context, dir string) (*pipeline.Report, error) {
	prepared, report, err := g.prepare(ctx, dir)
	if prepared != nil {
		defer prepared.Close()
	}
	return report, err
}

// prepare loads, builds and validates one folder; answers that aren't as they
// should be are an error, too. The caller closes what was prepared, if anything
// was.
func (g *global) prepare(ctx context.Context, dir string) (*pipeline.Prepared, *pipeline.Report, error) {
	dir, err := modelFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, warning := range folder.Warnings {
		fmt.Fprintf(g.Err, "warning: %s\n", warning)
	}
	options := pipeline.Options{Progress: func(text string) { fmt.Fprintf(g.Err, "%s\n", printable(text)) }}
	prepared, err := pipeline.Prepare(ctx, folder, options)
	if err != nil {
		return nil, nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	validator := &pipeline.Validator{
		Environments: &environment.Manager{
			Dir: filepath.Join(cache, "modelmanager", "environments"), Logger: slog.New(slog.DiscardHandler),
		},
	}
	report, err := validator.Validate(ctx, prepared, options)
	if err == nil {
		err = report.Err()
	}
	if err == nil {
		return prepared, report, nil
	}
	if report != nil && g.output == "table" {
		err = fmt.Errorf("%s isn't fit to be published: see ✗ above", report.Model)
	}
	return prepared, report, invalidError{err}
}

// modelFolder takes the path of a model.yaml for its folder's.
func modelFolder(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "there is no folder %s", path)
	case err == nil && !info.IsDir() && filepath.Base(path) == "model.yaml":
		return filepath.Dir(path), nil
	case err == nil && !info.IsDir():
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s is a file; name the model's folder", path)
	}
	return path, err
}
