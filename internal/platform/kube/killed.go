package kube

import (
	"bytes"
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev/internal/platform"
)

// Bounds of reading the logs of attempts that were killed. A step's end waits
// for them: where pods' logs can't be had, it doesn't wait for long.
const (
	logsOfStep  = 100 // more are likely to say the same
	logsAtOnce  = 4
	logWithin   = 10 * time.Second
	linesOfLog  = 1000
	bytesOfTail = 1 << 20
)

// killed tells whether the agent of a pod of a step that failed was killed: it
// could not send its log, which is lost with the pod. Words are the last of it
// that the pod's status has.
func killed(pod *corev1.Pod) (killed bool, words string) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != modelContainer {
			continue
		}
		if status.State.Running != nil {
			return true, "" // as far as anybody knows: its node is lost
		}
		if ended := status.State.Terminated; ended != nil {
			return ended.Reason == "OOMKilled" || bySignal(ended), ended.Message
		}
	}
	return false, ""
}

// hear tells of an attempt that was killed, with the log that its pod still
// has. Only the server that was told to run the step reads it.
func (s *watchedStep) hear(uid types.UID, a attempt) {
	w := s.watch
	if !a.killed || s.gone || s.heard[uid] || len(s.heard) >= logsOfStep ||
		a.completion < 0 || a.completion >= len(s.tasks) || !w.driver.takes(s.key) {
		return
	}
	s.heard[uid] = true
	s.hearing++
	event := platform.JobEvent{
		Job: s.key.job, Step: s.key.step, Index: s.tasks[a.completion].index, Attempt: a.number,
		State: platform.TaskKilled, Reason: a.reason,
	}
	w.wait.Go(func() {
		log, err := w.lastOfLog(a.pod)
		if err != nil {
			log = []byte(a.words)
			if w.ctx.Err() == nil {
				w.driver.options.Logger.Warn("the log of a task that was killed can't be read", "pod", a.pod, "error", err)
			}
		}
		event.Log = platform.LastOfLog(log)
		w.mu.Lock()
		defer w.mu.Unlock()
		s.hearing--
		if !w.ready {
			return
		}
		if !s.over || s.endAgain {
			w.event(event)
		}
		switch {
		case s.hearing > 0:
		case s.endAgain:
			s.endAgain = false
			w.event(s.end)
		default:
			s.judge()
		}
	})
}

// noLog begins what a node answers, as if it were a log, where it has none.
const noLog = "unable to retrieve container logs for "

// lastOfLog reads the end of the log of a pod.
func (w *taskWatch) lastOfLog(pod string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.ctx, logWithin)
	defer cancel()
	select {
	case w.reading <- struct{}{}:
		defer func() { <-w.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d := w.driver
	for lines := linesOfLog; ; lines /= 10 {
		text, err := d.client.CoreV1().Pods(d.options.Namespace).GetLogs(pod, &corev1.PodLogOptions{
			Container: modelContainer, TailLines: new(int64(lines)), LimitBytes: new(int64(bytesOfTail)),
		}).DoRaw(ctx)
		if err != nil {
			return nil, unreachable("reading the log of pod "+pod, err)
		}
		if bytes.HasPrefix(text, []byte(noLog)) {
			return nil, unreachable("reading the log of pod "+pod, errNoLog)
		}
		// The API server cuts the end off what is larger: fewer lines have it.
		if len(text) < bytesOfTail || lines == 1 {
			return text, nil
		}
	}
}
