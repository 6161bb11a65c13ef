package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/cluster"
)

// realAgent pushes the image of the real agent.
func realAgent(t *testing.T, c *cluster.Cluster) string {
	program := filepath.Join(t.TempDir(), "mm-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "modelmanager.dev/cmd/mm-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the agent: %v\n%s", err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return c.PushImage(t, cluster.Image{Name: "mm-agent", Files: map[string]cluster.File{"/mm-agent": {Content: content, Mode: 0o755}}})
}

// spy is a model that tells what it can see and do. What it is asked is an
// expression that must evaluate to text.
const spy = `
import os, subprocess, pathlib, time
from helper import thing
print("the spy has loaded", flush=True)

def read(path):
    try:
        return open(path).read()
    except Exception as e:
        return type(e).__name__

def write(path):
    try:
        open(path, "w").write("x")
        return "written"
    except Exception as e:
        return type(e).__name__

def orphan():
    # A child whose parent is gone, and which ends: it must not stay a zombie.
    subprocess.run(["sh", "-c", "sleep 0.2 & exit 0"])
    time.sleep(1)
    out = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if ") Z " in open(f"/proc/{pid}/stat").read():
                    out.append(pid)
            except OSError:
                pass
    return ",".join(out)

def predict(rows: list):
    return [str(eval(row["ask"])) for row in rows]
`

func spyWorkload(t *testing.T, image string) platform.Workload {
	w := platformtest.NewWorkload(t, "spy", platformtest.Behaviour{}, modelmanager.Artifact{Digest: "sha256:00", Image: image})
	return change(t, w, func(s *spec.Spec) {
		s.Run = spec.Run{Python: "predict.py:predict"}
		s.Features = []modelmanager.Field{{Name: "ask", Type: modelmanager.String}}
		s.Predictions = []modelmanager.Field{{Name: "answer", Type: modelmanager.String}}
		s.Secrets = []spec.Secret{{Env: "TOKEN", Name: "feature-store"}}
		s.Params = map[string]any{}
	})
}

// asks asks the spy.
func asks(t *testing.T, r platform.Replica, ask string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"rows": []map[string]string{{"ask": ask}}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Address+agent.PathPredict, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Predictions []struct{ Answer string } }
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Predictions) != 1 {
		t.Fatalf("%s: %s %s, %v", ask, response.Status, text, err)
	}
	return answer.Predictions[0].Answer
}

// TestARealAgentInAPod runs a Python model in an image such as Model Manager
// makes, and lets it look around: with the agent as a volume, and as clusters
// have it that know none of images.
func TestARealAgentInAPod(t *testing.T) {
	t.Parallel()
	c := cluster.Connect(t)
	w := &world{Cluster: c, agent: realAgent(t, c)}
	for _, source := range []AgentSource{AgentImage, AgentInit} {
		t.Run(string(source), func(t *testing.T) { w.looksAround(t, source) })
	}
}

