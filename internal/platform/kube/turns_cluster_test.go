package kube

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/test/cluster"
)

// TestJobsTakeTurnsUnderAQuota lets a large job use up a quota, so that pods of
// a small one can't even be made. The large one gives way, and loses no pod.
func TestJobsTakeTurnsUnderAQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	if _, err := w.Client.CoreV1().ResourceQuotas(namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("4")}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	quotaUses := func(want int64) {
		t.Helper()
		cluster.Eventually(t, time.Minute, "the quota is used", func(ctx context.Context) (bool, string, error) {
			quota, err := w.Client.CoreV1().ResourceQuotas(namespace).Get(ctx, "few", metav1.GetOptions{})
			if err != nil {
				return false, "", err
			}
			used, known := quota.Status.Used[corev1.ResourcePods]
			return known && used.Value() == want, used.String(), nil
		})
	}
	quotaUses(0)
	d := w.driver(t, namespace, nil)
	s := observe(t, d)
	large := w.run(t, "large", platformtest.Behaviour{TaskTime: 3 * time.Second})
	large.Count, large.Parallelism = 200, 12
	if err := d.StartJob(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	quotaUses(4)
	small := w.run(t, "small", platformtest.Behaviour{})
	small.Count = 2
	if err := d.StartJob(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(t, small.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
	for _, event := range s.job(large.Job) {
		if event.Index == -1 || event.State == platform.TaskFailed {
			t.Errorf("of the large job: %+v", event)
		}
	}
	// One that waits for a node may be taken away, and so may one that its
	// controller made before it heard of the turn; not one that has run since.
	events, err := w.Client.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]time.Time{}
	for _, event := range events.Items {
		if event.Reason == "Started" {
			started["Deleted pod: "+event.InvolvedObject.Name] = event.FirstTimestamp.Time
		}
	}
	for _, event := range events.Items {
		since, ran := started[event.Message]
		if ran && event.Reason == "SuccessfulDelete" && event.FirstTimestamp.Sub(since) > time.Second {
			t.Errorf("a pod that ran was taken away: %s, at %v, running since %v", event.Message, event.FirstTimestamp, since)
		}
	}
	if err := d.StopJob(t.Context(), large.Job, large.Step); err != nil {
		t.Error(err)
	}
}
