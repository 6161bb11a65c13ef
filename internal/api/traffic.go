package api

import (
	"context"
	"net/http"

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
		By   string `json:"by,omitempty"`
		At   string `json:"at,omitempty"`
		Back int    `json:"back,omitempty"`
	}
}

type rollbackInput struct {
	ModelPath
	Body *modelmanager.RollbackRequest
}

func (a *API) registerTraffic(h huma.API) {
	register(h, huma.Operation{
		OperationID: "get-traffic", Method: http.MethodGet, Path: "/v1/models/{model}/traffic",
		Summary: "Which versions answer", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *ModelPath) (*body[modelmanager.Traffic], error) {
		model, err := a.Registry.Get(ctx, in.Model)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(model.Traffic()), nil
	})
	register(h, huma.Operation{
		OperationID: "set-traffic", Method: http.MethodPut, Path: "/v1/models/{model}/traffic",
		Summary: "Say which versions answer, by percent", Tags: []string{"traffic"},
	}, func(ctx context.Context, in *setTrafficInput) (*body[modelmanager.Traffic], error) {
		next := modelmanager.Traffic{Versions: in.Body.Versions, Shadow: in.Body.Shadow}
		model, err := a.Registry.SetTraffic(ctx, in.Model, next, change(ctx, in.Body.Reason))
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(model.Traffic()), nil
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
	}, func(ctx context.Context, in *rollbackInput) (*body[modelmanager.Traffic], error) {
		reason := ""
		if in.Body != nil {
			reason = in.Body.Reason
		}
		model, err := a.Registry.Rollback(ctx, in.Model, change(ctx, reason))
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(model.Traffic()), nil
	})
}
