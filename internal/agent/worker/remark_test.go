package worker_test

import (
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// TestRemarks: what is odd about a worker that answers is told, in a sentence;
// of one that isn't odd nothing is.
func TestRemarks(t *testing.T) {
	for name, test := range map[string]struct{ program, want string }{
		"plain": {"", ""},
		"floods": {`
for i in range(6):
    print("x" * (1 << 20))`, "it prints more than 1 MiB a second"},
		"strays": {`
import subprocess
subprocess.Popen(["sleep", "300"], start_new_session=True)
subprocess.Popen(["sleep", "300"])`, "a process that it started has left its process group"},
		"ignores": {`
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)`, "it ignores SIGTERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			odd := newSpec([]modelmanager.Field{x}, []modelmanager.Field{y})
			odd.Run = spec.Run{Python: "predict.py:predict"}
			o := optionsOf(t, odd, model(t, "predict.py", test.program+`
def predict(rows: list):
    return [{"y": 2 * row["x"]} for row in rows]`))
			o.Environment.Python = python(t)
			s := supervise(t, o)
			if _, err := s.Predict(within(t, time.Minute), record(t, 1)); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			if test.want == "" {
				deadline = time.Now()
			}
			state := s.State()
			for tick := time.NewTicker(20 * time.Millisecond); !strings.Contains(state.Remark, test.want) && time.Now().Before(deadline); state = s.State() {
				<-tick.C
			}
			if !strings.Contains(state.Remark, test.want) || (test.want == "") != (state.Remark == "") || state.Trouble != "" {
				t.Errorf("the remark is %q, trouble %q; want %q", state.Remark, state.Trouble, test.want)
			}
		})
	}
}
