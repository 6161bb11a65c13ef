package batch

import (
	"slices"

	"modelmanager.dev/internal/platform"
)

// steps is what the platform says of a job's steps.
type steps map[platform.Step]*stepTasks

// stepTasks are a step's tasks, but for those that are over and went well.
type stepTasks struct {
	begun   bool // a task has run
	running map[int]bool
	waiting map[int]string // why
	failed  map[int]platform.JobEvent
	ended   *platform.JobEvent // of the step as a whole
}

// observe notes an event of a task, or of a step as a whole.
func (s steps) observe(event platform.JobEvent) {
	step := s[event.Step]
	if step == nil {
		step = &stepTasks{running: map[int]bool{}, waiting: map[int]string{}, failed: map[int]platform.JobEvent{}}
		s[event.Step] = step
	}
	if event.Index < 0 {
		step.ended = &event
		return
	}
	delete(step.running, event.Index)
	delete(step.waiting, event.Index)
	delete(step.failed, event.Index)
	step.begun = step.begun || event.State != platform.TaskWaiting
	switch event.State {
	case platform.TaskRunning:
		step.running[event.Index] = true
	case platform.TaskWaiting:
		step.waiting[event.Index] = event.Reason
	case platform.TaskFailed:
		step.failed[event.Index] = event
	}
}

// busy tells whether the platform runs tasks.
func (s steps) busy() bool {
	for _, step := range s {
		if len(step.running) > 0 {
			return true
		}
	}
	return false
}

// begun tells whether a task of a step has run.
func (s steps) begun(step platform.Step) bool { return s[step] != nil && s[step].begun }

// waits says why nothing runs: what the first of the tasks that wait waits for.
func (s steps) waits() string {
	if s.busy() {
		return ""
	}
	first, reason := -1, ""
	for _, step := range s {
		for index, why := range step.waiting {
			if first < 0 || index < first {
				first, reason = index, why
			}
		}
	}
	return reason
}

// end returns the event that ended a step.
func (s steps) end(step platform.Step) (platform.JobEvent, bool) {
	if tasks := s[step]; tasks != nil && tasks.ended != nil {
		return *tasks.ended, true
	}
	return platform.JobEvent{}, false
}

// failures returns the tasks of a step that failed for good, in order.
func (s steps) failures(step platform.Step) []platform.JobEvent {
	var failures []platform.JobEvent
	if tasks := s[step]; tasks != nil {
		for _, event := range tasks.failed {
			failures = append(failures, event)
		}
	}
	slices.SortFunc(failures, func(a, b platform.JobEvent) int { return a.Index - b.Index })
	return failures
}
