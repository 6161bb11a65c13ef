package kube_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry/kube"
)

func TestPrune(t *testing.T) {
	c := newCluster(t)
	c.publish(t, "a-1", "another model")
	for n := 1; n <= kube.KeptVersions+6; n++ {
		c.publish(t, "a", fmt.Sprint(n))
	}
	for _, version := range []int{2, 3} {
		if _, err := c.registry.Promote(t.Context(), "a", version, modelmanager.Change{By: "ana"}); err != nil {
			t.Fatal(err)
		}
	}
	pruned, err := c.store.Prune(t.Context(), "a", func(number int) bool { return number == 5 })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{4, 6}, pruned); diff != "" {
		t.Fatal(diff)
	}
	if again, err := c.store.Prune(t.Context(), "a", func(number int) bool { return number == 5 }); err != nil || len(again) > 0 {
		t.Fatalf("pruned again: %v %v", again, err)
	}
	versions, err := c.registry.Versions(t.Context(), "a", 0, 100)
	if err != nil || len(versions) != kube.KeptVersions+4 {
		t.Fatalf("%d versions are left (%v)", len(versions), err)
	}
	_, err = c.registry.Version(t.Context(), "a", 4)
	wantCode(t, err, modelmanager.CodeNotFound)
	if version := c.publish(t, "a", "next"); version.Number != kube.KeptVersions+7 {
		t.Fatalf("the next version is %d", version.Number)
	}
}
