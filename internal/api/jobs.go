package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
)

// JobPath names a job.
type JobPath struct {
	Job string `path:"job" maxLength:"64" doc:"The job's id"`
}

type submitInput struct {
	ModelPath
	DryRun bool   `query:"dry_run" doc:"Only look at the input, and say what would go wrong"`
	Key    string `header:"Idempotency-Key" maxLength:"200" doc:"The same key twice is one job"`
	Body   modelmanager.JobRequest
}

// submitOutput is a job (202), or a dry run's check (200).
type submitOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     any
}

type listJobsInput struct {
	PageQuery
	Model string   `query:"model"`
	State string   `query:"state" enum:"queued,running,succeeded,failed,cancelled"`
	Label []string `query:"label,explode" doc:"name=value; repeatable"`
}

type retryInput struct {
	JobPath
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"The same key twice is one job"`
}

type cancelInput struct {
	JobPath
	Data bool `query:"data" doc:"Delete the data of a finished job, and keep its manifest"`
}

func (a *API) registerJobs(h huma.API) {
	tags := []string{"jobs"}
	huma.Register(h, huma.Operation{
		OperationID: "submit-job", Method: http.MethodPost, Path: "/v1/models/{model}/jobs",
		Summary: "Predict a whole file", Tags: tags, DefaultStatus: http.StatusAccepted,
		Responses: map[string]*huma.Response{
			"200": {Description: "With dry_run: what was found", Content: map[string]*huma.MediaType{
				"application/json": {Schema: h.OpenAPI().Components.Schemas.Schema(typeOf[modelmanager.JobCheck](), true, "")}}},
			"202": {Description: "The job was accepted", Content: map[string]*huma.MediaType{
				"application/json": {Schema: h.OpenAPI().Components.Schemas.Schema(typeOf[modelmanager.Job](), true, "")}}},
		},
	}, a.submitJob)
	huma.Register(h, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs",
		Summary: "List jobs, newest first", Tags: tags,
	}, a.listJobs)
	huma.Register(h, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{job}",
		Summary: "Show a job", Tags: tags,
	}, func(ctx context.Context, in *JobPath) (*body[modelmanager.Job], error) {
		job, err := a.Jobs.Get(ctx, in.Job)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(job), nil
	})
	huma.Register(h, huma.Operation{
		OperationID: "cancel-job", Method: http.MethodDelete, Path: "/v1/jobs/{job}",
		Summary: "Cancel a job; delete a finished one's data", Tags: tags, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *cancelInput) (*struct{}, error) {
		if in.Data {
			return nil, a.failed(ctx, a.Jobs.Delete(ctx, in.Job))
		}
		_, err := a.Jobs.Cancel(ctx, in.Job, caller(ctx))
		return nil, a.failed(ctx, err)
	})
	huma.Register(h, huma.Operation{
		OperationID: "retry-job", Method: http.MethodPost, Path: "/v1/jobs/{job}/retry",
		Summary: "Run only what failed or was rejected, as a new job", Tags: tags, DefaultStatus: http.StatusAccepted,
	}, func(ctx context.Context, in *retryInput) (*submitOutput, error) {
		job, err := a.Jobs.Retry(ctx, in.Job, caller(ctx), in.Key)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return accepted(job), nil
	})
	a.registerJobStreams(h)
}

func accepted(job modelmanager.Job) *submitOutput {
	return &submitOutput{Status: http.StatusAccepted, Location: "/v1/jobs/" + job.ID, Body: job}
}

func (a *API) submitJob(ctx context.Context, in *submitInput) (*submitOutput, error) {
	model, err := a.Registry.Get(ctx, in.Model)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	number := in.Body.Version
	if number == 0 {
		if number = model.Traffic().Largest(); number == 0 {
			return nil, a.failed(ctx, modelmanager.Errorf(modelmanager.CodeConflict,
				"%s has no version in production; promote one, or name a version", in.Model))
		}
	}
	request := batch.Request{
		Model: in.Model, Version: number, Input: in.Body.Input, Output: in.Body.Output,
		MaxRejected: in.Body.MaxRejected, Labels: in.Body.Labels, By: caller(ctx), IdempotencyKey: in.Key,
	}
	if in.DryRun {
		check, err := a.Jobs.DryRun(ctx, request)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return &submitOutput{Status: http.StatusOK, Body: check}, nil
	}
	job, err := a.Jobs.Submit(ctx, request)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	return accepted(job), nil
}

func (a *API) listJobs(ctx context.Context, in *listJobsInput) (*body[modelmanager.JobList], error) {
	labels := map[string]string{}
	for _, pair := range in.Label {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, a.failed(ctx, modelmanager.Errorf(modelmanager.CodeBadRequest, "label %q is not name=value", pair))
		}
		labels[name] = value
	}
	page, err := a.Jobs.List(ctx, batch.Query{
		Model: in.Model, State: modelmanager.JobState(in.State), Labels: labels, Limit: in.Limit, PageToken: in.PageToken,
	})
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	if page.Jobs == nil {
		page.Jobs = []modelmanager.Job{}
	}
	return answer(page), nil
}

// registerJobStreams mounts what streams out of a job.
func (a *API) registerJobStreams(h huma.API) {
	stream := func(what, summary, contentType string, write func(context.Context, string, io.Writer) error) {
		a.plain(h, huma.Operation{
			OperationID: "job-" + what, Method: http.MethodGet, Path: "/v1/jobs/{job}/" + what,
			Summary: summary, Tags: []string{"jobs"},
		}, contentType, func(w http.ResponseWriter, r *http.Request) error {
			return a.stream(w, r, contentType, write)
		})
	}
	stream("rejected", "The rejected rows, with reasons, as JSON Lines", "application/x-ndjson", a.Jobs.Rejected)
	stream("logs", "What the workers have logged", "text/plain; charset=utf-8", a.Jobs.Logs)
	a.plain(h, huma.Operation{
		OperationID: "job-output", Method: http.MethodGet, Path: "/v1/jobs/{job}/output",
		Summary: "The results as one stream, in the input's order and format", Tags: []string{"jobs"},
	}, "application/octet-stream", func(w http.ResponseWriter, r *http.Request) error {
		job, err := a.Jobs.Get(r.Context(), r.PathValue("job"))
		if err != nil {
			return err
		}
		format := job.Output.Format
		if format == "" {
			format = job.Input.Format
		}
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", job.Model+"-"+job.ID+"."+format))
		return a.stream(w, r, contentTypes[format], a.Jobs.Output)
	})
	a.plain(h, huma.Operation{
		OperationID: "job-events", Method: http.MethodGet, Path: "/v1/jobs/{job}/events",
		Summary: "The job each time it changes, as server-sent events, until it ends", Tags: []string{"jobs"},
	}, "text/event-stream", a.jobEvents)
}

// contentTypes of the formats that files have.
var contentTypes = map[string]string{
	"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// stream sends what write writes. Once bytes are on their way, an error can
// only break the connection, which the reader then sees.
func (a *API) stream(w http.ResponseWriter, r *http.Request, contentType string, write func(context.Context, string, io.Writer) error) error {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	out := &lazyHeader{ResponseWriter: w, contentType: contentType}
	err := write(r.Context(), r.PathValue("job"), out)
	if err != nil && out.started {
		a.Logger.WarnContext(r.Context(), "a stream broke off", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	if err == nil && !out.started {
		_, err = out.Write(nil)
	}
	return err
}

// lazyHeader sends the header with the first byte, so that an error before it
// is still an answer of its own.
type lazyHeader struct {
	http.ResponseWriter
	contentType string
	started     bool
}

// Write implements io.Writer.
func (l *lazyHeader) Write(p []byte) (int, error) {
	if !l.started {
		l.started = true
		l.Header().Set("Content-Type", l.contentType)
		l.Header().Set("X-Content-Type-Options", "nosniff")
	}
	return l.ResponseWriter.Write(p)
}

// keepAlive is how often a quiet event stream says that it is still there.
const keepAlive = 15 * time.Second

func (a *API) jobEvents(w http.ResponseWriter, r *http.Request) error {
	events, err := a.Jobs.Events(r.Context(), r.PathValue("job"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case job, open := <-events:
			if !open {
				return nil
			}
			data, err := json.Marshal(job)
			if err != nil {
				return nil
			}
			fmt.Fprintf(w, "event: job\ndata: %s\n\n", data)
		case <-ticker.C:
			fmt.Fprint(w, ": still here\n\n")
		case <-r.Context().Done():
			return nil
		}
		if control.Flush() != nil {
			return nil
		}
	}
}
