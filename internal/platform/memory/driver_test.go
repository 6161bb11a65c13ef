package memory_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	"modelmanager.dev/internal/platform/memory"
	"modelmanager.dev/internal/platform/platformtest"
)

func TestConformance(t *testing.T) {
	platformtest.Run(t, func(t *testing.T) *platformtest.Fixture {
		driver, err := memory.New(memory.Options{
			Predict: func(w platform.Workload, answer http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				platformtest.Predict(r.Context(), behaviour(t, w), w.Version.Model, answer)
			},
			Load: func(_ context.Context, w platform.Workload, _ func(agent.Stage, string)) error {
				if reason := behaviour(t, w).LoadError; reason != "" {
					return errors.New(reason)
				}
				return nil
			},
			Task: func(ctx context.Context, task control.Task) error {
				code, reason := behaviour(t, task.Run.Workload).RunTask(ctx, task.Index, task.Attempt)
				err := control.TaskError(code, reason)
				if code < 0 {
					return control.Killed(err, platformtest.FirstWords(task.Run.Workload.Version.Model))
				}
				return err
			},
			Backoff: control.Backoff{First: 10 * time.Millisecond, Most: 200 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		return &platformtest.Fixture{
			Driver: driver,
			Workload: func(t *testing.T, name string, b platformtest.Behaviour) platform.Workload {
				return platformtest.NewWorkload(t, name, b, modelmanager.Artifact{Digest: "sha256:00", Archive: "artifacts/00"})
			},
			Kill: func(t *testing.T, r platform.Replica) {
				if !driver.Kill(r.ID, "killed by the test") {
					t.Fatalf("replica %s isn't there", r.ID)
				}
			},
		}
	})
}

func behaviour(t *testing.T, w platform.Workload) platformtest.Behaviour {
	b, err := platformtest.BehaviourOf(w.Spec)
	if err != nil {
		t.Error(err)
	}
	return b
}
