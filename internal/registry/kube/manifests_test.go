package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/registrytest"
)

// TestAppliedModel: a manifest claims a name, for a repository.
func TestAppliedModel(t *testing.T) {
	c := newCluster(t)
	if err := c.apply(t, "argocd", "churn", `{"owner":"retail@example.org","repository":"https://git.example.org/models"}`); err != nil {
		t.Fatal(err)
	}
	foreign := registrytest.Publication("churn", "one")
	foreign.Source.Repository = "https://git.example.org/other"
	_, _, err := c.registry.Publish(t.Context(), foreign)
	wantCode(t, err, modelmanager.CodeNameTaken)

	r, told := c.follow(t)
	page, err := r.List(registry.Query{Owner: "retail@example.org"})
	if err != nil || len(page.Models) != 1 || page.Models[0].Latest != 0 {
		t.Fatalf("before its first version, the list is %+v (%v)", page.Models, err)
	}
	version := c.publish(t, "churn", "one")
	await(t, told, func(model modelmanager.Model) bool { return model.Latest == 1 })
	if _, err := c.registry.SetTraffic(t.Context(), "churn", modelmanager.All(version.Number), modelmanager.Change{By: "ana"}, nil); err != nil {
		t.Fatal(err)
	}
	model := c.model(t, "churn")
	if model.Owner != "retail@example.org" || model.Summary != "Content one" || model.Traffic().Largest() != 1 {
		t.Fatalf("%+v", model)
	}
	if _, err := r.Get(t.Context(), "churn"); err != nil {
		t.Fatal(err)
	}
	// Applied again, as such tools do all the time, it changes nothing and meets no conflict.
	if err := c.apply(t, "argocd", "churn", `{"owner":"retail@example.org","repository":"https://git.example.org/models"}`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(model, c.model(t, "churn")); diff != "" {
		t.Fatal(diff)
	}
}

// TestTrafficManagedElsewhere: who applies traffic sets it, alone.
func TestTrafficManagedElsewhere(t *testing.T) {
	for _, tool := range []string{"argocd", "kubectl apply"} {
		t.Run(tool, func(t *testing.T) {
			c := newCluster(t)
			c.publish(t, "a", "one")
			c.publish(t, "a", "two")
			if _, err := c.registry.SetTraffic(t.Context(), "a", modelmanager.All(1), modelmanager.Change{By: "ana"}, nil); err != nil {
				t.Fatal(err)
			}
			if tool == "argocd" {
				if err := c.apply(t, tool, "a", `{"traffic":"2=100"}`); !apierrors.IsConflict(err) {
					t.Fatalf("traffic was taken from Model Manager without force: %v", err)
				}
				manifest := `{"apiVersion":"modelmanager.dev/v1alpha1","kind":"Model","metadata":{"name":"a"},"spec":{"traffic":"2=100"}}`
				force := true
				if _, err := c.models.Patch(t.Context(), "a", types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: tool, Force: &force}); err != nil {
					t.Fatal(err)
				}
			} else {
				patch := `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"traffic\":\"2=100\"}}"}},"spec":{"traffic":"2=100"}}`
				if _, err := c.models.Patch(t.Context(), "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-client-side-apply"}); err != nil {
					t.Fatal(err)
				}
			}
			if largest := c.model(t, "a").Traffic().Largest(); largest != 2 {
				t.Fatalf("version %d answers", largest)
			}
			_, err := c.registry.SetTraffic(t.Context(), "a", modelmanager.All(1), modelmanager.Change{By: "ana"}, nil)
			wantCode(t, err, modelmanager.CodeManagedElsewhere)
			if !strings.Contains(err.Error(), tool) {
				t.Errorf("the error names nobody: %v", err)
			}
			if version := c.publish(t, "a", "three"); version.Number != 3 {
				t.Errorf("publishing gave number %d", version.Number)
			}
			if model := c.model(t, "a"); model.Latest != 3 || model.Traffic().Largest() != 2 {
				t.Errorf("%+v", model)
			}
		})
	}
}

