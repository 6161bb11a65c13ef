package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/spec"
)

// TestModelsAreFoundByHealthAndCounted: a list can ask for a state, and be told
// how many match and what they have in common.
func TestModelsAreFoundByHealthAndCounted(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for i, name := range []string{"churn-a", "churn-b", "risk-a", "risk-b", "risk-c"} {
		w.publish(name, func(s map[string]any) {
			s["owner"] = []string{"ana@example.org", "ben@example.org"}[i%2]
			s["labels"] = map[string]any{"use": strings.Split(name, "-")[0]}
		})
	}
	w.start(func(_ context.Context, s *spec.Spec) error {
		if s.Name == "risk-b" {
			return fmt.Errorf("it has no model.pkl")
		}
		return nil
	})
	w.call("POST", "/v1/models/churn-a/predict", `{"rows": [{"x": 1}]}`)
	w.call("POST", "/v1/models/risk-b/predict", `{"rows": [{"x": 1}]}`, "Prefer", "wait=1")
	names := func(query client.ModelQuery) string {
		list, err := w.client.Models(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, model := range list.Models {
			names = append(names, model.Name)
		}
		return strings.Join(names, " ")
	}
	eventually(t, func() bool { return names(client.ModelQuery{Health: modelmanager.Unhealthy}) == "risk-b" })
	for health, want := range map[modelmanager.HealthState]string{
		modelmanager.Healthy: "churn-a", modelmanager.Idle: "churn-b risk-a risk-c", modelmanager.Starting: "", modelmanager.Degraded: "",
	} {
		if got := names(client.ModelQuery{Health: health}); got != want {
			t.Errorf("%s: %q, want %q", health, got, want)
		}
	}
	if got := names(client.ModelQuery{Health: modelmanager.Idle, Text: "risk", Owner: "ana@example.org"}); got != "risk-a risk-c" {
		t.Errorf("%q", got)
	}
	list, err := w.client.Models(ctx, client.ModelQuery{Text: "risk", Limit: 1, Count: 1, Health: modelmanager.Idle})
	if err != nil || list.Counts == nil || len(list.Models) != 1 || list.NextPageToken == "" {
		t.Fatalf("%+v %v", list, err)
	}
	counts := *list.Counts
	if counts.Models != 2 || len(counts.Owners) != 1 || counts.Owners[0] != (modelmanager.OwnerCount{Owner: "ana@example.org", Models: 2}) ||
		counts.Labels[0] != (modelmanager.LabelCount{Name: "use", Value: "risk", Models: 2}) {
		t.Errorf("%+v", counts)
	}
	if h := counts.Health; h[modelmanager.Idle] != 2 || h[modelmanager.Unhealthy] != 1 || h[modelmanager.Healthy] != 0 {
		t.Errorf("%v", h)
	}
	if list, err := w.client.Models(ctx, client.ModelQuery{}); err != nil || list.Counts != nil {
		t.Errorf("%+v %v", list.Counts, err)
	}
	w.refused(400, modelmanager.CodeBadRequest, "GET", "/v1/models?health=fine", "")
}
