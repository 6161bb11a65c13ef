package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

type checkInput struct {
	ModelPath
	Body JobRequest
}

func (a *API) registerCheck(h huma.API) {
	register(h, huma.Operation{
		OperationID: "check-job", Method: http.MethodPost, Path: "/v1/models/{model}/jobs/check",
		Summary: "Look at every row of a file, and say what would go wrong, as JSON Lines that tell how far it is", Tags: []string{"jobs"},
		Responses: map[string]*huma.Response{
			"200":     {Description: "A JobCheck in each line; the last one is not under way any more", Content: map[string]*huma.MediaType{"application/x-ndjson": {}}},
			"default": problemResponse(h),
		},
	}, a.checkJob)
}

// checkJob streams how far a check is. What is wrong before its first word is
// an answer of its own; afterwards, it breaks the stream.
func (a *API) checkJob(ctx context.Context, in *checkInput) (*huma.StreamResponse, error) {
	request, err := a.jobRequest(ctx, in.Model, in.Body)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	checks := make(chan modelmanager.JobCheck)
	var failed error // read when checks is closed
	go func() {
		defer close(checks)
		tell := func(check modelmanager.JobCheck) {
			select {
			case checks <- check:
			case <-ctx.Done():
			}
		}
		whole, err := a.Jobs.Check(ctx, request, tell)
		if failed = err; err == nil {
			tell(whole)
		}
	}()
	first, began := <-checks
	if !began {
		return nil, a.failed(ctx, failed)
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		answer.SetHeader("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(answer.BodyWriter())
		write := func(check modelmanager.JobCheck) {
			if out.Encode(check) == nil {
				if flusher, ok := answer.BodyWriter().(http.Flusher); ok {
					flusher.Flush()
				}
			}
		}
		write(first)
		for check := range checks {
			write(check)
		}
		if failed != nil {
			a.Logger.WarnContext(ctx, "the check of a file broke off", "model", in.Model, "error", failed)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
