package kube

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// watchedStep is a Job with its pods, and what has been told of it. Its watch
// holds the lock over every call.
type watchedStep struct {
	watch *taskWatch
	uid   types.UID
	key   stepKey
	job   *batchv1.Job // nil: only pods are known so far
	tasks []watchedTask
	pods  map[types.UID]attempt

	begun bool // it has been told of
	gone  bool // its Job is deleted
	over  bool // its end has been told
	end   platform.JobEvent
	cause *platform.JobEvent // the first failure

	// A step's time runs while any of its tasks does.
	running map[types.UID]bool
	used    time.Duration
	since   time.Time
	timer   *time.Timer

	// Of its turn beside other steps.
	seats       map[types.UID]seat
	stirred     time.Time // when a pod of it was made, or ended, or it was first seen
	nudged      time.Time
	parallelism int // its Job's, of generation
	generation  int64

	// Of the logs of attempts that were killed; see hear.
	heard    map[types.UID]bool
	hearing  int  // that are being read
	endAgain bool // the step's end is to be told again after them

	leaving map[types.UID]*time.Timer // pods that were told to end; see leaves

	unexplained time.Time // since when a task has failed whose pod isn't known to have
}

// watchedTask is one completion of a Job.
type watchedTask struct {
	index int
	told  platform.JobEvent // State "": nothing
	lost  *attempt          // the last that failed
}

func (t *watchedTask) final() bool {
	return t.told.State == platform.TaskSucceeded || t.told.State == platform.TaskFailed
}

func (s *watchedStep) setJob(job *batchv1.Job) error {
	if s.job == nil {
		indexes, err := taskIndexes(job)
		if err != nil {
			return fmt.Errorf("reading its annotation %s: %w", annotationOnly, err)
		}
		s.key, s.tasks = stepOf(job), make([]watchedTask, len(indexes))
		for i, index := range indexes {
			s.tasks[i].index = index
		}
		s.stirred = time.Now()
	}
	s.job = job
	s.setParallelism(job)
	s.watch.stirs()
	return nil
}

// begin tells of all that is known of a step.
func (s *watchedStep) begin() {
	s.begun = true
	var spans []span
	now := time.Now()
	for _, a := range s.pods {
		if !a.start.IsZero() {
			run := span{a.start, a.end}
			if a.phase == attemptRunning {
				run.end = now
			}
			spans = append(spans, run)
		}
	}
	s.used = covered(spans)
	for uid, a := range s.pods {
		s.clock(uid, a)
		s.apply(a)
		s.hear(uid, a)
	}
	s.judge()
	if !s.over {
		s.watch.wait.Go(func() { s.watch.lookAfter(s) })
	}
}

func (s *watchedStep) setPod(pod *corev1.Pod, events []corev1.Event) {
	s.setSeat(pod)
	s.leaves(pod)
	s.watch.stirs()
	a, ok := attemptOf(pod, events)
	if !ok {
		return
	}
	s.pods[pod.UID] = a
	if !s.begun || s.over {
		return
	}
	s.clock(pod.UID, a)
	s.apply(a)
	s.hear(pod.UID, a)
	if !s.unexplained.IsZero() {
		s.judge()
	}
}

func (s *watchedStep) dropPod(uid types.UID) {
	a := s.pods[uid]
	delete(s.pods, uid)
	delete(s.seats, uid)
	s.left(uid)
	s.watch.stirs()
	if s.begun && a.phase == attemptRunning {
		a.phase = attemptLost
		s.clock(uid, a)
	}
}

// apply tells what a pod says of its task. That the task has failed is the
// Job's to say.
func (s *watchedStep) apply(a attempt) {
	if a.completion < 0 || a.completion >= len(s.tasks) {
		return
	}
	t := &s.tasks[a.completion]
	if a.phase == attemptLost && (t.lost == nil || a.number >= t.lost.number) {
		t.lost = &a
	}
	if t.final() || a.number < t.told.Attempt {
		return
	}
	switch {
	case a.phase == attemptRunning || a.phase == attemptSucceeded:
		s.runs(t, a.number)
		if a.phase == attemptSucceeded {
			s.tell(t, platform.JobEvent{Attempt: a.number, State: platform.TaskSucceeded})
		}
	case a.phase == attemptWaiting && a.reason != "":
		s.waits(t, a.number, a.reason)
	}
}

func (s *watchedStep) runs(t *watchedTask, attempt int) {
	if t.told.State != platform.TaskRunning || t.told.Attempt != attempt {
		s.tell(t, platform.JobEvent{Attempt: attempt, State: platform.TaskRunning})
	}
}

// waits tells why a task doesn't run.
func (s *watchedStep) waits(t *watchedTask, attempt int, reason string) {
	if t.told.State != platform.TaskWaiting || t.told.Reason != reason {
		s.tell(t, platform.JobEvent{Attempt: attempt, State: platform.TaskWaiting, Reason: reason})
	}
}

// explainWithin is how long the pods' watch may be behind the Jobs'.
const explainWithin = 3 * time.Second

