package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// WaitQuery says how long a call may wait for what other servers know. What
// isn't known by then is left out, and the answer says so.
type WaitQuery struct {
	WaitMS int `query:"wait_ms" minimum:"0" maximum:"2000" default:"2000" doc:"How many milliseconds to wait for what other servers know"`
}

// wait is how long that is.
func (q WaitQuery) wait() time.Duration { return time.Duration(q.WaitMS) * time.Millisecond }

func (a *API) registerActivity(h huma.API) {
	register(h, huma.Operation{
		OperationID: "activity", Method: http.MethodGet, Path: "/v1/activity",
		Summary: "What runs now, on all servers: every version that isn't cold", Tags: []string{"activity"},
	}, func(ctx context.Context, in *WaitQuery) (*body[modelmanager.Activity], error) {
		ctx, cancel := context.WithTimeout(ctx, in.wait())
		defer cancel()
		now := a.Activity.Now(ctx)
		now.Models = a.Registry.Count()
		if err := a.fillShares(now.Versions); err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(now), nil
	})
	register(h, huma.Operation{
		OperationID: "model-activity", Method: http.MethodGet, Path: "/v1/models/{model}/activity",
		Summary: "What a model's versions did in the last hour, by minute", Tags: []string{"activity"},
	}, func(ctx context.Context, in *modelActivityInput) (*body[modelmanager.ModelActivity], error) {
		if _, err := a.Registry.Get(ctx, in.Model); err != nil && modelmanager.CodeOf(err) != modelmanager.CodeRetired {
			return nil, a.failed(ctx, err)
		}
		ctx, cancel := context.WithTimeout(ctx, in.wait())
		defer cancel()
		return answer(a.Activity.Model(ctx, in.Model)), nil
	})
}

type modelActivityInput struct {
	ModelPath
	WaitQuery
}

// fillShares says which part of their models' calls versions answer now.
func (a *API) fillShares(versions []modelmanager.VersionActivity) error {
	names := make([]string, len(versions))
	for i, version := range versions {
		names[i] = version.Model
	}
	percent := map[platform.Ref]int{}
	err := a.among(names, func(model modelmanager.Model) {
		if model.Retired != nil {
			return
		}
		for _, share := range a.trafficInfo(model).Now().Versions {
			percent[platform.Ref{Model: model.Name, Version: share.Version}] = share.Percent
		}
	})
	for i, version := range versions {
		versions[i].Percent = percent[platform.Ref{Model: version.Model, Version: version.Version}]
	}
	return err
}
