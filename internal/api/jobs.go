package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
)

// JobPath names a job.
type JobPath struct {
	Job string `path:"job" doc:"The job's id"`
}

type submitInput struct {
	ModelPath
	DryRun bool   `query:"dry_run" doc:"Only look at the input, and say what would go wrong"`
	Key    string `header:"Idempotency-Key" maxLength:"200" doc:"The same key twice, within a week, is one job"`
	Body   JobRequest
}

// JobRequest is modelmanager.JobRequest as callers may write it.
type JobRequest struct {
	Input       modelmanager.JobInput  `json:"input"`
	Output      modelmanager.JobOutput `json:"output,omitempty"`
	Version     int                    `json:"version,omitempty" minimum:"0" doc:"Default: the version with the largest share of the traffic"`
	MaxRejected MaxRejected            `json:"max_rejected,omitempty"`
	Labels      map[string]string      `json:"labels,omitempty"`
}

// MaxRejected is a number of rows or a percentage, "2.5%".
type MaxRejected string

// UnmarshalJSON takes a number too.
func (m *MaxRejected) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '"' {
		*m = MaxRejected(data)
		return nil
	}
	return json.Unmarshal(data, (*string)(m))
}

// Schema implements huma.SchemaProvider.
func (MaxRejected) Schema(huma.Registry) *huma.Schema {
	zero := 0.0
	return &huma.Schema{
		Description: "The job stops once more rows are rejected: a number, or a percentage such as 2.5%. Default: 0",
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger, Minimum: &zero},
			{Type: huma.TypeString, MaxLength: new(32)},
		},
	}
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
	Mine  bool     `query:"mine" doc:"Only those that the caller has submitted"`
}

type sampleInput struct {
	JobPath
	Rows int `query:"rows" minimum:"0" maximum:"100" default:"20" doc:"How many of the first rows to show"`
}

type retryInput struct {
	JobPath
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"The same key twice, within a week, is one job"`
}

type cancelInput struct {
	JobPath
	Data bool `query:"data" doc:"Delete the data of a finished job, and keep its manifest"`
}

func (a *API) registerJobs(h huma.API) {
	tags := []string{"jobs"}
	register(h, huma.Operation{
		OperationID: "submit-job", Method: http.MethodPost, Path: "/v1/models/{model}/jobs",
		Summary: "Predict a whole file", Tags: tags, DefaultStatus: http.StatusAccepted,
		Responses: map[string]*huma.Response{
			"200":     answerOf[modelmanager.JobCheck](h, "With dry_run: what was found"),
			"202":     answerOf[modelmanager.Job](h, "The job was accepted"),
			"default": problemResponse(h),
		},
	}, a.submitJob)
	a.registerCheck(h)
	register(h, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs",
		Summary: "List jobs, newest first", Tags: tags,
	}, a.listJobs)
	register(h, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{job}",
		Summary: "Show a job", Tags: tags,
	}, func(ctx context.Context, in *JobPath) (*body[modelmanager.Job], error) {
		job, err := a.Jobs.Get(ctx, in.Job)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(job), nil
	})
	register(h, huma.Operation{
		OperationID: "sample-job", Method: http.MethodGet, Path: "/v1/jobs/{job}/sample",
		Summary: "A finished job's first results, and how its predictions are spread", Tags: tags,
	}, func(ctx context.Context, in *sampleInput) (*body[modelmanager.JobSample], error) {
		sample, err := a.Jobs.Sample(ctx, in.Job, in.Rows)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(sample), nil
	})
	register(h, huma.Operation{
		OperationID: "cancel-job", Method: http.MethodDelete, Path: "/v1/jobs/{job}",
		Summary: "Cancel a job; delete a finished one's data", Tags: tags, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *cancelInput) (*struct{}, error) {
		if in.Data {
			return nil, a.failed(ctx, a.Jobs.Delete(ctx, in.Job))
		}
		_, err := a.Jobs.Cancel(ctx, in.Job, caller(ctx))
		return nil, a.failed(ctx, err)
	})
	register(h, huma.Operation{
		OperationID: "retry-job", Method: http.MethodPost, Path: "/v1/jobs/{job}/retry",
		Summary: "Run only what failed or was rejected, as a new job", Tags: tags, DefaultStatus: http.StatusAccepted,
		Responses: map[string]*huma.Response{
			"202":     answerOf[modelmanager.Job](h, "The job was accepted"),
			"default": problemResponse(h),
		},
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

// jobRequest is what a caller asks for, by the version that the traffic says
// unless they name one.
func (a *API) jobRequest(ctx context.Context, name string, asked JobRequest) (batch.Request, error) {
	model, err := a.Registry.Get(ctx, name)
	if err != nil {
		return batch.Request{}, err
	}
	number := asked.Version
	if number == 0 {
		if number = model.Traffic().Largest(); number == 0 {
			return batch.Request{}, modelmanager.Errorf(modelmanager.CodeConflict,
				"%s has no version in production; promote one, or name a version", name)
		}
	}
	return batch.Request{
		Model: name, Version: number, Input: asked.Input, Output: asked.Output,
		Requested: asked.Version, MaxRejected: string(asked.MaxRejected), Labels: asked.Labels, By: caller(ctx),
	}, nil
}

func (a *API) submitJob(ctx context.Context, in *submitInput) (*submitOutput, error) {
	request, err := a.jobRequest(ctx, in.Model, in.Body)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	request.IdempotencyKey = in.Key
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
	labels, err := labelsOf(in.Label)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	by := ""
	if in.Mine {
		by = caller(ctx)
	}
	page, err := a.Jobs.List(ctx, batch.Query{
		By: by, Model: in.Model, State: modelmanager.JobState(in.State), Labels: labels, Limit: in.Limit, PageToken: in.PageToken,
	})
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	if page.Jobs == nil {
		page.Jobs = []modelmanager.Job{}
	}
	return answer(page), nil
}
