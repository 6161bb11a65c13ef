package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// SubmitJob asks for a job. The same key twice is one job.
func (c *Client) SubmitJob(ctx context.Context, model string, request modelmanager.JobRequest, idempotencyKey string) (modelmanager.Job, error) {
	var job modelmanager.Job
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "models", model, "jobs"},
		header: idempotency(idempotencyKey), body: request,
	}, &job)
	return job, err
}

// CheckJob looks at a job's input without running anything.
func (c *Client) CheckJob(ctx context.Context, model string, request modelmanager.JobRequest) (modelmanager.JobCheck, error) {
	var check modelmanager.JobCheck
	err := c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "models", model, "jobs"},
		query: url.Values{"dry_run": {"true"}}, body: request,
	}, &check)
	return check, err
}

// CheckWholeJob is CheckJob of all rows, however many: progress, unless it is
// nil, is called now and then with how far that is.
func (c *Client) CheckWholeJob(ctx context.Context, model string, request modelmanager.JobRequest, progress func(modelmanager.JobCheck)) (modelmanager.JobCheck, error) {
	var check modelmanager.JobCheck
	response, err := c.send(ctx, call{method: http.MethodPost, path: []string{"v1", "models", model, "jobs", "check"}, body: request})
	if err != nil {
		return check, err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		check = modelmanager.JobCheck{}
		switch err := lines.Decode(&check); {
		case err != nil:
			return check, modelmanager.Errorf(modelmanager.CodeUnavailable, "checking the file: the answer of %s broke off: %w; try again", c.base, err)
		case !check.UnderWay:
			return check, nil
		case progress != nil:
			progress(check)
		}
	}
}

// JobQuery narrows a list of jobs; its zero value lists all.
type JobQuery struct {
	Model     string
	State     modelmanager.JobState
	Mine      bool // only the caller's own
	Labels    map[string]string
	Limit     int
	PageToken string
}

// Jobs returns a page of jobs, newest first.
func (c *Client) Jobs(ctx context.Context, q JobQuery) (modelmanager.JobList, error) {
	query := paging(q.Limit, q.PageToken)
	set(query, "model", q.Model)
	set(query, "state", string(q.State))
	if q.Mine {
		query.Set("mine", "true")
	}
	for name, value := range q.Labels {
		query.Add("label", name+"="+value)
	}
	var list modelmanager.JobList
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "jobs"}, query: query}, &list)
	return list, err
}

// Job returns one job.
func (c *Client) Job(ctx context.Context, id string) (modelmanager.Job, error) {
	var job modelmanager.Job
	err := c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "jobs", id}}, &job)
	return job, err
}

// CancelJob cancels a job; of a finished one it deletes the data, if asked to,
// and keeps the manifest.
func (c *Client) CancelJob(ctx context.Context, id string, deleteData bool) error {
	query := url.Values{}
	if deleteData {
		query.Set("data", "true")
	}
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "jobs", id}, query: query}, nil)
}

// RetryJob makes a new job of what failed or was rejected in a finished one.
func (c *Client) RetryJob(ctx context.Context, id string) (modelmanager.Job, error) {
	var job modelmanager.Job
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"v1", "jobs", id, "retry"}}, &job)
	return job, err
}

// JobOutput returns a job's results, in the input's order and format. The
// caller closes it.
func (c *Client) JobOutput(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.jobStream(ctx, id, "output")
}

// JobRejected returns a job's rejected rows as JSON Lines. The caller closes it.
func (c *Client) JobRejected(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.jobStream(ctx, id, "rejected")
}

// JobRejectedTable returns a job's rejected rows as a table, csv or xlsx. The
// caller closes it.
func (c *Client) JobRejectedTable(ctx context.Context, id, format string) (io.ReadCloser, error) {
	response, err := c.send(ctx, call{
		method: http.MethodGet, path: []string{"v1", "jobs", id, "rejected"}, query: url.Values{"format": {format}},
	})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// SampleJob looks at the first rows of a finished job's results, at most 100,
// and at how its predictions are spread.
func (c *Client) SampleJob(ctx context.Context, id string, rows int) (modelmanager.JobSample, error) {
	var sample modelmanager.JobSample
	err := c.do(ctx, call{
		method: http.MethodGet, path: []string{"v1", "jobs", id, "sample"}, query: url.Values{"rows": {strconv.Itoa(rows)}},
	}, &sample)
	return sample, err
}

// JobLogs returns what the workers of a job have written. The caller closes it.
func (c *Client) JobLogs(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.jobStream(ctx, id, "logs")
}

func (c *Client) jobStream(ctx context.Context, id, what string) (io.ReadCloser, error) {
	response, err := c.send(ctx, call{method: http.MethodGet, path: []string{"v1", "jobs", id, what}})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// WatchJob calls progress, unless it is nil, for each state of a job until it
// is final, and returns that state. It outlives a server that restarts: a lost connection is
// made again for as long as ctx lasts.
func (c *Client) WatchJob(ctx context.Context, id string, progress func(modelmanager.Job)) (modelmanager.Job, error) {
	return c.WatchJobOutages(ctx, id, progress, nil)
}

// WatchJobOutages is WatchJob that also calls lost, unless it is nil, when the
// connection was lost, or can't be made at all: once until there is one again.
// Its error says why, nil for a connection that the other side has ended.
func (c *Client) WatchJobOutages(ctx context.Context, id string, progress func(modelmanager.Job), lost func(error)) (modelmanager.Job, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.MaxInterval = 5 * time.Second
	told := false
	for {
		job, err := c.followEvents(ctx, id, func(job modelmanager.Job) {
			pauses.Reset()
			told = false
			if progress != nil {
				progress(job)
			}
		})
		switch {
		case err == nil && job.State.Final():
			return job, nil
		case ctx.Err() != nil:
			return job, ctx.Err()
		case err != nil && modelmanager.CodeOf(err) != modelmanager.CodeUnavailable:
			return job, err
		}
		if lost != nil && !told {
			lost(err)
		}
		told = true
		if !pause.For(ctx, pauses.NextBackOff()) {
			return job, ctx.Err()
		}
	}
}

// FollowJob calls progress for each state of a job for as long as one
// connection lasts, and returns the last one. Unlike WatchJob's it needn't be
// final: the server may be shutting down.
func (c *Client) FollowJob(ctx context.Context, id string, progress func(modelmanager.Job)) (modelmanager.Job, error) {
	return c.followEvents(ctx, id, progress)
}

// patience is how long a stream of events may be silent.
const patience = time.Minute

// followEvents reads a job's server-sent events until they end; the last state
// is the answer. A connection that breaks is no error.
func (c *Client) followEvents(ctx context.Context, id string, progress func(modelmanager.Job)) (modelmanager.Job, error) {
	var job modelmanager.Job
	response, err := c.send(ctx, call{
		method: http.MethodGet, path: []string{"v1", "jobs", id, "events"},
		header: http.Header{"Accept": {"text/event-stream"}},
	})
	if err != nil {
		return job, err
	}
	defer response.Body.Close()
	// The server says at least every 15 seconds that it is there. A connection
	// to a machine that isn't there any more never ends by itself.
	silence := time.AfterFunc(patience, func() { response.Body.Close() })
	defer silence.Stop()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		silence.Reset(patience)
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !found {
			continue
		}
		var next modelmanager.Job
		if err := json.Unmarshal(data, &next); err != nil {
			continue // a kind of event that this client doesn't know
		}
		job = next
		progress(job)
	}
	return job, nil
}
