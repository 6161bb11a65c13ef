package fault

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev"
)

// TestNothingOutlivesACrash kills the server under models that don't end when
// told to, and that have left helpers behind: all of it ends.
func TestNothingOutlivesACrash(t *testing.T) {
	s := startServer(t)
	models := []string{"forks-children", "ignores-sigterm", "good"}
	for _, model := range models {
		s.publish(filepath.Join("models", model))
		await(t, 60*time.Second, model+" answers", func() error {
			_, err := s.client.Predict(t.Context(), model, 0, modelmanager.PredictRequest{Rows: rows(`{"x": 1}`)})
			return err
		})
	}
	const least = 3*2 + 3 // agents, workers and helpers
	await(t, 10*time.Second, "everything runs", func() error {
		if running := s.processes(); len(running) < least {
			return fmt.Errorf("%d processes of at least %d: %+v", len(running), least, running)
		}
		return nil
	})
	s.stop(syscall.SIGKILL)
	s.nothingLeft()
}
