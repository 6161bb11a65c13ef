package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

type jobsSubmitOptions struct {
	*global
	input, output, rejected string
	outputURI               string
	wait, dryRun            bool
	inline, plain, escape   bool
	key                     string
	columns, labels         []string
	request                 modelmanager.JobRequest
}

func newJobsSubmit(g *global) *cobra.Command {
	o := &jobsSubmitOptions{global: g}
	command := &cobra.Command{
		Use:   "submit MODEL --input FILE",
		Short: "Predict a whole file",
		Long: `Predict a whole file: CSV, JSON Lines, Parquet or Excel, plain or compressed with
gzip or zstd. The file is uploaded, unless --input is a URI that the server may
read. With --wait, mm shows the progress and writes the result to --output;
Ctrl-C then leaves the job running, and says how to come back to it.`,
		Args: exactly("MODEL"),
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0])
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.input, "input", "i", "", "the file, or a URI (file:///data/in.csv) that the server may read")
	flags.StringVar(&o.output, "output", "", "write the result here; implies --wait")
	flags.StringVar(&o.rejected, "rejected", "", "write rejected rows here, as JSON Lines; implies --wait")
	flags.StringVar(&o.outputURI, "output-uri", "", "have the server put the parts into this folder")
	flags.BoolVar(&o.wait, "wait", false, "wait for the end")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only look at the input, and say what would go wrong")
	flags.StringVar(&o.key, "idempotency-key", "", "the same key twice, within a week, is one job")
	flags.StringArrayVar(&o.columns, "column", nil, "FEATURE=HEADER, where they differ; repeatable")
	flags.StringArrayVarP(&o.labels, "label", "l", nil, "name=value; repeatable")
	r := &o.request
	flags.IntVar(&r.Version, "version", 0, "by this version, whatever the traffic")
	flags.StringVar(&r.MaxRejected, "max-rejected", "", "stop once more rows are rejected: a number or a percentage; default 0")
	flags.StringVar(&r.Input.Format, "format", "", "csv, jsonl, parquet or xlsx; default: found out")
	dialectFlags(flags, &r.Input)
	flags.StringVar(&r.Input.Sheet, "sheet", "", "of a workbook; default: the first")
	flags.StringVar(&r.Output.Format, "output-file-format", "", "csv, jsonl, parquet or xlsx; default: as --output is called, or else the input's")
	flags.StringVar(&r.Output.Compression, "output-compression", "", "gzip or zstd, of csv and jsonl; default: as --output is called (.gz, .zst)")
	flags.StringVar(&r.Output.Prefix, "prefix", "", "put before the predictions' names")
	flags.BoolVar(&o.plain, "plain", false, "add no columns but the predictions: no _model, _version, _job, _scored_at")
	flags.BoolVar(&o.escape, "escape-formulas", false, "put an apostrophe before texts that a spreadsheet would take for formulas")
	flags.BoolVar(&o.inline, "inline-rejected", false, "keep rejected rows in the output, with the reason in _error")
	return command
}

func (o *jobsSubmitOptions) run(ctx context.Context, model string) error {
	if o.input == "" {
		return usageError{errors.New("say which file to predict: --input FILE")}
	}
	if o.dryRun && (o.wait || o.output != "" || o.rejected != "") {
		return usageError{errors.New("--dry-run predicts nothing: there is nothing to wait for, or to write")}
	}
	if o.global.output == "json" && (o.output == "-" || o.rejected == "-") {
		return errRawOutput
	}
	if err := writable(o.output, o.rejected); err != nil {
		return err
	}
	var err error
	if o.request.Labels, err = parseLabels(o.labels); err != nil {
		return err
	}
	if o.request.Input.Columns, err = parsePairs("--column", "FEATURE=HEADER", o.columns); err != nil {
		return err
	}
	o.request.Output.URI = o.outputURI
	o.byName(&o.request.Output)
	if o.plain {
		o.request.Output.Add = []string{}
	}
	if o.escape {
		o.request.Output.Formulas = "escape"
	}
	if o.inline {
		o.request.Output.Rejected = "inline"
	}
	api, err := o.client()
	if err != nil {
		return err
	}
	if err := o.takeInput(ctx, api); err != nil {
		return err
	}
	if o.dryRun {
		check, err := api.CheckJob(ctx, model, o.request)
		if err != nil {
			return err
		}
		if err := o.show(check, func(w io.Writer) { printCheck(w, check) }); err != nil {
			return err
		}
		return checkError(check)
	}
	job, err := api.SubmitJob(ctx, model, o.request, o.key)
	if err != nil {
		return err
	}
	if !o.wait && o.output == "" && o.rejected == "" {
		return o.show(job, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", job.ID)
			fmt.Fprintf(o.Err, "job %s of %s version %d is %s; mm jobs watch %s\n", job.ID, job.Model, job.Version, job.State, job.ID)
		})
	}
	return o.finish(ctx, api, job)
}

// dialectFlags are those that say how a table is to be read.
func dialectFlags(flags *pflag.FlagSet, input *modelmanager.JobInput) {
	flags.StringVar(&input.Delimiter, "delimiter", "", "of CSV; default: found out")
	flags.StringVar(&input.Encoding, "encoding", "", "of text; default: found out")
	flags.StringVar(&input.Decimal, "decimal", "", ". or ,; default: found out")
	flags.IntVar(&input.HeaderRow, "header-row", 0, "the row with the columns' names, from 1; default: found out")
	flags.StringVar(&input.Dates, "dates", "", "layout of dates, such as DD/MM/YYYY; default: found out")
	flags.StringVar(&input.Timezone, "timezone", "", "of times that don't say theirs, such as Europe/London")
	flags.StringSliceVar(&input.Null, "null", nil, "texts that stand for null; default: the empty cell")
}

