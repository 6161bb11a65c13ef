package worker_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
)

func TestZygote(t *testing.T) {
	interpreter := scientific(t)
	z, err := worker.StartZygote(worker.ZygoteOptions{
		Python: interpreter, Dir: t.TempDir(), Modules: []string{"pandas", "pyarrow", "no_such_module"},
		Env: []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	o := pythonOptions(t, flavour{python: interpreter}, newSpec([]modelmanager.Field{x}, []modelmanager.Field{y}), `
import os, pandas
print("hello from the model")
def predict(rows):
    if rows.x[0] == 13: os.abort()
    if rows.x[0] == 14: os._exit(4)
    assert os.environ["MM_MODEL"] == "test" and "ZYGOTE_ONLY" not in os.environ and os.getcwd() == os.environ["EXPECTED_DIR"]
    return rows.x * 2
`)
	o.Spec.Env = map[string]string{"EXPECTED_DIR": o.Dir}
	o.Zygote = z.Socket()
	s := supervise(t, o)
	ask := func() {
		t.Helper()
		answer, err := s.Predict(within(t, time.Minute), record(t, 1, 2))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := predicted(t, o.Spec.Predictions, answer, 2), `[{"y":2},{"y":4}]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	ask()
	if lines := strings.Join(s.Log().Lines(10), "\n"); !strings.Contains(lines, "hello from the model") {
		t.Errorf("the log is %q", lines)
	}
	for value, says := range map[float64]string{13: "was killed by SIGABRT: Fatal Python error: Aborted", 14: "exited with code 4"} {
		_, err := s.Predict(within(t, time.Minute), record(t, value))
		if !worker.Lost(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
		begin := time.Now()
		ask()
		t.Logf("the first answer of a forked worker took %v", time.Since(begin))
	}
	// Without the zygote, its workers are gone and fresh processes take over.
	z.Close()
	until(t, s, "a fresh worker runs", func(s worker.State) bool { return s.Restarts == 3 && s.Ready })
	ask()
}
