package web

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
)

// mountJob mounts the page of a job, and what hangs on it.
func (w *Web) mountJob() {
	w.get("GET /jobs/{job}", (*visit).job)
	w.get("GET /jobs/{job}/live", (*visit).jobLive)
	w.get("GET /jobs/{job}/output", (*visit).jobOutput)
	w.get("GET /jobs/{job}/rejected", (*visit).jobRejected)
	w.get("GET /jobs/{job}/logs", (*visit).jobLogs)
	w.get("GET /jobs/{job}/logs.txt", (*visit).jobLogsText)
	w.post("/jobs/{job}/cancel", (*visit).jobCancel)
	w.post("/jobs/{job}/retry", (*visit).jobRetry)
	w.post("/jobs/{job}/delete", (*visit).jobDelete)
}

// jobPage is what the page of a job shows.
type jobPage struct {
	Job     modelmanager.Job
	Name    string // of its file
	Live    liveView
	ReadAs  string
	Columns []pair // feature and header, where they differ
	Filled  []filledLine
	Options []string
	Results *resultsView // of a finished job
	Again   string       // where the same file can be looked at again; "": it can't
	Reload  int          // how often a script looks again, in seconds; 0: the job has ended
	Failed  *problem.Problem
}

type filledLine struct {
	Feature string
	Rows    int64
}

func (v *visit) job() error {
	job, err := v.api().Job(v.ctx(), v.r.PathValue("job"))
	if err != nil {
		return err
	}
	return v.showJob(job, nil)
}

// showJob shows a job; failed is what became of what the visitor asked for.
func (v *visit) showJob(job modelmanager.Job, failed error) error {
	page := jobPage{Job: job, Name: jobFile(job), Live: liveOf(job, time.Now()), ReadAs: readAs(job.Input), Options: optionsOf(job)}
	for _, feature := range slices.Sorted(keysOf(job.Input.Columns)) {
		if header := job.Input.Columns[feature]; header != feature {
			page.Columns = append(page.Columns, pair{feature, header})
		}
	}
	for _, feature := range slices.Sorted(keysOf(job.Rows.Filled)) {
		page.Filled = append(page.Filled, filledLine{feature, job.Rows.Filled[feature]})
	}
	if job.State.Final() {
		page.Results = v.results(job)
		if !page.Results.Gone {
			page.Again = checkAddress(job.Model, modelmanager.JobRequest{Input: job.Input, Output: job.Output, MaxRejected: job.MaxRejected})
		}
	} else {
		page.Reload = 3
	}
	status := http.StatusOK
	if failed != nil {
		p := problem.Of(failed)
		page.Failed, status = &p, p.Status
	}
	return v.pageStatus(status, "job", "jobs", page.Name, page)
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// jobFile is what people call a job: its file.
func jobFile(job modelmanager.Job) string {
	switch {
	case job.Input.Name != "":
		return job.Input.Name
	case job.Input.URI != "":
		return path.Base(job.Input.URI)
	}
	return "Job " + job.ID
}

// optionsOf says what was asked for beside the default.
func optionsOf(job modelmanager.Job) []string {
	var options []string
	out := job.Output
	if out.Rejected == "inline" {
		options = append(options, "Rejected rows stay in the result, with the reason in _error.")
	}
	if out.Prefix != "" {
		options = append(options, fmt.Sprintf("The predictions' names begin with %s.", out.Prefix))
	}
	if out.Formulas == "escape" {
		options = append(options, "Texts that look like formulas have an apostrophe before them.")
	}
	if out.Add != nil && len(out.Add) == 0 {
		options = append(options, "The result has no columns but the file's and the predictions.")
	}
	switch job.MaxRejected {
	case noLimit:
	case "", "0":
		options = append(options, "It stops at the first rejected row.")
	default:
		options = append(options, "It stops once more than "+job.MaxRejected+" rows are rejected.")
	}
	if out.URI != "" {
		options = append(options, "The result goes to "+out.URI+".")
	}
	return options
}

// stateWord says a job's state in words.
func stateWord(job modelmanager.Job) (word, class string) {
	switch job.State {
	case modelmanager.JobQueued:
		return "Waiting", "queued"
	case modelmanager.JobRunning:
		return "Running", "running"
	case modelmanager.JobSucceeded:
		if job.Rows.Rejected > 0 {
			return "Done, with rejected rows", "warned"
		}
		return "Done", "succeeded"
	case modelmanager.JobFailed:
		return "Failed", "failed"
	case modelmanager.JobCancelled:
		return "Cancelled", "cancelled"
	}
	return string(job.State), ""
}
