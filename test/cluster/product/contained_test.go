package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// badModels are some of test/fault/models that pass their own examples, with
// what their health says once they have been asked for the number 13.
var badModels = map[string]string{
	"crashes-on-a-row": `killed by SIGSEGV`,
	"hangs-on-a-row":   `took longer than 2s`,
	"divides-by-zero":  `division by zero`,
	"floods-stdout":    ``,
	"forks-children":   ``,
	"ignores-sigterm":  ``,
}

// contained: bad models beside a good one hurt nobody but themselves, and each
// says what is wrong with it.
func (i *installation) contained(t *testing.T) {
	i.publish(t, i.fault(t, "good"))
	for model := range badModels {
		i.publish(t, i.fault(t, model))
	}
	calls := i.start(t, "good", 4, 10*time.Millisecond)
	calls.await(t, time.Minute, 1)
	row := json.RawMessage(`{"x": 13}`)
	for model, reason := range badModels {
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, _ = i.api.Predict(ctx, model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}}) // whatever comes of it
			cancel()
		}
		cluster.Eventually(t, time.Minute, model+" says how it does", func(ctx context.Context) (bool, string, error) {
			info, err := i.api.Model(ctx, model)
			if err != nil {
				return false, "", err
			}
			standing := fmt.Sprintf("%s: %s", info.Health.State, info.Health.Reason)
			if reason == "" {
				return info.Health.State == modelmanager.Healthy, standing, nil
			}
			return regexp.MustCompile(reason).MatchString(info.Health.Reason), standing, nil
		})
	}
	calls.end(t)
	for model := range badModels {
		if err := i.api.Retire(t.Context(), model, "the test is over"); err != nil {
			t.Error(err)
		}
	}
	if err := i.api.Retire(t.Context(), "good", "the test is over"); err != nil {
		t.Error(err)
	}
}

// fault is a model of test/fault, in a folder of its own.
func (i *installation) fault(t *testing.T, model string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), model)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "test", "fault", "models", model))); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "model.yaml"), "run:\n", "resources: {cpu: 50m, memory: 64Mi}\nrun:\n")
	return dir
}
