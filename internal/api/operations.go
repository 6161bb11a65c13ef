package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// state is the answer of the health checks.
type state struct {
	Status string `json:"status"`
}

// versionOf says what the server is.
type versionOf struct {
	Version string `json:"version"`
}

func (a *API) registerOperations(h huma.API) {
	register(h, huma.Operation{
		OperationID: "healthz", Method: http.MethodGet, Path: "/healthz",
		Summary: "Is the server alive?", Tags: []string{"operations"},
	}, func(context.Context, *struct{}) (*body[state], error) { return answer(state{"ok"}), nil })
	register(h, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz",
		Summary: "Can the server serve?", Tags: []string{"operations"},
	}, func(ctx context.Context, _ *struct{}) (*body[state], error) {
		if err := a.Ready(); err != nil {
			return nil, a.failed(ctx, err)
		}
		return answer(state{"ok"}), nil
	})
	register(h, huma.Operation{
		OperationID: "version", Method: http.MethodGet, Path: "/v1/version",
		Summary: "What the server is", Tags: []string{"operations"},
	}, func(context.Context, *struct{}) (*body[versionOf], error) {
		return answer(versionOf{a.Version}), nil
	})
	a.plain(h, huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics",
		Summary: "Metrics for Prometheus", Tags: []string{"operations"},
	}, "text/plain", func(w http.ResponseWriter, r *http.Request) error {
		a.Metrics.ServeHTTP(w, r)
		return nil
	})
}
