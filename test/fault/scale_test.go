package fault

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/spec"
)

// keepCalling keeps so many calls of a model under way at a time, until what
// it returns is called.
func keepCalling(t *testing.T, s *server, model string, at int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for range at {
		done.Go(func() {
			for ctx.Err() == nil {
				_, err := s.client.Predict(ctx, model, 0, modelmanager.PredictRequest{Rows: rows(`{"x": 20}`)})
				if err != nil && ctx.Err() == nil {
					t.Errorf("calling %s: %v", model, err)
					return
				}
			}
		})
	}
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

// TestFromNothingAndBack: a model that nobody has asked has no process; under
// load it has as many workers as it may, never more; and when nobody asks it any
// more it has none again.
func TestFromNothingAndBack(t *testing.T) {
	const most = 3
	dir := filepath.Join(t.TempDir(), "slow")
	for name, text := range map[string]string{
		"model.yaml": "name: slow\nsummary: Twice the number, after a moment.\nowner: slow@example.org\nfeatures: [{name: x, type: number}]\n" +
			"predictions: [{name: y, type: number}]\nrun: {python: predict.py:predict}\nexamples: [{features: {x: 1}}]\n",
		"predict.py": "import time\n\n\ndef predict(rows: list):\n    time.sleep(0.05)\n    return [{\"y\": 2 * row[\"x\"] + 1} for row in rows]\n",
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t)
	s.publish(dir, func(s *spec.Spec) {
		s.Scale = spec.Scale{Min: 0, Max: most, Concurrency: 2, Idle: spec.Duration(5 * time.Second)}
	})
	if workers := s.workers(); len(workers) != 0 {
		t.Fatalf("before the first call there are %+v", workers)
	}
	begin := time.Now()
	stop := keepCalling(t, s, "slow", 4*most)
	await(t, 60*time.Second, "as many workers as there may be", func() error {
		if workers := s.workers(); len(workers) != most {
			return fmt.Errorf("there are %d", len(workers))
		}
		return nil
	})
	t.Logf("from 0 to %d workers within %s", most, time.Since(begin).Round(time.Millisecond))
	for range 20 { // and it stays at that
		if _, err := s.client.Predict(t.Context(), "slow", 0, modelmanager.PredictRequest{Rows: rows(`{"x": 20}`)}); err != nil {
			t.Error(err)
		}
		if workers := s.workers(); len(workers) > most {
			t.Fatalf("there are %d workers, and %d are allowed", len(workers), most)
		}
	}
	stop()
	begin = time.Now()
	await(t, 180*time.Second, "no process of the model is left", func() error {
		if agents := s.agents(); len(agents) > 0 {
			return fmt.Errorf("there are %d agents, and %d workers", len(agents), len(s.workers()))
		}
		return nil
	})
	t.Logf("back to none within %s", time.Since(begin).Round(time.Millisecond))
	if workers := s.workers(); len(workers) != 0 {
		t.Errorf("without agents there are %+v", workers)
	}
	if info, err := s.client.Model(t.Context(), "slow"); err != nil || info.Health.State != modelmanager.Idle {
		t.Errorf("the model is %+v (%v)", info.Health, err)
	}
}

// TestCallsLeaveNothing: once the server is warm, thousands of calls more leave
// its memory, its files and those of its agents as they were.
func TestCallsLeaveNothing(t *testing.T) {
	s := startServer(t)
	s.publish("models/good", func(s *spec.Spec) {
		s.Scale = spec.Scale{Min: 1, Max: 1, Concurrency: 8, Idle: spec.Duration(time.Hour)}
	})
	const warm, further = 3_000, 12_000
	calls := func(n int) {
		t.Helper()
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				for range n / 8 {
					if _, err := s.client.Predict(t.Context(), "good", 0, modelmanager.PredictRequest{Rows: rows(`{"x": 20}`)}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		done.Wait()
	}
	measure := func() (memory int64, files int) {
		t.Helper()
		pids := []int{s.running.PID()}
		for _, p := range s.agents() {
			pids = append(pids, p.pid)
		}
		if len(pids) != 2 {
			t.Fatalf("%d agents run", len(pids)-1)
		}
		for _, pid := range pids {
			stat, ok := proc.Read(pid)
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if !ok || err != nil {
				t.Fatal(err)
			}
			memory, files = memory+stat.Resident, files+len(open)
		}
		return memory, files
	}
	calls(warm)
	memory, files := measure()
	calls(further)
	memoryAfter, filesAfter := measure()
	t.Logf("after %d calls the server and its agent hold %.1f MiB and %d files; after %d more %.1f MiB and %d files",
		warm, float64(memory)/(1<<20), files, further, float64(memoryAfter)/(1<<20), filesAfter)
	if memoryAfter > memory+24<<20 {
		t.Errorf("%d calls have left %d MiB behind", further, (memoryAfter-memory)>>20)
	}
	if filesAfter > files+16 {
		t.Errorf("%d calls have left %d files open", further, filesAfter-files)
	}
}
