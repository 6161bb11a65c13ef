package worker_test

import (
	"testing"
	"time"

	"modelmanager.dev"
)

// What workers cost is counted over their ends, and never taken back.
func TestProcessorTimeIsCounted(t *testing.T) {
	features := []modelmanager.Field{{Name: "x", Type: modelmanager.Number}}
	predictions := []modelmanager.Field{{Name: "y", Type: modelmanager.Number}}
	plain := flavour{name: "standard library", python: python(t)}
	s := supervise(t, pythonOptions(t, plain, newSpec(features, predictions), `
import time
def predict(rows):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    return [{"y": row["x"]} for row in rows]
`))
	rows := rowsOf(t, features, `{"rows": [{"x": 1}]}`)
	ctx := within(t, time.Minute)
	before := s.CPU()
	for call := range 2 {
		if _, err := s.Predict(ctx, rows); err != nil {
			t.Fatal(err)
		}
		after := s.CPU()
		if after-before < 250*time.Millisecond {
			t.Errorf("call %d took %s of processor time, and 300 ms are spent in it", call, after-before)
		}
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if before = s.CPU(); before < after-50*time.Millisecond {
			t.Errorf("with the worker its time has gone: %s, and %s before", before, after)
		}
	}
}
