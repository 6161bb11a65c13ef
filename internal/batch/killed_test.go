package batch

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
)

func TestLogsOfKilledAttempts(t *testing.T) {
	w := newWorld(t, nil)
	gate := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-gate; return nil }}
	}
	job := w.submit(w.request(w.file("a.csv", csv(250, nil))))
	w.until(func() bool { return !w.platform.idle() })
	killed := platform.JobEvent{
		Job: job.ID, Step: platform.StepShards, Index: 2, Attempt: 1, State: platform.TaskKilled,
		Reason: "it ran out of memory", Log: "loading\nscoring row 7",
	}
	silent := killed
	silent.Attempt, silent.Log = 2, ""
	for _, event := range []platform.JobEvent{killed, silent, killed} { // a platform may tell again
		w.platform.emit(event)
	}
	logs := func() string {
		var text bytes.Buffer
		if err := w.service.Logs(t.Context(), job.ID, &text); err != nil {
			t.Error(err)
		}
		return text.String()
	}
	want := []string{
		"loading\nscoring row 7\n[the log ends here: attempt 1 at shard 2 was killed: it ran out of memory]\n",
		"[no log is left: attempt 2 at shard 2 was killed: it ran out of memory]\n",
	}
	has := func(text string) bool {
		return strings.Count(text, want[0]) == 1 && strings.Count(text, want[1]) == 1 && strings.Count(text, "==> 00002-") == 2
	}
	w.until(func() bool { return has(logs()) }) // while it runs
	// Another server is told again, and keeps nothing twice.
	w.start()
	w.until(func() bool { return w.service.knows(job.ID) })
	w.platform.emit(killed)
	close(gate)
	if job := w.wait(job.ID); job.State != modelmanager.JobSucceeded {
		t.Errorf("%+v", job)
	}
	if text := logs(); !has(text) {
		t.Errorf("the finished job's logs are\n%s", text)
	}
	for _, key := range w.keys("jobs/" + job.ID + "/logs/") {
		_, attempt, _ := strings.Cut(key, "logs/00002-")
		if !attemptPattern.MatchString(attempt) {
			t.Errorf("a log is named %s, unlike those of other attempts", key)
		}
	}
}

// knows tells whether Run drives a job.
func (s *Service) knows(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id] != nil
}
