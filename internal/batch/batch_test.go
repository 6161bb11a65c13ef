package batch

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

func wantCode(t *testing.T, err error, code modelmanager.Code) {
	t.Helper()
	if got := modelmanager.CodeOf(err); got != code {
		t.Errorf("code %q, want %q (%v)", got, code, err)
	}
}

// scored is the output that csv(n, bad) leads to.
func scored(n int, bad map[int]string) string {
	var b strings.Builder
	b.WriteString("id,x,y\n")
	for i := 1; i <= n; i++ {
		if _, ok := bad[i]; !ok {
			fmt.Fprintf(&b, "row-%d,%d,%d\n", i, i, 2*i)
		}
	}
	return b.String()
}

func normal(csv string) string { return strings.ReplaceAll(csv, ".0\n", "\n") }

func TestJob(t *testing.T) {
	w := newWorld(t, nil)
	job := w.run(w.request(w.file("a.csv", csv(1050, nil))))
	if job.State != modelmanager.JobSucceeded || job.Shards != (modelmanager.JobShards{Total: 11, Done: 11}) ||
		job.Rows.Read != 1050 || job.Rows.Predicted != 1050 || job.Input.Format != "csv" || job.Started == nil || job.Finished == nil {
		t.Fatalf("%+v", job)
	}
	if diff := cmp.Diff(scored(1050, nil), normal(w.output(job.ID))); diff != "" {
		t.Error(diff)
	}
	m, err := w.service.manifest(t.Context(), job.ID)
	if err != nil || m.Artifact != "sha256:2" || m.Commit != "abc" || m.InputSHA256 == "" || len(m.Parts) != 11 {
		t.Errorf("%+v, %v", m, err)
	}
	if diff := cmp.Diff([]string{"history/" + job.ID + ".doubler.succeeded"}, append(w.keys("active/"), w.keys("history/")...)); diff != "" {
		t.Error(diff)
	}
	if rejected := w.rejected(job.ID); len(rejected) != 0 {
		t.Error(rejected)
	}
}

func TestEmptyInput(t *testing.T) {
	w := newWorld(t, nil)
	job := w.run(w.request(w.file("a.csv", csv(0, nil))))
	if job.State != modelmanager.JobSucceeded || job.Rows.Read != 0 || w.output(job.ID) != "id,x,y\n" {
		t.Errorf("%+v %q", job, w.output(job.ID))
	}
}

