package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"modelmanager.dev/internal/kubetest"
)

// apiserver is asked about itself.
type apiserver struct {
	host   string
	client *http.Client
	kube   *kubernetes.Clientset
}

func newAPIServer(cluster *kubetest.Cluster) (*apiserver, error) {
	client, err := rest.HTTPClientFor(cluster.Config())
	if err != nil {
		return nil, err
	}
	clientset, err := kubernetes.NewForConfig(cluster.Config())
	return &apiserver{host: cluster.Config().Host, client: client, kube: clientset}, err
}

func (a *apiserver) namespace(ctx context.Context, name string) error {
	_, err := a.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func (a *apiserver) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.host+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

// heap returns the bytes that live in the apiserver's heap, after a collection.
func (a *apiserver) heap(ctx context.Context) (float64, error) {
	for range 2 { // what the first one finalises, the second one frees
		if _, err := a.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	metrics, err := a.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(metrics)) {
		if value, found := strings.CutPrefix(line, "go_memstats_heap_alloc_bytes "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the apiserver doesn't tell its heap")
}

// memoryOf returns a process's resident bytes.
func memoryOf(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d doesn't tell its memory", pid)
}

// processorOf returns a process's seconds of processor time.
func processorOf(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, err
}
