package kube

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/test/cluster"
)

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if closeErr := r.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return string(text)
}

// TestPodsOfAJobAreKilled takes away a pod by eviction, which counts for
// nothing, and deletes one, which is an attempt.
func TestPodsOfAJobAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	d := w.driver(t, namespace, nil)
	s := observe(t, d)
	hangs := platformtest.TaskBehaviour{Hang: true} // so that it is there to be killed, however slow all is
	run := w.run(t, "killed", platformtest.Behaviour{Tasks: map[int]platformtest.TaskBehaviour{0: hangs, 1: hangs}})
	run.Count, run.Parallelism = 2, 2
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	for index := range 2 {
		s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == index && e.State == platform.TaskRunning })
	}
	pods, err := w.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selectTasks})
	if err != nil {
		t.Fatal(err)
	}
	before := map[types.UID]bool{}
	for _, pod := range pods.Items {
		before[pod.UID] = true
		a, _ := attemptOf(&pod, nil)
		if a.completion == 0 {
			err = w.Client.CoreV1().Pods(namespace).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}})
		} else {
			err = w.Client.CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cluster.Eventually(t, 2*time.Minute, "both tasks run again, the deleted one by its second attempt", func(ctx context.Context) (bool, string, error) {
		pods, err := w.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selectTasks})
		if err != nil {
			return false, "", err
		}
		attempts := map[int]int{}
		for _, pod := range pods.Items {
			if a, _ := attemptOf(&pod, nil); a.phase == attemptRunning && !before[pod.UID] {
				attempts[a.completion] = a.number
			}
		}
		return attempts[0] == 1 && attempts[1] == 2, fmt.Sprint(attempts), nil
	})
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool {
		return e.Index == 1 && e.State == platform.TaskRunning && e.Attempt == 2
	})
	if err := d.StopJob(t.Context(), run.Job, run.Step); err != nil {
		t.Error(err)
	}
}

// TestTwoDriversAtOnce scales the same version and starts the same job from two
// drivers, again and again.
func TestTwoDriversAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	drivers := []*Driver{w.driver(t, namespace, nil), w.driver(t, namespace, nil)}
	watches := []*seen{observe(t, drivers[0]), observe(t, drivers[1])}
	version := w.workload(t, "shared", platformtest.Behaviour{})
	run := w.run(t, "shared-job", platformtest.Behaviour{TaskTime: time.Second})
	var wait sync.WaitGroup
	for i := range 12 {
		wait.Go(func() {
			if err := drivers[i%2].Scale(t.Context(), version, i%3); err != nil {
				t.Errorf("Scale: %v", err)
			}
		})
		wait.Go(func() {
			if err := drivers[i%2].StartJob(t.Context(), run); err != nil {
				t.Errorf("StartJob: %v", err)
			}
		})
	}
	wait.Wait()
	if err := drivers[0].Scale(t.Context(), version, 2); err != nil {
		t.Fatal(err)
	}
	for _, s := range watches {
		cluster.Eventually(t, time.Minute, "each driver tells of both replicas", func(context.Context) (bool, string, error) {
			ready := 0
			for _, r := range s.of(version.Ref()) {
				if r.Stage == agent.StageReady && r.Key == version.Key {
					ready++
				}
			}
			return ready == 2 && len(s.of(version.Ref())) == 2, fmt.Sprint(s.of(version.Ref())), nil
		})
		s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
	}
	if err := drivers[1].StopJob(t.Context(), run.Job, run.Step); err != nil {
		t.Error(err)
	}
	if err := drivers[1].Scale(t.Context(), version, 0); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "nothing is left", func(ctx context.Context) (bool, string, error) {
		secrets, err := w.Client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		pods, err := w.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		return len(secrets.Items)+len(pods.Items) == 0, fmt.Sprintf("%d secrets, %d pods", len(secrets.Items), len(pods.Items)), nil
	})
}

