package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shims"
	"modelmanager.dev/internal/spec"
)

// languages are those that a model can begin in.
var languages = []string{"python", "r", "java", "go"}

type initOptions struct {
	*global
	language       string
	data           string
	targets        []string
	ignored        []string
	summary, owner string
}

func newInit(g *global) *cobra.Command {
	o := &initOptions{global: g}
	command := &cobra.Command{
		Use:   "init NAME",
		Short: "Begin a new model, in a folder NAME that passes mm validate as it is",
		Long: `Begin a new model, in a folder NAME that passes mm validate as it is. With
--data and --target, its features, predictions and examples come from a file:
types, what may be null, and the values of texts that recur.

  mm init churn --data customers.csv --target churned --ignore customer_id`,
		Args: exactly("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0])
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.language, "language", "python", "python, r, java or go")
	flags.StringVar(&o.data, "data", "", "training data: CSV, JSON Lines, Parquet or Excel")
	flags.StringSliceVar(&o.targets, "target", nil, "the column of --data that the model predicts; repeatable")
	flags.StringSliceVar(&o.ignored, "ignore", nil, "a column of --data that is neither feature nor prediction, such as an id; repeatable")
	flags.StringVar(&o.summary, "summary", "", "one sentence: what the model predicts")
	flags.StringVar(&o.owner, "owner", "", "who answers for the model")
	return command
}

func (o *initOptions) run(ctx context.Context, name string) error {
	if (o.data == "") != (len(o.targets) == 0) {
		return usageError{errors.New("--data and --target go together: the file, and the column to predict")}
	}
	if !slices.Contains(languages, o.language) {
		return usageError{fmt.Errorf("--language %s: choose python, r, java or go", o.language)}
	}
	options := spec.InitOptions{
		Name: name, Language: o.language, Summary: o.summary, Owner: o.owner,
		JavaWorker: shims.Java(), GoWorker: shims.Go(),
	}
	if o.data != "" {
		if err := o.fromData(ctx, &options); err != nil {
			return err
		}
	}
	files, err := spec.Init(options)
	if err != nil {
		return err
	}
	if err := writeModel(name, files); err != nil {
		return err
	}
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = filepath.Join(name, filepath.FromSlash(file.Path))
	}
	return o.show(map[string][]string{"files": paths}, func(w io.Writer) {
		for _, path := range paths {
			fmt.Fprintln(w, path)
		}
		fmt.Fprintf(o.Err, "next: mm validate %s, then mm publish %s\n", name, name)
	})
}

// writeModel writes a new model's files into a folder that must not be there,
// or be empty: nobody's work is overwritten.
func writeModel(dir string, files []spec.GeneratedFile) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return modelmanager.Errorf(modelmanager.CodeConflict, "the folder %s is there already, and not empty; choose another name", dir)
	}
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.Data, file.Mode); err != nil {
			return err
		}
	}
	return nil
}
