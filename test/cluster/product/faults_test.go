package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/test/cluster"
)

// servers returns the ready replicas of the server.
func (i *installation) servers(ctx context.Context) ([]corev1.Pod, error) {
	list, err := i.Client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=model-manager"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return pod.DeletionTimestamp != nil || !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}), nil
}

// replicasKilled: each replica of the server is killed in its turn while a job
// runs and a file comes in. The job goes on, and whoever calls again is answered.
func (i *installation) replicasKilled(t *testing.T) {
	const model = "tumour-malignancy"
	before := i.listed(t)
	input := filepath.Join(t.TempDir(), "in.csv")
	writeRows(t, input)
	job, err := i.submit(t, model, input)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := i.servers(t.Context())
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d servers (%v)", len(pods), err)
	}
	for n, pod := range pods {
		grace := int64(0)
		if err := i.Client.CoreV1().Pods(system).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			t.Fatal(err)
		}
		i.ready(t)
		cluster.Eventually(t, time.Minute, fmt.Sprintf("a prediction after server %d was killed", n+1), func(ctx context.Context) (bool, string, error) {
			_, err := i.api.Predict(ctx, model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}})
			return err == nil, "", err
		})
	}
	ended := i.ended(t, job.ID, 5*time.Minute)
	if ended.State != modelmanager.JobSucceeded || ended.Rows.Predicted != rowsOfJob {
		t.Fatalf("the job ended as %s, %q, %d rows predicted", ended.State, ended.Reason, ended.Rows.Predicted)
	}
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	checkRows(t, output)
	if after := i.listed(t); !slices.Equal(before, after) {
		t.Errorf("the models are %v after it, and were %v", after, before)
	}
}

// listed names the first page of models.
func (i *installation) listed(t *testing.T) (names []string) {
	t.Helper()
	list, err := i.api.Models(t.Context(), client.ModelQuery{})
	if err != nil || len(list.Models) == 0 {
		t.Fatalf("%d models (%v)", len(list.Models), err)
	}
	for _, model := range list.Models {
		names = append(names, model.Name)
	}
	return names
}

// away is how long the control plane is gone.
const away = time.Minute

// controlPlane: while etcd, the API server and the controllers are gone, models
// that run go on answering.
func (i *installation) controlPlane(t *testing.T) {
	const model = "tumour-malignancy"
	calls := i.start(t, model, 2, 20*time.Millisecond)
	cluster.Eventually(t, 2*time.Minute, "the model answers", func(context.Context) (bool, string, error) {
		calls.mu.Lock()
		defer calls.mu.Unlock()
		return len(calls.by) > 0, fmt.Sprint(calls.bad), nil
	})
	i.Kill(t, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
	calls.answers()
	gone := time.NewTimer(away)
	defer gone.Stop()
	select {
	case <-gone.C:
	case <-t.Context().Done():
	}
	answered := 0
	for _, n := range calls.answers() {
		answered += n
	}
	i.Start(t)
	calls.end(t)
	if answered < 500 {
		t.Errorf("%d calls were answered in the %s without an API server", answered, away)
	}
	t.Logf("%d calls were answered in the %s without an API server", answered, away)
	i.ready(t)
}
