package registry_test

import (
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
)

func TestSettingsKeepTheirCommit(t *testing.T) {
	r := running(t, memory.New())
	publish(t, r, "a", "one")
	publish(t, r, "a", "two")
	none := time.Time{}
	model, err := r.SetTrafficFor(t.Context(), "a", modelmanager.All(1), by("ci"), registry.ByCommit{Commit: "c1", Seen: &none})
	if err != nil || model.Traffic().Commit != "c1" {
		t.Fatalf("%+v %v", model.Traffic(), err)
	}
	seen := model.Traffic().At
	// A later commit wants the same: the setting is its own then, and no other one.
	if model, err = r.SetTrafficFor(t.Context(), "a", modelmanager.All(1), by("ci"), registry.ByCommit{Commit: "c3", Seen: &seen}); err != nil {
		t.Fatal(err)
	}
	if len(model.History) != 1 || model.Traffic().Commit != "c3" {
		t.Fatalf("%+v", model.History)
	}
	if _, err = r.SetTrafficFor(t.Context(), "a", modelmanager.All(2), by("ci"), registry.ByCommit{Commit: "c2", Seen: &seen}); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Fatalf("with the setting as it was before the later commit: %v", err)
	}
	seen = model.Traffic().At
	if _, err = r.SetTrafficFor(t.Context(), "a", modelmanager.All(2), by("ci"), registry.ByCommit{Commit: "c2", Seen: &none}); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Fatalf("with another setting in force than the one seen: %v", err)
	}
	if _, err = r.Retire(t.Context(), "a", by("ci"), registry.ByCommit{Commit: "c2", Seen: &none}); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Fatalf("with another setting in force than the one seen: %v", err)
	}
	model, err = r.Retire(t.Context(), "a", by("ci"), registry.ByCommit{Commit: "c4", Seen: &seen})
	if err != nil || model.Retired == nil || model.History[0].Commit != "c4" {
		t.Fatalf("%+v %v", model, err)
	}
}
