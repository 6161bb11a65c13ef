package kube

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
)

// overdueAgain is how often ending a step that is late is tried.
const overdueAgain = 5 * time.Second

// late ends a step whose time is over. Every server that watches may do so.
func (w *taskWatch) late(s *watchedStep) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ready || s.over || s.timer == nil {
		return
	}
	s.timer = time.AfterFunc(overdueAgain, func() { w.late(s) })
	job := s.job
	w.wait.Go(func() {
		if err := w.driver.overdue(w.ctx, job); err != nil && w.ctx.Err() == nil {
			w.driver.options.Logger.Error("a step can't be ended", "job", job.Name, "error", err)
		}
	})
}

// waitsAsAWhole tells why nothing of a step runs: of its first task that has
// not been told of yet, since the step's own event is its last.
func (s *watchedStep) waitsAsAWhole(reason string) {
	for i := range s.tasks {
		switch t := &s.tasks[i]; t.told.State {
		case platform.TaskRunning:
			return
		case "", platform.TaskWaiting:
			s.waits(t, max(t.told.Attempt, 1), reason)
			return
		}
	}
}

// lookAfter asks the cluster's events why nothing of a step runs, for as long
// as nothing does.
func (w *taskWatch) lookAfter(s *watchedStep) {
	for wait := w.driver.options.Stuck; pause.For(w.ctx, wait); wait = min(2*wait, time.Minute) {
		w.mu.Lock()
		over, idle := s.over, len(s.running) == 0 && !suspended(s.job)
		about, isPod := s.job.UID, false
		for uid, a := range s.pods {
			switch {
			case a.phase == attemptWaiting && a.preparing:
				about, isPod = uid, true
			case a.phase == attemptWaiting:
				idle = false // the pod says why itself
			}
		}
		w.mu.Unlock()
		if over {
			return
		}
		if !idle {
			wait = w.driver.options.Stuck
			continue
		}
		events, err := w.driver.eventsOf(w.ctx, about)
		if err != nil {
			if w.ctx.Err() == nil {
				w.driver.options.Logger.Warn("asking why a job doesn't run", "job", s.key.job, "error", err)
			}
			continue
		}
		if reason := whyNothingRuns(events, isPod); reason != "" {
			w.mu.Lock()
			if a, ok := s.pods[about]; !s.over && len(s.running) == 0 && (!isPod || ok && a.preparing) {
				s.waitsAsAWhole(reason)
			}
			w.mu.Unlock()
		}
	}
}

// whyNothingRuns reads the events of a Job without pods, or of a pod that stays
// preparing.
func whyNothingRuns(events []corev1.Event, ofPod bool) string {
	event := latest(events)
	switch {
	case event == nil || !hinders(event):
		return ""
	case ofPod:
		return cannotPrepare(event.Message)
	case event.Reason == "FailedCreate":
		return cannotCreate(event.Message)
	}
	return ""
}