// byName makes the output what its file is called, as far as flags don't say.
func (o *jobsSubmitOptions) byName(output *modelmanager.JobOutput) {
	name := strings.ToLower(o.output)
	for ending, compression := range map[string]string{".gz": "gzip", ".zst": "zstd"} {
		if rest, found := strings.CutSuffix(name, ending); found {
			name, output.Compression = rest, cmp.Or(output.Compression, compression)
		}
	}
	format := strings.TrimPrefix(filepath.Ext(name), ".")
	switch format {
	case "ndjson":
		format = "jsonl"
	case "csv", "jsonl", "parquet", "xlsx":
	default:
		return
	}
	output.Format = cmp.Or(output.Format, format)
}

// takeInput uploads the input, unless it is a URI.
func (o *jobsSubmitOptions) takeInput(ctx context.Context, api *client.Client) error {
	if strings.Contains(o.input, "://") {
		o.request.Input.URI = o.input
		return nil
	}
	file, info, err := openInput(o.input)
	if err != nil {
		return err
	}
	defer file.Close()
	bar := newByteBar(o.Err, info.Size(), "uploading "+filepath.Base(o.input))
	upload, err := api.Upload(ctx, filepath.Base(o.input), io.TeeReader(file, bar))
	bar.end()
	if err != nil {
		return err
	}
	o.request.Input.Upload = upload.ID
	o.request.Input.Name = filepath.Base(o.input)
	return nil
}

// finish waits for a job and writes its results.
func (o *jobsSubmitOptions) finish(ctx context.Context, api *client.Client, job modelmanager.Job) error {
	job, err := o.watch(ctx, api, job.ID)
	if err != nil {
		return err
	}
	none := job.Rows.Predicted+job.Rows.Rejected == 0
	if none && job.State == modelmanager.JobSucceeded {
		fmt.Fprintln(o.Err, "mm: the input has no rows, and neither has the output")
	}
	if job.State == modelmanager.JobSucceeded || job.State != modelmanager.JobCancelled && !none {
		if o.output != "" {
			if err := o.writeJobStream(ctx, job.ID, "output", o.output); err != nil {
				return err
			}
		}
		if o.rejected != "" {
			if err := o.writeJobStream(ctx, job.ID, "rejected", o.rejected); err != nil {
				return err
			}
		}
	}
	if o.output == "-" || o.rejected == "-" {
		return concluded(job) // standard output has the rows
	}
	return o.conclude(job)
}

// conclude prints how a job ended; its error becomes mm's exit code.
func (g *global) conclude(job modelmanager.Job) error {
	if err := g.show(job, func(w io.Writer) { printJob(w, job) }); err != nil {
		return err
	}
	return concluded(job)
}

func concluded(job modelmanager.Job) error {
	switch {
	case job.Code == modelmanager.CodeRejectedRows:
		return modelmanager.Errorf(job.Code, "job %s has failed: %s; mm jobs rejected %s says why, and --max-rejected how many may be",
			job.ID, job.Reason, job.ID)
	case job.State == modelmanager.JobCancelled:
		return modelmanager.Errorf(modelmanager.CodeCancelled, "job %s %s", job.ID, job.Reason)
	case job.State != modelmanager.JobSucceeded && job.Code == "":
		return fmt.Errorf("job %s has %s: %s", job.ID, job.State, job.Reason)
	case job.State != modelmanager.JobSucceeded:
		return modelmanager.Errorf(job.Code, "job %s has %s: %s", job.ID, job.State, job.Reason)
	case job.Rows.Rejected > 0:
		return rejectedError{fmt.Errorf("%s rejected; mm jobs rejected %s says why", rowsWere(job.Rows.Rejected), job.ID)}
	}
	return nil
}

// checkError makes mm's exit code of what a dry run has found.
func checkError(check modelmanager.JobCheck) error {
	var bad int64
	for _, p := range check.Problems {
		if p.Count == 0 { // of the whole file, not of rows
			return modelmanager.Errorf(p.Code, "a job on this file would fail: %s: %s", p.Column, p.Message)
		}
		bad = max(bad, p.Count)
	}
	if bad > 0 {
		return rejectedError{fmt.Errorf("a job on this file would reject at least %d rows; --max-rejected says how many may be", bad)}
	}
	return nil
}

func printCheck(w io.Writer, check modelmanager.JobCheck) {
	fmt.Fprintf(w, "read as   %s\n", dialectText(check.Input))
	looked := "all"
	if !check.Complete {
		looked = "the first"
	}
	fmt.Fprintf(w, "looked at %s %d rows\n", looked, check.Rows)
	for _, feature := range sortedKeys(check.Mapping) {
		if check.Mapping[feature] != feature {
			fmt.Fprintf(w, "column    %s ← %q\n", feature, check.Mapping[feature])
		}
	}
	if len(check.Problems) == 0 {
		fmt.Fprintln(w, "no problems")
		return
	}
	var rows [][]string
	for _, p := range check.Problems {
		count := fmt.Sprint(p.Count)
		if p.Count == 0 {
			count = "all"
		}
		rows = append(rows, []string{p.Column, count, p.Message, strings.Join(p.Samples, " ")})
	}
	table(w, []string{"COLUMN", "ROWS", "PROBLEM", "FOR INSTANCE"}, rows)
}

// rowsWere counts rows in a sentence.
func rowsWere(n int64) string {
	if n == 1 {
		return "1 row was"
	}
	return fmt.Sprintf("%d rows were", n)
}
