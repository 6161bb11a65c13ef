package fault

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// manyRows makes shards small, so that there is a middle to kill something in.
func manyRows(s *spec.Spec) {
	s.Batch.RowsPerShard, s.Batch.RowsPerCall = 30_000, 500
}

// agents are the processes that run a job's shards.
func (s *server) agents() []process {
	return slices.DeleteFunc(s.processes(), func(p process) bool { return !p.agent() })
}

// workers are the processes of models.
func (s *server) workers() []process {
	return slices.DeleteFunc(s.processes(), func(p process) bool { return p.agent() || p.zygote() || p.environ["MM_WORKER_ID"] == "" })
}

// kill kills one process with signal 9, as soon as there is one.
func kill(t *testing.T, what string, list func() []process) {
	t.Helper()
	await(t, 30*time.Second, "there is "+what+" to kill", func() error {
		for _, p := range list() {
			if syscall.Kill(p.pid, syscall.SIGKILL) == nil {
				return nil
			}
		}
		return errors.New("there is none")
	})
}

// TestJobSurvives kills the server, agents and workers while a job runs: in
// the end every row is there once, in order.
func TestJobSurvives(t *testing.T) {
	const n = 400_000
	s := startServer(t, "--job-slots", "2")
	s.publish("models/good", manyRows)
	job := s.submit(t, "good", strings.NewReader(numbers(n)), "0")
	victims := []struct {
		rows int64 // read before it dies
		name string
		kill func()
	}{
		{1, "a worker", func() { kill(t, "a worker", s.workers) }},
		{20_000, "an agent", func() { kill(t, "an agent", s.agents) }},
		{50_000, "the server", func() { s.stop(syscall.SIGKILL); s.start() }},
		{90_000, "a worker", func() { kill(t, "a worker", s.workers) }},
		{130_000, "the server", func() { s.stop(syscall.SIGKILL); s.start() }},
		{170_000, "an agent", func() { kill(t, "an agent", s.agents) }},
		{200_000, "the server, gently", func() { s.stop(syscall.SIGTERM); s.start() }},
	}
	for _, victim := range victims {
		if !s.read(t, job.ID, victim.rows) {
			t.Fatalf("the job ended before %s could be killed at row %d", victim.name, victim.rows)
		}
		now, err := s.client.Job(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("after %d rows and %d of %d shards: %s dies", now.Rows.Read, now.Shards.Done, now.Shards.Total, victim.name)
		victim.kill()
	}
	job = s.finished(t, job.ID, 120*time.Second)
	if job.State != modelmanager.JobSucceeded || job.Rows.Read != n || job.Rows.Predicted != n || job.Rows.Rejected != 0 {
		t.Fatalf("the job is %s (%s): %+v", job.State, job.Reason, job.Rows)
	}
	if job.Shards.Total != (n+29_999)/30_000 || job.Shards.Done != job.Shards.Total {
		t.Errorf("the job counts %+v", job.Shards)
	}
	xs, ys := s.output(t, job.ID)
	if len(xs) != n || len(ys) != n || !slices.IsSorted(xs) {
		t.Errorf("the output has %d rows, %d of them different, in order: %t", len(xs), len(ys), slices.IsSorted(xs))
	}
	for x, y := range ys {
		if y != float64(2*x+1) {
			t.Fatalf("row-%d was answered with %v", x, y)
		}
	}
	s.checkManifest(t, job)
}

// TestCancel cancels a job in the middle: nothing of it runs on.
func TestCancel(t *testing.T) {
	s := startServer(t, "--job-slots", "2")
	s.publish("models/good", manyRows, func(s *spec.Spec) { s.Serve = []modelmanager.Mode{modelmanager.Batch} })
	job := s.submit(t, "good", strings.NewReader(numbers(300_000)), "0")
	if !s.read(t, job.ID, 1000) {
		t.Fatal("the job ended before it could be cancelled")
	}
	if err := s.client.CancelJob(t.Context(), job.ID, false); err != nil {
		t.Fatal(err)
	}
	if job = s.finished(t, job.ID, 30*time.Second); job.State != modelmanager.JobCancelled {
		t.Errorf("the job is %s: %s", job.State, job.Reason)
	}
	await(t, 20*time.Second, "nothing of the job runs", func() error {
		if left := slices.DeleteFunc(s.processes(), process.zygote); len(left) > 0 {
			return fmt.Errorf("left: %+v", left)
		}
		return nil
	})
}

// TestCallsSurvive kills workers and agents under load, with two replicas: no
// call fails.
func TestCallsSurvive(t *testing.T) {
	s := startServer(t)
	s.publish("models/good", func(s *spec.Spec) { s.Scale.Min, s.Scale.Max = 2, 2 })
	bothReady := func() error {
		if n := len(s.workers()); n != 2 {
			return fmt.Errorf("there are %d workers", n)
		}
		info, err := s.client.Model(t.Context(), "good")
		if err == nil && info.Health.State == modelmanager.Starting {
			err = fmt.Errorf("it is %s: %s", info.Health.State, info.Health.Reason)
		}
		return err
	}
	await(t, 60*time.Second, "two replicas are ready", bothReady)
	calls := startLoad(t, s, "good", 5*time.Millisecond, map[int]float64{1: 41})
	calls.awaitAnswers(t, 1, 100)
	for range 3 {
		kill(t, "a worker", s.workers)
		calls.awaitAnswers(t, 1, 50)
		await(t, 60*time.Second, "two replicas are ready", bothReady)
		kill(t, "an agent", s.agents)
		calls.awaitAnswers(t, 1, 50)
		await(t, 60*time.Second, "two replicas are ready", bothReady)
	}
	calls.awaitAnswers(t, 1, 200)
	t.Logf("p99 with replicas that are killed: %s, of %d calls", calls.noneFailed(t), calls.answered(0))
}

// TestChangesUnderLoad publishes, promotes and rolls back under load: no call
// fails, and each is answered by the version that says so.
func TestChangesUnderLoad(t *testing.T) {
	s := startServer(t)
	s.publish("models/good")
	second := t.TempDir()
	if err := os.CopyFS(second, os.DirFS("models/good")); err != nil {
		t.Fatal(err)
	}
	code := "def predict(rows: list):\n    return [{\"y\": 3 * row[\"x\"]} for row in rows]\n"
	if err := os.WriteFile(second+"/predict.py", []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, 60*time.Second, "the first version is ready", func() error {
		info, err := s.client.Model(t.Context(), "good")
		if err == nil && info.Health.State != modelmanager.Healthy {
			err = fmt.Errorf("it is %s: %s", info.Health.State, info.Health.Reason)
		}
		return err
	})
	calls := startLoad(t, s, "good", 5*time.Millisecond, map[int]float64{1: 41, 2: 60})
	calls.awaitAnswers(t, 1, 100)
	s.publish(second)
	calls.awaitAnswers(t, 2, 100)
	for range 3 {
		if _, err := s.client.Rollback(t.Context(), "good", "a test"); err != nil {
			t.Fatal(err)
		}
		calls.awaitAnswers(t, 1, 100)
		if _, err := s.client.SetTraffic(t.Context(), "good", modelmanager.All(2)); err != nil {
			t.Fatal(err)
		}
		calls.awaitAnswers(t, 2, 100)
	}
	halves := modelmanager.Traffic{Versions: []modelmanager.Share{{Version: 1, Percent: 50}, {Version: 2, Percent: 50}}}
	if _, err := s.client.SetTraffic(t.Context(), "good", halves); err != nil {
		t.Fatal(err)
	}
	calls.awaitAnswers(t, 1, 50)
	calls.awaitAnswers(t, 2, 50)
	t.Logf("p99 while versions change: %s, of %d calls", calls.noneFailed(t), calls.answered(0))
}
