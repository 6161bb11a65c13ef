package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

type rollOutInput struct {
	VersionPath
	Body struct {
		Reason string     `json:"reason,omitempty" maxLength:"1000"`
		Commit string     `json:"commit,omitempty" maxLength:"64" pattern:"^[0-9a-f]*$" doc:"The commit that asks for it, of a repository's pipeline"`
		Seen   *time.Time `json:"seen,omitempty" doc:"When the setting of traffic was made that the caller saw in force; another by now is a conflict"`
	}
}

func (a *API) registerRollOut(h huma.API) {
	register(h, huma.Operation{
		OperationID: "roll-out-version", Method: http.MethodPost, Path: "/v1/models/{model}/versions/{version}/rollout",
		Summary: "Give a published version the traffic that its spec asks for", Tags: []string{"versions"},
	}, func(ctx context.Context, in *rollOutInput) (*body[modelmanager.Traffic], error) {
		traffic, err := a.RollOut(ctx, in.Model, in.Version, modelmanager.RolloutRequest(in.Body))
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(traffic), nil
	})
}

// RollOut gives a published version the traffic that its spec asks for, and
// returns the setting in force after that.
func (a *API) RollOut(ctx context.Context, model string, number int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error) {
	none := modelmanager.Traffic{}
	version, err := a.Registry.Version(ctx, model, number)
	if err != nil {
		return none, err
	}
	s, err := spec.FromCanonical(version.Spec)
	if err != nil {
		return none, err
	}
	if err := a.rollOut(ctx, s, version, request); err != nil {
		return none, err
	}
	record, err := a.Registry.Get(ctx, model)
	return record.Traffic(), err
}
