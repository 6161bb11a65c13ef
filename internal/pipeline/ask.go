package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/spec"
)

// askedVersion is a published version that is asked for predictions.
type askedVersion struct {
	server  LiveServer
	spec    *spec.Spec
	version int
}

// refused is why there are no predictions of a row, where nobody says more.
const refused = "it is refused"

// liveWait is how long a live version may take to start.
const liveWait = 4 * time.Minute

// outcomes asks for the predictions of rows, in calls as large as the server
// takes; a version that serves batch only, in a job.
func (a askedVersion) outcomes(ctx context.Context, rows []json.RawMessage) ([]outcome, error) {
	if !slices.Contains(a.spec.Serve, modelmanager.RealTime) {
		return a.inJob(ctx, rows)
	}
	limits, err := a.server.Limits(ctx)
	if err != nil {
		return nil, err
	}
	size := limits.PredictRows
	if size <= 0 {
		size = 100
	}
	if a.spec.Rows == spec.Dependent && len(rows) > size {
		return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "its predictions look across rows, and a call takes at most %d of the %d", size, len(rows))
	}
	var outcomes []outcome
	for len(rows) > 0 {
		now := rows[:callSize(rows, size, limits.PredictBytes)]
		rows = rows[len(now):]
		answer, err := patiently(ctx, func() (modelmanager.PredictResponse, error) {
			return a.server.Predict(ctx, a.spec.Name, a.version, modelmanager.PredictRequest{Rows: now, OnError: "partial"})
		})
		if err != nil {
			return nil, err
		}
		if len(answer.Predictions) != len(now) {
			return nil, fmt.Errorf("version %d answered %d predictions for %d rows", a.version, len(answer.Predictions), len(now))
		}
		before := len(outcomes)
		for _, prediction := range answer.Predictions {
			if prediction == nil || string(prediction) == "null" {
				outcomes = append(outcomes, outcome{problem: refused})
			} else {
				outcomes = append(outcomes, outcome{prediction: prediction})
			}
		}
		for _, e := range answer.Errors {
			if e.Row >= 0 && e.Row < int64(len(now)) {
				outcomes[before+int(e.Row)].problem = problemOf(e)
			}
		}
	}
	return outcomes, nil
}

// callSize tells how many of the rows, one at least, go into one call.
func callSize(rows []json.RawMessage, most int, bytes int64) int {
	const envelope = 100 // bytes around the rows
	total := int64(envelope)
	for i, row := range rows[:min(len(rows), most)] {
		total += int64(len(row)) + 1
		if bytes > 0 && total > bytes && i > 0 {
			return i
		}
	}
	return min(len(rows), most)
}

// patiently asks again while the version is starting.
func patiently(ctx context.Context, ask func() (modelmanager.PredictResponse, error)) (modelmanager.PredictResponse, error) {
	deadline := time.Now().Add(liveWait)
	for {
		answer, err := ask()
		var e *modelmanager.Error
		if err == nil || !errors.As(err, &e) || e.Code != modelmanager.CodeUnavailable || e.RetryAfter <= 0 ||
			time.Now().Add(e.RetryAfter).After(deadline) {
			return answer, err
		}
		if !pause.For(ctx, e.RetryAfter) {
			return answer, ctx.Err()
		}
	}
}

// inJob asks a version that serves batch only, by a job of the rows. The job's
// data are deleted once they are read.
func (a askedVersion) inJob(ctx context.Context, rows []json.RawMessage) (_ []outcome, err error) {
	ctx, stop := context.WithTimeout(ctx, liveWait)
	defer stop()
	const name = "rows.jsonl"
	var file bytes.Buffer
	for _, row := range rows {
		file.Write(row)
		file.WriteByte('\n')
	}
	upload, err := a.server.Upload(ctx, name, &file)
	if err != nil {
		return nil, err
	}
	job, err := a.server.SubmitJob(ctx, a.spec.Name, modelmanager.JobRequest{
		Input:       modelmanager.JobInput{Upload: upload.ID, Name: name, Format: "jsonl"},
		Output:      modelmanager.JobOutput{Prefix: livePrefix, Add: []string{}, Rejected: "inline"},
		Version:     a.version,
		MaxRejected: "100%",
		Labels:      map[string]string{"for": "validate"},
	}, "")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, a.server.CancelJob(context.WithoutCancel(ctx), job.ID, job.State.Final()))
	}()
	watched, err := a.server.WatchJob(ctx, job.ID, nil)
	if err != nil {
		return nil, fmt.Errorf("asking version %d in job %s: %w", a.version, job.ID, err)
	}
	if job = watched; job.State != modelmanager.JobSucceeded {
		return nil, modelmanager.Errorf(job.Code, "asking version %d in job %s: %s", a.version, job.ID, job.Reason)
	}
	output, err := a.server.JobOutput(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	return a.readAnswers(output, len(rows))
}

// livePrefix is put before the names of predictions: they may be features' names, too.
const livePrefix = "live."

// readAnswers reads the outcomes of so many rows from a job's output.
func (a askedVersion) readAnswers(output io.Reader, rows int) ([]outcome, error) {
	outcomes := make([]outcome, 0, rows)
	for lines := json.NewDecoder(output); ; {
		var line map[string]json.RawMessage
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what version %d answered: %w", a.version, err)
		}
		if why, found := line["_error"]; found && string(why) != "null" {
			refused := outcome{problem: refused}
			_ = json.Unmarshal(why, &refused.problem)
			outcomes = append(outcomes, refused)
			continue
		}
		values := map[string]json.RawMessage{}
		for _, field := range a.spec.Predictions {
			values[field.Name] = line[livePrefix+field.Name]
		}
		outcomes = append(outcomes, outcome{prediction: rowOf(a.spec.Predictions, values)})
	}
	if len(outcomes) != rows {
		return nil, fmt.Errorf("version %d answered %d predictions for %d rows", a.version, len(outcomes), rows)
	}
	return outcomes, nil
}