func TestRejectedRows(t *testing.T) {
	bad := map[int]string{3: "many", 77: "", 230: "NaN"}
	t.Run("none allowed", func(t *testing.T) {
		w := newWorld(t, nil)
		job := w.run(w.request(w.file("a.csv", csv(250, bad))))
		if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeRejectedRows || job.Rows.Rejected == 0 {
			t.Fatalf("%+v", job)
		}
		if rejected := w.rejected(job.ID); int64(len(rejected)) != job.Rows.Rejected {
			t.Error(rejected)
		}
		w.output(job.ID) // partial, and readable
	})
	for limit, state := range map[string]modelmanager.JobState{"4": "succeeded", "3": "failed", "1%": "failed", "2%": "succeeded"} {
		t.Run(strings.Replace(limit, "%", " percent", 1), func(t *testing.T) {
			w := newWorld(t, nil)
			w.platform.predictor = func() worker.Predictor { return &doubler{refuse: func(x float64) bool { return x == 150 }} }
			request := w.request(w.file("a.csv", csv(250, bad)))
			request.MaxRejected = limit
			job := w.run(request)
			if job.State != state {
				t.Fatalf("%+v", job)
			}
			if state == modelmanager.JobFailed {
				wantCode(t, &modelmanager.Error{Code: job.Code}, modelmanager.CodeRejectedRows)
				return
			}
			var rows []int64
			for _, r := range w.rejected(job.ID) {
				rows = append(rows, r.Row)
				if r.Message == "" || len(r.Raw) == 0 {
					t.Errorf("%+v", r)
				}
			}
			if diff := cmp.Diff([]int64{3, 77, 150, 230}, rows); diff != "" {
				t.Error(diff)
			}
			gone := map[int]string{3: "", 77: "", 150: "", 230: ""}
			if diff := cmp.Diff(scored(250, gone), normal(w.output(job.ID))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("inline", func(t *testing.T) {
		w := newWorld(t, nil)
		request := w.request(w.file("a.csv", csv(250, bad)))
		request.MaxRejected, request.Output.Rejected = "10", "inline"
		job := w.run(request)
		out := strings.Split(strings.TrimSpace(w.output(job.ID)), "\n")
		if len(out) != 251 || !strings.HasSuffix(out[0], "_error") || !strings.Contains(out[3], "row-3,many,,") {
			t.Errorf("%d lines: %q", len(out), out[:5])
		}
	})
}

func TestModelFault(t *testing.T) {
	t.Run("of one row", func(t *testing.T) {
		w := newWorld(t, nil)
		w.platform.predictor = func() worker.Predictor { return &doubler{broken: func(x float64) bool { return x == 42 }} }
		request := w.request(w.file("a.csv", csv(250, nil)))
		request.MaxRejected = "1"
		job := w.run(request)
		if job.State != modelmanager.JobSucceeded || job.Rows.Rejected != 1 {
			t.Fatalf("%+v", job)
		}
		if rejected := w.rejected(job.ID); rejected[0].Row != 42 {
			t.Error(rejected)
		}
	})
	t.Run("that can't start", func(t *testing.T) {
		w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard, s.Batch.Parallelism = 1, 1 })
		w.platform.broken = modelmanager.Errorf(modelmanager.CodeModelError, "the worker ended while it started")
		job := w.run(w.request(w.file("a.csv", csv(250, nil))))
		if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeModelError || !strings.HasPrefix(job.Reason, "5 of 250 shards failed; shard 0: ") {
			t.Fatalf("%+v", job)
		}
	})
	// Where the rows on which the model fails are together, one shard has
	// nothing else: others tell that the model answers.
	together := func(x float64) bool { return x > 100 && x <= 200 }
	t.Run("of a shard", func(t *testing.T) {
		w := newWorld(t, nil)
		w.platform.predictor = func() worker.Predictor { return &doubler{broken: together} }
		request := w.request(w.file("a.csv", csv(250, nil)))
		request.MaxRejected = "100"
		job := w.run(request)
		if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != 150 || job.Rows.Rejected != 100 {
			t.Fatalf("%+v", job)
		}
		// A repaired model does the rest, under the old numbers.
		w.platform.predictor = func() worker.Predictor { return &doubler{broken: func(x float64) bool { return x == 150 }} }
		again, err := w.service.Retry(t.Context(), job.ID, "me", "")
		if err != nil {
			t.Fatal(err)
		}
		again = w.wait(again.ID)
		if again.RetryOf != job.ID || again.State != modelmanager.JobSucceeded || again.Rows.Predicted != 99 || again.Rows.Rejected != 1 {
			t.Fatalf("%+v", again)
		}
		if rejected := w.rejected(again.ID); rejected[0].Row != 150 {
			t.Error(rejected)
		}
		// The last row fails alone again: that others passed is known from the jobs before.
		again, err = w.service.Retry(t.Context(), again.ID, "me", "")
		if err != nil {
			t.Fatal(err)
		}
		if again = w.wait(again.ID); again.State != modelmanager.JobSucceeded || again.Rows.Rejected != 1 {
			t.Fatalf("%+v", again)
		}
	})
	t.Run("of too many rows", func(t *testing.T) {
		w := newWorld(t, nil)
		w.platform.predictor = func() worker.Predictor { return &doubler{broken: together} }
		request := w.request(w.file("a.csv", csv(250, nil)))
		request.MaxRejected = "99"
		if job := w.run(request); job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeRejectedRows {
			t.Fatalf("%+v", job)
		}
	})
	// The limit is that of the job: no shard alone is beyond it.
	for limit, state := range map[string]modelmanager.JobState{"4": "failed", "5": "succeeded"} {
		t.Run("of a row in each shard, "+limit+" allowed", func(t *testing.T) {
			w := newWorld(t, nil)
			w.platform.predictor = func() worker.Predictor {
				return &doubler{broken: func(x float64) bool { return int(x)%100 == 1 }}
			}
			request := w.request(w.file("a.csv", csv(500, nil)))
			request.MaxRejected = limit
			if job := w.run(request); job.State != state || state == modelmanager.JobSucceeded && job.Rows.Rejected != 5 {
				t.Fatalf("%+v", job)
			}
		})
	}
	// A model that fails everything is at fault itself, however small the
	// shards, and whatever may be rejected; and not every row is tried.
	for _, limit := range []string{"0", "100%"} {
		t.Run("of all rows, "+strings.TrimSuffix(limit, "%")+" allowed", func(t *testing.T) {
			w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard = 10 })
			var calls atomic.Int64
			w.platform.predictor = func() worker.Predictor {
				return &doubler{
					broken: func(float64) bool { return true },
					before: func(context.Context, recordBatch) error { calls.Add(1); return nil },
				}
			}
			request := w.request(w.file("a.csv", csv(2000, nil)))
			request.MaxRejected = limit
			job := w.run(request)
			if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeModelError ||
				!strings.Contains(job.Reason, "fails on every row: ") || !strings.Contains(job.Reason, "cannot score") {
				t.Fatalf("%+v", job)
			}
			if job.Rows.Rejected > 0 || job.Shards.Done > 0 || len(w.rejected(job.ID)) > 0 {
				t.Errorf("rows are rejected that aren't to blame: %+v", job)
			}
			w.until(func() bool { return len(w.keys("jobs/"+job.ID+"/rejected/")) == 0 })
			if n := calls.Load(); n > 2000 {
				t.Errorf("the model was called %d times", n)
			}
		})
	}
	t.Run("of the only row", func(t *testing.T) {
		w := newWorld(t, nil)
		w.platform.predictor = func() worker.Predictor { return &doubler{broken: func(float64) bool { return true }} }
		job := w.run(w.request(w.file("a.csv", csv(1, nil))))
		if job.Code != modelmanager.CodeModelError || job.Rows.Rejected > 0 {
			t.Fatalf("%+v", job)
		}
		// It is tried whole again, by a model that has been repaired.
		w.platform.predictor = func() worker.Predictor { return &doubler{} }
		again, err := w.service.Retry(t.Context(), job.ID, "me", "")
		if err != nil {
			t.Fatal(err)
		}
		if again = w.wait(again.ID); again.State != modelmanager.JobSucceeded || again.Rows.Predicted != 1 {
			t.Fatalf("%+v", again)
		}
	})
}

