package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/test/needs"
)

// Cluster is a cluster to test on.
type Cluster struct {
	Config   *rest.Config // its administrator, without limits of the client's own
	Client   kubernetes.Interface
	Registry string // host:port; the same for this process, for nodes and for pods

	kubeconfig string
	scripts    string // the folder of the scripts that started it; empty if it is somebody else's
}

// Connect connects to the cluster that KUBECONFIG and MM_TEST_REGISTRY name,
// or else to the one of `make cluster`. Without any, the test is skipped, or
// fails if MM_TEST_NO_SKIP=1. KUBECONFIG alone is not taken as consent: it may
// name a cluster with other people's work on it.
func Connect(t testing.TB) *Cluster {
	t.Helper()
	state := stateFolder()
	ours := filepath.Join(state, "kubeconfig")
	c := &Cluster{kubeconfig: os.Getenv("KUBECONFIG"), Registry: os.Getenv("MM_TEST_REGISTRY")}
	if c.kubeconfig == "" || c.Registry == "" {
		registry, err := os.ReadFile(filepath.Join(state, "registry-address"))
		if err != nil {
			needs.Skip(t, "there is no cluster: run `make cluster`, or set KUBECONFIG and MM_TEST_REGISTRY")
		}
		c.kubeconfig, c.Registry = ours, strings.TrimSpace(string(registry))
	}
	if c.kubeconfig == ours {
		scripts, err := os.ReadFile(filepath.Join(state, "scripts"))
		if err != nil {
			t.Fatalf("the cluster in %s is half there: %v; run `make cluster`", state, err)
		}
		c.scripts = strings.TrimSpace(string(scripts))
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatalf("reading the cluster's address from %s: %v", c.kubeconfig, err)
	}
	config.QPS = -1
	c.Config = config
	c.Client, err = kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.Discovery().ServerVersion(); err != nil {
		t.Fatalf("the cluster of %s doesn't answer: %v; run `make cluster`", c.kubeconfig, err)
	}
	kubetest.RefuseInstalled(t, c.Client)
	return c
}

// Kubeconfig returns the path of the administrator's kubeconfig, for programs.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig }

// stateFolder returns where the scripts keep what the cluster remembers.
func stateFolder() string {
	if state := os.Getenv("MM_CLUSTER_STATE"); state != "" {
		return state
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if home, err := os.UserHomeDir(); cache == "" && err == nil {
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "model-manager", "cluster", "state")
}
