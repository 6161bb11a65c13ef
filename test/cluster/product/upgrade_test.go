package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/client"
	"modelmanager.dev/test/cluster"
)

// TestUpgrade installs by the manifests of the release before, publishes, and
// applies those of today while the model is called.
func TestUpgrade(t *testing.T) {
	i := install(t, previous)
	const model = "iris-species-go"
	i.publish(t, copyOf(t, model))
	i.answersItsExamples(t, model)
	before := i.settings(t)
	calls := i.start(t, model, 4, 10*time.Millisecond)
	calls.await(t, time.Minute, 1)
	i.base, i.tag = today, i.tag+"-next"
	i.pushImages(t)
	i.writeOverlay(t)
	i.apply(t)
	i.ready(t)
	if after := i.settings(t); after != before {
		t.Errorf("models and traffic were\n%s\nand are\n%s", before, after)
	}
	calls.answers()
	calls.await(t, time.Minute, 1)
	calls.end(t)
	// What the manifests no longer have is gone from the objects.
	budget, err := i.Client.PolicyV1().PodDisruptionBudgets(system).Get(t.Context(), "model-manager", metav1.GetOptions{})
	if err != nil || budget.Spec.MinAvailable != nil || budget.Spec.MaxUnavailable == nil {
		t.Errorf("the budget is still the old one: %v (%v)", budget.Spec, err)
	}
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "use: teaching", "use: botany")
	i.publish(t, folder)
	i.answersItsExamples(t, model)
}

// upgraded: the chart takes over what the manifests installed, with a server of
// another name, while a model is called. Models and traffic stay as they were.
func (i *installation) upgraded(t *testing.T) {
	const model = "iris-species-go"
	before := i.settings(t)
	calls := i.start(t, model, 4, 10*time.Millisecond)
	cluster.Eventually(t, time.Minute, "the model answers", func(context.Context) (bool, string, error) {
		calls.mu.Lock()
		defer calls.mu.Unlock()
		return len(calls.by) > 0, fmt.Sprint(calls.bad), nil
	})
	old := i.tag
	i.tag += "-next"
	i.pushImages(t)
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(i.values()), 0o644); err != nil {
		t.Fatal(err)
	}
	i.helm(t, "upgrade", "--install", "model-manager", "deploy/helm/model-manager",
		"--namespace", system, "--take-ownership", "--force-conflicts", "--values", values)
	i.ready(t)
	pods, err := i.servers(t.Context())
	if err != nil || len(pods) == 0 || !strings.HasSuffix(pods[0].Spec.Containers[0].Image, i.tag) {
		t.Fatalf("%d servers after the upgrade from %s (%v)", len(pods), old, err)
	}
	if after := i.settings(t); after != before {
		t.Errorf("models and traffic were\n%s\nand are\n%s", before, after)
	}
	calls.end(t)
}

// values are the chart's, saying what the overlay said.
func (i *installation) values() string {
	return fmt.Sprintf(`image: %[1]s/model-manager/server:%[2]s
agentImage: %[1]s/model-manager/agent:%[2]s
storage: %[3]q
storageNetworks: [%[4]s/32]
imagePrefixes: [%[5]s]
hosts: ["*"]
bases: {python: %[1]s/base/python:test, r: %[1]s/base/r:test, java: %[1]s/base/java:test, static: %[1]s/base/static:test}
extraArgs: ["--insecure-registry=%[1]s"]
`, i.Registry, i.tag, i.store.S3URL("mm"), i.nodeAddress(), i.images)
}

// settings describes all models and their traffic.
func (i *installation) settings(t *testing.T) string {
	t.Helper()
	list, err := i.api.Models(t.Context(), client.ModelQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, model := range list.Models {
		fmt.Fprintf(&text, "%s: latest %d, traffic %v\n", model.Name, model.Latest, model.Traffic.Versions)
	}
	objects, err := i.Client.CoreV1().RESTClient().Get().AbsPath("/apis/modelmanager.dev/v1alpha1/namespaces/"+models+"/modelversions").
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var versions metav1.PartialObjectMetadataList
	if err := json.Unmarshal(objects, &versions); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions.Items {
		fmt.Fprintln(&text, version.Name)
	}
	return text.String()
}
