package kube

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func planOptions() *Options {
	return &Options{Namespace: "models", AgentImage: "registry.example.org/mm-agent:1.0"}
}

func planWorkload(t *testing.T) platform.Workload {
	w := platformtest.NewWorkload(t, "churn", platformtest.Behaviour{}, modelmanager.Artifact{Digest: "sha256:11", Image: "registry.example.org/churn@sha256:11"})
	w.Version.Number = 7
	return w
}

// golden compares objects with a file, as a reader of the cluster would see them.
func golden(t *testing.T, name string, objects ...runtime.Object) {
	t.Helper()
	var documents []string
	for _, object := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		delete(content, "status")
		if secret, ok := object.(*corev1.Secret); ok {
			delete(content, "data")
			content["stringData"] = readable(secret)
		}
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, strings.ReplaceAll(string(text), "  creationTimestamp: null\n", ""))
	}
	got, path := digest.ReplaceAllString(strings.Join(documents, "---\n"), "-DIGEST"), filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); go test -update writes it anew:\n%s", path, diff)
	}
}

// digest is that of a Secret's content, which changes with the words of specs.
var digest = regexp.MustCompile(`-[0-9a-f]{10}\b`)

func readable(secret *corev1.Secret) map[string]any {
	fields := map[string]any{}
	for name, value := range secret.Data {
		fields[name] = specText.ReplaceAllString(string(value), `"spec":"…"`)
	}
	return fields
}

var specText = regexp.MustCompile(`"spec":"(?:[^"\\]|\\.)*"`)

func planReplicas(t *testing.T, o *Options, w platform.Workload, source AgentSource) []runtime.Object {
	secret, err := o.replicaSecret(w)
	if err != nil {
		t.Fatal(err)
	}
	deployment := o.deployment(w, 2, secret.Name, source)
	return []runtime.Object{deployment, secret, o.budget(w.Ref(), deploymentOwner(deployment))}
}

func TestAVersionIsADeployment(t *testing.T) {
	golden(t, "deployment.yaml", planReplicas(t, planOptions(), planWorkload(t), AgentImage)...)
}

func TestWhatTheSpecAndTheOperatorWantIsInThePods(t *testing.T) {
	o, w := planOptions(), planWorkload(t)
	o.NodeSelector = map[string]string{"pool": "models"}
	o.Tolerations = []corev1.Toleration{{Key: "models", Operator: corev1.TolerationOpExists}}
	o.PriorityClass, o.RuntimeClass, o.ImagePullSecrets = "models", "gvisor", []string{"pull"}
	w.Spec.Secrets = []spec.Secret{{Env: "TOKEN", Name: "feature-store"}}
	w.Spec.Network, w.Spec.Identity = []string{"features.example.org:443"}, "churn-reader"
	w.Spec.Resources.CPU = 2500
	golden(t, "deployment-everything.yaml", planReplicas(t, o, w, AgentInit)...)
}

func TestAStepIsAJob(t *testing.T) {
	o := planOptions()
	o.Queue = "models"
	run := platform.JobRun{
		Job: "0000000000abc", Step: platform.StepShards, Workload: planWorkload(t), Count: 9, Done: []int{0, 2, 3}, Parallelism: 4, Retries: 3,
		Timeout: 2 * time.Hour, Server: "http://model-manager.modelmanager-system:8081", Token: "token",
	}
	indexes, only := remaining(run)
	secret, err := o.taskSecret(run, only)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "job.yaml", o.job(run, len(indexes), only, secret.Name, AgentImage), secret)
}

func TestTheKeyIsInNoFile(t *testing.T) {
	w := planWorkload(t)
	secret, err := planOptions().replicaSecret(w)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(secret.Data[configFile]); strings.Contains(text, w.Key) || text == "" {
		t.Errorf("the configuration is %s", text)
	}
	other := w
	other.Key += "x"
	if changed, _ := planOptions().replicaSecret(other); changed.Name == secret.Name {
		t.Error("another key has the same name")
	}
}

func TestRemaining(t *testing.T) {
	for _, c := range []struct {
		count int
		done  []int
		want  []int
		only  string
	}{
		{3, nil, []int{0, 1, 2}, ""},
		{5, []int{0, 2, 3}, []int{1, 4}, "1,4"},
		{2, []int{0, 1}, nil, ""},
	} {
		if got, only := remaining(platform.JobRun{Count: c.count, Done: c.done}); !slices.Equal(got, c.want) || only != c.only {
			t.Errorf("of %d without %v: %v, %q", c.count, c.done, got, only)
		}
	}
	var every []int
	for index := 0; index < 100_000; index += 2 {
		every = append(every, index)
	}
	indexes, only := remaining(platform.JobRun{Count: 100_000, Done: every})
	if len(only) > longestIndexes {
		t.Errorf("the list of indexes has %d bytes", len(only))
	}
	if parsed, err := agent.ParseIndexes(only); err != nil || !slices.Equal(parsed, indexes) || !slices.Contains(indexes, 99_999) {
		t.Errorf("%d indexes, %d of the list: %v", len(indexes), len(parsed), err)
	}
}
