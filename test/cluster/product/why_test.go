package product_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/test/cluster"
)

// toldWhy: of a model or a job that the cluster doesn't run, the API and the CLI
// say why: no node has what it needs, its image is gone, or the quota is used up.
// Calls that wait for it are told as much.
func (i *installation) toldWhy(t *testing.T) {
	large := i.named(t, "too-large")
	edit(t, filepath.Join(large, "model.yaml"), "resources: {cpu: 100m", "resources: {cpu: 90")
	i.publish(t, large)
	i.says(t, "too-large", "no node has room for it, which needs CPU 90", "Insufficient cpu")
	i.saysOfJob(t, "too-large", "no node has room for it, which needs CPU 90")

	i.publish(t, i.named(t, "image-gone"))
	i.deleteImage(t, "image-gone")
	i.says(t, "image-gone", "image", "can't be pulled", "not found")
	i.saysOfJob(t, "image-gone", "can't be pulled")

	quotas := i.Client.CoreV1().ResourceQuotas(models)
	quota, err := quotas.Get(t.Context(), "models", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	limit := func(pods resource.Quantity) {
		cluster.Eventually(t, time.Minute, "the quota is "+pods.String(), func(ctx context.Context) (bool, string, error) {
			now, err := quotas.Get(ctx, quota.Name, metav1.GetOptions{})
			if err != nil {
				return false, "", err
			}
			if known := now.Status.Hard[corev1.ResourcePods]; known.Cmp(pods) == 0 {
				return true, "", nil
			}
			now.Spec.Hard[corev1.ResourcePods] = pods
			_, err = quotas.Update(ctx, now, metav1.UpdateOptions{})
			return false, "it doesn't hold yet", err
		})
	}
	before := quota.Spec.Hard[corev1.ResourcePods]
	limit(resource.MustParse("0"))
	i.publish(t, i.named(t, "over-quota"))
	i.says(t, "over-quota", "they exceed the quota models", "limited: pods=0")
	limit(before)
	// The cluster's own controller tries again after a while; until then calls are told why.
	cluster.Eventually(t, 2*time.Minute, "the model answers with the quota that it needs", func(ctx context.Context) (bool, string, error) {
		_, err := i.api.Predict(ctx, "over-quota", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, "over-quota")}})
		return err == nil, fmt.Sprint(err), nil
	})
	i.answersItsExamples(t, "over-quota")
	for _, model := range []string{"too-large", "image-gone", "over-quota"} {
		if err := i.api.Retire(t.Context(), model, "the test is over"); err != nil {
			t.Error(err)
		}
	}
}

// saysOfJob starts a job, waits until it says why it doesn't run, and cancels it.
func (i *installation) saysOfJob(t *testing.T, model, words string) {
	t.Helper()
	upload, err := i.api.Upload(t.Context(), "rows.jsonl", bytes.NewReader(i.row(t, model)))
	if err != nil {
		t.Fatal(err)
	}
	job, err := i.api.SubmitJob(t.Context(), model, modelmanager.JobRequest{Input: modelmanager.JobInput{Upload: upload.ID}}, "")
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "the job of "+model+" says why it doesn't run", func(ctx context.Context) (bool, string, error) {
		job, err = i.api.Job(ctx, job.ID)
		return err == nil && strings.Contains(job.Reason, words), fmt.Sprintf("%s: %s", job.State, job.Reason), err
	})
	t.Log(job.Reason)
	if shown := i.run(t, "jobs", "show", job.ID); !strings.Contains(strings.Join(strings.Fields(shown), " "), words) {
		t.Errorf("mm jobs show:\n%s", shown)
	}
	if err := i.api.CancelJob(t.Context(), job.ID, false); err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		t.Error(err)
	}
	i.ended(t, job.ID, time.Minute)
}

// deleteImage deletes a model's image from the registry.
func (i *installation) deleteImage(t *testing.T, model string) {
	t.Helper()
	version, err := i.api.Version(t.Context(), model, i.latest(t, model))
	if err != nil {
		t.Fatal(err)
	}
	reference, err := name.NewDigest(version.Artifact.Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(reference); err != nil {
		t.Fatal(err)
	}
}

// named is the example in Go under another name.
func (i *installation) named(t *testing.T, name string) string {
	t.Helper()
	folder := copyOf(t, "iris-species-go")
	edit(t, filepath.Join(folder, "model.yaml"), "name: iris-species-go", "name: "+name)
	return folder
}

// says waits until a model that was called says why it doesn't answer.
func (i *installation) says(t *testing.T, model string, words ...string) {
	t.Helper()
	cluster.Eventually(t, time.Minute, model+" says why it doesn't run", func(ctx context.Context) (bool, string, error) {
		_, refused := i.api.PredictWithin(ctx, 2*time.Second, model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{i.row(t, model)}})
		var e *modelmanager.Error
		if !errors.As(refused, &e) || e.Code != modelmanager.CodeUnavailable || e.RetryAfter <= 0 {
			return false, fmt.Sprintf("a call ends with %v", refused), nil
		}
		info, err := i.api.Model(ctx, model)
		if err != nil {
			return false, "", err
		}
		for _, word := range words {
			if !strings.Contains(info.Health.Reason, word) {
				return false, fmt.Sprintf("%s: %s", info.Health.State, info.Health.Reason), nil
			}
			if !strings.Contains(e.Detail, word) {
				return false, "a call is told " + e.Detail, nil
			}
		}
		t.Log(info.Health.Reason)
		return true, "", nil
	})
	if shown := i.run(t, "models", "show", model); !strings.Contains(strings.Join(strings.Fields(shown), " "), words[0]) {
		t.Errorf("mm models show:\n%s", shown)
	}
}
