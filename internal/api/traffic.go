package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

type setTrafficInput struct {
	ModelPath
	Body struct {
		Versions []modelmanager.Share `json:"versions" minItems:"1"`
		Shadow   int                  `json:"shadow,omitempty" minimum:"0"`
		Reason   string               `json:"reason,omitempty" maxLength:"1000"`
		// A setting that was read can be sent back as it is; the server says these itself.
		By      string                `json:"by,omitempty"`
		At      string                `json:"at,omitempty"`
		Commit  string                `json:"commit,omitempty"`
		Back    int                   `json:"back,omitempty"`
		Pending *modelmanager.Pending `json:"pending,omitempty"`

		Seen *time.Time `json:"seen,omitempty" doc:"When the setting was made that the caller saw (its at); another by now is a conflict"`
	}
}

type rollbackInput struct {
	ModelPath
	Body *modelmanager.RollbackRequest
}

func (a *API) registerTraffic(h huma.API) {
	register(h, huma.Operation{
		OperationID: "get-traffic", Method: http.MethodGet, Path: "/v1/models/{model}/traffic",
		Summary: "Which versions shall answer, and which do while that isn't in force yet", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *ModelPath) (*body[modelmanager.TrafficInfo], error) {
		model, err := a.Registry.Get(ctx, in.Model)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(a.trafficInfo(model)), nil
	})
	register(h, huma.Operation{
		OperationID: "set-traffic", Method: http.MethodPut, Path: "/v1/models/{model}/traffic",
		Summary: "Say which versions answer, by percent", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *setTrafficInput) (*body[modelmanager.TrafficInfo], error) {
		next := modelmanager.Traffic{Versions: in.Body.Versions, Shadow: in.Body.Shadow}
		return a.settled(ctx, func() (modelmanager.Model, error) {
			return a.Registry.SetTraffic(ctx, in.Model, next, change(ctx, in.Body.Reason), in.Body.Seen)
		})
	})
	register(h, huma.Operation{
		OperationID: "traffic-history", Method: http.MethodGet, Path: "/v1/models/{model}/traffic/history",
		Summary: "The last 20 settings: who, when, why", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *ModelPath) (*body[modelmanager.TrafficHistory], error) {
		model, err := a.Registry.Get(ctx, in.Model)
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeRetired {
			return nil, a.failed(ctx, err)
		}
		return answer(modelmanager.TrafficHistory{History: model.History}), nil
	})
	register(h, huma.Operation{
		OperationID: "rollback", Method: http.MethodPost, Path: "/v1/models/{model}/rollback",
		Summary: "Return to the setting before; again: one further back", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *rollbackInput) (*body[modelmanager.TrafficInfo], error) {
		var request modelmanager.RollbackRequest
		if in.Body != nil {
			request = *in.Body
		}
		return a.settled(ctx, func() (modelmanager.Model, error) {
			return a.Registry.Rollback(ctx, in.Model, change(ctx, request.Reason), request.Seen)
		})
	})
}

// settled answers the traffic of a model that was given a setting.
func (a *API) settled(ctx context.Context, set func() (modelmanager.Model, error)) (*body[modelmanager.TrafficInfo], error) {
	model, err := set()
	if err != nil {
		return nil, a.failed(ctx, err)
	}
	return answer(a.trafficInfo(model)), nil
}

func (a *API) trafficInfo(model modelmanager.Model) modelmanager.TrafficInfo {
	return modelmanager.TrafficInfo{Traffic: model.Traffic(), Pending: a.Gateway.Pending(model)}
}
