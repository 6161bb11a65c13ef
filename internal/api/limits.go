package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/serve"
	"modelmanager.dev/internal/registry"
)

// maxBody bounds the body of a call that isn't rows or a file, in bytes.
const maxBody = 1 << 20

// maxPage is the longest page of a list.
const maxPage = 1000

func (a *API) registerLimits(h huma.API) {
	register(h, huma.Operation{
		OperationID: "limits", Method: http.MethodGet, Path: "/v1/limits",
		Summary: "What a call may ask for at most; beyond, the answer is 413", Tags: []string{"operations"},
	}, func(context.Context, *struct{}) (*body[modelmanager.Limits], error) {
		return answer(a.limits()), nil
	})
}

func (a *API) limits() modelmanager.Limits {
	rows := a.Gateway.Limits()
	limits := modelmanager.Limits{
		PredictRows:     serve.MaxRows,
		PredictBytes:    min(rows.Body, serve.MaxBytes),
		AnswerBytes:     rows.Answer,
		WaitSeconds:     int(rows.Wait.Seconds()),
		MaxWaitSeconds:  int(rows.MaxWait.Seconds()),
		ConcurrentCalls: rows.Calls,
		WaitingCalls:    rows.Queue,
		UploadBytes:     a.MaxUpload,
		SpecBytes:       registry.MaxSpec,
		BodyBytes:       maxBody,
		PageItems:       maxPage,
	}
	if room, known := a.Uploads.Room(); known {
		limits.UploadRoom = &room
	}
	return limits
}
