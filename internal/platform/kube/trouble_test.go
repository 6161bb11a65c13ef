package kube

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/cluster"
)

// seen is what a driver's watches have told.
type seen struct {
	mu       sync.Mutex
	replicas map[string]platform.Replica
	events   []platform.JobEvent
}

// observe follows a driver's watches until the test ends.
func observe(t *testing.T, d *Driver) *seen {
	s := &seen{replicas: map[string]platform.Replica{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = d.WatchReplicas(ctx, func(event platform.ReplicaEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if event.Gone {
				delete(s.replicas, event.Replica.ID)
			} else if !event.Synced {
				s.replicas[event.Replica.ID] = event.Replica
			}
		})
	})
	wait.Go(func() {
		_ = d.WatchJobs(ctx, func(event platform.JobEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, event)
		})
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	return s
}

func (s *seen) of(ref platform.Ref) []platform.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []platform.Replica
	for _, r := range s.replicas {
		if r.Ref == ref {
			list = append(list, r)
		}
	}
	return list
}

func (s *seen) job(job string) []platform.JobEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []platform.JobEvent
	for _, event := range s.events {
		if event.Job == job {
			list = append(list, event)
		}
	}
	return list
}

// until waits until a version has a replica of this stage whose reason has
// these words.
func (s *seen) until(t *testing.T, ref platform.Ref, stage agent.Stage, words ...string) platform.Replica {
	t.Helper()
	var found platform.Replica
	cluster.Eventually(t, 2*time.Minute, fmt.Sprintf("%s is %s, with %q", ref, stage, words), func(context.Context) (bool, string, error) {
		var standing []string
		for _, r := range s.of(ref) {
			if r.Stage == stage && hasAll(r.Reason, words) {
				found = r
				return true, "", nil
			}
			standing = append(standing, fmt.Sprintf("%s %s: %s", r.ID, r.Stage, r.Reason))
		}
		return false, strings.Join(standing, "; "), nil
	})
	t.Logf("%s: %s", found.Stage, found.Reason)
	return found
}

// untilEvent waits until a job has an event that the test wants.
func (s *seen) untilEvent(t *testing.T, job string, want func(platform.JobEvent) bool) platform.JobEvent {
	t.Helper()
	var found platform.JobEvent
	cluster.Eventually(t, 3*time.Minute, "job "+job+" has the event", func(context.Context) (bool, string, error) {
		events := s.job(job)
		for _, event := range events {
			if want(event) {
				found = event
				return true, "", nil
			}
		}
		return false, fmt.Sprintf("%+v", events), nil
	})
	t.Logf("%+v", found)
	return found
}

func hasAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// change changes a workload's spec.
func change(t *testing.T, w platform.Workload, change func(*spec.Spec)) platform.Workload {
	t.Helper()
	changed := *w.Spec
	change(&changed)
	text, err := changed.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	w.Spec, w.Version.Spec = &changed, text
	return w
}

func inTrouble(kind string) func(*spec.Spec) {
	return func(s *spec.Spec) { s.Params = map[string]any{"trouble": kind} }
}

// TestWhyAVersionDoesNotRun brings versions into every trouble that a cluster
// knows, all at once, beside a good one.
func TestWhyAVersionDoesNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.driver(t, w.Namespace(t), nil)
	s := observe(t, d)
	plain := func(name string) platform.Workload { return w.workload(t, name, platformtest.Behaviour{}) }
	missing := plain("no-image")
	missing.Version.Artifact.Image = w.Registry + "/test/never-pushed@sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		workload platform.Workload
		stage    agent.Stage
		words    []string
	}{
		{plain("good"), agent.StageReady, nil},
		{missing, agent.StageFailed, []string{"its image " + missing.Version.Artifact.Image + " can't be pulled: not found"}},
		{change(t, plain("crashing"), inTrouble("crash")), agent.StageFailed, []string{"the model's file has 3 bytes too few"}},
		{change(t, plain("hungry"), func(s *spec.Spec) {
			inTrouble("memory")(s)
			s.Resources.Memory = 32 << 20
		}), agent.StageFailed, []string{"it ran out of memory, at its limit of 288Mi (resources.memory 32Mi and 256Mi for its agent)"}},
		{change(t, plain("huge"), func(s *spec.Spec) { s.Resources.CPU = 640_000 }), agent.StageScheduling, []string{"no node has room for it, which needs CPU 640 and memory 320Mi: 0/", "Insufficient cpu"}},
		{change(t, plain("unconfigured"), func(s *spec.Spec) { s.Secrets = []spec.Secret{{Env: "TOKEN", Name: "feature-store"}} }), agent.StageFailed, []string{"there is no secret feature-store"}},
		{change(t, plain("nobody"), func(s *spec.Spec) { s.Identity = "missing-person" }), agent.StageFailed, []string{"there is no service account missing-person"}},
		{change(t, plain("wasteful"), inTrouble("disk")), agent.StageScheduling, []string{"wrote more than 64Mi to its disk (resources.disk)"}},
	} {
		if err := d.Scale(t.Context(), c.workload, 1); err != nil {
			t.Fatal(err)
		}
		t.Run(c.workload.Version.Model, func(t *testing.T) {
			if c.workload.Version.Model == "wasteful" {
				cluster.Eventually(t, 2*time.Minute, "the eviction is told", func(context.Context) (bool, string, error) {
					for _, r := range s.of(c.workload.Ref()) {
						if hasAll(r.Reason, c.words) {
							t.Log(r.Stage, r.Reason)
							return true, "", nil
						}
					}
					return false, fmt.Sprint(s.of(c.workload.Ref())), nil
				})
				return
			}
			s.until(t, c.workload.Ref(), c.stage, c.words...)
		})
	}
	logs, err := d.Logs(t.Context(), platform.Ref{Model: "crashing", Version: 1}, 10)
	if err != nil {
		t.Fatal(err)
	}
	text := readAll(t, logs)
	if !hasAll(text, []string{"something is odd", "3 bytes too few", " crashing-1-"}) {
		t.Errorf("the logs of what crashed are %q", text)
	}
}

