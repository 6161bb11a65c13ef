package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
)

// state is the answer of the health checks.
type state struct {
	Status string `json:"status"`
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
	}, func(context.Context, *struct{}) (*body[modelmanager.ServerInfo], error) {
		return answer(modelmanager.ServerInfo{Version: a.Version, Artifacts: a.Artifacts}), nil
	})
	a.plain(h, huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics",
		Summary: "Metrics for Prometheus", Tags: []string{"operations"},
	}, "text/plain", func(w http.ResponseWriter, r *http.Request) error {
		a.Metrics.ServeHTTP(w, r)
		return nil
	})
}

// Probe answers whether the server can serve, and nothing else: 200 or 503. It
// is for the platform that runs the server and has no token, and is mounted
// where callers don't reach it.
func (a *API) Probe(w http.ResponseWriter, _ *http.Request) {
	if a.Ready() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}
