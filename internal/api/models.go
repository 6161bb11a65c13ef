package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
)

// PageQuery asks for a page of a list.
type PageQuery struct {
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	PageToken string `query:"page_token" doc:"next_page_token of the page before"`
}

// ModelPath names a model. It is exported for huma, which fills in exported
// fields alone.
type ModelPath struct {
	Model string `path:"model" doc:"The model's name: a DNS label of at most 40 characters"`
}

// body wraps an answer as huma wants it.
type body[T any] struct{ Body T }

func answer[T any](value T) *body[T] { return &body[T]{Body: value} }

type listModelsInput struct {
	PageQuery
	Text    string   `query:"q" doc:"Words, all of which must occur in the name, summary, owner or labels"`
	Owner   string   `query:"owner"`
	Label   []string `query:"label,explode" doc:"name=value; repeatable"`
	Serve   string   `query:"serve" enum:"realtime,batch"`
	Retired bool     `query:"retired" doc:"List the retired ones too"`
}

func (a *API) registerModels(h huma.API) {
	register(h, huma.Operation{
		OperationID: "list-models", Method: http.MethodGet, Path: "/v1/models",
		Summary: "Search and list models", Tags: []string{"models"},
	}, a.listModels)
	register(h, huma.Operation{
		OperationID: "get-model", Method: http.MethodGet, Path: "/v1/models/{model}",
		Summary: "Show a model, with its live version's spec", Tags: []string{"models"},
	}, a.getModel)
	register(h, huma.Operation{
		OperationID: "retire-model", Method: http.MethodDelete, Path: "/v1/models/{model}",
		Summary: "Retire a model: it answers no more, its versions are kept", Tags: []string{"models"},
		DefaultStatus: http.StatusNoContent,
	}, a.retireModel)
}

func (a *API) listModels(ctx context.Context, in *listModelsInput) (*body[modelmanager.ModelList], error) {
	labels, err := labelsOf(in.Label)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	page, err := a.Registry.List(registry.Query{
		Text: in.Text, Owner: in.Owner, Labels: labels, Serve: modelmanager.Mode(in.Serve),
		Retired: in.Retired, Limit: in.Limit, PageToken: in.PageToken,
	})
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	list := modelmanager.ModelList{Models: make([]modelmanager.ModelInfo, len(page.Models)), NextPageToken: page.NextPageToken}
	for i, model := range page.Models {
		list.Models[i] = a.modelInfo(model)
	}
	return answer(list), nil
}

func (a *API) getModel(ctx context.Context, in *ModelPath) (*body[modelmanager.ModelInfo], error) {
	model, err := a.Registry.Get(ctx, in.Model)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	info := a.modelInfo(model)
	if number := shown(model); number != 0 {
		version, err := a.Registry.Version(ctx, in.Model, number)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		info.Spec = json.RawMessage(version.Spec)
	}
	return answer(info), nil
}

// shown is the version that stands for a model: the one with the largest share,
// or the latest of a model without traffic.
func shown(model modelmanager.Model) int {
	if number := model.Traffic().Largest(); number != 0 {
		return number
	}
	return model.Latest
}

func (a *API) modelInfo(model modelmanager.Model) modelmanager.ModelInfo {
	return modelmanager.ModelInfo{
		Name: model.Name, Summary: model.Summary, Owner: model.Owner, Labels: model.Labels, Serve: model.Serve,
		Traffic: model.Traffic(), Health: a.modelHealth(model), Latest: model.Latest,
		Created: model.Created, Retired: model.Retired,
	}
}

// modelHealth is the worst health of the versions with traffic.
func (a *API) modelHealth(model modelmanager.Model) modelmanager.Health {
	if model.Retired != nil {
		return modelmanager.Health{State: modelmanager.Idle, Reason: "retired"}
	}
	worst := modelmanager.Health{State: modelmanager.Idle}
	rank := map[modelmanager.HealthState]int{
		modelmanager.Idle: 0, modelmanager.Healthy: 1, modelmanager.Unknown: 2,
		modelmanager.Starting: 3, modelmanager.Degraded: 4, modelmanager.Unhealthy: 5,
	}
	for _, share := range model.Traffic().Versions {
		health := a.Platform.Health(platform.Ref{Model: model.Name, Version: share.Version})
		if rank[health.State] > rank[worst.State] {
			worst = health
		}
	}
	if _, reason, pending := a.Gateway.Pending(model.Name); pending && reason != "" && worst.State == modelmanager.Starting {
		worst.Reason = reason // which says, too, who answers meanwhile
	}
	return worst
}

type retireInput struct {
	ModelPath
	Reason string `query:"reason" maxLength:"1000" doc:"Why, for the history"`
}

func (a *API) retireModel(ctx context.Context, in *retireInput) (*struct{}, error) {
	_, err := a.Registry.Retire(ctx, in.Model, change(ctx, in.Reason))
	return nil, a.failed(ctx, err)
}

// change records who asks for something now, and why.
func change(ctx context.Context, reason string) modelmanager.Change {
	return modelmanager.Change{By: caller(ctx), At: time.Now().UTC(), Reason: reason}
}

// caller names who is calling. On one machine the server answers loopback only,
// and everybody there is the same.
func caller(context.Context) string { return "local" }
