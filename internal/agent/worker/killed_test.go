package worker_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

// TestKilledFromOutside tells a worker that somebody kills from one that the
// agent kills, and from one that crashes.
func TestKilledFromOutside(t *testing.T) {
	o := mood(t, "hangs")
	o.Spec.Timeouts.Predict = spec.Duration(20 * time.Second)
	s := supervise(t, o)
	if err := s.WaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := s.Predict(t.Context(), record(t, 13))
		failed <- err
	}()
	ctx := within(t, 20*time.Second)
	for s.State().InFlight == 0 && ctx.Err() == nil {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
	if err := syscall.Kill(s.State().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !worker.Lost(err) || !worker.KilledFromOutside(err) {
		t.Errorf("killed by somebody: %v", err)
	}

	for _, name := range []string{"hangs", "crashes-on-13", "garbage"} {
		o := mood(t, name)
		o.Spec.Timeouts.Predict = spec.Duration(200 * time.Millisecond)
		if _, err := supervise(t, o).Predict(within(t, 20*time.Second), record(t, 13)); err == nil || worker.KilledFromOutside(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestADeathIsNotExplainedByAnEarlierCall: a worker that ends without a word is not
// said to have ended of an exception that it lived through.
func TestADeathIsNotExplainedByAnEarlierCall(t *testing.T) {
	o := options(t, spec.Run{Python: "predict.py:predict"}, model(t, "predict.py", `
import os

def predict(rows: list):
    if rows[0]["x"] == 1:
        raise ValueError("of the first call")
    os._exit(3)
`))
	o.Environment.Python = python(t)
	s := supervise(t, o)
	if _, err := s.Predict(within(t, 20*time.Second), record(t, 1)); err == nil || !strings.Contains(err.Error(), "of the first call") {
		t.Fatalf("the first call: %v", err)
	}
	_, err := s.Predict(within(t, 20*time.Second), record(t, 2))
	if err == nil || !strings.Contains(err.Error(), "exited with code 3") || strings.Contains(err.Error(), "ValueError") {
		t.Errorf("the second call: %v", err)
	}
}
