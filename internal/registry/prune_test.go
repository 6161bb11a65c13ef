package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

// published returns a registry with so many versions of the model "a", 2 and 3
// of which have had its traffic.
func published(t *testing.T, store registry.Store, versions int) *registry.Registry {
	t.Helper()
	r := registry.New(store, registry.Options{})
	for n := 1; n <= versions; n++ {
		if _, _, err := r.Publish(t.Context(), registrytest.Publication("a", fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []int{2, 3} {
		if _, err := r.SetTraffic(t.Context(), "a", modelmanager.All(version), modelmanager.Change{By: "ana"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func inUse(numbers ...int) func(context.Context) (map[int]bool, error) {
	return func(context.Context) (map[int]bool, error) {
		used := map[int]bool{}
		for _, number := range numbers {
			used[number] = true
		}
		return used, nil
	}
}

func numbersOf(t *testing.T, r *registry.Registry) []int {
	t.Helper()
	versions, err := r.Versions(t.Context(), "a", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, version := range versions {
		numbers = append(numbers, version.Number)
	}
	slices.Reverse(numbers)
	return numbers
}

func TestPrune(t *testing.T) {
	r := published(t, memory.New(), registry.KeptVersions+6)
	for _, want := range [][]int{{4, 6}, nil} {
		dropped, err := r.Prune(t.Context(), "a", inUse(5))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, dropped); diff != "" {
			t.Fatal(diff)
		}
	}
	if numbers := numbersOf(t, r); len(numbers) != registry.KeptVersions+4 || !slices.Equal(numbers[:5], []int{1, 2, 3, 5, 7}) {
		t.Fatalf("left: %d", numbers)
	}
	if _, err := r.Prune(t.Context(), "a", inUse()); err != nil {
		t.Fatal(err)
	}
	model, err := r.Get(t.Context(), "a")
	if err != nil || model.Dropped.String() != "4-6" || len(model.Dropping) > 0 {
		t.Fatalf("the record says %s, %s (%v)", model.Dropped, model.Dropping, err)
	}
	_, err = r.Version(t.Context(), "a", 4)
	wantCode(t, err, modelmanager.CodeNotFound)
	if !strings.Contains(err.Error(), "version 4 of a is kept no longer") {
		t.Fatal(err)
	}

	next, created, err := r.Publish(t.Context(), registrytest.Publication("a", "4"))
	if err != nil || !created || next.Number != registry.KeptVersions+7 {
		t.Fatalf("content that was dropped became version %d (%t, %v)", next.Number, created, err)
	}
	again := registrytest.Publication("a", "5")
	again.Number = 5
	if _, _, err := r.Publish(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if model, err := r.SetTraffic(t.Context(), "a", modelmanager.All(5), modelmanager.Change{}, nil); err != nil || model.Dropped.String() != "4,6" {
		t.Fatalf("a number that was given again: %v, the record says %s", err, model.Dropped)
	}
}

// TestPruneTakesNoTrafficAway: what is being dropped can't be promoted, at
// whatever moment that is tried.
func TestPruneTakesNoTrafficAway(t *testing.T) {
	r := published(t, memory.New(), registry.KeptVersions+6)
	promote := func(version int) error {
		_, err := r.SetTraffic(t.Context(), "a", modelmanager.All(version), modelmanager.Change{By: "ben"}, nil)
		return err
	}
	dropped, err := r.Prune(t.Context(), "a", func(context.Context) (map[int]bool, error) {
		wantCode(t, promote(4), modelmanager.CodeNotFound)
		_, _, err := r.Publish(t.Context(), registrytest.Publication("a", "4"))
		wantCode(t, err, modelmanager.CodeConflict)
		return map[int]bool{5: true}, nil
	})
	if err != nil || !slices.Equal(dropped, []int{4, 6}) {
		t.Fatal(dropped, err)
	}
	wantCode(t, promote(4), modelmanager.CodeNotFound)
	if err := promote(5); err != nil {
		t.Fatalf("a job's version isn't dropped: %v", err)
	}
}

// TestPrunerDies kills it before and after each of its writes; the next one
// ends what it began.
func TestPrunerDies(t *testing.T) {
	for write := 1; write <= 4; write++ {
		for _, after := range []bool{false, true} {
			store := memory.New()
			r := published(t, store, registry.KeptVersions+6)
			mortal := registry.New(&dying{Store: store, writes: write, after: after}, registry.Options{})
			if _, err := mortal.Prune(t.Context(), "a", inUse(5)); !errors.Is(err, errDied) {
				t.Fatalf("write %d: %v", write, err)
			}
			if _, err := r.Prune(t.Context(), "a", inUse(5)); err != nil {
				t.Fatal(err)
			}
			model, err := r.Get(t.Context(), "a")
			if err != nil || model.Dropped.String() != "4,6" || len(model.Dropping) > 0 {
				t.Fatalf("write %d, after %t: the record says %s, %s (%v)", write, after, model.Dropped, model.Dropping, err)
			}
			if numbers := numbersOf(t, r); !slices.Equal(numbers[:5], []int{1, 2, 3, 5, 7}) {
				t.Fatalf("write %d, after %t: left: %d", write, after, numbers)
			}
		}
	}
}
