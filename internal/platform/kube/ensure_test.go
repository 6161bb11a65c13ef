package kube

import (
	"log/slog"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/platform"
)

// TestOnlyTheScalerLowers starts a version from two servers, one of which knows
// nothing of what the other has asked for.
func TestOnlyTheScalerLowers(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	server := func(source AgentSource) *platform.Platform {
		d, err := New(Options{
			Config: config, Namespace: namespace, AgentImage: "registry.example.org/agent:1", AgentSource: source,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return platform.New(d, platform.Options{Images: true})
	}
	workload := planWorkload(t)
	has := func(want int32) *appsv1.Deployment {
		t.Helper()
		deployment, err := client.AppsV1().Deployments(namespace).Get(t.Context(), deploymentName(workload.Ref()), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if *deployment.Spec.Replicas != want {
			t.Errorf("it has %d replicas, want %d", *deployment.Spec.Replicas, want)
		}
		return deployment
	}
	ensure := func(p *platform.Platform) {
		t.Helper()
		if err := p.Ensure(t.Context(), workload); err != nil {
			t.Error(err)
		}
	}
	scale := func(p *platform.Platform, replicas int) {
		t.Helper()
		if err := p.Scale(t.Context(), workload, replicas); err != nil {
			t.Fatal(err)
		}
	}

	one, other := server(AgentImage), server(AgentImage)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() { ensure([]*platform.Platform{one, other}[i%2]) })
	}
	wait.Wait()
	for _, entry := range has(1).ManagedFields {
		if entry.Manager == fieldManager && entry.Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("%s manages fields by %s", entry.Manager, entry.Operation)
		}
	}
	scale(one, 4)
	ensure(server(AgentImage))
	has(4)
	ensure(other)
	has(4)
	scale(one, 2)
	has(2)
	scale(other, 0)
	ensure(server(AgentImage)) // of a version that is gone
	has(1)

	// What was made by one kind of server is what another makes of it.
	scale(server(AgentInit), 3)
	made := has(3)
	if len(made.Spec.Template.Spec.InitContainers) != 1 {
		t.Error("the agent isn't copied")
	}
	for _, volume := range made.Spec.Template.Spec.Volumes {
		if volume.Image != nil {
			t.Errorf("volume %s is still an image", volume.Name)
		}
	}
	if _, err := client.AppsV1().Deployments(namespace).Patch(t.Context(), made.Name, types.MergePatchType, []byte(`{"spec":{"replicas":0}}`),
		metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	ensure(server(AgentInit))
	has(1)
}

// TestASecretWhoseOwnerCanNotBeMadeGoes: where the cluster refuses the Deployment, and the
// Job, what their pods would have been told is not left behind.
func TestASecretWhoseOwnerCanNotBeMadeGoes(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{
		Config: config, Namespace: namespace, AgentImage: "registry.example.org/agent:1", AgentSource: AgentImage,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	workload := planWorkload(t)
	workload.Spec.Identity = "not an account's name"
	secrets := func() int {
		t.Helper()
		list, err := client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	for doing, call := range map[string]func() error{
		"Scale":  func() error { return d.Scale(t.Context(), workload, 2) },
		"Ensure": func() error { return d.Scale(t.Context(), workload, platform.AtLeastOne) },
		"StartJob": func() error {
			return d.StartJob(t.Context(), platform.JobRun{Job: "j", Step: platform.StepShards, Workload: workload, Count: 1, Parallelism: 1})
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s: it was made", doing)
		}
		if n := secrets(); n > 0 {
			t.Errorf("%s leaves %d Secrets", doing, n)
		}
	}
	if err := d.Scale(t.Context(), planWorkload(t), 1); err != nil || secrets() != 1 {
		t.Errorf("a good one has %d Secrets (%v)", secrets(), err)
	}
}
