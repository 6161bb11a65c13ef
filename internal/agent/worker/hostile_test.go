package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

func TestACommandAnswers(t *testing.T) {
	o := mood(t, "params")
	o.Spec.Params = map[string]any{"factor": 3}
	s := supervise(t, o)
	for range 3 {
		answer, err := s.Predict(within(t, 10*time.Second), record(t, 1, 2.5))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := predicted(t, o.Spec.Predictions, answer, 2), `[{"y":3},{"y":7.5}]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestBadMoods asks workers that misbehave. Each call must end in time with an
// error of the right code that says what went wrong, and each next call must
// meet a worker again.
func TestBadMoods(t *testing.T) {
	tests := []struct {
		mood   string
		code   modelmanager.Code // "" for an answer
		says   string
		lost   bool
		memory int64
	}{
		{mood: "crashes-on-13", code: modelmanager.CodeModelError, says: "SIGSEGV", lost: true},
		{mood: "fails-on-13", code: modelmanager.CodeModelError, says: "ValueError: thirteen"},
		{mood: "refuses-13"},
		{mood: "hangs", code: modelmanager.CodeDeadlineExceeded, says: "timeouts.predict", lost: true},
		{mood: "retries", code: modelmanager.CodeUnavailable, says: "ConnectionError: feature store"},
		{mood: "eats-memory", code: modelmanager.CodeModelError, says: "more than 64Mi (resources.memory)", lost: true, memory: 64 << 20},
		{mood: "child-eats-memory", code: modelmanager.CodeModelError, says: "more than 64Mi (resources.memory)", lost: true, memory: 64 << 20},
		{mood: "floods"},
		{mood: "garbage", code: modelmanager.CodeModelError, says: "broke the protocol", lost: true},
		{mood: "wrong-id", code: modelmanager.CodeModelError, says: "which was not asked", lost: true},
		{mood: "endless", code: modelmanager.CodeModelError, says: "larger than allowed", lost: true},
		{mood: "half", code: modelmanager.CodeModelError, says: "exited with code 3", lost: true},
		{mood: "half-with-child", code: modelmanager.CodeModelError, says: "exited with code 3", lost: true},
		{mood: "too-many", code: modelmanager.CodeInvalidPredictions, says: "1 row with 2 predictions"},
		{mood: "twice"},
		{mood: "forks"},
	}
	for _, test := range tests {
		t.Run(test.mood, func(t *testing.T) {
			t.Parallel()
			o := mood(t, test.mood)
			o.Spec.Timeouts.Predict = spec.Duration(5 * time.Second)
			if test.mood == "hangs" {
				o.Spec.Timeouts.Predict = spec.Duration(200 * time.Millisecond)
			}
			if test.memory != 0 {
				o.Spec.Resources.Memory = test.memory
			}
			s := supervise(t, o)
			for range 2 {
				answer, err := s.Predict(within(t, 20*time.Second), record(t, 13))
				if got := modelmanager.CodeOf(err); got != test.code {
					t.Fatalf("code %q, want %q: %v", got, test.code, err)
				}
				if worker.Lost(err) != test.lost {
					t.Errorf("lost is %v, want %v", worker.Lost(err), test.lost)
				}
				if err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("%q doesn't say %q", err, test.says)
				}
				if err == nil && answer.Record.NumRows() != 1 {
					t.Errorf("%d rows", answer.Record.NumRows())
				}
			}
		})
	}
}

func TestAWorkerThatEndsAfterAnAnswer(t *testing.T) {
	s := supervise(t, mood(t, "exits-after-answer"))
	for i := range 3 {
		if _, err := s.Predict(within(t, 20*time.Second), record(t, 1)); err != nil {
			t.Fatal(err)
		}
		until(t, s, "it was started again", func(s worker.State) bool { return s.Restarts > i })
	}
}

func TestWorkersThatDontLoad(t *testing.T) {
	tests := []struct {
		mood, says string
	}{
		{"dies-loading", "ModuleNotFoundError: No module named 'xgboost'"},
		{"slow-loading", "was not ready within 300ms (timeouts.start)"},
		{"silent", "closed its end of the pipes"},
		{"garbage-loading", "hello, world"},
		{"odd-formats", "none of arrow, columns and rows"},
	}
	for _, test := range tests {
		t.Run(test.mood, func(t *testing.T) {
			t.Parallel()
			o := mood(t, test.mood)
			if test.mood == "slow-loading" {
				o.Spec.Timeouts.Start = spec.Duration(300 * time.Millisecond)
			}
			s := supervise(t, o)
			state := until(t, s, "it has failed", func(s worker.State) bool { return s.Failed })
			if !strings.Contains(state.Reason, test.says) {
				t.Errorf("the reason %q doesn't say %q", state.Reason, test.says)
			}
			_, err := s.Predict(within(t, 20*time.Second), record(t, 1))
			if modelmanager.CodeOf(err) != modelmanager.CodeModelError || !worker.Unstartable(err) {
				t.Errorf("got %v", err)
			}
			until(t, s, "it was tried again", func(s worker.State) bool { return s.Restarts >= 3 })
		})
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	s := supervise(t, options(t, spec.Run{Command: []string{"./no-such-model"}}, t.TempDir()))
	state := until(t, s, "it has failed", func(s worker.State) bool { return s.Failed })
	if !strings.Contains(state.Reason, "./no-such-model can't be started: no such file") {
		t.Errorf("the reason is %q", state.Reason)
	}
}

// TestNothingIsLeft closes workers that don't want to go, and looks for
// processes of theirs.
func TestNothingIsLeft(t *testing.T) {
	for _, mood_ := range []string{"ignores-sigterm", "forks"} {
		t.Run(mood_, func(t *testing.T) {
			t.Parallel()
			o := mood(t, mood_)
			s := worker.NewSupervisor(o)
			if _, err := s.Predict(within(t, 20*time.Second), record(t, 1)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left := withHome(o.RunDir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// withHome returns the processes whose home is a worker's run directory.
func withHome(home string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		data, _ := os.ReadFile(path)
		if strings.Contains("\x00"+string(data), "\x00HOME="+home+"\x00") {
			found = append(found, path)
		}
	}
	return found
}

func TestFloodsAreBounded(t *testing.T) {
	o := mood(t, "floods")
	s := supervise(t, o)
	if _, err := s.Predict(within(t, 20*time.Second), record(t, 1)); err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, path := range []string{worker.LogPath(o.RunDir), worker.LogPath(o.RunDir) + ".1"} {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	if size == 0 || size > 9<<20 {
		t.Errorf("the log has %d bytes", size)
	}
}
