package worker_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

func TestServers(t *testing.T) {
	path, err := filepath.Abs("testdata/server.py")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		mood, format string
		envelope     map[string]any
		code         modelmanager.Code
		says         string
		lost         bool
	}{
		{mood: "rows", format: "rows"},
		{mood: "columns", format: "columns"},
		{mood: "instances", format: "instances", envelope: map[string]any{"mode": "fast"}},
		{mood: "dataframe_split", format: "dataframe_split"},
		{mood: "v2", format: "v2"},
		{mood: "csv", format: "csv"},
		{mood: "fails", format: "rows", code: modelmanager.CodeModelError, says: "it answered 500: no such column"},
		{mood: "busy", format: "rows", code: modelmanager.CodeUnavailable, says: "503"},
		{mood: "dies", format: "rows", code: modelmanager.CodeModelError, says: "exited with code 7", lost: true},
	}
	for _, test := range tests {
		t.Run(test.mood, func(t *testing.T) {
			t.Parallel()
			run := spec.Run{HTTP: &spec.HTTP{
				Command: []string{python(t), path, test.mood}, Ready: "/ready", Path: "/score", Format: test.format, Envelope: test.envelope,
			}}
			o := options(t, run, t.TempDir())
			s := supervise(t, o)
			for range 2 {
				answer, err := s.Predict(within(t, 20*time.Second), record(t, 1, 2.5))
				if modelmanager.CodeOf(err) != test.code || worker.Lost(err) != test.lost {
					t.Fatalf("got %v (lost: %v)", err, worker.Lost(err))
				}
				if err != nil {
					if !strings.Contains(err.Error(), test.says) {
						t.Errorf("%q doesn't say %q", err, test.says)
					}
					continue
				}
				if got, want := predicted(t, o.Spec.Predictions, answer, 2), `[{"y":2},{"y":5}]`; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
}

func TestAServerThatIsNeverReady(t *testing.T) {
	run := spec.Run{HTTP: &spec.HTTP{Command: []string{"sleep", "60"}, Ready: "/ready", Path: "/score", Format: "rows"}}
	o := options(t, run, t.TempDir())
	o.Spec.Timeouts.Start = spec.Duration(200 * time.Millisecond)
	s := supervise(t, o)
	state := until(t, s, "it has failed", func(s worker.State) bool { return s.Failed })
	if want := "sleep was not ready within 200ms (timeouts.start): nothing listens on $MM_PORT"; state.Reason != want {
		t.Errorf("the reason is %q, want %q", state.Reason, want)
	}
}

func TestJobs(t *testing.T) {
	const (
		good  = `import csv, os; rows = list(csv.DictReader(open(os.environ["MM_INPUT"]))); out = open(os.environ["MM_OUTPUT"], "w"); print("id,y", file=out); [print(i, 2 * float(r["x"]), sep=",", file=out) for i, r in enumerate(rows)]`
		lines = `import json, os; out = open(os.environ["MM_OUTPUT"], "w"); [print(json.dumps({"y": 2 * json.loads(l)["x"]}), file=out) for l in open(os.environ["MM_INPUT"])]`
	)
	tests := []struct {
		name, program string
		env           map[string]string
		code          modelmanager.Code
		says          string
	}{
		{name: "csv", program: good},
		{name: "jsonl", program: lines, env: map[string]string{"MM_INPUT_FORMAT": "jsonl"}},
		{name: "dies", program: `raise SystemExit("no model")`, code: modelmanager.CodeModelError, says: "exited with code 1: no model"},
		{name: "writes nothing", program: `pass`, code: modelmanager.CodeModelError, says: "without writing $MM_OUTPUT"},
		{name: "too few", program: `import os; open(os.environ["MM_OUTPUT"], "w").write("y\n1\n")`, code: modelmanager.CodeInvalidPredictions, says: "2 rows with 1 prediction"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := options(t, spec.Run{Job: &spec.Job{Command: []string{python(t), "-c", test.program}}}, t.TempDir())
			o.Spec.Env = test.env
			job := worker.NewJob(o)
			defer job.Close()
			answer, err := job.Predict(within(t, 20*time.Second), record(t, 1, 2.5))
			if modelmanager.CodeOf(err) != test.code {
				t.Fatal(err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("%q doesn't say %q", err, test.says)
				}
				return
			}
			if got, want := predicted(t, o.Spec.Predictions, answer, 2), `[{"y":2},{"y":5}]`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
