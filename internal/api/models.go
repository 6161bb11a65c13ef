package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
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
	Health  string   `query:"health" enum:"healthy,idle,starting,degraded,unhealthy"`
	Retired bool     `query:"retired" doc:"List the retired ones too"`
	Count   int      `query:"count" minimum:"0" maximum:"100" doc:"Count all that match, too, and name the most frequent owners and labels among them, so many of each"`
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
	query := registry.Query{
		Text: in.Text, Owner: in.Owner, Labels: labels, Serve: modelmanager.Mode(in.Serve),
		Retired: in.Retired, Limit: in.Limit, PageToken: in.PageToken,
	}
	health := modelmanager.HealthState(in.Health)
	var states map[modelmanager.HealthState][]string
	if health != "" || in.Count > 0 {
		if states, err = a.byHealth(); err != nil && health != "" {
			return nil, a.failed(ctx, err)
		}
	}
	selected := query
	if health != "" {
		selected = withHealth(query, health, states)
	}
	page, err := a.Registry.List(selected)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	list := modelmanager.ModelList{Models: make([]modelmanager.ModelInfo, len(page.Models)), NextPageToken: page.NextPageToken}
	for i, model := range page.Models {
		list.Models[i] = a.modelInfo(model)
	}
	if in.Count > 0 {
		if list.Counts, err = a.counts(query, in.Count, health, states); err != nil {
			return nil, a.failed(ctx, err)
		}
	}
	return answer(list), nil
}

type getModelInput struct {
	ModelPath
	WaitQuery
}

func (a *API) getModel(ctx context.Context, in *getModelInput) (*body[modelmanager.ModelInfo], error) {
	model, err := a.Registry.Get(ctx, in.Model)
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	info := a.modelInfo(model)
	if number := shown(info); number != 0 {
		version, err := a.Registry.Version(ctx, in.Model, number)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		info.Spec = json.RawMessage(version.Spec)
	}
	if a.Rollouts != nil {
		if info.Canary, err = a.Rollouts.Describe(ctx, model, in.wait()); err != nil {
			return nil, a.failed(ctx, err)
		}
	}
	return answer(info), nil
}

// shown is the version that stands for a model: the one that answers the most
// calls, or the latest of a model without traffic.
func shown(model modelmanager.ModelInfo) int {
	if number := model.Traffic.Now().Largest(); number != 0 {
		return number
	}
	return model.Latest
}

func (a *API) modelInfo(model modelmanager.Model) modelmanager.ModelInfo {
	traffic := a.trafficInfo(model)
	return modelmanager.ModelInfo{
		Name: model.Name, Summary: model.Summary, Owner: model.Owner, Labels: model.Labels, Serve: model.Serve,
		Traffic: traffic, Health: a.modelHealth(model, traffic), Latest: model.Latest,
		Created: model.Created, Retired: model.Retired,
	}
}

type retireInput struct {
	ModelPath
	Reason string    `query:"reason" maxLength:"1000" doc:"Why, for the history"`
	Commit string    `query:"commit" maxLength:"64" pattern:"^[0-9a-f]*$" doc:"The commit that asks for it, of a repository's pipeline"`
	Seen   time.Time `query:"seen" doc:"When the setting of traffic was made that the caller saw in force; another by now is a conflict"`
}

func (a *API) retireModel(ctx context.Context, in *retireInput) (*struct{}, error) {
	commit := registry.ByCommit{Commit: in.Commit}
	if in.Commit != "" {
		commit.Seen = &in.Seen
	}
	_, err := a.Registry.Retire(ctx, in.Model, change(ctx, in.Reason), commit)
	return nil, a.failed(ctx, err)
}

// change records who asks for something now, and why.
func change(ctx context.Context, reason string) modelmanager.Change {
	by := caller(ctx)
	if by == modelmanager.ByRollout {
		by += " (a caller)" // nobody passes for what Model Manager does by itself
	}
	return modelmanager.Change{By: by, At: time.Now().UTC(), Reason: reason}
}