// judge tells what the Job says of its tasks and of the whole.
func (s *watchedStep) judge() {
	if s.over || !s.begun {
		return
	}
	if suspended(s.job) {
		s.waitsAsAWhole(queued(s.job))
	}
	s.succeeded()
	if !s.failed() {
		return
	}
	ended, failed, fault, reason := endOf(s.job)
	if !ended || s.hearing > 0 {
		return
	}
	last := platform.JobEvent{State: platform.TaskSucceeded}
	switch {
	case failed && fault == "" && s.cause != nil:
		last = platform.JobEvent{State: platform.TaskFailed, Fault: s.cause.Fault, Reason: s.cause.Reason}
	case failed && fault == "":
		last = platform.JobEvent{State: platform.TaskFailed, Fault: modelmanager.CodeInternal, Reason: reason}
	case failed:
		last = platform.JobEvent{State: platform.TaskFailed, Fault: fault, Reason: reason}
	}
	s.finish(last)
}

func queued(job *batchv1.Job) string {
	if queue := job.Labels[labelQueue]; queue != "" {
		return "it waits for its turn in the queue " + queue
	}
	return "its Job is suspended"
}

// succeeded tells of tasks of which only the Job knows that they are done.
func (s *watchedStep) succeeded() {
	done, err := agent.ParseIndexes(s.job.Status.CompletedIndexes)
	if err != nil {
		s.watch.driver.options.Logger.Error("a Job's completed indexes can't be read", "job", s.job.Name, "error", err)
	}
	for _, completion := range done {
		if completion < len(s.tasks) && !s.tasks[completion].final() {
			t := &s.tasks[completion]
			s.runs(t, max(t.told.Attempt, 1))
			s.tell(t, platform.JobEvent{Attempt: t.told.Attempt, State: platform.TaskSucceeded})
		}
	}
}

// failed tells of tasks that the Job gave up. Without the word of a pod, it
// waits for it for a while, and returns false.
func (s *watchedStep) failed() (explained bool) {
	if s.job.Status.FailedIndexes == nil {
		return true
	}
	failed, err := agent.ParseIndexes(*s.job.Status.FailedIndexes)
	if err != nil {
		s.watch.driver.options.Logger.Error("a Job's failed indexes can't be read", "job", s.job.Name, "error", err)
	}
	for _, completion := range failed {
		if completion >= len(s.tasks) || s.tasks[completion].final() {
			continue
		}
		t := &s.tasks[completion]
		if t.lost == nil {
			if s.unexplained.IsZero() {
				s.unexplained = time.Now()
				time.AfterFunc(explainWithin, func() {
					s.watch.mu.Lock()
					defer s.watch.mu.Unlock()
					if s.watch.ready {
						s.judge()
					}
				})
			}
			if time.Since(s.unexplained) < explainWithin {
				return false
			}
			t.lost = &attempt{number: max(t.told.Attempt, 1), fault: modelmanager.CodeInternal, reason: "it failed, and its pod is gone that knew why"}
		}
		s.runs(t, t.lost.number)
		s.tell(t, platform.JobEvent{Attempt: t.lost.number, State: platform.TaskFailed, Fault: t.lost.fault, Reason: t.lost.reason})
	}
	s.unexplained = time.Time{}
	return true
}

// finish tells the end of the step. Tasks that were running ended with it.
func (s *watchedStep) finish(last platform.JobEvent) {
	for i := range s.tasks {
		if t := &s.tasks[i]; t.told.State == platform.TaskRunning {
			s.tell(t, platform.JobEvent{Attempt: t.told.Attempt, State: platform.TaskFailed, Fault: last.Fault, Reason: last.Reason})
		}
	}
	last.Job, last.Step, last.Index = s.key.job, s.key.step, -1
	s.over, s.end = true, last
	s.stopClock()
	s.watch.event(last)
}

func (s *watchedStep) tell(t *watchedTask, event platform.JobEvent) {
	event.Job, event.Step, event.Index = s.key.job, s.key.step, t.index
	t.told = event
	if event.State == platform.TaskFailed && s.cause == nil {
		s.cause = &event
	}
	s.watch.event(event)
}

// tellAll tells once more what has been told.
func (s *watchedStep) tellAll() {
	for i := range s.tasks {
		if s.tasks[i].told.State != "" {
			s.watch.event(s.tasks[i].told)
		}
	}
	if s.hearing == 0 {
		clear(s.heard)
	}
	for uid, a := range s.pods {
		s.hear(uid, a)
	}
	switch {
	case s.over && s.hearing > 0:
		s.endAgain = true
	case s.over:
		s.watch.event(s.end)
	}
}

func (s *watchedStep) runningTasks() []platform.JobEvent {
	var running []platform.JobEvent
	for i := range s.tasks {
		if s.tasks[i].told.State == platform.TaskRunning {
			running = append(running, s.tasks[i].told)
		}
	}
	return running
}

// clock notes whether a pod's task runs. While none does, the time of the step
// stands still: one that waits for a node, or a queue, isn't late.
func (s *watchedStep) clock(uid types.UID, a attempt) {
	if runs := a.phase == attemptRunning; runs == s.running[uid] {
		return
	} else if runs {
		s.running[uid] = true
		if len(s.running) == 1 {
			s.startClock()
		}
		return
	}
	delete(s.running, uid)
	if len(s.running) == 0 {
		s.stopClock()
	}
}

func (s *watchedStep) startClock() {
	timeout := timeoutOf(s.job)
	if timeout <= 0 {
		return
	}
	s.since = time.Now()
	s.timer = time.AfterFunc(max(timeout-s.used, 0), func() { s.watch.late(s) })
}

func (s *watchedStep) stopClock() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
		s.used += time.Since(s.since)
	}
}
