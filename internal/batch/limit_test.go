package batch

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// everyRow makes every row of csv(n, …) bad.
func everyRow(n int) map[int]string {
	bad := make(map[int]string, n)
	for i := 1; i <= n; i++ {
		bad[i] = "x"
	}
	return bad
}

// A job that is beyond its max_rejected begins no further shard: what it has
// read is of the shards that ran when the first of them told.
func TestHopelessJobStartsNoMoreShards(t *testing.T) {
	const rows, parallelism = 20_000, 4 // in 200 shards
	refuses := func() worker.Predictor { return &doubler{refuse: func(x float64) bool { return x != 1 }} }
	for name, test := range map[string]struct {
		limit     string
		bad       map[int]string
		predictor func() worker.Predictor
	}{
		"invalid rows":            {limit: "50", bad: everyRow(rows)},
		"no row allowed":          {limit: "0", bad: everyRow(rows)},
		"a share of the rows":     {limit: "0.1%", bad: everyRow(rows)},
		"rows the model refuses":  {limit: "50", predictor: refuses},
		"rows on which it fails":  {limit: "50", predictor: func() worker.Predictor { return &doubler{broken: func(x float64) bool { return int(x)%100 != 1 }} }},
		"rejected rows in output": {limit: "50", bad: everyRow(rows)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *spec.Spec) { s.Batch.Parallelism = parallelism })
			if test.predictor != nil {
				w.platform.predictor = test.predictor
			}
			request := w.request(w.file("a.csv", csv(rows, test.bad)))
			request.MaxRejected = test.limit
			if name == "rejected rows in output" {
				request.Output.Rejected = "inline"
			}
			job := w.run(request)
			if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeRejectedRows {
				t.Fatalf("%+v", job)
			}
			if job.Shards.Total != rows/100 || job.Shards.Done == 0 || job.Shards.Done > parallelism {
				t.Errorf("%d of %d shards ran", job.Shards.Done, job.Shards.Total)
			}
			if job.Rows.Read == 0 || job.Rows.Read > parallelism*100 || job.Rows.Read != job.Rows.Predicted+job.Rows.Rejected {
				t.Errorf("%+v were read of %d", job.Rows, rows)
			}
			if rejected := w.rejected(job.ID); int64(len(rejected)) != job.Rows.Rejected {
				t.Errorf("%d rejected rows are kept of %d", len(rejected), job.Rows.Rejected)
			}
		})
	}
}

// A shard of a job that is beyond its max_rejected is cut off where it is.
func TestHopelessShardIsCutOff(t *testing.T) {
	const rows = 20_000
	w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard = rows })
	w.config.Grace = time.Minute
	w.start()
	// An agent asks again only once it has obeyed: the model answers on when it
	// has been told twice that the job is over.
	obeyed := make(chan struct{})
	var once sync.Once
	w.mu.Lock()
	inner := w.handler
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/progress") {
			w.service.mu.Lock()
			for _, t := range w.service.jobs {
				t.mu.Lock()
				if t.stopping {
					once.Do(func() { close(obeyed) })
				}
				t.mu.Unlock()
			}
			w.service.mu.Unlock()
		}
		inner.ServeHTTP(rw, r)
	})
	w.mu.Unlock()
	calls := 0
	w.platform.predictor = func() worker.Predictor {
		return &doubler{
			refuse: func(x float64) bool { return x <= 3 },
			before: func(ctx context.Context, _ recordBatch) error {
				if calls++; calls == 3 {
					select {
					case <-obeyed:
					case <-ctx.Done():
					}
				}
				return ctx.Err()
			},
		}
	}
	request := w.request(w.file("a.csv", csv(rows, nil)))
	request.MaxRejected = "2"
	job := w.run(request)
	if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeRejectedRows || job.Rows.Rejected != 3 {
		t.Fatalf("%+v", job)
	}
	if job.Rows.Read == 0 || job.Rows.Read > 200 {
		t.Errorf("%d rows were read of %d", job.Rows.Read, rows)
	}
	m, err := w.service.manifest(t.Context(), job.ID)
	if err != nil || len(m.Incomplete) != 1 {
		t.Errorf("the manifest says %+v, %v", m, err)
	}
}

// A shard that searches for rows at fault when its job is beyond its
// max_rejected stops there, though a call hangs: what it had done is kept, and
// a retry does the rest.
func TestStoppedSearchLosesNothing(t *testing.T) {
	const rows = 40
	w := newWorld(t, func(s *spec.Spec) { s.Batch.RowsPerShard = rows })
	w.config.Grace = 5 * time.Minute
	w.start()
	broken := false
	w.platform.predictor = func() worker.Predictor {
		return &doubler{
			refuse: func(x float64) bool { return x <= 3 },
			before: func(ctx context.Context, batch recordBatch) error {
				if batch.Column(0).(*array.Float64).Value(0) < 11 {
					return nil
				}
				if broken { // the search has begun
					<-ctx.Done()
				}
				broken = true
				return modelmanager.Errorf(modelmanager.CodeModelError, "cannot score this")
			},
		}
	}
	request := w.request(w.file("a.csv", csv(rows, nil)))
	request.MaxRejected = "2"
	job := w.run(request)
	if job.State != modelmanager.JobFailed || job.Code != modelmanager.CodeRejectedRows ||
		job.Rows.Read != 10 || job.Rows.Predicted != 7 || job.Rows.Rejected != 3 {
		t.Fatalf("%+v", job)
	}
	if rejected := w.rejected(job.ID); len(rejected) != 3 {
		t.Errorf("rejected are %+v", rejected)
	}
	w.platform.predictor = func() worker.Predictor { return &doubler{} }
	again, err := w.service.Retry(t.Context(), job.ID, "me", "")
	if err != nil {
		t.Fatal(err)
	}
	if again = w.wait(again.ID); again.State != modelmanager.JobSucceeded || again.Rows.Predicted != rows-7 {
		t.Errorf("the retry: %+v", again)
	}
}

// An agent whose job was cancelled stops its search by itself, whether or not
// its platform has come to ending it.
func TestCancelledSearchStopsByItself(t *testing.T) {
	w := newWorld(t, nil)
	searching, ended := make(chan struct{}), make(chan struct{})
	var begin, end sync.Once
	calls := 0
	start := func(context.Context) (worker.Predictor, error) {
		return &doubler{before: func(ctx context.Context, _ recordBatch) error {
			if calls++; calls > 1 {
				begin.Do(func() { close(searching) })
				<-ctx.Done()
				end.Do(func() { close(ended) })
			}
			return modelmanager.Errorf(modelmanager.CodeModelError, "cannot score this")
		}}, nil
	}
	w.platform.full = make(chan struct{}) // its task is run here
	defer close(w.platform.full)
	job := w.submit(w.request(w.file("a.csv", csv(100, nil))))
	w.until(func() bool {
		r, err := w.service.Get(t.Context(), job.ID)
		return err == nil && r.Shards.Total == 1
	})
	var code int
	var failure error
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, failure = shard.Run(t.Context(), agent.Config{Task: &agent.Task{
			Server: w.config.Server, Token: w.service.token(job.ID, string(platform.StepShards)), Job: job.ID, Step: string(platform.StepShards),
		}}, start)
	}()
	<-searching
	if err := w.service.create(t.Context(), cancelKey(job.ID), cancellation{By: "you"}); err != nil {
		t.Fatal(err)
	}
	w.until(func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	<-ended
	if code != 0 || failure != nil || calls != 2 {
		t.Errorf("%d, %v after %d calls", code, failure, calls)
	}
}