func TestRetryRejected(t *testing.T) {
	w := newWorld(t, nil)
	w.platform.predictor = func() worker.Predictor {
		return &doubler{refuse: func(x float64) bool { return x == 7 || x == 150 || x == 151 }}
	}
	request := w.request(w.file("a.csv", csv(250, nil)))
	request.MaxRejected = "10"
	job := w.run(request)
	w.platform.predictor = func() worker.Predictor { return &doubler{refuse: func(x float64) bool { return x == 150 }} }
	for _, want := range []struct{ predicted, rejected int64 }{{2, 1}, {0, 1}} {
		again, err := w.service.Retry(t.Context(), job.ID, "me", "")
		if err != nil {
			t.Fatal(err)
		}
		job = w.wait(again.ID)
		if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != want.predicted || job.Rows.Rejected != want.rejected {
			t.Fatalf("%+v", job)
		}
	}
	w.platform.predictor = func() worker.Predictor { return &doubler{} }
	again, err := w.service.Retry(t.Context(), job.ID, "me", "")
	if err != nil {
		t.Fatal(err)
	}
	job = w.wait(again.ID)
	if out := normal(w.output(job.ID)); out != "id,x,y\nrow-150,150,300\n" {
		t.Errorf("%q", out)
	}
	_, err = w.service.Retry(t.Context(), job.ID, "me", "")
	wantCode(t, err, modelmanager.CodeConflict)
}

