package registry_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

func text(t modelmanager.Traffic) string {
	var parts []string
	for _, share := range t.Versions {
		parts = append(parts, fmt.Sprint(share.Version, "=", share.Percent))
	}
	return strings.Join(parts, " ")
}

func split(before, version, percent int) modelmanager.Traffic {
	return modelmanager.Traffic{Versions: []modelmanager.Share{{Version: before, Percent: 100 - percent}, {Version: version, Percent: percent}}}
}

// canaries is a model of three versions, all of whose traffic goes to the first.
func canaries(t *testing.T) (*registry.Registry, func(modelmanager.Traffic, string) modelmanager.Model) {
	t.Helper()
	r := registry.New(memory.New(), registry.Options{})
	for i := range 3 {
		if _, _, err := r.Publish(t.Context(), registrytest.Publication("m", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	set := func(traffic modelmanager.Traffic, by string) modelmanager.Model {
		t.Helper()
		model, err := r.SetTraffic(context.Background(), "m", traffic, modelmanager.Change{By: by}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return model
	}
	set(modelmanager.All(1), "ana")
	return r, set
}

func TestBackFromACanaryIsWhereItCameFrom(t *testing.T) {
	for name, steps := range map[string][]modelmanager.Traffic{
		"one step":       {split(1, 2, 5)},
		"three steps":    {split(1, 2, 5), split(1, 2, 25), split(1, 2, 50)},
		"done":           {split(1, 2, 5), split(1, 2, 25), modelmanager.All(2)},
		"another's":      {split(1, 2, 5), split(1, 2, 25), split(1, 3, 5)},
		"as many as can": twenty(),
	} {
		r, set := canaries(t)
		for _, step := range steps {
			set(step, modelmanager.ByRollout)
		}
		model, err := r.Rollback(t.Context(), "m", modelmanager.Change{By: "ana"}, nil)
		if err != nil || text(model.Traffic()) != "1=100" || model.Traffic().Back != 1 {
			t.Errorf("%s: back to %+v %v", name, model.Traffic(), err)
		}
		if _, _, canary := model.Traffic().Canary(); canary {
			t.Errorf("%s: it is still a canary", name)
		}
	}
}

func twenty() (steps []modelmanager.Traffic) {
	for percent := range 20 {
		steps = append(steps, split(1, 2, percent+1))
	}
	return steps
}

func TestASettingOfSomebodysIsNotPassedOver(t *testing.T) {
	r, set := canaries(t)
	set(split(1, 2, 5), "ana")
	set(split(1, 3, 5), modelmanager.ByRollout)
	model, err := r.Rollback(t.Context(), "m", modelmanager.Change{}, nil)
	if err != nil || text(model.Traffic()) != "1=95 2=5" {
		t.Errorf("back to %+v %v", model.Traffic(), err)
	}
	if model, err = r.Rollback(t.Context(), "m", modelmanager.Change{}, nil); err != nil || text(model.Traffic()) != "1=100" {
		t.Errorf("once more to %+v %v", model.Traffic(), err)
	}
}

func TestWhoAsksForACanarysStepMakesItStay(t *testing.T) {
	r, set := canaries(t)
	step := set(split(1, 2, 25), modelmanager.ByRollout).Traffic()
	if again := set(split(1, 2, 25), modelmanager.ByRollout); len(again.History) != 2 {
		t.Errorf("a canary's own step changed something: %+v", again.History)
	}
	model := set(split(1, 2, 25), "ana")
	if _, _, canary := model.Traffic().Canary(); canary || len(model.History) != 3 || model.Traffic().By != "ana" {
		t.Errorf("%+v", model.History)
	}
	for _, err := range []error{
		errorOf(r.SetTraffic(t.Context(), "m", split(1, 2, 50), modelmanager.Change{By: modelmanager.ByRollout}, &step.At)),
		errorOf(r.Rollback(t.Context(), "m", modelmanager.Change{By: modelmanager.ByRollout}, &step.At)),
		errorOf(r.Rollback(t.Context(), "m", modelmanager.Change{}, &time.Time{})),
	} {
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
			t.Errorf("what ana set was changed: %v", err)
		}
	}
	if _, err := r.Rollback(t.Context(), "m", modelmanager.Change{}, new(model.Traffic().At)); err != nil {
		t.Error(err)
	}
}

func errorOf(_ modelmanager.Model, err error) error { return err }
