package kube

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev/internal/platform"
)

// theatre is a watch of jobs without a cluster: the test says what the cluster's
// watches would.
type theatre struct {
	*testing.T
	watch *taskWatch
	said  []string
	run   platform.JobRun
}

func play(t *testing.T, count int, scene func(*theatre)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &Driver{
			options: Options{Logger: slog.New(slog.DiscardHandler), Stuck: time.Hour},
			owned:   map[string]ownedSecret{}, open: map[stepKey]lastSeen{},
		}
		p := &theatre{T: t, run: platform.JobRun{Job: "j", Step: platform.StepShards, Workload: planWorkload(t), Count: count, Parallelism: count, Retries: 1, Timeout: time.Hour}}
		p.watch = newTaskWatch(ctx, d, p.event)
		scene(p)
		cancel()
		p.watch.close()
		p.watch.wait.Wait()
	})
}

func (p *theatre) event(e platform.JobEvent) {
	text := fmt.Sprintf("%d %s", e.Index, e.State)
	if e.Index >= 0 {
		text += fmt.Sprintf(" attempt %d", e.Attempt)
	}
	if e.Fault != "" {
		text += " " + string(e.Fault)
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Log != "" {
		text += "\n" + e.Log
	}
	p.said = append(p.said, text)
}

// wants checks what has been told since it was called last.
func (p *theatre) wants(want ...string) {
	p.Helper()
	synctest.Wait()
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	if !slices.Equal(p.said, want) {
		p.Errorf("it told\n%q, want\n%q", p.said, want)
	}
	p.said = nil
}

func (p *theatre) job(change func(*batchv1.Job)) *batchv1.Job {
	indexes, only := remaining(p.run)
	job := planOptions().job(p.run, len(indexes), only, "secret", AgentImage)
	job.UID = "uid"
	change(job)
	return job
}

func (p *theatre) pod(index, failures int, change func(*corev1.Pod)) *corev1.Pod {
	pod := plannedPod(p.T, AgentImage, change)
	pod.Name = fmt.Sprintf("j-%d-%d", index, failures)
	pod.UID = types.UID(pod.Name)
	pod.Labels = map[string]string{batchv1.ControllerUidLabel: "uid"}
	pod.Annotations = map[string]string{
		batchv1.JobCompletionIndexAnnotation: strconv.Itoa(index), batchv1.JobIndexFailureCountAnnotation: strconv.Itoa(failures),
	}
	return pod
}

func runs(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	container(pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, corev1.ContainerState{})
}

func fails(code int32, words string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		container(pod, ended137("Error", words, code), corev1.ContainerState{})
	}
}

func succeeds(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodSucceeded
	container(pod, ended137("Completed", "", 0), corev1.ContainerState{})
}

func finished(kind batchv1.JobConditionType, reason string) func(*batchv1.Job) {
	return func(job *batchv1.Job) {
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: reason}}
	}
}

// lists lets the watches' lists be read.
func (p *theatre) lists(pods []*corev1.Pod, jobs ...*batchv1.Job) {
	podsOfTasks{p.watch}.replace(pods)
	jobsOfTasks{p.watch}.replace(jobs)
}

func nothing(*batchv1.Job) {}

func TestAStepIsTold(t *testing.T) {
	play(t, 2, func(p *theatre) {
		p.lists(nil, p.job(nothing))
		p.wants()
		podsOfTasks{p.watch}.set(p.pod(0, 0, runs))
		podsOfTasks{p.watch}.set(p.pod(0, 0, runs))
		podsOfTasks{p.watch}.set(p.pod(1, 0, succeeds)) // too quick to be seen running
		podsOfTasks{p.watch}.set(p.pod(0, 0, fails(11, "mm-agent: the store is away")))
		p.wants("0 running attempt 1", "1 running attempt 1", "1 succeeded attempt 1")
		podsOfTasks{p.watch}.set(p.pod(0, 1, runs))
		podsOfTasks{p.watch}.set(p.pod(0, 0, runs)) // late news
		podsOfTasks{p.watch}.set(p.pod(0, 1, succeeds))
		jobsOfTasks{p.watch}.set(p.job(func(job *batchv1.Job) { job.Status.CompletedIndexes = "0-1" }))
		jobsOfTasks{p.watch}.set(p.job(finished(batchv1.JobComplete, "")))
		jobsOfTasks{p.watch}.set(p.job(finished(batchv1.JobComplete, "")))
		p.wants("0 running attempt 2", "0 succeeded attempt 2", "-1 succeeded")
		p.watch.again(stepKey{"j", platform.StepShards})
		p.wants("0 succeeded attempt 2", "1 succeeded attempt 1", "-1 succeeded")
		jobsOfTasks{p.watch}.remove(p.job(finished(batchv1.JobComplete, "")))
		p.wants()
	})
}

