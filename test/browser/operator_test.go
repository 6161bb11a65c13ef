package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

const tumour = "../../examples/models/tumour-malignancy"

// example is the first example of a model's folder.
func example(t *testing.T, folder string) json.RawMessage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := spec.Parse("model.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	row, err := json.Marshal(parsed.Examples[0].Features)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// TestAnOperatorFindsWhatIsWrong: a model in R that can't start, one of
// scikit-learn whose callers wait, and a job that waits for another: each is
// found on Operations, and put right from there.
func TestAnOperatorFindsWhatIsWrong(t *testing.T) {
	needs.Program(t, "Rscript")
	a, models := newVisitorOf(t, []string{"--job-slots", "1"}, donors, fuel, tumour)
	answers := a.holds(models, 2)

	// Version 2 of each needs something that is there when it is published, and
	// gone when it is called.
	prices, table := newSwitch(t), newSwitch(t)
	prepend := func(file, text string) {
		t.Helper()
		path := filepath.Join(models, file)
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a.publishes(path, text+string(source), 2)
	}
	prepend("fuel-consumption/predict.R", fmt.Sprintf("if (!file.exists(%q)) stop(\"the list of prices is gone\")\n", string(prices)))
	prepend("tumour-malignancy/predict.py", fmt.Sprintf("import os\nimport time\n\nwhile not os.path.exists(%q):\n    time.sleep(0.05)\n", string(table)))
	prices.off(t)
	table.off(t)
	answers.off(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ask := func(name, folder string) chan error {
		row, done := example(t, folder), make(chan error, 1)
		go func() {
			_, err := a.api.Predict(ctx, name, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{row}})
			done <- err
		}()
		return done
	}
	failing, waiting := ask("fuel-consumption", fuel), ask("tumour-malignancy", tumour)
	upload := func(name string) modelmanager.Job {
		t.Helper()
		file, err := a.api.Upload(t.Context(), name, strings.NewReader(givers))
		if err != nil {
			t.Fatal(err)
		}
		job, err := a.api.SubmitJob(t.Context(), "donor-reply", modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: file.ID, Name: name}, Version: 2}, "")
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	first := upload("first.csv")
	a.eventually("the first job runs", func(ctx context.Context) (bool, error) {
		job, err := a.api.Job(ctx, first.ID)
		return job.State == modelmanager.JobRunning, err
	})
	upload("second.csv")

	// What is wrong, and why.
	a.open("/operations")
	a.wait("document.querySelector('.troubles') !== null && document.querySelector('.troubles').innerText.includes('the list of prices is gone')")
	a.says(".troubles", "fuel-consumption", "version 2", "Failing")
	a.wait("document.querySelector('#runs-tumour-malignancy-2 [data-label=Waiting]') !== null && document.querySelector('#runs-tumour-malignancy-2 [data-label=Waiting]').textContent === '1'")
	a.says("#runs-tumour-malignancy-2", "Starting")
	a.says(".figures", "waiting for a replica", "Jobs running 1 1 waiting")
	a.seen("operations-trouble")

	// The job that waits for the first one's slot.
	a.clickText(".figures a", "1 waiting")
	a.says(".jobs-table", "second.csv")
	a.clickText(".jobs-table a", "second.csv")
	a.says("#state", "Waiting", "The job starts as soon as there is room for it.")
	a.seen("job-waiting")
	answers.on(t)
	a.wait("document.getElementById('get') !== null")
	a.says("main", "Every row was predicted.")
	a.clickText("a", "What the model has printed")
	a.seen("job-log")

	// The model that can't start: its log, and back.
	a.open("/operations")
	a.clickText(".troubles a", "fuel-consumption")
	a.says("main", "Failing", "the list of prices is gone")
	a.seen("model-failing")
	a.clickText("a", "What it has written to its log")
	a.says(".log", "the list of prices is gone")
	a.seen("log-failing")
	a.clickText(".tabs a", "Traffic")
	a.clickText("[aria-labelledby=back] button", "Roll back")
	a.typeInto("#reason", "no prices")
	a.follow("main .primary")
	a.says(".history", "no prices", "rolled back")
	a.wait("document.querySelector('.shares') !== null && document.querySelector('.shares').innerText.includes('Version 1')")
	a.clickText(".tabs a", "Try it")
	a.clickText(".samples a", "Mazda RX4")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	a.says("#answer", "litres", "10.7", "Answered by version 1")

	// Those who waited are answered.
	table.on(t)
	if err := <-waiting; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	a.open("/models/tumour-malignancy/try?example=1")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	a.says("#answer", "probability", "That the mass is malignant", "Answered by version 2")
	a.open("/operations")
	a.wait("document.querySelector('#runs-tumour-malignancy-2 .health.healthy') !== null && document.querySelector('#runs-fuel-consumption-1 .health.healthy') !== null")
	cancel()
	if err := <-failing; err == nil {
		t.Error("a version that can't start has answered")
	}
}
