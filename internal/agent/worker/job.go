package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
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

// Predict runs the command, at most for batch.timeout.
func (j *Job) Predict(ctx context.Context, rows arrow.RecordBatch) (*Answer, error) {
	dir, err := os.MkdirTemp(j.options.RunDir, "job-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the command's files: %w", err)
	}
	defer os.RemoveAll(dir)
	input, output, err := j.writeInput(dir, rows)
	if err != nil {
		return nil, err
	}
	if err := j.run(ctx, input, output); err != nil {
		return nil, err
	}
	data, err := readBounded(output, j.options.AnswerLimit)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, modelmanager.Errorf(modelmanager.CodeModelError, "%s ended without writing $MM_OUTPUT", j.options.program())
	case errors.Is(err, errTooLong):
		return nil, modelmanager.Errorf(modelmanager.CodeModelError, "what %s wrote to $MM_OUTPUT is larger than allowed: more than %s",
			j.options.program(), bytesText(j.options.AnswerLimit))
	case err != nil:
		return nil, fmt.Errorf("reading what the command wrote: %w", err)
	}
	return readAnswers(j.options.Predictions, data, int(rows.NumRows()))
}

func (j *Job) writeInput(dir string, rows arrow.RecordBatch) (input, output string, err error) {
	extension := "csv"
	var data []byte
	if j.options.Spec.Env["MM_INPUT_FORMAT"] == "jsonl" {
		extension = "jsonl"
		for i := range int(rows.NumRows()) {
			data = append(j.options.Features.AppendRow(data, rows, i), '\n')
		}
	} else if data, err = appendCSV(nil, j.options.Features, rows); err != nil {
		return "", "", fmt.Errorf("writing the command's input: %w", err)
	}
	input = filepath.Join(dir, "input."+extension)
	if err := os.WriteFile(input, data, 0o600); err != nil {
		return "", "", fmt.Errorf("writing the command's input: %w", err)
	}
	return input, filepath.Join(dir, "output."+extension), nil
}

// readBounded refuses what isn't a plain file, too: a pipe would never end.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no plain file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLong
	}
	return data, err
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
