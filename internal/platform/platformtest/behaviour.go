package platformtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// Behaviour says what a workload of the suite does. It travels in the spec's
// params, so that whatever runs the version can read it.
type Behaviour struct {
	// LoadError makes loading fail with this reason, every time.
	LoadError string `json:"load_error,omitempty"`
	// PredictTime is how long an answer takes.
	PredictTime time.Duration `json:"predict_time,omitempty"`
	// Tasks says what each index of a job does; those not named succeed.
	Tasks map[int]TaskBehaviour `json:"tasks,omitempty"`
	// TaskTime is how long each task takes.
	TaskTime time.Duration `json:"task_time,omitempty"`
	// Orphan makes an agent outlive its parent.
	Orphan bool `json:"orphan,omitempty"`
}

// TaskBehaviour is what one index of a job does: an attempt in Faults ends
// with that exit code, the others succeed.
type TaskBehaviour struct {
	Faults []int `json:"faults,omitempty"` // exit codes of attempts 1, 2 …; the last one stays; killed: it is
	Hang   bool  `json:"hang,omitempty"`   // never ends by itself
}

// killed, instead of an exit code, is the end of an agent that was killed.
const killed = -1

// exit returns the exit code of an attempt.
func (b TaskBehaviour) exit(attempt int) int {
	if len(b.Faults) == 0 {
		return 0
	}
	return b.Faults[min(attempt, len(b.Faults))-1]
}

// NewWorkload returns a version that behaves as told, with an artifact of the
// given archive. Its key is its own.
func NewWorkload(t testing.TB, name string, behaviour Behaviour, artifact modelmanager.Artifact) platform.Workload {
	t.Helper()
	text, err := json.Marshal(behaviour)
	if err != nil {
		t.Fatal(err)
	}
	var params map[string]any
	if err := json.Unmarshal(text, &params); err != nil {
		t.Fatal(err)
	}
	s := &spec.Spec{
		Name: name, Summary: "A version of the suite.", Owner: "suite@example.org",
		Serve: []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch}, Rows: spec.Independent,
		Features:    []modelmanager.Field{{Name: "x", Type: modelmanager.Number}},
		Predictions: []modelmanager.Field{{Name: "y", Type: modelmanager.Number}},
		Run:         spec.Run{Command: []string{"python3", "worker.py"}},
		Params:      params,
		Resources:   spec.Resources{CPU: 100, Memory: 256 << 20, Disk: 64 << 20},
		Timeouts:    spec.Timeouts{Start: spec.Duration(20 * time.Second), Predict: spec.Duration(20 * time.Second)},
		Scale:       spec.Scale{Max: 10, Concurrency: 8, Idle: spec.Duration(time.Minute)},
		Batch:       spec.Batch{RowsPerShard: 1000, RowsPerCall: 100, Parallelism: 2, Timeout: spec.Duration(time.Minute), Retries: 3},
	}
	canonical, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(canonical + artifact.Digest))
	return platform.Workload{
		Version: modelmanager.Version{
			Model: name, Number: 1, Digest: "sha256:" + hex.EncodeToString(sum[:]), Spec: canonical,
			Artifact: artifact, Created: time.Now(),
		},
		Spec: s,
		Key:  "key-of-" + name,
	}
}

// BehaviourOf reads a spec's behaviour back.
func BehaviourOf(s *spec.Spec) (Behaviour, error) {
	var b Behaviour
	text, err := json.Marshal(s.Params)
	if err != nil {
		return b, fmt.Errorf("reading the params of %s: %w", s.Name, err)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return b, fmt.Errorf("reading the params of %s: %w", s.Name, err)
	}
	return b, nil
}

// Predict answers one call.
func Predict(ctx context.Context, b Behaviour, model string, w io.Writer) {
	if pause.For(ctx, b.PredictTime) {
		_, _ = w.Write([]byte(`{"model":` + strconv.Quote(model) + `}`)) // the caller may have gone
	}
}

// RunTask does what the behaviour says of one attempt at a task, and returns
// the exit code and the reason of the agent that would run it.
func (b Behaviour) RunTask(ctx context.Context, index, attempt int) (code int, reason string) {
	if b.Tasks[index].Hang {
		<-ctx.Done()
		return 1, "interrupted"
	}
	if !pause.For(ctx, b.TaskTime) {
		return 1, "interrupted"
	}
	if code = b.Tasks[index].exit(attempt); code != 0 && code != killed {
		reason = taskReason(code)
	}
	return code, reason
}
