package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// badModels are those of test/fault/models that have a predict function, with what
// their health says once they have been asked for the number 13.
var badModels = map[string]string{
	"answers-late":            `took longer than 1s`,
	"answers-not-a-number":    `predictions are invalid`,
	"crashes-at-load":         `No module named 'a_package_of_my_laptop'`,
	"crashes-on-a-row":        `killed by SIGSEGV`,
	"divides-by-zero":         `division by zero`,
	"eats-memory":             `96Mi`,
	"floods-stdout":           ``,
	"forks-children":          ``,
	"hangs":                   `took longer than 1s`,
	"hangs-on-a-row":          `took longer than 2s`,
	"ignores-sigterm":         ``,
	"loses-its-feature-store": `Connection refused`,
	"loses-rows":              `predict returned 0 predictions for 1 row`,
}

// goodAtHome is what a model does that is bad only in its pod: its examples are
// right where it is published.
const goodAtHome = `import os

if os.path.exists("/mm-agent/mm-agent"):
    from bad import predict
else:
    def predict(rows: list):
        return [{"y": 2 * row["x"]} for row in rows]
`

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
	settings := filepath.Join(dir, "model.yaml")
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "resources: {") {
		edit(t, settings, "resources: {", "resources: {cpu: 20m, ")
	} else {
		edit(t, settings, "run:\n", "resources: {cpu: 20m, memory: 64Mi}\nrun:\n")
	}
	if model != "good" {
		if err := os.Rename(filepath.Join(dir, "predict.py"), filepath.Join(dir, "bad.py")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "predict.py"), []byte(goodAtHome), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
