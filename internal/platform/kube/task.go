package kube

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// attempt is what a pod of a step says of one attempt at a task.
type attempt struct {
	completion int // the task's number among those of the Job
	number     int // 1 is the first
	phase      attemptPhase
	fault      modelmanager.Code // of a lost one
	reason     string            // of a lost or a waiting one
	preparing  bool              // events tell more than the pod
	start, end time.Time         // of its run, as far as they are known

	pod    string // its name
	killed bool   // its agent was, and could not send its log
	words  string // the last of a killed one's log, if the cluster has kept them beside it
}

type attemptPhase int

const (
	attemptWaiting attemptPhase = iota
	attemptRunning
	attemptSucceeded
	attemptLost // it failed; whether the task has, the Job says
)

// attemptOf reads a pod of a step.
func attemptOf(pod *corev1.Pod, events []corev1.Event) (attempt, bool) {
	completion, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return attempt{}, false
	}
	a := attempt{completion: completion, number: 1, pod: pod.Name}
	if failures, err := strconv.Atoi(pod.Annotations[batchv1.JobIndexFailureCountAnnotation]); err == nil {
		a.number += failures
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != modelContainer {
			continue
		}
		if run := status.State.Running; run != nil {
			a.phase, a.start = attemptRunning, run.StartedAt.Time
		}
		if run := status.State.Terminated; run != nil {
			a.start, a.end = run.StartedAt.Time, run.FinishedAt.Time
		}
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		a.phase = attemptSucceeded
	case corev1.PodFailed:
		a.phase = attemptLost
		a.fault, a.reason = faultOf(pod), endedReason(pod)
		a.killed, a.words = killed(pod)
	default:
		if a.phase == attemptWaiting {
			s := stateOf(pod, events)
			a.preparing = s.preparing
			if s.stage == agent.StageFailed || s.stage == agent.StageScheduling && !s.preparing {
				a.reason = s.reason
			}
		}
	}
	return a, true
}

// faultOf says whose fault it is that a pod of a step failed.
func faultOf(pod *corev1.Pod) modelmanager.Code {
	switch pod.Status.Reason {
	case "DeadlineExceeded":
		return modelmanager.CodeDeadlineExceeded
	case "Evicted":
		if endedReason(pod) == fmt.Sprintf(wroteTooMuch, scratchLimit(pod)) {
			return modelmanager.CodeModelError
		}
		return modelmanager.CodeInternal
	}
	for _, status := range pod.Status.ContainerStatuses {
		ended := status.State.Terminated
		switch {
		case ended == nil || status.Name != modelContainer:
		case ended.Reason == "OOMKilled" || ended.ExitCode == agent.ExitModelFault:
			return modelmanager.CodeModelError
		case ended.ExitCode == agent.ExitStorageFault:
			return modelmanager.CodeStorage
		}
	}
	return modelmanager.CodeInternal
}

// stepOf reads from a Job which step it is.
func stepOf(job *batchv1.Job) stepKey {
	return stepKey{job.Labels[labelJob], platform.Step(job.Labels[labelStep])}
}

type stepKey struct {
	job  string
	step platform.Step
}

// taskIndexes returns the indexes of the tasks that a Job's completions stand
// for.
func taskIndexes(job *batchv1.Job) ([]int, error) {
	if only := job.Annotations[annotationOnly]; only != "" {
		return agent.ParseIndexes(only)
	}
	var completions int
	if job.Spec.Completions != nil {
		completions = int(*job.Spec.Completions)
	}
	indexes := make([]int, completions)
	for i := range indexes {
		indexes[i] = i
	}
	return indexes, nil
}

// endOf tells whether a Job has ended and, if it failed as a whole, why; a
// fault of "" is that of its tasks.
func endOf(job *batchv1.Job) (ended, failed bool, fault modelmanager.Code, reason string) {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return true, false, "", ""
		case batchv1.JobFailed:
			switch c.Reason {
			case batchv1.JobReasonDeadlineExceeded:
				reason = "it took longer than it may"
				if timeout := timeoutOf(job); timeout > 0 {
					reason = fmt.Sprintf("it took longer than %s", timeout)
				}
				return true, true, modelmanager.CodeDeadlineExceeded, reason
			case batchv1.JobReasonFailedIndexes, batchv1.JobReasonMaxFailedIndexesExceeded:
				return true, true, "", ""
			}
			return true, true, "", oneSentence(c.Message)
		}
	}
	return false, false, "", ""
}

func timeoutOf(job *batchv1.Job) time.Duration {
	timeout, err := time.ParseDuration(job.Annotations[annotationTimeout])
	if err != nil {
		return 0
	}
	return timeout
}

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

// span is a time in which a task ran.
type span struct{ start, end time.Time }

// covered returns how much time spans cover together, those that overlap
// counted once.
func covered(spans []span) time.Duration {
	slices.SortFunc(spans, func(a, b span) int { return a.start.Compare(b.start) })
	var sum time.Duration
	var until time.Time
	for _, s := range spans {
		if s.start.Before(until) {
			s.start = until
		}
		if s.end.After(s.start) {
			sum += s.end.Sub(s.start)
			until = s.end
		}
	}
	return sum
}
