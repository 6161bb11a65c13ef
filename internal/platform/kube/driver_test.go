package kube

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/test/cluster"
)

// world is a cluster with the images that these tests need.
type world struct {
	*cluster.Cluster
	agent, model string
}

func newWorld(t *testing.T) *world {
	c := cluster.Connect(t)
	program := filepath.Join(t.TempDir(), "agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/fakeagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the fake agent: %v\n%s", err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		Cluster: c,
		agent:   c.PushImage(t, cluster.Image{Name: "fake-agent", Files: map[string]cluster.File{"/mm-agent": {Content: content, Mode: 0o755}}}),
		model: c.PushImage(t, cluster.Image{Name: "fake-model", Base: "static", Files: map[string]cluster.File{
			"/model/model.yaml": {Content: []byte("name: fake\n"), Mode: 0o644},
		}}),
	}
}

// driver returns a driver over a namespace; change may be nil.
func (w *world) driver(t *testing.T, namespace string, change func(*Options)) *Driver {
	options := Options{
		Config: w.Config, Namespace: namespace, AgentImage: w.agent, Stuck: time.Second,
		Key:    func(ref platform.Ref) string { return "key-of-" + ref.Model },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&options)
	}
	driver, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })
	return driver
}

func (w *world) workload(t *testing.T, name string, b platformtest.Behaviour) platform.Workload {
	return platformtest.NewWorkload(t, name, b, modelmanager.Artifact{Digest: "sha256:00", Image: w.model})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	platformtest.Run(t, func(t *testing.T) *platformtest.Fixture {
		namespace := w.Namespace(t)
		return &platformtest.Fixture{
			Driver:   w.driver(t, namespace, nil),
			Workload: w.workload,
			Survives: func(t *testing.T) platform.Driver { return w.driver(t, namespace, nil) },
			Kill: func(t *testing.T, r platform.Replica) {
				err := w.Client.CoreV1().Pods(namespace).Delete(t.Context(), r.ID, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
				if err != nil {
					t.Fatal(err)
				}
			},
			Processes: func(t *testing.T) int {
				pods, err := w.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selectTasks, FieldSelector: "status.phase=Running"})
				if err != nil {
					t.Fatal(err)
				}
				return len(pods.Items)
			},
			Patience: 2 * time.Minute,
		}
	})
}
