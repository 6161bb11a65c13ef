package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/spec"
)

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

// prepare loads, builds and validates one folder; answers that aren't as they
// should be are an error, too. The caller closes what was prepared, if anything
// was. images tells whether models with an image of their own are taken.
func (g *global) prepare(ctx context.Context, dir string, images bool) (*pipeline.Prepared, *pipeline.Report, error) {
	dir, err := pipeline.ModelFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, warning := range folder.Warnings {
		fmt.Fprintf(g.Err, "warning: %s\n", printable(warning.String()))
	}
	options := g.options()
	options.Images = images
	prepared, err := pipeline.Prepare(ctx, folder, options)
	if err != nil {
		return nil, nil, err
	}
	validator := g.validator()
	report, err := validator.Validate(ctx, prepared, options)
	if err == nil {
		err = report.Err()
	}
	if err == nil {
		return prepared, report, nil
	}
	if report != nil && g.output == "table" {
		err = fmt.Errorf("%s isn't fit to be published: see above", report.Model)
	}
	return prepared, report, invalidError{err}
}

// options tell on the error stream what is being done.
func (g *global) options() pipeline.Options {
	files := g.from.files()
	files.Meter = func(path string, size int64) io.WriteCloser { return newByteBar(g.Err, size, "fetching "+path) }
	return pipeline.Options{Files: files, Progress: func(text string) { fmt.Fprintf(g.Err, "%s\n", printable(text)) }}
}

// validator runs models on this machine.
func (g *global) validator() *pipeline.Validator {
	return &pipeline.Validator{Environments: environments(), Files: g.from.files(), Secret: g.secrets.Of}
}

// cacheDir is where programs keep what they can make again.
func cacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return dir
	}
	return os.TempDir()
}

func environments() *environment.Manager {
	return &environment.Manager{
		Dir: filepath.Join(cacheDir(), "modelmanager", "environments"), Logger: slog.New(slog.DiscardHandler),
	}
}
