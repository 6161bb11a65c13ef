package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// jobDone is the kind of job that everybody looks at.
const jobDone = "done, with results and rejected rows"

// jobKind is a job that is run as people run theirs, until it is in a state.
type jobKind struct {
	what, model string
	maxRejected string
	until       modelmanager.JobState
}

// jobKinds are these. The last is queued behind the one before, which has all
// places.
var jobKinds = []jobKind{
	{jobDone, jobModel, "100%", modelmanager.JobSucceeded},
	{"done, of 500 columns", wideName, "100%", modelmanager.JobSucceeded},
	{"failed", jobModel, "0", modelmanager.JobFailed},
	{"cancelled", stuckModel, "100%", modelmanager.JobCancelled},
	{"running", stuckModel, "100%", modelmanager.JobRunning},
	{"queued", stuckModel, "100%", modelmanager.JobQueued},
}

// history is how many jobs there are of before.
const history = 1000

// oldJob is the id of one of those: they sort behind those that we run.
func oldJob(i int) string { return fmt.Sprintf("zz%024d", i) }

// runJobs runs a job of each kind, and then writes down that many were like
// these, long ago: their data is gone.
func (w *world) runJobs(ctx context.Context) error {
	var ended []modelmanager.Job
	for _, kind := range jobKinds {
		job, err := w.runJob(ctx, kind)
		if err != nil {
			return fmt.Errorf("running the job that is %s: %w", kind.what, err)
		}
		w.jobs[kind.what] = job.ID
		if job.State.Final() {
			ended = append(ended, job)
		}
	}
	for w.oldJobs < history {
		job := ended[w.oldJobs%len(ended)]
		manifest, err := w.bucket.ReadAll(ctx, "jobs/"+job.ID+"/manifest.json", 1<<20)
		if err != nil {
			return err
		}
		id := oldJob(w.oldJobs)
		if err := w.bucket.WriteAll(ctx, "jobs/"+id+"/manifest.json", bytes.ReplaceAll(manifest, []byte(job.ID), []byte(id))); err != nil {
			return err
		}
		if err := w.bucket.WriteAll(ctx, fmt.Sprintf("history/%s.%s.%s", id, job.Model, job.State), nil); err != nil {
			return err
		}
		w.oldJobs++
	}
	return nil
}

// runJob runs a job until it is in the state of its kind.
func (w *world) runJob(ctx context.Context, kind jobKind) (modelmanager.Job, error) {
	upload, err := w.upload(ctx, kind.model)
	if err != nil {
		return modelmanager.Job{}, err
	}
	job, err := w.api.SubmitJob(ctx, kind.model, modelmanager.JobRequest{
		Input: modelmanager.JobInput{Upload: upload, Name: "stays.csv"}, MaxRejected: kind.maxRejected, Labels: map[string]string{"run": "monthly"},
	}, "")
	if err != nil {
		return job, err
	}
	cancelled := false
	return job, w.wait(ctx, func() (bool, error) {
		if job, err = w.api.Job(ctx, job.ID); err != nil || job.State == kind.until {
			return err == nil, err
		}
		if kind.until == modelmanager.JobCancelled && job.State == modelmanager.JobRunning && !cancelled {
			cancelled = true
			return false, w.api.CancelJob(ctx, job.ID, false)
		}
		if job.State.Final() {
			return false, fmt.Errorf("it is %s: %s", job.State, job.Reason)
		}
		return false, nil
	})
}

// checkFiles uploads files, as somebody does who is then shown what is in them.
func (w *world) checkFiles(ctx context.Context) error {
	for _, model := range []string{jobModel, wideName} {
		upload, err := w.upload(ctx, model)
		if err != nil {
			return err
		}
		w.checks[model] = "/models/" + model + "/batch?" + url.Values{"upload": {upload}, "name": {"stays.csv"}}.Encode()
	}
	return nil
}

// upload uploads a file of rows for a model, some of which don't fit it.
func (w *world) upload(ctx context.Context, model string) (string, error) {
	info, err := w.api.Model(ctx, model)
	if err != nil {
		return "", err
	}
	parsed, err := spec.FromCanonical(string(info.Spec))
	if err != nil {
		return "", err
	}
	columns := len(parsed.Features) + 2
	if model == wideName {
		columns = wideColumns
	}
	var file strings.Builder
	for n := range columns {
		if n > 0 {
			file.WriteByte(',')
		}
		if n < len(parsed.Features) {
			file.WriteString(parsed.Features[n].Name)
		} else {
			fmt.Fprintf(&file, "note_%d", n)
		}
	}
	file.WriteByte('\n')
	for row := range 5000 {
		for n := range columns {
			if n > 0 {
				file.WriteByte(',')
			}
			switch {
			case n == 0 && row%50 == 49:
				file.WriteString("unknown")
			case n < len(parsed.Features):
				file.WriteString(strings.Trim(string(value(parsed.Features[n], row+n)), `"`))
			default:
				fmt.Fprintf(&file, "note %d", row*n%97)
			}
		}
		file.WriteByte('\n')
	}
	made, err := w.api.Upload(ctx, "stays.csv", strings.NewReader(file.String()))
	return made.ID, err
}
