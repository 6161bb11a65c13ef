package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
)

// fallible predicts y = x, and fails each call that has a guilty row.
type fallible struct {
	guilty   map[float64]bool
	flaky    map[int]bool // calls, counted from 0, that fail whatever they hold
	most     int64        // rows it can take; 0: any number
	calls    int
	restarts int
}

func (f *fallible) Predict(_ context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	f.calls++
	xs := rows.Column(0).(*array.Float64)
	fails := f.flaky[f.calls-1] || f.most > 0 && rows.NumRows() > f.most
	for i := range int(rows.NumRows()) {
		fails = fails || f.guilty[xs.Value(i)]
	}
	if fails {
		return nil, modelmanager.Errorf(modelmanager.CodeModelError, "it fails")
	}
	rows.Retain()
	return &worker.Answer{Record: rows}, nil
}

func (f *fallible) Restart(context.Context) error { f.restarts++; return nil }

func (f *fallible) Close() error { return nil }

// TestSearchFindsTheGuilty tries random sets of guilty rows: exactly they are
// found, all others have their own answers, whatever the size of calls.
func TestSearchFindsTheGuilty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(r, "rows")
		size := rapid.IntRange(1, 60).Draw(r, "rows per call")
		guilty := map[float64]bool{}
		for _, row := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, n-1).Draw(r, "guilty") {
			guilty[float64(row)] = true
		}
		f := &fallible{guilty: guilty, flaky: map[int]bool{}}
		if rapid.Bool().Draw(r, "flaky") {
			f.flaky[rapid.IntRange(0, 20).Draw(r, "flaky call")] = true
		}
		if len(guilty) == 0 {
			f.most = int64(rapid.IntRange(0, 5).Draw(r, "most"))
		}
		var saved worker.Progress
		search := worker.NewSearch(f, worker.SearchOptions{Save: func(p worker.Progress) { saved = p }})
		stop := rapid.IntRange(0, 80).Draw(r, "interrupted at") / size * size
		for from := 0; from < n; from += size {
			if from == stop {
				// Another attempt at the shard, that knows what has been found.
				search = worker.NewSearch(f, worker.SearchOptions{Resume: saved})
				for again := 0; again < from; again += size {
					checkCall(r, search, guilty, again, min(n, again+size))
				}
			}
			checkCall(r, search, guilty, from, min(n, from+size))
		}
		progress := search.Progress()
		if all := len(guilty) == n; all == progress.Passed || len(progress.Guilty) != len(guilty) {
			r.Fatalf("%d of %d rows are guilty: %+v", len(guilty), n, progress)
		}
		if progress.Restarts > worker.MaxRestarts {
			r.Fatalf("%d restarts", progress.Restarts)
		}
	})
}

func checkCall(r *rapid.T, search *worker.Search, guilty map[float64]bool, from, to int) {
	var values []float64
	var want []int64
	for row := from; row < to; row++ {
		values = append(values, float64(row))
		if guilty[float64(row)] {
			want = append(want, int64(row-from))
		}
	}
	answer, err := search.Predict(context.Background(), plain(values...))
	if err != nil {
		r.Fatal(err)
	}
	var got []int64
	for _, e := range answer.Errors {
		got = append(got, e.Row)
	}
	if !slices.Equal(got, want) {
		r.Fatalf("rows %v of %d to %d are guilty, found %v", want, from, to, got)
	}
	if len(want) == to-from {
		return
	}
	ys := answer.Record.Column(0).(*array.Float64)
	for i, value := range values {
		if bad := guilty[value]; bad != ys.IsNull(i) || !bad && ys.Value(i) != value {
			r.Fatalf("row %v has the answer %v", value, ys.Value(i))
		}
	}
}

func plain(values ...float64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil))
	b.Field(0).(*array.Float64Builder).AppendValues(values, nil)
	return b.NewRecordBatch()
}

func TestAModelThatFailsEverything(t *testing.T) {
	f := &fallible{most: -1, guilty: map[float64]bool{}}
	var values []float64
	for i := range 1000 {
		values = append(values, float64(i))
		f.guilty[float64(i)] = true
	}
	_, err := worker.NewSearch(f, worker.SearchOptions{}).Predict(context.Background(), plain(values...))
	if modelmanager.CodeOf(err) != modelmanager.CodeModelError {
		t.Errorf("got %v", err)
	}
	if f.calls > 300 {
		t.Errorf("%d calls", f.calls)
	}
	asked := 0
	elsewhere := worker.SearchOptions{Proven: func(context.Context) (bool, error) { asked++; return true, nil }}
	answer, err := worker.NewSearch(f, elsewhere).Predict(context.Background(), plain(values...))
	if err != nil || len(answer.Errors) != len(values) || asked == 0 {
		t.Errorf("the model answers other rows of the job: %v", err)
	}
}

// TestSearchWithWorkers finds a row that kills its worker, and one that hangs it.
func TestSearchWithWorkers(t *testing.T) {
	for _, mood_ := range []string{"crashes-on-13", "fails-on-13", "hangs-on-13"} {
		t.Run(mood_, func(t *testing.T) {
			t.Parallel()
			o := mood(t, mood_)
			o.Spec.Timeouts.Predict = 1e9
			search := worker.NewSearch(worker.NewSupervisor(o), worker.SearchOptions{Predictions: o.Predictions})
			defer search.Close()
			answer, err := search.Predict(context.Background(), record(t, 10, 11, 12, 13, 14, 15))
			if err != nil {
				t.Fatal(err)
			}
			if len(answer.Errors) != 1 || answer.Errors[0].Row != 3 {
				t.Errorf("errors %v", answer.Errors)
			}
			got := fmt.Sprint(answer.Record.Column(0))
			if want := "[20 22 24 (null) 28 30]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if !search.Progress().Passed {
				t.Error("no row has passed")
			}
		})
	}
}

// TestSearchIsStopped: a search that is told to stop does so within a call that
// hangs, asks for nothing more, and says nothing of the rows.
func TestSearchIsStopped(t *testing.T) {
	for name, end := range map[string]func(stop chan struct{}, cancel func()){
		"by its order":   func(stop chan struct{}, _ func()) { close(stop) },
		"by its context": func(_ chan struct{}, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := make(chan struct{})
			p := &hanging{until: 3, hangs: func() { end(stop, cancel) }}
			search := worker.NewSearch(p, worker.SearchOptions{Stop: stop})
			_, err := search.Predict(ctx, plain(1, 2, 3, 4, 5, 6, 7, 8))
			if stopped := errors.Is(err, worker.ErrStopped); err == nil || stopped != (ctx.Err() == nil) {
				t.Errorf("got %v", err)
			}
			if p.calls != p.until || len(search.Progress().Guilty) != 0 {
				t.Errorf("%d calls, %+v", p.calls, search.Progress())
			}
		})
	}
}

// hanging fails every call, and hangs in one of them until its context ends.
type hanging struct {
	calls, until int
	hangs        func()
}

func (h *hanging) Predict(ctx context.Context, _ arrow.RecordBatch) (*worker.Answer, error) {
	if h.calls++; h.calls == h.until {
		h.hangs()
		<-ctx.Done()
	}
	return nil, modelmanager.Errorf(modelmanager.CodeModelError, "it fails")
}

func (h *hanging) Close() error { return nil }
