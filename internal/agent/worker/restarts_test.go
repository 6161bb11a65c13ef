package worker_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

// TestManyRestarts: a worker that dies again and again is started again for
// ever, at intervals that stay below their limit; and nothing is left of each
// time: no process, no file, no goroutine.
func TestManyRestarts(t *testing.T) {
	o := options(t, spec.Run{Command: []string{"sh", "-c", "sleep 300 >/dev/null 2>&1 & exit 1"}}, t.TempDir())
	o.BackoffInitial, o.BackoffMax = time.Millisecond, 20*time.Millisecond
	s := supervise(t, o)
	after := func(restarts int) worker.State {
		return until(t, s, "it was restarted often", func(s worker.State) bool { return s.Restarts >= restarts && s.Failed })
	}
	after(10)
	files, routines := openFiles(t), runtime.NumGoroutine()
	const restarts = 100
	state := after(10 + restarts)
	if state.Next > o.BackoffMax*13/10 { // with what is random of it
		t.Errorf("the next try is in %s, and the limit is %s", state.Next, o.BackoffMax)
	}
	if state.Reason == "" || state.Ready {
		t.Errorf("the state is %+v", state)
	}
	// One start may be under way.
	if now := openFiles(t); now > files+10 {
		t.Errorf("%d files are open after %d restarts more, and were %d", now, restarts, files)
	}
	if now := runtime.NumGoroutine(); now > routines+10 {
		t.Errorf("%d goroutines run after %d restarts more, and %d did", now, restarts, routines)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
