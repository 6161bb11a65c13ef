package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// canary: a second version gets a tenth of the calls, then all, and is taken
// back; nobody who calls notices.
func (i *installation) canary(t *testing.T) {
	const model = "iris-species-go"
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "use: teaching", "use: botany")
	calls := i.start(t, model, 4, 10*time.Millisecond)
	calls.await(t, time.Minute, 1)
	i.publish(t, "--hold", folder)
	i.run(t, "models", "traffic", model, "1=90", "2=10")
	calls.await(t, time.Minute, 2)
	calls.answers()
	cluster.Eventually(t, time.Minute, "a thousand calls", func(context.Context) (bool, string, error) {
		calls.mu.Lock()
		defer calls.mu.Unlock()
		return calls.by[1]+calls.by[2] >= 1000, fmt.Sprint(calls.by), nil
	})
	by := calls.answers()
	if share := float64(by[2]) / float64(by[1]+by[2]); share < 0.06 || share > 0.14 {
		t.Errorf("version 2 answered %.1f%% of %v calls, want 10%%", 100*share, by)
	}
	i.run(t, "models", "promote", model, "2")
	i.only(t, calls, 2, time.Minute)
	started := time.Now()
	i.run(t, "models", "rollback", model)
	i.only(t, calls, 1, 10*time.Second)
	t.Logf("rolled back within %s", time.Since(started).Round(time.Millisecond))
	calls.end(t)
}

// only waits until no other version answers.
func (i *installation) only(t *testing.T, calls *load, version int, within time.Duration) {
	t.Helper()
	cluster.Eventually(t, within, fmt.Sprintf("version %d alone answers", version), func(ctx context.Context) (bool, string, error) {
		calls.answers()
		for n := 0; n < 20; {
			select {
			case <-ctx.Done():
				return false, "no calls", nil
			case <-time.After(10 * time.Millisecond):
			}
			calls.mu.Lock()
			n = calls.by[version]
			for other := range calls.by {
				if other != version {
					calls.mu.Unlock()
					return false, fmt.Sprintf("version %d answers, too", other), nil
				}
			}
			calls.mu.Unlock()
		}
		return true, "", nil
	})
}

// elastic: a model gets more replicas while it is called a lot, and none when
// it isn't any more.
func (i *installation) elastic(t *testing.T) {
	const model = "iris-species-go"
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "build:\n", "scale: {max: 3, concurrency: 1, idle: 10s}\nbuild:\n")
	i.publish(t, folder)
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	version := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, info.Latest)
	calls := i.start(t, model, 12, 0)
	cluster.Eventually(t, 2*time.Minute, "the model has three replicas", func(ctx context.Context) (bool, string, error) {
		ready := 0
		pods, err := i.pods(ctx, version)
		for _, pod := range pods {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == "Ready" && condition.Status == "True" {
					ready++
				}
			}
		}
		return ready == 3, fmt.Sprintf("%d of them ready", ready), err
	})
	calls.end(t)
	started := time.Now()
	cluster.Eventually(t, 3*time.Minute, "the version runs no more", func(ctx context.Context) (bool, string, error) {
		pods, err := i.pods(ctx, version)
		return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
	})
	t.Logf("at nothing %s after the last call", time.Since(started).Round(time.Second))
	deployments, err := i.Client.AppsV1().Deployments(models).List(t.Context(), metav1.ListOptions{LabelSelector: version})
	if err != nil || len(deployments.Items) != 0 {
		t.Errorf("an idle version has %d deployments (%v)", len(deployments.Items), err)
	}
	started = time.Now()
	if _, err := i.api.Predict(t.Context(), model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}}); err != nil {
		t.Errorf("the first call of an idle model: %v", err)
	}
	t.Logf("from nothing to an answer: %s", time.Since(started).Round(time.Millisecond))
}
