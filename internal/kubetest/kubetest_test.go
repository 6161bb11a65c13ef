package kubetest_test

import (
	"context"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"modelmanager.dev/internal/kubetest"
)

func TestConfig(t *testing.T) {
	config := kubetest.Config(t)
	name := kubetest.Namespace(t, config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestRestart: a killed apiserver comes back with what it knew.
func TestRestart(t *testing.T) {
	cluster := kubetest.Start(t)
	name := kubetest.Namespace(t, cluster.Config())
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	cluster.KillAPIServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err == nil {
		t.Fatal("a killed apiserver answers")
	}
	cluster.StartAPIServer(t)
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cluster.Config().CAFile); err != nil {
		t.Fatal(err)
	}
}
