package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/pipeline"
)

type validateOptions struct {
	*global
	since    string
	against  []string
	sample   string
	formats  []string
	breaking []string
	timeout  time.Duration
	offline  bool
}

func newValidate(g *global) *cobra.Command {
	o := &validateOptions{global: g}
	command := &cobra.Command{
		Use:   "validate [FOLDER…]",
		Short: "Check model folders, run their examples for real, compare with what is live",
		Long: `Check model folders (default: the one you are in) as publish does: read
model.yaml, look at their files, fetch and build what they name, make their
environment, start them, and run their examples together, one by one and in
reverse order. With a server (--against, --server or $MM_SERVER), compare them
with the live versions: what breaks callers, and how predictions move. A server
that can't be asked is an error; --offline compares with none.

--since REF takes the models that have changed since this branch left REF, those
of a changed template or shared folder included, uncommitted changes too.
--since REF...HEAD takes committed changes alone, which is faster in a large
repository.

Formats: text, json, junit, github (annotations), markdown (a comment for a pull
request); several at once, each with a file of its own if it names one:
--format github --format junit=report.xml --format markdown=report.md`,
		RunE: func(command *cobra.Command, args []string) error {
			if err := sinceWhat(command); err != nil {
				return err
			}
			named := command.Flags().Changed("server")
			switch {
			case o.offline && (named || len(o.against) > 0):
				return usageError{errors.New("--offline compares with no server; leave out --against and --server")}
			case o.offline || len(o.against) > 0:
			case named || os.Getenv("MM_SERVER") != "":
				o.against = []string{o.server}
			}
			end, err := o.contain()
			if err != nil {
				return err
			}
			defer end()
			return o.run(command.Context(), args)
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.since, "since", "", "a git revision: validate the models that have changed since, below the folders if any are named")
	flags.StringArrayVar(&o.against, "against", nil, "SERVER whose live versions to compare with; may be given several times; default: --server or $MM_SERVER, if one is given")
	flags.BoolVar(&o.offline, "offline", false, "compare with no server, whatever $MM_SERVER says: what breaks callers isn't noticed")
	flags.StringVar(&o.sample, "sample", "", "FILE with rows to compare predictions on; default: sample.csv, sample.parquet or sample.jsonl in the model's folder")
	flags.StringArrayVar(&o.formats, "format", nil, "text (default), json, junit, github or markdown; NAME=FILE writes to a file")
	flags.StringSliceVar(&o.breaking, "allow-breaking", nil, "only warn of breaking changes: of all models, or of those named (--allow-breaking=MODEL,…)")
	flags.Lookup("allow-breaking").NoOptDefVal = "*"
	o.from.add(flags)
	o.secrets.Add(flags, "")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long one model may take")
	return command
}

func (o *validateOptions) run(ctx context.Context, folders []string) error {
	outputs, err := o.outputs()
	if err != nil {
		return err
	}
	reviewer, err := o.reviewer()
	if err != nil {
		return err
	}
	selection, err := o.selection(ctx, folders)
	if err != nil {
		return err
	}
	reviewer.Root, reviewer.Remote, reviewer.Names = selection.Root, selection.Remote, selection.Names
	flagged := pipeline.Allowing(o.breaking)
	reviewer.AllowBreaking = func(model string) bool {
		return flagged(model) || selection.AllowBreaking != nil && selection.AllowBreaking(model)
	}
	if o.sample != "" {
		if len(selection.Subjects) > 1 {
			return usageError{errors.New("--sample goes with one model; for several, put a sample.csv into each one's folder")}
		}
		file, _, err := openInput(o.sample)
		if err != nil {
			return err
		}
		file.Close()
	}
	review, err := reviewer.Review(ctx, selection.Subjects)
	if err != nil {
		return err
	}
	review.Since, review.Removed = o.since, selection.Removed
	for _, output := range outputs {
		if err := output.write(o.Out, review); err != nil {
			return err
		}
	}
	return reviewError(review)
}

// reviewError says by the exit code how a review ended; its report has said all
// else.
func reviewError(review *pipeline.Review) error {
	if review.Valid {
		return nil
	}
	for _, report := range review.Models {
		for _, f := range report.Findings {
			if f.Severity == pipeline.SeverityError && f.Code != pipeline.FoundIncomparable {
				return errors.Join(errReported, invalidError{errors.New("a model is invalid")})
			}
		}
	}
	return errors.Join(errReported, modelmanager.Errorf(modelmanager.CodeUnavailable, "there was no server to compare with"))
}

func (o *validateOptions) reviewer() (*pipeline.Reviewer, error) {
	options := o.options()
	options.Images = true
	reviewer := &pipeline.Reviewer{
		Validator: o.validator(),
		Sample:    o.sample, Timeout: o.timeout, Options: options,
	}
	for _, address := range o.against {
		server, err := client.New(address, client.WithTokenSource(o.token.source(o.Streams)))
		if err != nil {
			return nil, usageError{err}
		}
		reviewer.Servers = append(reviewer.Servers, server)
	}
	return reviewer, nil
}

// selection finds the folders to validate.
func (o *validateOptions) selection(ctx context.Context, folders []string) (pipeline.Selection, error) {
	if o.since != "" {
		selection, err := pipeline.SelectChanged(ctx, o.since, folders)
		return selection, misused(err)
	}
	if len(folders) == 0 {
		folders = []string{"."}
	}
	for i, folder := range folders {
		if dir, err := pipeline.ModelFolder(folder); err == nil {
			folders[i] = dir
		}
	}
	selection, err := pipeline.SelectFolders(ctx, folders)
	if selection.NamesProblem != nil && err == nil {
		fmt.Fprintf(o.Err, "warning: %v; names that are taken in the repository aren't noticed\n", selection.NamesProblem)
	}
	return selection, err
}

// reportOutput is one report that is asked for.
type reportOutput struct {
	format string
	file   string // "": standard output
}

var reportFormats = []string{"text", "json", "junit", "github", "markdown"}

// outputs reads --format.
func (o *validateOptions) outputs() ([]reportOutput, error) {
	formats := o.formats
	if len(formats) == 0 {
		formats = []string{"text"}
		if o.output == "json" {
			formats = []string{"json"}
		}
	}
	var outputs []reportOutput
	var printed []string
	for _, text := range formats {
		format, file, named := strings.Cut(text, "=")
		if !slices.Contains(reportFormats, format) {
			return nil, usageError{fmt.Errorf("--format is %s, not %q", strings.Join(reportFormats, ", "), format)}
		}
		if named && file == "" {
			return nil, usageError{fmt.Errorf("--format %s= names no file", format)}
		}
		if file == "" || file == "-" {
			file = ""
			printed = append(printed, format)
		}
		if err := writable(file); err != nil {
			return nil, err
		}
		outputs = append(outputs, reportOutput{format, file})
	}
	if len(printed) > 1 && slices.ContainsFunc(printed, func(format string) bool { return format != "text" && format != "github" }) {
		return nil, usageError{fmt.Errorf("%s would be printed into one another; give them files, such as --format %s=FILE", strings.Join(printed, " and "), printed[len(printed)-1])}
	}
	return outputs, nil
}

func (output reportOutput) write(stdout io.Writer, review *pipeline.Review) error {
	if output.file == "" {
		return output.render(stdout, review, useColor(stdout))
	}
	var text bytes.Buffer
	if err := output.render(&text, review, false); err != nil {
		return err
	}
	return writeFile(output.file, &text)
}

func (output reportOutput) render(w io.Writer, review *pipeline.Review, color bool) error {
	switch output.format {
	case "json":
		return review.WriteJSON(w)
	case "junit":
		return review.WriteJUnit(w)
	case "github":
		return review.WriteGitHub(w)
	case "markdown":
		return review.WriteMarkdown(w)
	default:
		return review.WriteText(w, pipeline.TextOptions{Color: color})
	}
}

// useColor tells whether a reader sees colours, and wants them: no-color.org.
func useColor(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
