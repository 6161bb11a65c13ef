package batch

import (
	"testing"
	"time"

	"modelmanager.dev/internal/platform"
)

// TestAJobSaysWhatItWaitsFor: a job of which nothing runs has the platform's
// reason, and one of which something does has none.
func TestAJobSaysWhatItWaitsFor(t *testing.T) {
	tracked := newTracker(&record{})
	tell := func(index int, state platform.TaskState, reason string) {
		tracked.observe(platform.JobEvent{Step: platform.StepShards, Index: index, State: state, Reason: reason})
	}
	want := func(reason string) {
		t.Helper()
		if got := tracked.job(time.Now()).Reason; got != reason {
			t.Errorf("it waits for %q, want %q", got, reason)
		}
	}
	want("")
	tell(3, platform.TaskWaiting, "no node has room for it")
	tell(1, platform.TaskWaiting, "its image can't be pulled")
	want("its image can't be pulled")
	tell(0, platform.TaskRunning, "")
	want("")
	tell(0, platform.TaskSucceeded, "")
	want("its image can't be pulled")
	tell(1, platform.TaskRunning, "")
	tell(1, platform.TaskFailed, "")
	tell(3, platform.TaskRunning, "")
	want("")
}