func (w *world) looksAround(t *testing.T, source AgentSource) {
	c := w.Cluster
	image := c.PushImage(t, cluster.Image{Name: "spy", Base: "python", Files: map[string]cluster.File{
		"/model/predict.py":      {Content: []byte(spy), Mode: 0o644},
		"/environment/helper.py": {Content: []byte("thing = 'from the environment'\n"), Mode: 0o644},
	}})
	namespace := c.Namespace(t)
	if _, err := c.Client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "feature-store"}, StringData: map[string]string{"value": "open sesame"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d := w.driver(t, namespace, func(o *Options) { o.AgentSource = source })
	s := observe(t, d)
	version := spyWorkload(t, image)
	if err := d.Scale(t.Context(), version, 1); err != nil {
		t.Fatal(err)
	}
	r := s.until(t, version.Ref(), agent.StageReady)
	for ask, want := range map[string]string{
		`thing`:                                                        "from the environment",
		`os.getcwd()`:                                                  "/model",
		`os.environ["TOKEN"]`:                                          "open sesame",
		`os.environ.get("MM_AGENT_KEY")`:                               "None",
		`os.environ.get("GOMEMLIMIT")`:                                 "None",
		`os.environ.get("HOME")`:                                       "/tmp/home",
		`write("/tmp/x")`:                                              "written",
		`write(os.environ["HOME"] + "/x")`:                             "written",
		`write("/model/x")`:                                            "OSError",
		`write("/mm-agent/mm-agent")`:                                  "OSError",
		`read("/proc/1/environ")`:                                      "PermissionError",
		`read("/proc/1/mem")`:                                          "PermissionError",
		`read("/proc/1/maps")`:                                         "PermissionError",
		`"key-of-spy" in read("/mm-config/config.json")`:               "False",
		`os.path.exists("/var/run/secrets/kubernetes.io")`:             "False",
		`[k for k in os.environ if k.startswith("KUBERNETES")]`:        "[]",
		`os.getuid()`:                                                  "65532",
		`read("/proc/self/status").split("CapEff:")[1].split()[0]`:     "0000000000000000",
		`read("/proc/self/status").split("NoNewPrivs:")[1].split()[0]`: "1",
		`read("/proc/self/status").split("Seccomp:")[1].split()[0]`:    "2",
		`orphan()`: "",
	} {
		if got := asks(t, r, ask); got != want {
			t.Errorf("%s is %q, want %q", ask, got, want)
		}
	}
	logs, err := d.Logs(t.Context(), version.Ref(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(t, logs); !strings.Contains(text, "the spy has loaded") || strings.Contains(text, "key-of-spy") {
		t.Errorf("the logs are %q", text)
	}
	// The agent ends a worker that takes too much, and outlives it.
	body := `{"rows":[{"ask":"len(bytearray(300*1024*1024).replace(b'x', b'y'))"}]}`
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Address+agent.PathPredict, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+r.Key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusBadGateway || !strings.Contains(string(text), "resources.memory") {
		t.Errorf("a call that takes too much memory: %s %s", response.Status, text)
	}
	cluster.Eventually(t, time.Minute, "the same agent is ready again", func(context.Context) (bool, string, error) {
		for _, now := range s.of(version.Ref()) {
			if now.ID == r.ID && now.Stage == agent.StageReady {
				return true, "", nil
			}
		}
		return false, fmt.Sprint(s.of(version.Ref())), nil
	})
	pod, err := c.Client.CoreV1().Pods(namespace).Get(t.Context(), r.ID, metav1.GetOptions{})
	if err != nil || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("its container was started again: %v, %v", pod.Status.ContainerStatuses, err)
	}
}

// TestTheRightsAreEnough runs everything as a service account that has the
// rights of Rules and no other.
func TestTheRightsAreEnough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.Namespace(t)
	meta := metav1.ObjectMeta{Name: "model-manager"}
	if _, err := w.Client.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: Rules()}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: meta.Name}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(w.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":" + meta.Name}
	d := w.driver(t, namespace, func(o *Options) { o.Config = config })
	s := observe(t, d)

	version := w.workload(t, "righteous", platformtest.Behaviour{})
	if err := d.Scale(t.Context(), version, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Client.PolicyV1().PodDisruptionBudgets(namespace).Get(t.Context(), "righteous-1", metav1.GetOptions{}); err != nil {
		t.Errorf("its budget: %v", err)
	}
	s.until(t, version.Ref(), agent.StageReady)
	logs, err := d.Logs(t.Context(), version.Ref(), 10)
	if err != nil || !strings.Contains(readAll(t, logs), "the agent of righteous starts") {
		t.Errorf("the logs: %v", err)
	}
	missing := change(t, w.workload(t, "stuck", platformtest.Behaviour{}), func(s *spec.Spec) { s.Identity = "nobody" })
	if err := d.Scale(t.Context(), missing, 1); err != nil {
		t.Fatal(err)
	}
	s.until(t, missing.Ref(), agent.StageFailed, "there is no service account nobody")

	hangs := platformtest.Behaviour{Tasks: map[int]platformtest.TaskBehaviour{0: {Hang: true}}}
	late, stopped := w.run(t, "late", hangs), w.run(t, "stopped", hangs)
	late.Timeout = time.Second
	for _, run := range []platform.JobRun{late, stopped} {
		for range 2 {
			if err := d.StartJob(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
		s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.State == platform.TaskRunning })
	}
	s.untilEvent(t, "late", func(e platform.JobEvent) bool { return e.Index == -1 && e.Fault == modelmanager.CodeDeadlineExceeded })
	for _, run := range []platform.JobRun{late, stopped} {
		if err := d.StopJob(t.Context(), run.Job, run.Step); err != nil {
			t.Error(err)
		}
	}
	for _, version := range []platform.Workload{version, missing} {
		if err := d.Scale(t.Context(), version, 0); err != nil {
			t.Error(err)
		}
	}
	events, err := d.eventsOf(t.Context(), "none")
	if err != nil || len(events) != 0 {
		t.Errorf("events: %v, %v", events, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("with these rights, secrets can be read: %v", err)
	}
}

// TestRealAgentsRunTheTasksThatAreLeft lets real agents ask a server for their
// tasks: each with its own index, and with the job's token.
func TestRealAgentsRunTheTasksThatAreLeft(t *testing.T) {
	t.Parallel()
	c := cluster.Connect(t)
	w := &world{Cluster: c, agent: realAgent(t, c)}
	d := w.driver(t, c.Namespace(t), nil)
	s := observe(t, d)

	way, err := net.Dial("udp", c.Registry) // of this machine's addresses, the one that pods can reach
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(way.LocalAddr().String())
	way.Close()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]string{}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path] = r.Header.Get("Authorization")
		problem.Write(answer, modelmanager.Errorf(modelmanager.CodeConflict, "somebody else has done it"))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })

	run := w.run(t, "left", platformtest.Behaviour{})
	run.Workload.Version.Artifact.Image = c.Base("static")
	run.Count, run.Done, run.Parallelism, run.Server = 5, []int{0, 2, 3}, 2, "http://"+listener.Addr().String()
	if err := d.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	s.untilEvent(t, run.Job, func(e platform.JobEvent) bool { return e.Index == -1 && e.State == platform.TaskSucceeded })
	mu.Lock()
	defer mu.Unlock()
	want := map[string]string{}
	for _, index := range []int{1, 4} {
		want[shard.TaskPath(run.Job, string(run.Step), index)+"/attempts"] = "Bearer " + run.Token
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("what agents asked (-want +got): %s", diff)
	}
}
