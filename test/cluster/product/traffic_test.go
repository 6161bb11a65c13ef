package product_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/test/cluster"
)

// canary: a new version, which takes seconds to load, gets a tenth of the calls,
// then all, and is taken back; nobody who calls notices.
func (i *installation) canary(t *testing.T) {
	const model = "tumour-malignancy"
	calls := i.start(t, model, 4, 10*time.Millisecond)
	old := i.latest(t, model)
	calls.await(t, time.Minute, old)
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "predict.py"), "import joblib\n", "import joblib, time\n\ntime.sleep(3)\n")
	i.publish(t, "--hold", folder)
	latest := i.latest(t, model)
	i.run(t, "models", "traffic", model, fmt.Sprintf("%d=90", old), fmt.Sprintf("%d=10", latest))
	calls.await(t, time.Minute, latest)
	calls.answers()
	cluster.Eventually(t, 2*time.Minute, "a thousand calls", func(context.Context) (bool, string, error) {
		calls.mu.Lock()
		defer calls.mu.Unlock()
		return calls.by[old]+calls.by[latest] >= 1000, fmt.Sprint(calls.by), nil
	})
	by := calls.answers()
	if share := float64(by[latest]) / float64(by[old]+by[latest]); share < 0.06 || share > 0.14 {
		t.Errorf("version %d answered %.1f%% of %v calls, want 10%%", latest, 100*share, by)
	}
	i.run(t, "models", "promote", model, fmt.Sprint(latest))
	i.only(t, calls, latest, time.Minute)
	started := time.Now()
	i.run(t, "models", "rollback", model)
	i.only(t, calls, old, 10*time.Second)
	t.Logf("rolled back within %s", time.Since(started).Round(time.Millisecond))
	calls.end(t)
}

// latest is the number of a model's latest version.
func (i *installation) latest(t *testing.T, model string) int {
	t.Helper()
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	return info.Latest
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

// elastic: a model of each language gets more replicas while it is called a lot,
// and none when it isn't any more.
func (i *installation) elastic(t *testing.T) {
	versions := map[string]string{} // by model: the selector of the version's objects
	for _, model := range examples {
		folder := copyOf(t, model)
		edit(t, filepath.Join(folder, "model.yaml"), "resources: {cpu: 100m", "scale: {max: 3, concurrency: 1, idle: 10s}\nresources: {cpu: 20m")
		i.publish(t, folder)
		version := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, i.latest(t, model))
		versions[model] = version
		calls := i.start(t, model, 12, 0)
		started := time.Now()
		cluster.Eventually(t, 2*time.Minute, model+" has three replicas", func(ctx context.Context) (bool, string, error) {
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
		t.Logf("%s has three replicas %s after the load began", model, time.Since(started).Round(time.Millisecond))
		calls.end(t)
	}
	for model, version := range versions {
		cluster.Eventually(t, 3*time.Minute, model+" runs no more", func(ctx context.Context) (bool, string, error) {
			pods, err := i.pods(ctx, version)
			return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
		})
		deployments, err := i.Client.AppsV1().Deployments(models).List(t.Context(), metav1.ListOptions{LabelSelector: version})
		if err != nil || len(deployments.Items) != 0 {
			t.Errorf("an idle version of %s has %d deployments (%v)", model, len(deployments.Items), err)
		}
		started := time.Now()
		i.answersItsExamples(t, model)
		t.Logf("%s from nothing to an answer: %s", model, time.Since(started).Round(time.Millisecond))
	}
}
