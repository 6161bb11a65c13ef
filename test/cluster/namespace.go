package cluster

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespace makes a namespace for one test, which takes only pods of the
// `restricted` Pod Security Standard. It is deleted when the test ends; its
// pods may take a while longer.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	namespace, err := c.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "mm-test-",
			Labels: map[string]string{
				"app.kubernetes.io/managed-by":       "model-manager-test",
				"pod-security.kubernetes.io/enforce": "restricted",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making a namespace for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			c.describe(ctx, t, namespace.Name)
		}
		if err := c.Client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("deleting the test's namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

// describe logs what happened in a namespace, for whoever reads of a failure.
func (c *Cluster) describe(ctx context.Context, t testing.TB, namespace string) {
	t.Helper()
	pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("listing the pods of %s: %v", namespace, err)
		return
	}
	for _, pod := range pods.Items {
		t.Logf("pod %s: %s %s", pod.Name, pod.Status.Phase, pod.Status.Message)
		for _, status := range pod.Status.ContainerStatuses {
			t.Logf("  container %s: %v", status.Name, status.State)
		}
		text, err := c.Client.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: new(int64(20))}).DoRaw(ctx)
		if err == nil && len(text) > 0 {
			t.Logf("  log:\n%s", text)
		}
	}
	events, err := c.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, event := range events.Items {
		t.Logf("event %s/%s: %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Reason, event.Message)
	}
}
