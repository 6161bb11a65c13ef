package product_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// rowsOfJob is how many rows the job has: eight shards.
const (
	shards       = 8
	rowsPerShard = 30_000
	rowsOfJob    = shards * rowsPerShard
)

// jobs: a job of eight shards, pods of which are killed while they run, gives
// every row once, in order.
func (i *installation) jobs(t *testing.T) {
	const model = "tumour-malignancy"
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "run:\n", fmt.Sprintf("batch: {rows_per_shard: %d, rows_per_call: 1000, parallelism: 3}\nrun:\n", rowsPerShard))
	i.publish(t, folder)
	input := filepath.Join(t.TempDir(), "in.csv")
	writeRows(t, input)

	job, err := i.submit(t, model, input)
	if err != nil {
		t.Fatal(err)
	}
	killed := map[string]bool{}
	cluster.Eventually(t, 3*time.Minute, "three pods of the job were killed", func(ctx context.Context) (bool, string, error) {
		pods, err := i.pods(ctx, "modelmanager.dev/job="+job.ID+",modelmanager.dev/step=shards")
		if err != nil {
			return false, "", err
		}
		for _, pod := range pods {
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil && !killed[pod.Name] && len(killed) < 3 {
				grace := int64(0)
				if err := i.Client.CoreV1().Pods(models).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
					return false, "", err
				}
				killed[pod.Name] = true
			}
		}
		return len(killed) == 3, fmt.Sprintf("%d killed", len(killed)), nil
	})
	ended := i.ended(t, job.ID, 5*time.Minute)
	if ended.State != modelmanager.JobSucceeded || ended.Shards.Total != shards || ended.Rows.Predicted != rowsOfJob {
		t.Fatalf("the job ended as %s, %q: %d of %d shards, %d rows predicted", ended.State, ended.Reason, ended.Shards.Done, ended.Shards.Total, ended.Rows.Predicted)
	}
	t.Logf("%d rows in %s, with three pods killed", rowsOfJob, ended.Finished.Sub(ended.Created).Round(time.Second))
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	checkRows(t, output)
	logs, err := i.api.JobLogs(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	logs.Close()
}

func (i *installation) submit(t *testing.T, model, input string) (modelmanager.Job, error) {
	t.Helper()
	file, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	upload, err := i.api.Upload(t.Context(), filepath.Base(input), file)
	if err != nil {
		return modelmanager.Job{}, err
	}
	return i.api.SubmitJob(t.Context(), model, modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}}, "")
}

// ended waits for a job's end.
func (i *installation) ended(t *testing.T, id string, within time.Duration) modelmanager.Job {
	t.Helper()
	var job modelmanager.Job
	cluster.Eventually(t, within, "job "+id+" has ended", func(ctx context.Context) (bool, string, error) {
		var err error
		job, err = i.api.Job(ctx, id)
		return err == nil && job.State.Final(), fmt.Sprintf("%s, %d of %d shards, %q", job.State, job.Shards.Done, job.Shards.Total, job.Reason), err
	})
	return job
}

// writeRows repeats the example's data, each row with an id of its own.
func writeRows(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "examples", "data", "tumour-malignancy.csv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	fmt.Fprintf(w, "row,%s\n", lines[0])
	for row := range rowsOfJob {
		fmt.Fprintf(w, "r%d,%s\n", row, lines[1+row%(len(lines)-1)])
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkRows reads a job's output: every row once, in the input's order.
func checkRows(t *testing.T, output io.Reader) {
	t.Helper()
	reader := csv.NewReader(output)
	header, err := reader.Read()
	if err != nil || header[0] != "row" {
		t.Fatalf("the output begins with %v (%v)", header, err)
	}
	reader.ReuseRecord = true
	for row := range rowsOfJob {
		record, err := reader.Read()
		if err != nil {
			t.Fatalf("row %d of the output: %v", row, err)
		}
		if want := fmt.Sprintf("r%d", row); record[0] != want {
			t.Fatalf("row %d of the output is %s, want %s", row, record[0], want)
		}
	}
	if _, err := reader.Read(); err != io.EOF {
		t.Fatalf("the output goes on after its last row: %v", err)
	}
}
