package product_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// rowsOfJob is how many rows the job has: eight shards.
const (
	shards       = 8
	rowsPerShard = 30_000
	rowsOfJob    = shards * rowsPerShard
)

// jobs: a job of eight shards, of whose pods two are killed and an agent's
// process of a third, gives every row once, in order, as it should be predicted.
// Its results and logs stay when its pods and its Kubernetes Job are gone.
func (i *installation) jobs(t *testing.T) {
	const model = "tumour-malignancy"
	folder := copyOf(t, model)
	edit(t, filepath.Join(folder, "model.yaml"), "run:\n", fmt.Sprintf("batch: {rows_per_shard: %d, rows_per_call: 1000, parallelism: 3}\nrun:\n", rowsPerShard))
	edit(t, filepath.Join(folder, "predict.py"), "    return ", "    print('scoring', len(rows), 'rows', flush=True)\n    return ")
	i.publish(t, folder)
	input := filepath.Join(t.TempDir(), "in.csv")
	writeRows(t, input)

	job, err := i.submit(t, model, input)
	if err != nil {
		t.Fatal(err)
	}
	shardsOf := "modelmanager.dev/job=" + job.ID + ",modelmanager.dev/step=shards"
	killed := map[string]bool{}
	cluster.Eventually(t, 3*time.Minute, "three pods of the job were killed", func(ctx context.Context) (bool, string, error) {
		pods, err := i.pods(ctx, shardsOf)
		if err != nil {
			return false, "", err
		}
		for _, pod := range pods {
			switch {
			case pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || killed[pod.Name] || len(killed) == 3:
				continue
			case len(killed) == 0 && i.Ours(): // elsewhere, all are deleted
				if text, err := i.Client.CoreV1().Pods(models).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx); err != nil || !strings.Contains(string(text), "scoring") {
					continue // of this one the log is looked at
				}
				i.killProcess(t, []corev1.Pod{pod})
			default:
				i.deleteNow(t, []corev1.Pod{pod})
			}
			killed[pod.Name] = true
		}
		return len(killed) == 3, fmt.Sprintf("%d killed", len(killed)), nil
	})
	ended := i.ended(t, job.ID, 5*time.Minute)
	if ended.State != modelmanager.JobSucceeded || ended.Shards.Total != shards || ended.Rows.Predicted != rowsOfJob {
		t.Fatalf("the job ended as %s, %q: %d of %d shards, %d rows predicted", ended.State, ended.Reason, ended.Shards.Done, ended.Shards.Total, ended.Rows.Predicted)
	}
	t.Logf("%d rows in %s, with three pods killed", rowsOfJob, ended.Finished.Sub(ended.Created).Round(time.Second))
	i.kubectl(t, "delete", "jobs,pods", "-n", models, "-l", "modelmanager.dev/job="+job.ID, "--timeout=1m")
	if again, err := i.api.Job(t.Context(), job.ID); err != nil || again.State != modelmanager.JobSucceeded {
		t.Errorf("without its Kubernetes Job the job is %s (%v)", again.State, err)
	}
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	checkRows(t, output)
	if logs := i.logs(t, job.ID); strings.Count(logs, "scoring 1000 rows\n") < rowsOfJob/1000 || i.Ours() && !strings.Contains(logs, " was killed: ") {
		t.Errorf("the job's logs don't have a line for each call, and the end of the attempt that was killed:\n%s", tail([]byte(logs), 4000))
	}

	// Another one is cancelled while it runs: nothing of it is left.
	if job, err = i.submit(t, model, input); err != nil {
		t.Fatal(err)
	}
	pods := func(ctx context.Context) ([]corev1.Pod, error) { return i.pods(ctx, "modelmanager.dev/job="+job.ID) }
	cluster.Eventually(t, 2*time.Minute, "shards of the second job run", func(ctx context.Context) (bool, string, error) {
		job, err = i.api.Job(ctx, job.ID)
		return err == nil && job.Shards.Done > 0, string(job.State), err
	})
	if err := i.api.CancelJob(t.Context(), job.ID, false); err != nil {
		t.Fatal(err)
	}
	if ended := i.ended(t, job.ID, time.Minute); ended.State != modelmanager.JobCancelled {
		t.Errorf("the job that was cancelled is %s, %q", ended.State, ended.Reason)
	}
	cluster.Eventually(t, time.Minute, "the cancelled job has no pods", func(ctx context.Context) (bool, string, error) {
		left, err := pods(ctx)
		return len(left) == 0, fmt.Sprintf("%d pods", len(left)), err
	})
}

// logs is all that a job's workers have written, as far as it is known.
func (i *installation) logs(t *testing.T, id string) string {
	t.Helper()
	stream, err := i.api.JobLogs(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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

// checkRows reads a job's output: every row once, in the input's order, with the
// prediction of the row that it repeats, which any shard gives.
func checkRows(t *testing.T, output io.Reader) {
	t.Helper()
	reader := csv.NewReader(output)
	header, err := reader.Read()
	if err != nil || header[0] != "row" {
		t.Fatalf("the output begins with %v (%v)", header, err)
	}
	column := slices.Index(header, "probability")
	if column < 0 {
		t.Fatalf("the output has the columns %v", header)
	}
	reader.ReuseRecord = true
	first := map[string]string{} // by the features
	for row := range rowsOfJob {
		record, err := reader.Read()
		if err != nil {
			t.Fatalf("row %d of the output: %v", row, err)
		}
		if want := fmt.Sprintf("r%d", row); record[0] != want {
			t.Fatalf("row %d of the output is %s, want %s", row, record[0], want)
		}
		features, probability := strings.Join(record[1:column], ","), strings.Clone(record[column])
		if before, known := first[features]; known && before != probability {
			t.Fatalf("row %d of the output has the probability %s, and one like it %s", row, probability, before)
		}
		first[features] = probability
	}
	if _, err := reader.Read(); err != io.EOF {
		t.Fatalf("the output goes on after its last row: %v", err)
	}
}
