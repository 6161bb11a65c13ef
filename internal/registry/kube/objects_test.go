package kube_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"modelmanager.dev"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/kube"
	"modelmanager.dev/internal/registry/registrytest"
)

// cluster is what people and their tools see: the objects.
type cluster struct {
	models, versions dynamic.ResourceInterface
	namespace        string
	store            *kube.Store
	registry         *registry.Registry
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	namespace := install(t)
	client, err := dynamic.NewForConfig(kubetest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	resource := func(name string) dynamic.ResourceInterface {
		return client.Resource(schema.GroupVersionResource{Group: "modelmanager.dev", Version: "v1alpha1", Resource: name}).Namespace(namespace)
	}
	store := open(t, namespace)
	return &cluster{resource("models"), resource("modelversions"), namespace, store, registry.New(store, registry.Options{})}
}

func (c *cluster) publish(t *testing.T, model, content string) modelmanager.Version {
	t.Helper()
	version, _, err := c.registry.Publish(t.Context(), registrytest.Publication(model, content))
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// apply applies a Model as a tool does, by server-side apply.
func (c *cluster) apply(t *testing.T, tool, name, spec string) error {
	t.Helper()
	manifest := `{"apiVersion":"modelmanager.dev/v1alpha1","kind":"Model","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
	_, err := c.models.Patch(t.Context(), name, types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: tool})
	return err
}

// edit changes a Model's spec as kubectl edit does.
func (c *cluster) edit(t *testing.T, name, spec string) error {
	t.Helper()
	_, err := c.models.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	return err
}

func (c *cluster) model(t *testing.T, name string) modelmanager.Model {
	t.Helper()
	model, _, err := c.store.Model(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return model
}

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if modelmanager.CodeOf(err) != code {
		t.Fatalf("got error %v of code %q, want code %q", err, modelmanager.CodeOf(err), code)
	}
}

// follow runs a registry over a store of its own until the test ends, and
// returns what it tells of.
func (c *cluster) follow(t *testing.T) (*registry.Registry, <-chan modelmanager.Model) {
	t.Helper()
	r := registry.New(open(t, c.namespace), registry.Options{})
	told := make(chan modelmanager.Model, 1000)
	r.Subscribe(func(model modelmanager.Model) { told <- model })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	wait, cancelWait := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancelWait()
	if err := r.WaitSynced(wait); err != nil {
		t.Fatal(err)
	}
	return r, told
}

func await(t *testing.T, told <-chan modelmanager.Model, fits func(modelmanager.Model) bool) modelmanager.Model {
	t.Helper()
	for {
		select {
		case model := <-told:
			if fits(model) {
				return model
			}
		case <-time.After(30 * time.Second):
			t.Fatal("what was waited for wasn't told")
		}
	}
}

func TestCRDsRefuse(t *testing.T) {
	c := newCluster(t)
	for name, spec := range map[string]string{
		"sums-to-90":               `{"traffic":"1=90"}`,
		"no-share":                 `{"traffic":"1"}`,
		"version-0":                `{"traffic":"0=100"}`,
		"shadow-answers":           `{"traffic":"1=90,2=10","shadow":2}`,
		"negative-shadow":          `{"shadow":-1}`,
		"negative-latest":          `{"latest":-1}`,
		"retired-some-day":         `{"retired":{"at":"tomorrow"}}`,
		strings.Repeat("long", 11): `{}`,
		"dotted.name":              `{}`,
	} {
		if err := c.apply(t, "kubectl", name, spec); !apierrors.IsInvalid(err) {
			t.Errorf("a Model %s with %s: %v", name, spec, err)
		}
	}
	for name, spec := range map[string]string{
		"a-01":  `{"model":"a","version":1,"spec":"{}"}`,
		"a-2":   `{"model":"a","version":1,"spec":"{}"}`,
		"b-1":   `{"model":"a","version":1,"spec":"{}"}`,
		"a-1-2": `{"model":"a","version":2,"spec":"{}"}`,
		"a-0":   `{"model":"a","version":0,"spec":"{}"}`,
		"a-1":   `{"model":"a","version":1,"spec":"` + strings.Repeat("x", registry.MaxSpec+1) + `"}`,
		"ab":    `{"model":"ab","version":1,"spec":"{}"}`,
	} {
		if err := c.createVersion(t, name, spec); !apierrors.IsInvalid(err) {
			t.Errorf("a ModelVersion %s with %.80s: %v", name, spec, err)
		}
	}
}

func (c *cluster) createVersion(t *testing.T, name, spec string) error {
	t.Helper()
	o := &unstructured.Unstructured{}
	manifest := `{"apiVersion":"modelmanager.dev/v1alpha1","kind":"ModelVersion","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
	if err := json.Unmarshal([]byte(manifest), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.Object["spec"].(map[string]any)["version"] = int64(o.Object["spec"].(map[string]any)["version"].(float64))
	_, err := c.versions.Create(t.Context(), o, metav1.CreateOptions{})
	return err
}

func TestVersionNeverChanges(t *testing.T) {
	c := newCluster(t)
	c.publish(t, "a", "one")
	for _, patch := range []string{`{"spec":{"by":"mallory"}}`, `{"spec":{"spec":"{}"}}`, `{"spec":{"approvedBy":"mallory"}}`, `{"spec":{"source":null}}`} {
		_, err := c.versions.Patch(t.Context(), "a-1", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "a version never changes") {
			t.Errorf("%s: %v", patch, err)
		}
	}
	if _, err := c.versions.Patch(t.Context(), "a-1", types.MergePatchType, []byte(`{"metadata":{"annotations":{"note":"mine"}}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

// TestVersionNames: names that look like another model's version.
func TestVersionNames(t *testing.T) {
	c := newCluster(t)
	for _, model := range []string{"a", "a-1", "a-1-2", "1"} {
		for _, content := range []string{"one", "two"} {
			c.publish(t, model, content)
		}
	}
	for _, model := range []string{"a", "a-1", "a-1-2", "1"} {
		versions, err := c.store.Versions(t.Context(), model, 0, 10)
		if err != nil || len(versions) != 2 {
			t.Fatalf("%s has %d versions (%v)", model, len(versions), err)
		}
		for _, version := range versions {
			if version.Model != model {
				t.Errorf("%s lists a version of %s", model, version.Model)
			}
		}
	}
}

// TestDeletedObject: a model whose object is deleted answers no more, also
// where nobody watched when it went.
func TestDeletedObject(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"a", "b", "c"} {
		c.publish(t, name, "one")
		if _, err := c.registry.SetTraffic(t.Context(), name, modelmanager.All(1), modelmanager.Change{By: "ana"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		if err := c.models.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	watch := func(until func(registry.Event) bool) map[string]registry.Event {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		told := map[string]registry.Event{}
		_ = c.store.Watch(ctx, func(event registry.Event) { // ends with ctx
			told[event.Model.Name] = event
			if until(event) {
				cancel()
			}
		})
		return told
	}
	told := watch(func(event registry.Event) bool {
		if event.Synced {
			go remove("a")
		}
		return event.Model.Retired != nil
	})
	if a := told["a"].Model; a.Retired == nil || len(a.Traffic().Versions) > 0 || a.Latest == 0 {
		t.Fatalf("a deleted model was told as %+v", a)
	}
	remove("b")
	told = watch(func(event registry.Event) bool { return event.Synced })
	if _, again := told["a"]; again || told["b"].Model.Retired == nil || told["c"].Model.Retired != nil {
		t.Fatalf("%+v", told)
	}
	// Publishing goes on where the numbers ended.
	if version := c.publish(t, "b", "two"); version.Number != 2 {
		t.Fatalf("a deleted model's next version is %d", version.Number)
	}
}

// TestNumbersWithGaps: versions that no walk along the numbers finds.
func TestNumbersWithGaps(t *testing.T) {
	c := newCluster(t)
	numbers := func() (numbers []int) {
		versions, err := c.store.Versions(t.Context(), "a", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range versions {
			numbers = append(numbers, version.Number)
		}
		return numbers
	}
	want := func(want ...int) {
		t.Helper()
		if diff := cmp.Diff(want, numbers()); diff != "" {
			t.Fatal(diff)
		}
	}
	orphan := func(number int) { // by a publisher that dies before it counts the version
		version := modelmanager.Version{Model: "a", Number: number, Spec: "{}", Created: time.Now()}
		if err := open(t, c.namespace).CreateVersion(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
	c.publish(t, "a", "one")
	want(1)
	orphan(2)
	orphan(3)
	want(3, 2, 1)
	if version := c.publish(t, "a", "four"); version.Number != 4 {
		t.Fatalf("four became %d", version.Number)
	}
	orphan(17)
	want(17, 4, 3, 2, 1)
	given := registrytest.Publication("a", "nine")
	given.Number = 9
	if version, _, err := c.registry.Publish(t.Context(), given); err != nil || version.Number != 9 {
		t.Fatalf("%+v %v", version, err)
	}
	want(17, 9, 4, 3, 2, 1)
	if version := c.publish(t, "a", "eighteen"); version.Number != 18 {
		t.Fatalf("eighteen became %d", version.Number)
	}
	if err := c.models.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if version := c.publish(t, "a", "nineteen"); version.Number != 19 {
		t.Fatalf("nineteen became %d", version.Number)
	}
	want(19, 18, 17, 9, 4, 3, 2, 1)
	versions, err := c.store.Versions(t.Context(), "a", 9, 2)
	if err != nil || len(versions) != 2 || versions[0].Number != 4 || versions[1].Number != 3 {
		t.Fatalf("%+v %v", versions, err)
	}
}

// TestServerSideApply: what Model Manager writes is its own by server-side apply,
// so that others are told; what it takes out is gone, whoever wrote it; and an
// object that was deleted isn't made anew.
func TestServerSideApply(t *testing.T) {
	c := newCluster(t)
	c.publish(t, "a", "one")
	if _, err := c.registry.SetTraffic(t.Context(), "a", modelmanager.All(1), modelmanager.Change{}, nil); err != nil {
		t.Fatal(err)
	}
	object, err := c.models.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	applied := slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == kube.Manager && entry.Operation == metav1.ManagedFieldsOperationApply &&
			strings.Contains(entry.FieldsV1.GetRawString(), `"f:traffic"`)
	})
	if !applied {
		t.Errorf("who manages the traffic: %v", object.GetManagedFields())
	}
	if err := c.apply(t, "a-tool", "a", `{"traffic":"1=50,2=50"}`); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), kube.Manager) {
		t.Errorf("another tool that sets the traffic is told: %v", err)
	}

	if err := c.edit(t, "a", `{"retired":{"at":"2026-03-14T15:09:26Z"},"shadow":7}`); err != nil {
		t.Fatal(err)
	}
	c.publish(t, "a", "two") // brings it back, without traffic
	back := c.model(t, "a")
	if back.Retired != nil || len(back.Traffic().Versions) > 0 || back.Traffic().Shadow != 0 {
		t.Errorf("brought back as %+v", back)
	}

	_, revision, err := c.store.Model(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.models.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.store.PutModel(t.Context(), back, revision)
	wantCode(t, err, modelmanager.CodeConflict)
	_, _, err = c.store.Model(t.Context(), "a")
	wantCode(t, err, modelmanager.CodeNotFound)
}
