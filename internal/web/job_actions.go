package web

import (
	"bytes"
	"context"
	"io"
	"path"
	"strings"

	"modelmanager.dev"
)

// downloadName is the file's own name with what it is now: customers.csv →
// customers-predicted.csv.
func downloadName(job modelmanager.Job, what, format string) string {
	name := jobFile(job)
	for _, ending := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, ending)
	}
	return strings.TrimSuffix(name, path.Ext(name)) + "-" + what + "." + format
}

// jobStream opens something of the job that the address names.
func (v *visit) jobStream(open func(ctx context.Context, id string) (io.ReadCloser, error)) (modelmanager.Job, io.ReadCloser, error) {
	job, err := v.api().Job(v.ctx(), v.r.PathValue("job"))
	if err != nil {
		return job, nil, err
	}
	body, err := open(v.ctx(), job.ID)
	return job, body, err
}

// jobOutput is the result, in the format that the file came in or was asked for.
func (v *visit) jobOutput() error {
	job, body, err := v.jobStream(v.api().JobOutput)
	if err != nil {
		return err
	}
	v.attachment(downloadName(job, "predicted", outputFormat(job)), outputFormat(job))
	return v.stream(body)
}

// jobRejected is the rejected rows, as a table or as JSON Lines.
func (v *visit) jobRejected() error {
	format := v.query("format")
	job, body, err := v.jobStream(func(ctx context.Context, id string) (io.ReadCloser, error) {
		if format == "jsonl" {
			return v.api().JobRejected(ctx, id)
		}
		return v.api().JobRejectedTable(ctx, id, format)
	})
	if err != nil {
		return err
	}
	v.attachment(downloadName(job, "rejected", format), format)
	return v.stream(body)
}

// Bounds of the logs that a page shows.
const (
	logsRead  = 16 << 20
	logsShown = 64 << 10
)

// jobLogsPage shows the end of what the model has printed.
type jobLogsPage struct {
	Job  modelmanager.Job
	Name string
	Text string
	Cut  bool
}

func (v *visit) jobLogs() error {
	job, body, err := v.jobStream(v.api().JobLogs)
	if err != nil {
		return err
	}
	defer body.Close()
	text, cut, err := lastBytes(io.LimitReader(body, logsRead), logsShown)
	if err != nil {
		return err
	}
	return v.page("job-logs", "jobs", "Logs of "+jobFile(job), jobLogsPage{job, jobFile(job), strings.ToValidUTF8(text, "?"), cut})
}

// lastBytes reads to the end, and keeps some.
func lastBytes(r io.Reader, most int) (text string, cut bool, err error) {
	var last []byte
	block := make([]byte, 32<<10)
	for {
		n, err := r.Read(block)
		last = append(last, block[:n]...)
		if len(last) > 2*most {
			last, cut = append(last[:0:0], last[len(last)-most:]...), true
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", false, err
		}
	}
	if len(last) > most {
		last, cut = last[len(last)-most:], true
	}
	if cut { // begin with a whole line
		if i := bytes.IndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
	}
	return string(last), cut, nil
}

func (v *visit) jobLogsText() error {
	job, body, err := v.jobStream(v.api().JobLogs)
	if err != nil {
		return err
	}
	v.attachment(downloadName(job, "logs", "txt"), "")
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return v.stream(body)
}

// asked does something to a job. What the API refuses is said on its page.
func (v *visit) asked(do func(id string) (to, note string, err error)) error {
	id := v.r.PathValue("job")
	to, note, err := do(id)
	if err == nil {
		return v.redirect(to, note)
	}
	job, failed := v.api().Job(v.ctx(), id)
	if failed != nil || modelmanager.CodeOf(err) == modelmanager.CodeUnauthenticated {
		return err
	}
	return v.showJob(job, err)
}

func (v *visit) jobCancel() error {
	return v.asked(func(id string) (string, string, error) {
		return pathOf("jobs", id), "The job is being cancelled.", v.api().CancelJob(v.ctx(), id, false)
	})
}

func (v *visit) jobDelete() error {
	return v.asked(func(id string) (string, string, error) {
		return pathOf("jobs", id), "The job's data is deleted.", v.api().CancelJob(v.ctx(), id, true)
	})
}

func (v *visit) jobRetry() error {
	return v.asked(func(id string) (string, string, error) {
		job, err := v.api().RetryJob(v.ctx(), id)
		return pathOf("jobs", job.ID), "This new job runs what failed, was rejected, or was never come to before.", err
	})
}
