package product_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/test/cluster"
)

// disrupted: a node is drained of a model's replicas, one is deleted without
// grace, and of one the process is killed, while the model is called. Nobody
// who calls notices.
func (i *installation) disrupted(t *testing.T) {
	const model = "iris-species-go"
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "build:\n", "scale: {min: 2, max: 2, concurrency: 8}\nbuild:\n")
	i.publish(t, folder)
	info, err := i.api.Model(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	selector := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, info.Latest)
	calls := i.start(t, model, 6, 5*time.Millisecond)
	calls.await(t, time.Minute, info.Latest)
	for _, disruption := range []struct {
		name string
		act  func(*testing.T, []corev1.Pod)
	}{
		{"its node is drained", i.drain},
		{"one is deleted without grace", i.deleteNow},
		{"the process of one is killed", i.killProcess},
	} {
		t.Run(disruption.name, func(t *testing.T) {
			before := i.replicas(t, selector, 2, nil)
			calls.answers()
			disruption.act(t, before)
			i.replicas(t, selector, 2, before)
			calls.unharmed(t)
		})
	}
	calls.end(t)
	i.onlyOne(t, model)
}

// onlyOne: of a model with one replica, calls wait for the next one, whatever
// became of it.
func (i *installation) onlyOne(t *testing.T, model string) {
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "build:\n", "scale: {min: 1, max: 1}\nbuild:\n")
	i.publish(t, folder)
	latest := i.latest(t, model)
	selector := fmt.Sprintf("modelmanager.dev/model=%s,modelmanager.dev/version=%d", model, latest)
	calls := i.start(t, model, 6, 5*time.Millisecond)
	calls.await(t, time.Minute, latest)
	for _, disruption := range []struct {
		name string
		act  func(*testing.T, []corev1.Pod)
	}{
		{"the only one is deleted without grace", i.deleteNow},
		{"the process of the only one is killed", i.killProcess},
	} {
		t.Run(disruption.name, func(t *testing.T) {
			before := i.replicas(t, selector, 1, nil)
			calls.answers()
			disruption.act(t, before)
			i.replicas(t, selector, 1, before)
			calls.answers()
			calls.await(t, time.Minute, latest)
			calls.unharmed(t)
		})
	}
	calls.end(t)
}

// replicas waits until so many pods are ready, others than those before, or
// started anew since, and returns them.
func (i *installation) replicas(t *testing.T, selector string, count int, before []corev1.Pod) []corev1.Pod {
	t.Helper()
	old := map[string]int32{}
	for _, pod := range before {
		old[string(pod.UID)] = pod.Status.ContainerStatuses[0].RestartCount
	}
	var ready []corev1.Pod
	cluster.Eventually(t, 2*time.Minute, fmt.Sprintf("%d replicas are ready", count), func(ctx context.Context) (bool, string, error) {
		pods, err := i.pods(ctx, selector)
		ready = ready[:0]
		fresh := before == nil
		for _, pod := range pods {
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
					ready = append(ready, pod)
					restarts, known := old[string(pod.UID)]
					fresh = fresh || !known || pod.Status.ContainerStatuses[0].RestartCount > restarts
				}
			}
		}
		return fresh && len(ready) == count, fmt.Sprintf("%d of %d pods are ready", len(ready), len(pods)), err
	})
	return ready
}

// drain evicts all pods, as `kubectl drain` does: again and again where a
// budget forbids it.
func (i *installation) drain(t *testing.T, pods []corev1.Pod) {
	for _, pod := range pods {
		cluster.Eventually(t, 2*time.Minute, "the pod "+pod.Name+" may be evicted", func(ctx context.Context) (bool, string, error) {
			err := i.Client.CoreV1().Pods(models).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}})
			if apierrors.IsTooManyRequests(err) {
				return false, err.Error(), nil
			}
			return err == nil || apierrors.IsNotFound(err), "", err
		})
	}
}

func (i *installation) deleteNow(t *testing.T, pods []corev1.Pod) {
	err := i.Client.CoreV1().Pods(models).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	if err != nil {
		t.Fatal(err)
	}
}

// killProcess kills the agent of a pod, which is the first process of its
// container: only from outside can it be.
func (i *installation) killProcess(t *testing.T, pods []corev1.Pod) {
	if !i.Ours() {
		t.Skip("the processes of this cluster's pods are not on this machine")
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		group, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(group), string(pods[0].UID)) {
			continue // it has ended, or is of no concern
		}
		process := filepath.Dir(path)
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil || strings.TrimSpace(string(name)) != "mm-agent" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("there is no process of the pod %s", pods[0].Name)
}

// unharmed checks that calls were answered, and none failed.
func (l *load) unharmed(t *testing.T) {
	t.Helper()
	answered := 0
	for _, n := range l.answers() {
		answered += n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if answered == 0 || len(l.bad) > 0 {
		t.Errorf("%d calls were answered, %d failed: %q", answered, len(l.bad), l.bad[:min(len(l.bad), 3)])
	}
	l.bad = nil
}