// The Jobs' watch may be ahead of the pods': a failure waits for its reason.
func TestAFailureWaitsForItsReason(t *testing.T) {
	broken := func(job *batchv1.Job) {
		finished(batchv1.JobFailed, batchv1.JobReasonFailedIndexes)(job)
		job.Status.FailedIndexes = new("1")
		job.Status.CompletedIndexes = "0"
	}
	play(t, 2, func(p *theatre) {
		p.lists([]*corev1.Pod{p.pod(1, 0, runs)}, p.job(nothing))
		jobsOfTasks{p.watch}.set(p.job(broken))
		p.wants("1 running attempt 1", "0 running attempt 1", "0 succeeded attempt 1")
		podsOfTasks{p.watch}.set(p.pod(1, 0, fails(10, "mm-agent: no such column")))
		p.wants("1 failed attempt 1 model_error: no such column", "-1 failed model_error: no such column")
	})
	play(t, 2, func(p *theatre) {
		p.lists(nil, p.job(broken))
		time.Sleep(explainWithin)
		p.wants("0 running attempt 1", "0 succeeded attempt 1", "1 running attempt 1",
			"1 failed attempt 1 internal: it failed, and its pod is gone that knew why", "-1 failed internal: it failed, and its pod is gone that knew why")
	})
}

func TestAJobThatIsDeletedWasStopped(t *testing.T) {
	play(t, 2, func(p *theatre) {
		p.run.Done = []int{0}
		p.run.Count = 3
		p.lists([]*corev1.Pod{p.pod(1, 0, runs)}, p.job(nothing))
		jobsOfTasks{p.watch}.remove(p.job(nothing))
		p.wants("2 running attempt 1", "2 failed attempt 1 cancelled: it was stopped", "-1 failed cancelled: it was stopped")
		podsOfTasks{p.watch}.remove(p.pod(1, 0, fails(1, "")))
		p.wants()
		if len(p.watch.steps) > 0 {
			t.Errorf("%d steps are kept", len(p.watch.steps))
		}
	})
}

// What ended between two watches is told by the second.
func TestWhatEndedBetweenWatchesIsTold(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists([]*corev1.Pod{p.pod(0, 0, runs)}, p.job(nothing))
		p.wants("0 running attempt 1")
		p.watch.close()
		next := newTaskWatch(p.watch.ctx, p.watch.driver, p.event)
		p.watch = next
		p.lists(nil)
		p.wants("0 failed attempt 1 cancelled: it was stopped", "-1 failed cancelled: it was stopped")
	})
	play(t, 1, func(p *theatre) {
		p.lists(nil, p.job(finished(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)))
		p.wants("-1 failed deadline_exceeded: it took longer than 1h0m0s")
	})
}

func TestAPodThatWaitsSaysWhy(t *testing.T) {
	play(t, 2, func(p *theatre) {
		refused := func(pod *corev1.Pod) {
			container(pod, waiting("ErrImagePull", "denied"), corev1.ContainerState{})
		}
		p.lists([]*corev1.Pod{p.pod(0, 0, refused)}, p.job(nothing))
		podsOfTasks{p.watch}.set(p.pod(0, 0, refused))
		podsOfTasks{p.watch}.set(p.pod(0, 0, runs))
		p.wants("0 waiting attempt 1: its image registry.example.org/churn@sha256:11 can't be pulled: denied", "0 running attempt 1")
	})
}
