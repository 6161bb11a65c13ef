package kube

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/kube"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/test/cluster"
)

// agentAt answers as a ready agent does, at an address of its own.
func agentAt(t *testing.T, ip string) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(Port)))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(agent.Status{Stage: agent.StageReady})
	})}}
	server.Start()
	t.Cleanup(server.Close)
}

// TestTheAPIServerHangs: it takes questions and answers none. A replica that is
// ready stays so and asks for nothing; what has to be asked fails in time, and
// works again when the API server does.
func TestTheAPIServerHangs(t *testing.T) {
	server := kubetest.Start(t)
	namespace := kubetest.Namespace(t, server.Config())
	client, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	config := server.Config()
	kube.Bound(config, time.Second)
	d, err := New(Options{
		Config: config, Namespace: namespace, AgentImage: "registry.example.org/agent:1", AgentSource: AgentImage,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	p := platform.New(d, platform.Options{Images: true})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})

	const ip = "127.0.94.40"
	agentAt(t, ip)
	warm, cold := planWorkload(t), planWorkload(t)
	cold.Version.Number = 8
	if err := p.Ensure(t.Context(), warm); err != nil {
		t.Fatal(err)
	}
	deployment, err := client.AppsV1().Deployments(namespace).Get(t.Context(), deploymentName(warm.Ref()), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "replica", Labels: deployment.Spec.Template.Labels}, Spec: deployment.Spec.Template.Spec}
	pod.Spec.NodeName = "node"
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const status = `{"status":{"phase":"Running","podIP":"` + ip + `","podIPs":[{"ip":"` + ip + `"}],
		"conditions":[{"type":"PodScheduled","status":"True"},{"type":"Ready","status":"True"}],
		"containerStatuses":[{"name":"` + modelContainer + `","ready":true,"image":"i","imageID":"i","restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`
	if _, err := client.CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	healthy := func() bool { return p.Health(warm.Ref()).State == modelmanager.Healthy }
	cluster.Eventually(t, time.Minute, "the replica is ready", func(context.Context) (bool, string, error) { return healthy(), "", nil })

	server.PauseAPIServer(t)
	patience, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	begun := time.Now()
	if err := p.Ensure(patience, warm); err != nil {
		t.Errorf("a version that runs needs the API server: %v", err)
	}
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("a version that runs waited for the API server for %v", took)
	}
	run := platform.JobRun{Job: "j", Step: platform.StepShards, Workload: warm, Count: 1, Parallelism: 1}
	for doing, call := range map[string]func() error{
		"Ensure":   func() error { return p.Ensure(patience, cold) },
		"Scale":    func() error { return p.Scale(patience, warm, 2) },
		"StartJob": func() error { return p.StartJob(patience, run) },
		"StopJob":  func() error { return p.StopJob(patience, run.Job, run.Step) },
		"Logs": func() error {
			_, err := p.Logs(patience, warm.Ref(), 10)
			return err
		},
	} {
		if err := call(); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable || patience.Err() != nil {
			t.Errorf("%s while the API server hangs: %v", doing, err)
		}
	}
	if !healthy() {
		t.Error("the replica is taken for gone")
	}
	server.ResumeAPIServer(t)
	cluster.Eventually(t, time.Minute, "calls work again", func(ctx context.Context) (bool, string, error) {
		err := p.Ensure(ctx, cold)
		return err == nil, "", err
	})
	if !healthy() {
		t.Error("the replica is taken for gone")
	}
}
