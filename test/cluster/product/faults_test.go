package product_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/test/cluster"
)

// servers returns the ready replicas of the server.
func (i *installation) servers(ctx context.Context) ([]corev1.Pod, error) {
	list, err := i.Client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=model-manager"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return pod.DeletionTimestamp != nil || !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}), nil
}

// replicasKilled: each replica of the server is killed in its turn while a job
// runs and a file comes in. The job goes on, and whoever calls again is answered.
func (i *installation) replicasKilled(t *testing.T) {
	const model = "tumour-malignancy"
	before := i.listed(t)
	input := filepath.Join(t.TempDir(), "in.csv")
	writeRows(t, input)
	job, err := i.submit(t, model, input)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := i.servers(t.Context())
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d servers (%v)", len(pods), err)
	}
	calls := i.insist(t, model)
	var upload modelmanager.Upload
	for n, pod := range pods {
		upload = i.uploadAcross(t, input, func() {
			if err := i.Client.CoreV1().Pods(system).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
				t.Fatal(err)
			}
		})
		i.ready(t)
		cluster.Eventually(t, time.Minute, fmt.Sprintf("a prediction after server %d was killed", n+1), func(ctx context.Context) (bool, string, error) {
			_, err := i.api.Predict(ctx, model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}})
			return err == nil, "", err
		})
	}
	if answered := calls(); answered == 0 {
		t.Error("no call was answered meanwhile")
	}
	i.allRows(t, job)
	// The file is what was sent, whichever server took which part of it.
	if job, err = i.api.SubmitJob(t.Context(), model, modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}}, ""); err != nil {
		t.Fatal(err)
	}
	i.allRows(t, job)
	if after := i.listed(t); !slices.Equal(before, after) {
		t.Errorf("the models are %v after it, and were %v", after, before)
	}
}

// insist calls a model again and again, each time until it is answered, which
// must not take long. What it returns ends that, and tells how many were.
func (i *installation) insist(t *testing.T, model string) (end func() int) {
	t.Helper()
	request := modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		answered := 0
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for asked := time.Now(); ctx.Err() == nil; {
			one, stop := context.WithTimeout(ctx, 2*time.Second) // a connection to one that is gone hangs
			_, err := i.api.Predict(one, model, 0, request)
			stop()
			if took := time.Since(asked); took > 20*time.Second && ctx.Err() == nil {
				t.Errorf("a call was answered only after %v (%v)", took, err)
			}
			if err == nil {
				answered++
				asked = time.Now()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		ended <- answered
	}()
	return sync.OnceValue(func() int { cancel(); return <-ended })
}

// uploadAcross sends a file in whose middle something happens. If it is lost with
// the server that took it, it is sent again.
func (i *installation) uploadAcross(t *testing.T, path string, event func()) modelmanager.Upload {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		upload modelmanager.Upload
		err    error
	}
	reader, writer := io.Pipe()
	sent := make(chan result, 1)
	go func() {
		upload, err := i.api.Upload(t.Context(), filepath.Base(path), reader)
		_ = reader.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // whoever still writes hears of it
		sent <- result{upload, err}
	}()
	_, _ = writer.Write(content[:len(content)/2]) // its end says what came of it
	event()
	_, _ = writer.Write(content[len(content)/2:])
	_ = writer.Close()
	first := <-sent
	if first.err == nil {
		return first.upload
	}
	t.Logf("the upload was lost with its server: %v", first.err)
	var again modelmanager.Upload
	cluster.Eventually(t, time.Minute, "the file is taken", func(ctx context.Context) (bool, string, error) {
		again, err = i.api.Upload(ctx, filepath.Base(path), bytes.NewReader(content))
		return err == nil, "", err
	})
	return again
}

// allRows waits for a job's end, and checks that each row is there once.
func (i *installation) allRows(t *testing.T, job modelmanager.Job) {
	t.Helper()
	ended := i.ended(t, job.ID, 5*time.Minute)
	if ended.State != modelmanager.JobSucceeded || ended.Rows.Predicted != rowsOfJob {
		t.Fatalf("the job ended as %s, %q, %d rows predicted", ended.State, ended.Reason, ended.Rows.Predicted)
	}
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	checkRows(t, output)
}

// listed names the first page of models.
func (i *installation) listed(t *testing.T) (names []string) {
	t.Helper()
	list, err := i.api.Models(t.Context(), client.ModelQuery{})
	if err != nil || len(list.Models) == 0 {
		t.Fatalf("%d models (%v)", len(list.Models), err)
	}
	for _, model := range list.Models {
		names = append(names, model.Name)
	}
	return names
}

// away is how long the control plane is gone.
const away = time.Minute

// controlPlane: while etcd, the API server and the controllers are gone, models
// that run go on answering. Once they are back, a job that was under way ends as
// it should, and a version that is published then answers from nothing.
func (i *installation) controlPlane(t *testing.T) {
	const model = "tumour-malignancy"
	calls := i.start(t, model, 2, 20*time.Millisecond)
	cluster.Eventually(t, 2*time.Minute, "the model answers", func(context.Context) (bool, string, error) {
		calls.mu.Lock()
		defer calls.mu.Unlock()
		return len(calls.by) > 0, fmt.Sprint(calls.bad), nil
	})
	input := filepath.Join(t.TempDir(), "in.csv")
	writeRows(t, input)
	job, err := i.submit(t, model, input)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 2*time.Minute, "shards of the job are done", func(ctx context.Context) (bool, string, error) {
		job, err = i.api.Job(ctx, job.ID)
		return err == nil && job.Shards.Done > 0, string(job.State), err
	})
	i.Kill(t, "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
	calls.answers()
	gone := time.NewTimer(away)
	defer gone.Stop()
	select {
	case <-gone.C:
	case <-t.Context().Done():
	}
	answered := 0
	for _, n := range calls.answers() {
		answered += n
	}
	i.Start(t)
	calls.end(t)
	if answered < 500 {
		t.Errorf("%d calls were answered in the %s without an API server", answered, away)
	}
	t.Logf("%d calls were answered in the %s without an API server", answered, away)
	i.ready(t)
	if ended := i.ended(t, job.ID, 5*time.Minute); ended.State != modelmanager.JobSucceeded || ended.Rows.Predicted != rowsOfJob {
		t.Errorf("the job ended as %s, %q: %d rows predicted", ended.State, ended.Reason, ended.Rows.Predicted)
	}
	output, err := i.api.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	checkRows(t, output)
	const fresh = "after-the-outage"
	i.publish(t, i.named(t, fresh))
	// The kubelet waits up to a minute before it asks the API server again.
	cluster.Eventually(t, 2*time.Minute, fresh+" answers", func(ctx context.Context) (bool, string, error) {
		_, err := i.api.Predict(ctx, fresh, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, fresh)}})
		return err == nil, fmt.Sprint(err), nil
	})
	i.answersItsExamples(t, fresh)
	if err := i.api.Retire(t.Context(), fresh, "the test is over"); err != nil {
		t.Error(err)
	}
}
