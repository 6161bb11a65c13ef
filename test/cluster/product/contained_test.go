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
	jobs := map[string]string{}
	for model := range jobEnds {
		jobs[model] = i.submitNumbers(t, model)
	}
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
	for model, end := range jobEnds {
		end.check(t, i, jobs[model])
	}
	calls.end(t)
	// Of what was rejected a job is made anew, which ends as the one before.
	again, err := i.api.RetryJob(t.Context(), jobs["crashes-on-a-row"])
	if err != nil {
		t.Fatal(err)
	}
	if ended := i.ended(t, again.ID, 2*time.Minute); ended.RetryOf != jobs["crashes-on-a-row"] || ended.Rows.Read != 1 {
		t.Errorf("the retry of job %s is %+v", jobs["crashes-on-a-row"], ended)
	}
	for model := range badModels {
		if err := i.api.Retire(t.Context(), model, "the test is over"); err != nil {
			t.Error(err)
		}
	}
	if err := i.api.Retire(t.Context(), "good", "the test is over"); err != nil {
		t.Error(err)
	}
}

// jobEnd is how a job of four hundred numbers ends.
type jobEnd struct {
	state    modelmanager.JobState
	why      string // of a failed one; a regular expression
	rejected string // why the number 13 is rejected; a regular expression
}

// jobEnds are those of jobs that run side by side, of bad models and a good one.
var jobEnds = map[string]jobEnd{
	"good":             {state: modelmanager.JobSucceeded},
	"crashes-at-load":  {state: modelmanager.JobFailed, why: `No module named 'a_package_of_my_laptop'`},
	"crashes-on-a-row": {state: modelmanager.JobSucceeded, rejected: `^the worker was killed by SIGSEGV`},
	"divides-by-zero":  {state: modelmanager.JobSucceeded, rejected: `division by zero`},
	"eats-memory":      {state: modelmanager.JobFailed, why: `fails on every row: .*96Mi`},
	"floods-stdout":    {state: modelmanager.JobSucceeded},
	"loses-rows":       {state: modelmanager.JobFailed, why: `predict returned 0 predictions for 1 row`},
}

const numbers = 400

// submitNumbers starts a job of the numbers from 0 on.
func (i *installation) submitNumbers(t *testing.T, model string) string {
	t.Helper()
	var rows strings.Builder
	rows.WriteString("x\n")
	for x := range numbers {
		fmt.Fprintln(&rows, x)
	}
	upload, err := i.api.Upload(t.Context(), "numbers.csv", strings.NewReader(rows.String()))
	if err != nil {
		t.Fatal(err)
	}
	job, err := i.api.SubmitJob(t.Context(), model, modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}, MaxRejected: "5"}, "")
	if err != nil {
		t.Fatal(err)
	}
	return job.ID
}

func (end jobEnd) check(t *testing.T, i *installation, id string) {
	t.Helper()
	job := i.ended(t, id, 4*time.Minute)
	if job.State != end.state || !regexp.MustCompile(end.why).MatchString(job.Reason) {
		t.Errorf("the job of %s is %s: %q; want %s: %s", job.Model, job.State, job.Reason, end.state, end.why)
		return
	}
	if end.state == modelmanager.JobFailed {
		if job.Code != modelmanager.CodeModelError {
			t.Errorf("the job of %s failed with the code %s", job.Model, job.Code)
		}
		if shown := strings.Join(strings.Fields(i.run(t, "jobs", "show", id)), " "); !regexp.MustCompile(end.why).MatchString(shown) {
			t.Errorf("mm jobs show of %s:\n%s", job.Model, shown)
		}
		return
	}
	var rejected int64
	if end.rejected != "" {
		rejected = 1
		var row struct {
			Row     int64
			Message string
		}
		stream, err := i.api.JobRejected(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if err := json.NewDecoder(stream).Decode(&row); err != nil || row.Row != 14 || !regexp.MustCompile(end.rejected).MatchString(row.Message) {
			t.Errorf("the job of %s rejected %+v (%v), want row 14: %s", job.Model, row, err, end.rejected)
		}
	}
	if job.Rows.Read != numbers || job.Rows.Rejected != rejected || job.Rows.Predicted != numbers-rejected {
		t.Errorf("the job of %s counts %+v", job.Model, job.Rows)
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
