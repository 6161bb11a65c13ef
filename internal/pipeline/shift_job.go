package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"modelmanager.dev"
)

// askInJob asks a live version that serves batch only, by a job of the rows; nil
// where it rejects one. The job's data are deleted once they are read.
func askInJob(ctx context.Context, server JobServer, c *Comparison, rows []json.RawMessage) (_ []json.RawMessage, err error) {
	ctx, stop := context.WithTimeout(ctx, liveWait)
	defer stop()
	const name = "rows.jsonl"
	var file bytes.Buffer
	for _, row := range rows {
		file.Write(row)
		file.WriteByte('\n')
	}
	upload, err := server.Upload(ctx, name, &file)
	if err != nil {
		return nil, err
	}
	job, err := server.SubmitJob(ctx, c.live.Name, modelmanager.JobRequest{
		Input:       modelmanager.JobInput{Upload: upload.ID, Name: name, Format: "jsonl"},
		Output:      modelmanager.JobOutput{Prefix: livePrefix, Add: []string{}, Rejected: "inline"},
		Version:     c.Version,
		MaxRejected: "100%",
		Labels:      map[string]string{"for": "validate"},
	}, "")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, server.CancelJob(context.WithoutCancel(ctx), job.ID, job.State.Final()))
	}()
	watched, err := server.WatchJob(ctx, job.ID, nil)
	if err != nil {
		return nil, fmt.Errorf("asking version %d in job %s: %w", c.Version, job.ID, err)
	}
	if job = watched; job.State != modelmanager.JobSucceeded {
		return nil, modelmanager.Errorf(job.Code, "asking version %d in job %s: %s", c.Version, job.ID, job.Reason)
	}
	output, err := server.JobOutput(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	return c.readAnswers(output, len(rows))
}

// livePrefix is put before the names of predictions: they may be features' names, too.
const livePrefix = "live."

// readAnswers reads the predictions of so many rows from a job's output.
func (c *Comparison) readAnswers(output io.Reader, rows int) ([]json.RawMessage, error) {
	predictions := make([]json.RawMessage, 0, rows)
	for lines := json.NewDecoder(output); ; {
		var line map[string]json.RawMessage
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what version %d answered: %w", c.Version, err)
		}
		var prediction json.RawMessage
		if problem, found := line["_error"]; !found || string(problem) == "null" {
			values := map[string]json.RawMessage{}
			for _, field := range c.live.Predictions {
				values[field.Name] = line[livePrefix+field.Name]
			}
			prediction = rowOf(c.live.Predictions, values)
		}
		predictions = append(predictions, prediction)
	}
	if len(predictions) != rows {
		return nil, fmt.Errorf("version %d answered %d predictions for %d rows", c.Version, len(predictions), rows)
	}
	return predictions, nil
}
