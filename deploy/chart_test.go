package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"

	"modelmanager.dev/test/needs"
)

// TestChartIsTheKustomization renders both, and compares them object by object.
func TestChartIsTheKustomization(t *testing.T) {
	chart := rendered(t, "helm", "template", "mm", "helm/model-manager", "--namespace", "elsewhere",
		"--set", "image=registry.example.org/model-manager/server:1", "--set", "agentImage=registry.example.org/model-manager/agent:1",
		"--set", "storage=s3://model-manager?region=eu-central-1", "--set", "imagePrefixes={registry.example.org/models}",
		"--set", "bases.python=registry.example.org/bases/python:3.11", "--set", "hosts={models.example.org}", "--set", "storageNetworks={192.0.2.0/24}")
	kustomization := rendered(t, "kubectl", "kustomize", "kustomize/example")
	for name, want := range kustomization {
		if strings.Contains(name, "jobs-to-storage") { // an example of its own
			continue
		}
		got := chart[name]
		if got == nil {
			t.Errorf("the chart lacks %s", name)
			continue
		}
		for _, object := range []map[string]any{got, want} { // what each tool adds
			metadata := object["metadata"].(map[string]any)
			delete(metadata, "annotations")
			if labels, ok := metadata["labels"].(map[string]any); ok {
				delete(labels, "app.kubernetes.io/part-of")
				if len(labels) == 0 {
					delete(metadata, "labels")
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -kustomization +chart:\n%s", name, diff)
		}
	}
	if len(chart) != len(kustomization) {
		t.Errorf("the chart has %d objects, the kustomization %d", len(chart), len(kustomization))
	}
}

// TestChartPlacesTheServer gives the server's pods what an operator wants of them.
func TestChartPlacesTheServer(t *testing.T) {
	chart := rendered(t, "helm", append(smallest, "--set", "imagePullSecrets[0].name=registry", "--set", "nodeSelector.pool=system",
		"--set", "tolerations[0].key=system", "--set", "tolerations[0].operator=Exists")...)
	deployment := chart["Deployment modelmanager-system/model-manager"]
	spec := deployment["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	got := map[string]any{"imagePullSecrets": spec["imagePullSecrets"], "nodeSelector": spec["nodeSelector"], "tolerations": spec["tolerations"]}
	want := map[string]any{
		"imagePullSecrets": []any{map[string]any{"name": "registry"}},
		"nodeSelector":     map[string]any{"pool": "system"},
		"tolerations":      []any{map[string]any{"key": "system", "operator": "Exists"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

// TestChartPlacesModels: what an operator wants of models' pods becomes flags.
func TestChartPlacesModels(t *testing.T) {
	chart := rendered(t, "helm", append(smallest, "--set", "models.imagePullSecrets={pull}", "--set", "models.nodeSelector.pool=models",
		"--set", "models.tolerations[0].key=models", "--set", "models.tolerations[0].operator=Exists", "--set", "models.tolerations[0].effect=NoSchedule",
		"--set", "models.tolerations[1].key=gpu", "--set", "models.tolerations[1].value=small",
		"--set", "models.runtimeClass=gvisor", "--set", "models.priorityClass=calls", "--set", "models.batchPriorityClass=jobs", "--set", "models.queue=team")...)
	text, err := json.Marshal(chart["Deployment modelmanager-system/model-manager"])
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{
		"--image-pull-secret=pull", "--node-selector=pool=models", "--toleration=models:NoSchedule", "--toleration=gpu=small",
		"--runtime-class=gvisor", "--priority-class=calls", "--batch-priority-class=jobs", "--queue=team",
	} {
		if !bytes.Contains(text, []byte(`"`+flag+`"`)) {
			t.Errorf("the server isn't told %s: %s", flag, text)
		}
	}
}

// TestChartBringsTheClientsSecret to where the server reads it.
func TestChartBringsTheClientsSecret(t *testing.T) {
	chart := rendered(t, "helm", append(smallest, "--set", "oidcSecret=people")...)
	text, err := json.Marshal(chart["Deployment modelmanager-system/model-manager"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"--oidc-client-secret-file=/etc/model-manager/oidc/client-secret"`, `{"mountPath":"/etc/model-manager/oidc","name":"oidc","readOnly":true}`,
		`{"name":"oidc","secret":{"secretName":"people"}}`, `{"mountPath":"/tmp","name":"scratch"}`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the deployment lacks %s: %s", want, text)
		}
	}
}

// TestChartKeepsModelsApart: with one namespace for all, models would lie beside
// the server's own key.
func TestChartKeepsModelsApart(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), tool(t, "helm"), append(smallest, "--set", "namespaces.models=modelmanager-system")...).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "a namespace of their own") {
		t.Errorf("the chart took one namespace for both: %v\n%.300s", err, output)
	}
}

// smallest are the arguments of helm with the values that the chart needs.
var smallest = []string{
	"template", "mm", "helm/model-manager", "--set", "image=server", "--set", "agentImage=agent", "--set", "storage=s3://model-manager",
}

// rendered runs a tool, and returns the objects that it writes by kind,
// namespace and name.
func rendered(t *testing.T, program string, args ...string) map[string]map[string]any {
	t.Helper()
	path := tool(t, program)
	var out, problems bytes.Buffer
	command := exec.CommandContext(t.Context(), path, args...)
	command.Stdout, command.Stderr = &out, &problems
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	if err := command.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &problems)
	}
	objects := map[string]map[string]any{}
	decoder := yaml.NewYAMLOrJSONDecoder(&out, 4096)
	for {
		var object map[string]any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("reading what %s wrote: %v", program, err)
		}
		if object == nil {
			continue
		}
		metadata := object["metadata"].(map[string]any)
		namespace, _ := metadata["namespace"].(string)
		name := object["kind"].(string) + " " + namespace + "/" + metadata["name"].(string)
		if strings.Contains(name, "jobs-to-storage") {
			name = "NetworkPolicy jobs-to-storage"
		}
		objects[name] = object
	}
}

// tool finds a program of `make cluster`, or one that is installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err == nil {
		if path := filepath.Join(cache, "model-manager", "cluster", "bin", name); exists(path) {
			return path
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	needs.Skip(t, "there is no "+name+"; make cluster builds one")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
