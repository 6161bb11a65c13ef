package pipeline

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
)

// weighed is a worker that held so much.
type weighed struct {
	worker.Predictor
	peak int64
}

func (w weighed) Peak() int64 { return w.peak }

// TestNearItsLimits: a model that just keeps within its limits is warned, at the
// line that sets them.
func TestNearItsLimits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "doubler")
	writeModel(t, dir, "timeouts: {start: 10s}\nresources: {memory: 100Mi}\n", predictDouble)
	folder := loadFolder(t, dir)
	for _, test := range []struct {
		name  string
		start time.Duration
		peak  int64
		want  []string
	}{
		{"well within", 8 * time.Second, 80 << 20, nil},
		{"unknown", 0, 0, nil},
		{"slow", 8100 * time.Millisecond, 10 << 20, []string{"warning slow_start at line 7: it took 8.1s to start, of the 10s that it may take"}},
		{"large", time.Second, 81 << 20, []string{"warning high_memory at line 8: it held up to 81 MiB, of the 100 MiB that it may hold"}},
		{"both", 9 * time.Second, 99 << 20, []string{
			"warning slow_start at line 7: it took 9s to start, of the 10s that it may take",
			"warning high_memory at line 8: it held up to 99 MiB, of the 100 MiB that it may hold"}},
	} {
		report := &Report{Model: "doubler", Start: spec.Duration(test.start)}
		trial{Prepared: &Prepared{Spec: folder.Spec, place: folder.Place}, report: report}.weigh(weighed{peak: test.peak})
		var got []string
		for _, f := range report.Findings {
			got = append(got, fmt.Sprintf("%s %s at line %d: %s", f.Severity, f.Code, f.Line, f.Message))
			if f.Suggestion == "" || filepath.Base(f.File) != "model.yaml" {
				t.Errorf("%s: %+v", test.name, f)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
		if err := report.Err(); err != nil {
			t.Errorf("%s: a warning keeps it from being published: %v", test.name, err)
		}
	}
}