// TestAQuotaIsNamed starts a version and a job where nothing fits, and then
// makes room.
func TestAQuotaIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	quota, err := w.Client.CoreV1().ResourceQuotas(namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "models"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "the quota holds", func(ctx context.Context) (bool, string, error) {
		quota, err = w.Client.CoreV1().ResourceQuotas(namespace).Get(ctx, "models", metav1.GetOptions{})
		return err == nil && len(quota.Status.Hard) > 0, "", err
	})
	d := w.driver(t, namespace, nil)
	s := observe(t, d)
	version := w.workload(t, "crowded", platformtest.Behaviour{})
	if err := d.Scale(t.Context(), version, 1); err != nil {
		t.Fatal(err)
	}
	run := w.run(t, "crowded-job", platformtest.Behaviour{})
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	s.until(t, version.Ref(), agent.StageFailed, "its pods can't be created: they exceed the quota models", "limited: pods=0")
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool {
		return e.State == platform.TaskWaiting && strings.Contains(e.Reason, "they exceed the quota models")
	})
	quota.Spec.Hard[corev1.ResourcePods] = resource.MustParse("10")
	if _, err := w.Client.CoreV1().ResourceQuotas(namespace).Update(t.Context(), quota, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(t, version.Ref(), agent.StageReady)
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
	if replicas := s.of(version.Ref()); len(replicas) != 1 {
		t.Errorf("there are %d replicas: %v", len(replicas), replicas)
	}
}

// run is a step with one task.
func (w *world) run(t *testing.T, job string, b platformtest.Behaviour) platform.JobRun {
	return platform.JobRun{
		Job: job, Step: platform.StepShards, Workload: w.workload(t, job, b), Count: 1, Parallelism: 1, Retries: 1,
		Timeout: 10 * time.Minute, Server: "http://127.0.0.1:9", Token: "token",
	}
}

// TestWhyAJobDoesNotRun starts a job whose image isn't there, and one that runs
// out of memory.
func TestWhyAJobDoesNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.driver(t, w.Namespace(t), nil)
	s := observe(t, d)
	missing := w.run(t, "no-image", platformtest.Behaviour{})
	missing.Workload.Version.Artifact.Image = w.Registry + "/test/never-pushed@sha256:" + strings.Repeat("0", 64)
	hungry := w.run(t, "hungry", platformtest.Behaviour{})
	hungry.Retries = 0
	hungry.Workload = change(t, hungry.Workload, func(s *spec.Spec) {
		inTrouble("memory")(s)
		s.Resources.Memory = 32 << 20
	})
	for _, run := range []platform.JobRun{missing, hungry} {
		if err := d.StartJob(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	s.untilEvent(t, "no-image", func(e platform.JobEvent) bool {
		return e.Index == 0 && e.State == platform.TaskWaiting && hasAll(e.Reason, []string{"never-pushed", "can't be pulled", "not found"})
	})
	s.untilEvent(t, "hungry", func(e platform.JobEvent) bool {
		return e.Index == -1 && e.State == platform.TaskFailed && e.Fault == modelmanager.CodeModelError && strings.Contains(e.Reason, "ran out of memory")
	})
	if err := d.StopJob(t.Context(), "no-image", platform.StepShards); err != nil {
		t.Error(err)
	}
	s.untilEvent(t, "no-image", func(e platform.JobEvent) bool { return e.Index == -1 && e.Fault == modelmanager.CodeCancelled })
}
