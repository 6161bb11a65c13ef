// Package kubetest gives tests a Kubernetes API to run against: the cluster
// that KUBECONFIG and MM_TEST_REGISTRY name (KUBECONFIG alone is no consent),
// or else an etcd and an apiserver of the test binary's own, on loopback, that
// end with it. Nothing runs on such a cluster, as it has neither nodes nor
// controllers: it stores objects, checks and authorises.
//
// The programs are found in the folder MM_CLUSTER_BIN, or in the cache that
// test/cluster builds them into. Where neither is, and no cluster is named, a
// test is skipped, or fails if MM_TEST_NO_SKIP=1.
package kubetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"modelmanager.dev/test/needs"
)

// own is the test binary's own cluster. It is the package's one variable: all
// tests of a binary share the cluster, which takes seconds to start, and
// nothing but the binary lives long enough to hand it on.
var own struct {
	sync.Mutex
	cluster *Cluster
}

// Config returns how to reach the cluster, as its administrator. Every call
// returns a copy, and all calls of a test binary reach the same cluster.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	if path := os.Getenv("KUBECONFIG"); path != "" && os.Getenv("MM_TEST_REGISTRY") != "" {
		config, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatalf("reading the cluster's address from KUBECONFIG=%s: %v", path, err)
		}
		config.QPS = -1
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		RefuseInstalled(t, client)
		return config
	}
	bin := programs(t)
	own.Lock()
	defer own.Unlock()
	if own.cluster == nil {
		cluster, err := New(bin)
		if err != nil {
			t.Fatalf("starting etcd and an apiserver: %v", err)
		}
		own.cluster = cluster
	}
	return own.cluster.Config()
}

// InstalledByTests is the label of the server's namespace where tests have
// installed it.
const InstalledByTests = "modelmanager.dev/installed-by-tests"

// RefuseInstalled fails the test on a cluster where somebody has installed Model
// Manager: tests write its resource definitions anew, and take them away, with
// every model.
func RefuseInstalled(t testing.TB, client kubernetes.Interface) {
	t.Helper()
	const system = "modelmanager-system"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	namespace, err := client.CoreV1().Namespaces().Get(ctx, system, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		t.Fatalf("looking for an installation of Model Manager on the cluster: %v", err)
	case namespace.Labels[InstalledByTests] == "":
		t.Fatalf("Model Manager is installed on this cluster (its namespace %s is there), and the tests would take it away with all its models; "+
			"run them on a cluster without it", system)
	}
}

// Namespace makes a namespace for one test, which is deleted at its end.
func Namespace(t testing.TB, config *rest.Config) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	namespace, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "mm-test-", Labels: map[string]string{"app.kubernetes.io/managed-by": "model-manager-test"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making a namespace for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("deleting the test's namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}

// Programs returns the folder with etcd and kube-apiserver.
func Programs() (string, error) {
	bin := os.Getenv("MM_CLUSTER_BIN")
	if bin == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if home, err := os.UserHomeDir(); cache == "" && err == nil {
			cache = filepath.Join(home, ".cache")
		}
		bin = filepath.Join(cache, "model-manager", "cluster", "bin")
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return "", fmt.Errorf("there is no Kubernetes to run against: %w; set KUBECONFIG and MM_TEST_REGISTRY, or MM_CLUSTER_BIN to a folder with etcd and kube-apiserver, or run `make cluster` once", err)
		}
	}
	return bin, nil
}

func programs(t testing.TB) string {
	t.Helper()
	bin, err := Programs()
	if err != nil {
		needs.Skip(t, err)
	}
	return bin
}
