package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// Job is the Predictor of run.job: each call runs the command once, from file
// to file. The command reads $MM_INPUT and writes $MM_OUTPUT, with a row for
// each row, in the same order.
//
// The input is CSV: UTF-8, commas, one header line; null is an empty cell and
// an empty string a quoted one; dates are ISO 8601. With the variable
// MM_INPUT_FORMAT set to jsonl by the spec's env it is JSON Lines. The output
// is CSV, JSON Lines or Parquet, told by its first bytes, and needs a column
// for each prediction; others are passed over.
type Job struct {
	options Options
	log     *Log
}

// NewJob returns the Predictor of a spec with run.job.
func NewJob(options Options) *Job {
	options = options.withDefaults()
	return &Job{options: options, log: newLog(options.RunDir, options.Output)}
}

// Close closes the log.
func (j *Job) Close() error { return j.log.Close() }

// Predict runs the command for rows that are in memory.
func (j *Job) Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error) {
	run, err := j.Begin()
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if err := run.Write(rows); err != nil {
		return nil, err
	}
	if err := run.Run(ctx); err != nil {
		return nil, err
	}
	answer, err := run.Next(int(rows.NumRows()))
	if err == nil {
		err = run.End()
	}
	return answer, err
}

// JobRun is one run of the command. Rows go into its input and answers come
// from its output batch by batch, so that neither is ever in memory. Write all
// rows, Run, ask for as many answers by Next, and End; Close, whatever happens.
type JobRun struct {
	job     *Job
	dir     string
	input   *os.File
	buffer  []byte
	rows    int64 // written
	answers *answers
}

// Begin makes the command's files.
func (j *Job) Begin() (*JobRun, error) {
	dir, err := os.MkdirTemp(j.options.RunDir, "job-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the command's files: %w", err)
	}
	r := &JobRun{job: j, dir: dir}
	r.input, err = os.OpenFile(r.path("input"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil && r.lines() == "csv" {
		_, err = r.input.Write(appendCSVHeader(nil, j.options.Features))
	}
	if err != nil {
		r.Close()
		return nil, writingInput(err)
	}
	return r, nil
}

func writingInput(err error) error { return fmt.Errorf("writing the command's input: %w", err) }

// lines is the format of the input.
func (r *JobRun) lines() string {
	if r.job.options.Spec.Env["MM_INPUT_FORMAT"] == "jsonl" {
		return "jsonl"
	}
	return "csv"
}

func (r *JobRun) path(name string) string { return filepath.Join(r.dir, name+"."+r.lines()) }

// Write adds rows to the input.
func (r *JobRun) Write(rows arrow.RecordBatch) error {
	data, features := r.buffer[:0], r.job.options.Features
	if r.lines() == "jsonl" {
		for i := range int(rows.NumRows()) {
			data = append(features.AppendRow(data, rows, i), '\n')
		}
	} else {
		var err error
		if data, err = appendCSV(data, features, rows); err != nil {
			return writingInput(err)
		}
	}
	r.buffer, r.rows = data, r.rows+rows.NumRows()
	if _, err := r.input.Write(data); err != nil {
		return writingInput(err)
	}
	return nil
}

// Run runs the command, at most for batch.timeout, and opens its output.
func (r *JobRun) Run(ctx context.Context) error {
	if err := r.input.Close(); err != nil {
		return writingInput(err)
	}
	output := r.path("output")
	if err := r.job.run(ctx, r.path("input"), output); err != nil {
		return err
	}
	info, err := os.Lstat(output)
	if errors.Is(err, os.ErrNotExist) {
		return modelmanager.Errorf(modelmanager.CodeModelError, "%s ended without writing $MM_OUTPUT", r.job.options.program())
	}
	if err != nil {
		return fmt.Errorf("reading what the command wrote: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe would never end
		return modelmanager.Errorf(modelmanager.CodeModelError, "what %s made of $MM_OUTPUT is no plain file", r.job.options.program())
	}
	source, err := dataset.NewFileSource(output)
	if err != nil {
		return fmt.Errorf("reading what the command wrote: %w", err)
	}
	r.answers, err = openAnswers(r.job.options.Predictions, source, 0)
	return err
}

// Next returns the answers to the next n rows, of which there are n or more.
func (r *JobRun) Next(n int) (*Answer, error) { return r.answers.next(n, r.rows) }

// End makes sure that there are no more answers than rows.
func (r *JobRun) End() error { return r.answers.end(r.rows) }

// Close removes the files.
func (r *JobRun) Close() {
	if r.input != nil {
		_ = r.input.Close() // once more, maybe
	}
	if r.answers != nil {
		r.answers.close()
	}
	_ = os.RemoveAll(r.dir) // what is left goes with the agent's own folder
}

// run runs the command to its end.
func (j *Job) run(ctx context.Context, input, output string) error {
	argv, err := j.options.argv()
	if err != nil {
		return err
	}
	env, err := j.options.environ()
	if err != nil {
		return err
	}
	p, err := j.options.launch(argv, append(env, "MM_INPUT="+input, "MM_OUTPUT="+output), j.log)
	if err != nil {
		return &startError{err}
	}
	defer p.destroy("the agent is stopping")
	timeout := time.Duration(j.options.Spec.Batch.Timeout)
	if timeout <= 0 {
		timeout = 2 * time.Hour
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		reason := fmt.Sprintf("%s took longer than %s (batch.timeout)", j.options.program(), timeout)
		p.destroy(reason)
		return lost(modelmanager.CodeDeadlineExceeded, "%s", reason)
	case <-ctx.Done():
		return modelmanager.Errorf(modelmanager.CodeCancelled, "the call was cancelled: %w", ctx.Err())
	}
	if p.status == 0 {
		return nil
	}
	return lost(modelmanager.CodeModelError, "%s", p.deathReason())
}
