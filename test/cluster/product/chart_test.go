package product_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestChart installs by the chart on a cluster where nothing of Model Manager
// is, publishes, and calls. What the operator says of models' pods is in them.
func TestChart(t *testing.T) {
	i := prepare(t, today)
	i.writeOverlay(t) // by which all is taken away
	// Tests of the registry have made these, and belong to no release.
	i.kubectl(t, "delete", "crd", "models.modelmanager.dev", "modelversions.modelmanager.dev", "--ignore-not-found", "--timeout=1m")
	values := filepath.Join(t.TempDir(), "values.yaml")
	text := i.values() + `models: {nodeSelector: {kubernetes.io/os: linux}, tolerations: [{key: models, operator: Exists}], priorityClass: system-cluster-critical}
`
	if err := os.WriteFile(values, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // also of a test that fails: the release would keep its name
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if output, err := i.program(ctx, "helm", "uninstall", "model-manager", "--namespace", "default", "--ignore-not-found").CombinedOutput(); err != nil {
			t.Errorf("helm uninstall: %v\n%s", err, output)
		}
	})
	i.helm(t, "install", "model-manager", "deploy/helm/model-manager", "--namespace", "default", "--values", values)
	i.mark(t)
	i.credentials(t)
	i.kubectl(t, "rollout", "restart", "deployment/model-manager", "-n", system) // it couldn't reach its storage
	i.reach(t)

	for _, name := range []string{system, models} {
		namespace, err := i.Client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Errorf("namespace %s has the labels %v (%v)", name, namespace.Labels, err)
		}
	}
	quota, err := i.Client.CoreV1().ResourceQuotas(models).Get(t.Context(), "models", metav1.GetOptions{})
	if err != nil || len(quota.Spec.Hard) == 0 {
		t.Errorf("the models' quota is %v (%v)", quota.Spec.Hard, err)
	}
	const model = "iris-species-go"
	i.publish(t, copyOf(t, model))
	i.answersItsExamples(t, model)
	pods, err := i.Client.CoreV1().Pods(models).List(t.Context(), metav1.ListOptions{LabelSelector: "modelmanager.dev/model=" + model})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	spec := pods.Items[0].Spec
	tolerated := false
	for _, toleration := range spec.Tolerations {
		tolerated = tolerated || toleration.Key == "models" && toleration.Operator == corev1.TolerationOpExists
	}
	if spec.NodeSelector["kubernetes.io/os"] != "linux" || !tolerated || spec.PriorityClassName != "system-cluster-critical" {
		t.Errorf("the pod goes to %v, tolerates %v, and has the priority %q", spec.NodeSelector, spec.Tolerations, spec.PriorityClassName)
	}
	i.helm(t, "uninstall", "model-manager", "--namespace", "default", "--wait", "--timeout", "2m")
	if _, err := i.Client.CoreV1().Namespaces().Get(t.Context(), models, metav1.GetOptions{}); err != nil {
		t.Errorf("uninstalling took the models away: %v", err)
	}
}
