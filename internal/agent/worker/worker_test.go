package worker_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// python returns the interpreter for workers that need the standard library alone.
func python(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("these tests need python3: ", err)
	}
	return path
}

var x, y = modelmanager.Field{Name: "x", Type: modelmanager.Number}, modelmanager.Field{Name: "y", Type: modelmanager.Number}

// options returns those of a worker that runs run in the folder dir.
func options(t testing.TB, run spec.Run, dir string) worker.Options {
	t.Helper()
	s := &spec.Spec{
		Name:        "double",
		Rows:        spec.Independent,
		Features:    []modelmanager.Field{x},
		Predictions: []modelmanager.Field{y},
		Run:         run,
		Resources:   spec.Resources{CPU: 500, Memory: 256 << 20},
		Timeouts:    spec.Timeouts{Start: spec.Duration(20 * time.Second), Predict: spec.Duration(20 * time.Second)},
	}
	return optionsOf(t, s, dir)
}

func optionsOf(t testing.TB, s *spec.Spec, dir string) worker.Options {
	t.Helper()
	return worker.Options{
		Model:          s.Name,
		Version:        1,
		Spec:           s,
		Features:       compile(t, s.Features),
		Predictions:    compile(t, s.Predictions),
		Dir:            dir,
		RunDir:         t.TempDir(),
		BackoffInitial: 10 * time.Millisecond,
		BackoffMax:     50 * time.Millisecond,
		Grace:          500 * time.Millisecond,
	}
}

func compile(t testing.TB, fields []modelmanager.Field) *dataset.Schema {
	t.Helper()
	schema, err := dataset.Compile(fields)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// mood returns the options of testdata/worker.py in a mood.
func mood(t testing.TB, args ...string) worker.Options {
	t.Helper()
	path, err := filepath.Abs("testdata/worker.py")
	if err != nil {
		t.Fatal(err)
	}
	return options(t, spec.Run{Command: append([]string{python(t), path}, args...)}, t.TempDir())
}

func supervise(t testing.TB, o worker.Options) *worker.Supervisor {
	t.Helper()
	s := worker.NewSupervisor(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// record returns rows with the feature x.
func record(t testing.TB, values ...float64) arrow.RecordBatch {
	t.Helper()
	b := dataset.NewBuilder(compile(t, []modelmanager.Field{x}))
	for _, v := range values {
		b.SetFloat(0, v)
		if problems := b.EndRow(dataset.RefuseAbsent); problems != nil {
			t.Fatal(problems)
		}
	}
	return b.Record()
}

// predicted returns an answer as JSON.
func predicted(t testing.TB, fields []modelmanager.Field, answer *worker.Answer, rows int) string {
	t.Helper()
	schema := compile(t, fields)
	checked, errors, err := schema.CheckPredictions(answer.Record, rows)
	if err != nil {
		t.Fatal(err)
	}
	text := string(schema.AppendRows(nil, checked))
	if len(answer.Errors) > 0 {
		errors = nil
	}
	for _, e := range append(answer.Errors, errors...) {
		text += fmt.Sprintf(" %d:%s%s", e.Row, e.Feature, e.Message)
	}
	return text
}

// until waits for a condition of a supervisor's state.
func until(t testing.TB, s *worker.Supervisor, what string, condition func(worker.State) bool) worker.State {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for {
		changed := s.Changed()
		state := s.State()
		if condition(state) {
			return state
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waiting until %s: %+v", what, state)
		}
	}
}