// TestEditedByHand: a setting made with kubectl counts, and says who made it.
func TestEditedByHand(t *testing.T) {
	c := newCluster(t)
	c.publish(t, "a", "one")
	c.publish(t, "a", "two")
	if _, err := c.registry.SetTraffic(t.Context(), "a", modelmanager.All(2), modelmanager.Change{By: "ana"}, nil); err != nil {
		t.Fatal(err)
	}
	_, told := c.follow(t)
	if err := c.edit(t, "a", `{"traffic":"1=100"}`); err != nil {
		t.Fatal(err)
	}
	edited := await(t, told, func(model modelmanager.Model) bool { return model.Traffic().Largest() == 1 })
	if edited.Traffic().By != "kubectl-edit" {
		t.Errorf("the setting is by %q", edited.Traffic().By)
	}
	model := c.model(t, "a")
	if len(model.History) != 2 || !model.History[0].At.After(model.History[1].At) {
		t.Fatalf("the history is %+v", model.History)
	}
	rolledBack, err := c.registry.Rollback(t.Context(), "a", modelmanager.Change{By: "ben"}, nil)
	if err != nil || rolledBack.Traffic().Largest() != 2 || len(rolledBack.History) != 3 {
		t.Fatalf("%+v %v", rolledBack.History, err)
	}
	if err := c.edit(t, "a", `{"traffic":null}`); err != nil {
		t.Fatal(err)
	}
	await(t, told, func(model modelmanager.Model) bool {
		return len(model.History) > 0 && len(model.Traffic().Versions) == 0
	})
}

// TestHostileObjects: objects that people have broken are listed as far as
// they can be read, and hide no other.
func TestHostileObjects(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"before", "broken", "nowhere", "sound", "unknown"} {
		c.publish(t, name, "one")
		if _, err := c.registry.SetTraffic(t.Context(), name, modelmanager.All(1), modelmanager.Change{By: "ana"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, spec := range map[string]string{
		"broken":  `{"record":"{\"labels\":7,\"serve\":[\"realtime\",\"psychic\"],\"created\":\"once\",\"history\":[\"soon\",\"2026-03-14T15:09:26Z 1=100 by=\\\"eve\\\"\"]}"}`,
		"nowhere": `{"traffic":"99=100","shadow":98}`,
		"unknown": `{"colour":"red"}`,
		"before":  `{"record":"not even JSON"}`,
	} {
		if err := c.edit(t, name, spec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	annotations := `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"}{"},"finalizers":["example.org/forever"]}}`
	if _, err := c.models.Patch(t.Context(), "sound", types.MergePatchType, []byte(annotations), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // or its namespace, and its kind, could never be deleted
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		freed := []byte(`{"metadata":{"finalizers":null}}`)
		if _, err := c.models.Patch(ctx, "sound", types.MergePatchType, freed, metav1.PatchOptions{}); err != nil {
			t.Errorf("freeing the object again: %v", err)
		}
	})
	r, _ := c.follow(t)
	page, err := r.List(registry.Query{})
	if err != nil || len(page.Models) != 5 {
		t.Fatalf("%d models are listed (%v)", len(page.Models), err)
	}
	if model := c.model(t, "broken"); model.Summary != "Content one" || model.Traffic().Largest() != 1 || len(model.Serve) != 1 || model.Created.IsZero() {
		t.Errorf("%+v", model)
	}
	if largest := c.model(t, "nowhere").Traffic().Largest(); largest != 99 {
		t.Errorf("nowhere is answered by %d", largest)
	}
	// Each can be put right through Model Manager.
	for _, name := range []string{"before", "broken", "nowhere", "sound", "unknown"} {
		c.publish(t, name, "two")
		if model, err := c.registry.SetTraffic(t.Context(), name, modelmanager.All(2), modelmanager.Change{By: "ana"}, nil); err != nil || model.Traffic().Largest() != 2 {
			t.Errorf("%s: %+v %v", name, model, err)
		}
	}
}
