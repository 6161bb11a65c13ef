package kube_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/peers/kube"
)

// world is a namespace with pods that nobody runs: their servers are the test's.
type world struct {
	t         *testing.T
	client    kubernetes.Interface
	namespace string
	servers   *kube.Servers
}

func newWorld(t *testing.T, port int) *world {
	t.Helper()
	config := kubetest.Config(t)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: client, namespace: kubetest.Namespace(t, config)}
	w.servers, err = kube.New(config, kube.Options{Namespace: w.namespace, Selector: "app=mm", Self: "self", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.servers.Peers(t.Context()); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("before anything is known: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = w.servers.Run(ctx) })
	t.Cleanup(func() { cancel(); loops.Wait() })
	return w
}

func (w *world) pod(name, app, ip string, phase core.PodPhase, ready core.ConditionStatus) {
	w.t.Helper()
	pods := w.client.CoreV1().Pods(w.namespace)
	pod, err := pods.Create(w.t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{"app": app}, Finalizers: []string{"tests.modelmanager.dev/hold"}},
		// A scheduler that isn't there: on a cluster with nodes too, nobody
		// but the test writes the pod's status.
		Spec: core.PodSpec{SchedulerName: "nobody", Containers: []core.Container{{Name: "mm", Image: "mm"}}},
	}, meta.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	pod.Status = core.PodStatus{Phase: phase, Conditions: []core.PodCondition{{Type: core.PodReady, Status: ready}}}
	if ip != "" {
		pod.Status.PodIP, pod.Status.PodIPs = ip, []core.PodIP{{IP: ip}}
	}
	if _, err := pods.UpdateStatus(w.t.Context(), pod, meta.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_, _ = pods.Patch(context.Background(), name, "application/merge-patch+json", []byte(`{"metadata": {"finalizers": null}}`), meta.PatchOptions{})
		_ = pods.Delete(context.Background(), name, meta.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	})
}

// await waits until the peers are those.
func (w *world) await(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	for end := time.After(20 * time.Second); ; {
		var got []string
		found, err := w.servers.Peers(w.t.Context())
		for _, peer := range found {
			got = append(got, fmt.Sprint(strings.TrimPrefix(peer.URL, "http://"), " ", peer.Fading))
		}
		slices.Sort(got)
		if err == nil && slices.Equal(got, want) {
			return
		}
		select {
		case <-end:
			w.t.Fatalf("the peers are %q (%v), want %q", got, err, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestServersAreFoundAsPods(t *testing.T) {
	w := newWorld(t, 8081)
	w.await()
	w.pod("self", "mm", "10.0.0.1", core.PodRunning, core.ConditionTrue)
	w.pod("other", "mm", "10.0.0.2", core.PodRunning, core.ConditionTrue)
	w.pod("six", "mm", "fd00::2", core.PodRunning, core.ConditionTrue)
	w.pod("starting", "mm", "10.0.0.3", core.PodRunning, core.ConditionFalse)
	w.pod("waiting", "mm", "", core.PodPending, core.ConditionFalse)
	w.pod("ended", "mm", "10.0.0.4", core.PodFailed, core.ConditionFalse)
	w.pod("stranger", "another", "10.0.0.5", core.PodRunning, core.ConditionTrue)
	w.await("10.0.0.2:8081 false", "[fd00::2]:8081 false", "10.0.0.3:8081 true")
	if err := w.client.CoreV1().Pods(w.namespace).Delete(t.Context(), "other", meta.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
		t.Fatal(err)
	}
	w.await("10.0.0.2:8081 true", "[fd00::2]:8081 false", "10.0.0.3:8081 true")
}

// TestServersAskEachOther: as the leader does, over real connections.
func TestServersAskEachOther(t *testing.T) {
	key := []byte("the key that all servers of an installation have")
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := first.Addr().(*net.TCPAddr).Port
	second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	for _, listener := range []net.Listener{first, second} {
		mux := http.NewServeMux()
		mux.Handle(peers.PathLoad, peers.Handler(key, func() []string { return []string{listener.Addr().String()} }))
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
		server.Start()
		t.Cleanup(server.Close)
	}
	w := newWorld(t, port)
	w.pod("first", "mm", "127.0.0.1", core.PodRunning, core.ConditionTrue)
	w.pod("second", "mm", "127.0.0.2", core.PodRunning, core.ConditionFalse)
	w.await(first.Addr().String()+" false", second.Addr().String()+" true")
	c := peers.NewCollector(w.servers, key, func() []string { return []string{"own"} })
	defer c.Close()
	got, err := c.All(t.Context())
	slices.Sort(got)
	if want := []string{first.Addr().String(), second.Addr().String(), "own"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
}
