package kube

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/test/cluster"
)

// TestAPodOfALostNodeIsGivenUp deletes pods of a step on nodes that never say
// that they have ended them, where no controller of the cluster does anything.
func TestAPodOfALostNodeIsGivenUp(t *testing.T) {
	config := kubetest.Start(t).Config()
	namespace := kubetest.Namespace(t, config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{
		Config: config, Namespace: namespace, AgentImage: "registry.example.org/agent:1", AgentSource: AgentImage,
		Lost: time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	run := platform.JobRun{Job: "j", Step: platform.StepShards, Workload: planWorkload(t), Count: 2, Parallelism: 2, Timeout: time.Hour}
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	job, err := client.BatchV1().Jobs(namespace).Get(t.Context(), jobName("j", platform.StepShards), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := client.CoreV1().Pods(namespace)
	for index := range 2 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("j-%d", index), Labels: map[string]string{batchv1.ControllerUidLabel: string(job.UID)},
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(index)},
			Finalizers:  []string{batchv1.JobTrackingFinalizer},
		}, Spec: *job.Spec.Template.Spec.DeepCopy()}
		for name, value := range job.Spec.Template.Labels {
			pod.Labels[name] = value
		}
		pod.Spec.NodeName = "gone"
		pod.Spec.TerminationGracePeriodSeconds = new(int64(1))
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pods.Delete(t.Context(), "j-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	observe(t, d)
	cluster.Eventually(t, time.Minute, "the pod that was told to end is given up", func(ctx context.Context) (bool, string, error) {
		pod, err := pods.Get(ctx, "j-0", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		disrupted := condition(pod, corev1.DisruptionTarget)
		return pod.Status.Phase == corev1.PodFailed && disrupted != nil && disrupted.Status == corev1.ConditionTrue &&
			pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0, fmt.Sprint(pod.Status), nil
	})
	pod, err := pods.Get(t.Context(), "j-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := attemptOf(pod, nil); a.phase != attemptLost || a.fault != modelmanager.CodeInternal || a.reason != "its node gone is lost" {
		t.Errorf("the attempt is %+v", a)
	}
	if other, err := pods.Get(t.Context(), "j-1", metav1.GetOptions{}); err != nil || other.DeletionTimestamp != nil || other.Status.Phase == corev1.PodFailed {
		t.Errorf("the other pod was given up, too: %v, %v", other.Status, err)
	}
	// The cluster's controllers would take the finalizers away.
	for index := range 2 {
		name := fmt.Sprintf("j-%d", index)
		if _, err := pods.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pods.Get(t.Context(), "j-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestALostNodesTaskRunsAgain gives a job a node that doesn't exist: it takes a
// pod, and never says anything. The task is run by another, and not counted as
// having failed.
func TestALostNodesTaskRunsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	label := "test.modelmanager.dev/" + namespace
	nodes := w.Client.CoreV1().Nodes()
	ghost, err := nodes.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "ghost-", Labels: map[string]string{label: "true"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: label, Effect: corev1.TaintEffectNoSchedule}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		after, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := nodes.Delete(after, ghost.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	d := w.driver(t, namespace, func(o *Options) {
		o.Lost = time.Second
		o.NodeSelector = map[string]string{label: "true"}
		o.Tolerations = []corev1.Toleration{{Key: label, Operator: corev1.TolerationOpExists}}
	})
	s := observe(t, d)
	run := w.run(t, "haunted", platformtest.Behaviour{})
	run.Retries = 0
	ready := fmt.Sprintf(`{"status":{"capacity":{"cpu":"4","memory":"4Gi","pods":"10","ephemeral-storage":"10Gi"},"allocatable":{"cpu":"4","memory":"4Gi","pods":"10","ephemeral-storage":"10Gi"},`+
		`"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","lastHeartbeatTime":%q,"lastTransitionTime":%[1]q}]}}`, time.Now().UTC().Format(time.RFC3339))
	if _, err := nodes.Patch(t.Context(), ghost.Name, types.StrategicMergePatchType, []byte(ready), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	pods := w.Client.CoreV1().Pods(namespace)
	var first corev1.Pod
	cluster.Eventually(t, 2*time.Minute, "the node that doesn't exist takes a pod", func(ctx context.Context) (bool, string, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selectTasks})
		if err != nil || len(list.Items) == 0 {
			return false, "", err
		}
		first = list.Items[0]
		return first.Spec.NodeName == ghost.Name, fmt.Sprint(first.Status.Conditions), nil
	})
	// What runs is known to be lost only where it ran.
	if _, err := pods.Patch(t.Context(), first.Name, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	others, err := nodes.List(t.Context(), metav1.ListOptions{LabelSelector: "!" + label})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range others.Items {
		mark := func(ctx context.Context, value string) {
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, label, value)
			if _, err := nodes.Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
		mark(t.Context(), `"true"`)
		t.Cleanup(func() {
			after, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			mark(after, "null")
		})
	}
	if _, err := nodes.Patch(t.Context(), ghost.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// As the cluster does once a node has not answered for a while.
	if err := pods.Delete(t.Context(), first.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == 0 && e.State == platform.TaskSucceeded })
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
}
