package kube

import (
	"context"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// WatchJobs implements platform.Driver. It tells first of every step there is,
// also of those that ended while nobody watched.
func (d *Driver) WatchJobs(ctx context.Context, event func(platform.JobEvent)) error {
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	w := newTaskWatch(ctx, d, event)
	d.mu.Lock()
	d.tasks[w] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.tasks, w)
		d.mu.Unlock()
	}()
	w.wait.Go(func() { cancel(follow(ctx, d.jobs(), jobsOfTasks{w})) })
	w.wait.Go(func() { cancel(follow(ctx, d.pods(selectTasks), podsOfTasks{w})) })
	w.wait.Go(w.rounds)
	<-ctx.Done()
	w.close()
	w.wait.Wait()
	return context.Cause(ctx)
}

// tellAgain makes every watch tell of a step once more: somebody has only now
// begun to listen.
func (d *Driver) tellAgain(key stepKey) {
	d.mu.Lock()
	watches := make([]*taskWatch, 0, len(d.tasks))
	for w := range d.tasks {
		watches = append(watches, w)
	}
	d.mu.Unlock()
	for _, w := range watches {
		w.again(key)
	}
}

// lastSeen is what is kept of a step between watches: one that is gone when the
// next begins was stopped.
type lastSeen struct {
	uid     types.UID
	running []platform.JobEvent
}

// taskWatch is one watch of jobs.
type taskWatch struct {
	driver *Driver
	ctx    context.Context
	event  func(platform.JobEvent)
	wait   sync.WaitGroup

	stir    chan struct{} // something has changed that turns depend on
	reading chan struct{} // has room for the logs that may be read at once

	mu     sync.Mutex
	steps  map[types.UID]*watchedStep
	ready  bool // both lists have been read
	jobs   bool // the Jobs' list has been read
	pods   bool // the pods'
	closed bool
}

func newTaskWatch(ctx context.Context, d *Driver, event func(platform.JobEvent)) *taskWatch {
	return &taskWatch{driver: d, ctx: ctx, event: event, stir: make(chan struct{}, 1), reading: make(chan struct{}, logsAtOnce), steps: map[types.UID]*watchedStep{}}
}

type (
	jobsOfTasks struct{ *taskWatch }
	podsOfTasks struct{ *taskWatch }
)

func (w jobsOfTasks) replace(all []*batchv1.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	here := make(map[types.UID]bool, len(all))
	for _, job := range all {
		here[job.UID] = true
	}
	for uid, s := range w.steps {
		if s.job != nil && !here[uid] {
			w.jobGone(s)
		}
	}
	for _, job := range all {
		w.setJob(job)
	}
	w.jobs = true
	w.begin()
}

func (w jobsOfTasks) set(job *batchv1.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setJob(job)
}

func (w jobsOfTasks) remove(job *batchv1.Job) {
	w.driver.forget(job.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.steps[job.UID]; s != nil && s.job != nil {
		s.job = job
		w.jobGone(s)
	}
}

func (w podsOfTasks) replace(all []*corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	here := make(map[types.UID]bool, len(all))
	for _, pod := range all {
		here[pod.UID] = true
	}
	for _, s := range w.steps {
		for uid := range s.pods {
			if !here[uid] {
				w.podGone(s, uid)
			}
		}
	}
	for _, pod := range all {
		w.setPod(pod)
	}
	w.pods = true
	w.begin()
}

func (w podsOfTasks) set(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setPod(pod)
}

func (w podsOfTasks) remove(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.steps[controllerOf(pod)]; s != nil {
		if _, ok := s.pods[pod.UID]; ok {
			w.setPod(pod) // how it ended
			w.podGone(s, pod.UID)
		}
	}
}

func controllerOf(pod *corev1.Pod) types.UID {
	return types.UID(pod.Labels[batchv1.ControllerUidLabel])
}

// begin tells of all that there is, once both lists have been read.
func (w *taskWatch) begin() {
	if w.ready || !w.jobs || !w.pods {
		return
	}
	w.ready = true
	w.driver.mu.Lock()
	open := w.driver.open
	w.driver.open = map[stepKey]lastSeen{}
	w.driver.mu.Unlock()
	for key, seen := range open {
		if w.steps[seen.uid] == nil || w.steps[seen.uid].job == nil {
			for _, running := range seen.running {
				w.event(stopped(key, running.Index, running.Attempt))
			}
			w.event(stopped(key, -1, 0))
		}
	}
	for _, s := range w.steps {
		if s.job != nil {
			s.begin()
		}
	}
}

func stopped(key stepKey, index, attempt int) platform.JobEvent {
	return platform.JobEvent{
		Job: key.job, Step: key.step, Index: index, Attempt: attempt,
		State: platform.TaskFailed, Fault: modelmanager.CodeCancelled, Reason: "it was stopped",
	}
}

// close keeps for the next watch what has not ended.
func (w *taskWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, s := range w.steps {
		for uid := range s.leaving {
			s.left(uid)
		}
	}
	if !w.ready {
		return
	}
	w.ready = false
	w.driver.mu.Lock()
	defer w.driver.mu.Unlock()
	for _, s := range w.steps {
		s.stopClock()
		if s.job != nil && !s.over {
			w.driver.open[s.key] = lastSeen{uid: s.job.UID, running: s.runningTasks()}
		}
	}
}

func (w *taskWatch) again(key stepKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if s.key == key && s.job != nil && w.ready {
			s.tellAll()
		}
	}
}

func (w *taskWatch) step(uid types.UID) *watchedStep {
	s := w.steps[uid]
	if s == nil {
		s = &watchedStep{watch: w, uid: uid, pods: map[types.UID]attempt{}, running: map[types.UID]bool{}, seats: map[types.UID]seat{}, heard: map[types.UID]bool{}, leaving: map[types.UID]*time.Timer{}}
		w.steps[uid] = s
	}
	return s
}

func (w *taskWatch) setJob(job *batchv1.Job) {
	s := w.step(job.UID)
	first := s.job == nil
	if err := s.setJob(job); err != nil {
		w.driver.options.Logger.Error("a Job can't be followed", "job", job.Name, "error", err)
		return
	}
	switch {
	case !w.ready:
	case first:
		s.begin()
	default:
		s.judge()
	}
}

func (w *taskWatch) jobGone(s *watchedStep) {
	s.gone = true
	if !s.over && w.ready {
		s.finish(stopped(s.key, -1, 0))
	}
	s.over = true
	w.tidy(s)
}

func (w *taskWatch) setPod(pod *corev1.Pod) {
	if uid := controllerOf(pod); uid != "" {
		w.step(uid).setPod(pod, nil)
	}
}

func (w *taskWatch) podGone(s *watchedStep, pod types.UID) {
	s.dropPod(pod)
	w.tidy(s)
}

// tidy forgets a step of which nothing is left.
func (w *taskWatch) tidy(s *watchedStep) {
	if len(s.pods) == 0 && (s.gone || s.job == nil) {
		delete(w.steps, s.uid)
	}
}