// A job that is planned, and has no place to run yet, is as queued as before.
func TestAJobWithoutAPlaceIsQueued(t *testing.T) {
	w := newWorld(t, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error {
			once.Do(func() { close(asked) })
			<-answer
			return nil
		}}
	}
	w.platform.full = make(chan struct{})
	job := w.submit(w.request(w.file("a.csv", csv(10, nil))))
	state := func() modelmanager.JobState {
		t.Helper()
		r, err := w.service.Get(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		if (r.Started != nil) != (r.State == modelmanager.JobRunning) {
			t.Errorf("it is %s, and started at %v", r.State, r.Started)
		}
		for _, state := range []modelmanager.JobState{modelmanager.JobQueued, modelmanager.JobRunning} {
			if page, err := w.service.List(t.Context(), Query{State: state, Limit: 10}); err != nil || len(page.Jobs) == 1 != (state == r.State) {
				t.Errorf("it is %s, and of the %s ones there are %d (%v)", r.State, state, len(page.Jobs), err)
			}
		}
		return r.State
	}
	w.until(func() bool {
		r, err := w.service.Get(t.Context(), job.ID)
		return err == nil && r.Shards.Total > 0
	})
	if got := state(); got != modelmanager.JobQueued {
		t.Errorf("without a place it is %s", got)
	}
	close(w.platform.full)
	<-asked
	if got := state(); got != modelmanager.JobRunning {
		t.Errorf("while its model is asked it is %s", got)
	}
	close(answer)
	if job = w.wait(job.ID); job.State != modelmanager.JobSucceeded {
		t.Errorf("%+v", job)
	}
}

func TestDependentRows(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) { s.Rows = spec.Dependent })
	var mu sync.Mutex
	var calls []int
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(_ context.Context, rows recordBatch) error {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, int(rows.NumRows()))
			return nil
		}}
	}
	request := w.request(w.file("a.csv", csv(250, map[int]string{9: "x"})))
	request.MaxRejected = "1"
	job := w.run(request)
	if diff := cmp.Diff([]int{249}, calls); diff != "" || job.Shards.Total != 1 {
		t.Errorf("%s %+v", diff, job)
	}
	if diff := cmp.Diff(scored(250, map[int]string{9: ""}), normal(w.output(job.ID))); diff != "" {
		t.Error(diff)
	}
}

func TestBadInput(t *testing.T) {
	w := newWorld(t, nil)
	for name, test := range map[string]struct {
		data string
		code modelmanager.Code
	}{
		"no column":  {"id,z\n1,2\n", modelmanager.CodeMissingColumn},
		"prediction": {"x,y\n1,2\n", modelmanager.CodeInvalidInput},
		"empty":      {"", modelmanager.CodeInvalidInput},
	} {
		t.Run(name, func(t *testing.T) {
			job := w.run(w.request(w.file("a.csv", []byte(test.data))))
			if job.State != modelmanager.JobFailed || job.Code != test.code {
				t.Errorf("%+v", job)
			}
		})
	}
}

func TestInputChanged(t *testing.T) {
	w := newWorld(t, nil)
	release := make(chan struct{})
	w.platform.predictor = func() worker.Predictor {
		return &doubler{before: func(context.Context, recordBatch) error { <-release; return nil }}
	}
	request := w.request(w.file("a.csv", csv(250, nil)))
	job := w.submit(request)
	w.until(func() bool { return !w.platform.idle() })
	if err := os.WriteFile(w.in+"/a.csv", csv(300, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	close(release)
	if job = w.wait(job.ID); job.Code != modelmanager.CodeInputChanged {
		t.Errorf("%+v", job)
	}
}