// TestANewAgentReplacesReplicasOneByOne changes the agent's image, and counts
// ready replicas all the while.
func TestANewAgentReplacesReplicasOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	d := w.driver(t, namespace, nil)
	version := w.workload(t, "upgraded", platformtest.Behaviour{})
	if err := d.Scale(t.Context(), version, 2); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	stages, least, counted := map[string]agent.Stage{}, 2, false
	ready := func() int {
		n := 0
		for _, stage := range stages {
			if stage == agent.StageReady {
				n++
			}
		}
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.WatchReplicas(ctx, func(event platform.ReplicaEvent) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case event.Synced:
			case event.Gone:
				delete(stages, event.Replica.ID)
			default:
				stages[event.Replica.ID] = event.Replica.Stage
			}
			if counted {
				least = min(least, ready())
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	before := map[string]bool{}
	cluster.Eventually(t, time.Minute, "both are ready", func(context.Context) (bool, string, error) {
		mu.Lock()
		defer mu.Unlock()
		if counted = ready() == 2; counted {
			for id := range stages {
				before[id] = true
			}
		}
		return counted, fmt.Sprint(stages), nil
	})
	next := w.driver(t, namespace, func(o *Options) { o.AgentSource = AgentInit })
	if err := next.Scale(t.Context(), version, 2); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 2*time.Minute, "both are replaced", func(context.Context) (bool, string, error) {
		mu.Lock()
		defer mu.Unlock()
		for id := range stages {
			if before[id] {
				return false, fmt.Sprint(stages), nil
			}
		}
		return ready() == 2, fmt.Sprint(stages), nil
	})
	if least < 2 {
		t.Errorf("at a time only %d replicas were ready", least)
	}
}

// TestADrainedNodeTakesOneReplicaAtATime evicts both replicas of a version,
// which may not both be missing; the budget goes with the version.
func TestADrainedNodeTakesOneReplicaAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	d := w.driver(t, namespace, nil)
	version := w.workload(t, "drained", platformtest.Behaviour{})
	if err := d.Scale(t.Context(), version, 2); err != nil {
		t.Fatal(err)
	}
	budgets := w.Client.PolicyV1().PodDisruptionBudgets(namespace)
	cluster.Eventually(t, time.Minute, "one replica may be taken", func(ctx context.Context) (bool, string, error) {
		budget, err := budgets.Get(ctx, "drained-1", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return budget.Status.DisruptionsAllowed == 1 && budget.Status.CurrentHealthy == 2, fmt.Sprint(budget.Status), nil
	})
	pods, err := w.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selectReplicas})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	evict := func(pod string) error {
		return w.Client.CoreV1().Pods(namespace).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod}})
	}
	if err := evict(pods.Items[0].Name); err != nil {
		t.Errorf("the first replica: %v", err)
	}
	if err := evict(pods.Items[1].Name); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the second one at the same time: %v", err)
	}
	if err := d.Scale(t.Context(), version, 0); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "the budget goes with the version", func(ctx context.Context) (bool, string, error) {
		list, err := budgets.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, "", err
	})
}

// TestAVersionWithoutAnImageIsRefused: it was published to another kind of server.
func TestAVersionWithoutAnImageIsRefused(t *testing.T) {
	w := planWorkload(t)
	w.Version.Artifact.Image = ""
	if err := hasImage(w); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("got %v", err)
	}
}

// TestAJobWaitsInAQueue holds a job back for longer than it may run, as Kueue
// would, and lets it go.
func TestAJobWaitsInAQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	d := w.driver(t, namespace, func(o *Options) { o.Queue = "models" })
	s := observe(t, d)
	run := w.run(t, "queued", platformtest.Behaviour{TaskTime: time.Second})
	run.Timeout = 4 * time.Second
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool {
		return e.State == platform.TaskWaiting && strings.Contains(e.Reason, "in the queue models")
	})
	jobs := w.Client.BatchV1().Jobs(namespace)
	cluster.Eventually(t, time.Minute, "it has waited for longer than it may run", func(ctx context.Context) (bool, string, error) {
		job, err := jobs.Get(ctx, jobName(run.Job, run.Step), metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		waited := time.Since(job.CreationTimestamp.Time)
		return waited > run.Timeout+time.Second, waited.String(), nil
	})
	if _, err := jobs.Patch(t.Context(), jobName(run.Job, run.Step), types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
}
