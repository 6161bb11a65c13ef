package kubetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Cluster is an etcd and an apiserver, whose apiserver a test may kill and
// start again.
type Cluster struct {
	bin       string
	folder    string // of data, certificates and logs; goes with etcd
	addresses addresses
	etcd      *process
	apiserver *process
	client    *http.Client // for readiness
}

// addresses are ports on loopback.
type addresses struct{ etcd, peer, apiserver int }

// Start starts a cluster for one test alone, also where KUBECONFIG is set: for
// tests that kill it, and those in which no controller may write. It ends with
// the test.
func Start(t testing.TB) *Cluster {
	t.Helper()
	cluster, err := New(programs(t))
	if err != nil {
		t.Fatalf("starting etcd and an apiserver: %v", err)
	}
	t.Cleanup(cluster.Stop)
	return cluster
}

// New starts a cluster from the programs in a folder, on other ports if
// somebody took one meanwhile. It ends with Stop, or with this process.
func New(bin string) (*Cluster, error) {
	var failures []error
	for range 3 {
		cluster, err := startOnce(bin)
		if err == nil {
			return cluster, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func startOnce(bin string) (*Cluster, error) {
	folder, err := os.MkdirTemp("", "mm-kubetest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, folder: folder}
	ports, err := freePorts(3)
	if err == nil {
		c.addresses = addresses{ports[0], ports[1], ports[2]}
		err = writeCertificates(folder)
	}
	if err == nil {
		c.client, err = rest.HTTPClientFor(c.Config())
	}
	if err == nil {
		err = c.startEtcd()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := c.startAPIServer(); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func loopback(scheme string, port int) string {
	return scheme + "://127.0.0.1:" + strconv.Itoa(port)
}

func (c *Cluster) startEtcd() (err error) {
	client, peer := loopback("http", c.addresses.etcd), loopback("http", c.addresses.peer)
	c.etcd, err = startProcess(filepath.Join(c.folder, "etcd.log"), c.folder,
		filepath.Join(c.bin, "etcd"), "--data-dir", filepath.Join(c.folder, "etcd"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--unsafe-no-fsync", "--log-level", "warn", "--quota-backend-bytes", "8589934592")
	return err
}

func (c *Cluster) startAPIServer() (err error) {
	file := func(name string) string { return filepath.Join(c.folder, name) }
	c.apiserver, err = startProcess(file("apiserver.log"), "",
		filepath.Join(c.bin, "kube-apiserver"), "--etcd-servers", loopback("http", c.addresses.etcd),
		"--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", strconv.Itoa(c.addresses.apiserver),
		"--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/16",
		"--client-ca-file", file("ca.crt"), "--tls-cert-file", file("apiserver.crt"), "--tls-private-key-file", file("apiserver.key"),
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-signing-key-file", file("accounts.key"), "--service-account-key-file", file("accounts.pub"),
		"--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount", "--allow-privileged")
	if err != nil {
		return err
	}
	return c.waitReady(time.Minute)
}

// waitReady waits until the apiserver answers for all of itself.
func (c *Cluster) waitReady(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.ready(ctx) {
			return nil
		}
		select {
		case <-c.apiserver.ended:
			return fmt.Errorf("the apiserver ended: %s", c.apiserver.tail())
		case <-c.etcd.ended:
			return fmt.Errorf("etcd ended: %s", c.etcd.tail())
		case <-ctx.Done():
			return fmt.Errorf("the apiserver wasn't ready within %v: %s", limit, c.apiserver.tail())
		case <-tick.C:
		}
	}
}

func (c *Cluster) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, loopback("https", c.addresses.apiserver)+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// Config returns how to reach the cluster, as its administrator.
func (c *Cluster) Config() *rest.Config {
	return &rest.Config{
		Host: loopback("https", c.addresses.apiserver),
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   filepath.Join(c.folder, "ca.crt"),
			CertFile: filepath.Join(c.folder, "admin.crt"),
			KeyFile:  filepath.Join(c.folder, "admin.key"),
		},
		QPS: -1,
	}
}

// KillAPIServer ends the apiserver at once, in the middle of whatever it does.
func (c *Cluster) KillAPIServer(t testing.TB) {
	t.Helper()
	c.apiserver.kill()
}

// StartAPIServer starts the apiserver again, at the same address, over the
// same etcd.
func (c *Cluster) StartAPIServer(t testing.TB) {
	t.Helper()
	if err := c.startAPIServer(); err != nil {
		t.Fatalf("starting the apiserver again: %v", err)
	}
}

// PauseAPIServer makes the apiserver hang: it keeps its connections, takes new
// ones, and answers nothing, until ResumeAPIServer.
func (c *Cluster) PauseAPIServer(t testing.TB) {
	t.Helper()
	c.signal(t, syscall.SIGSTOP)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(10 * time.Second); !stopped(c.apiserver.pid); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the apiserver goes on though it was told to stop")
		}
	}
}

// stopped tells whether every thread of a process has been stopped.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, readErr := os.ReadFile(path)
		// The state follows the name, which may have parentheses in it.
		if end := bytes.LastIndexByte(text, ')'); readErr == nil && (end < 0 || !bytes.HasPrefix(text[end:], []byte(") T"))) {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// ResumeAPIServer lets the apiserver go on.
func (c *Cluster) ResumeAPIServer(t testing.TB) { c.signal(t, syscall.SIGCONT) }

func (c *Cluster) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(c.apiserver.pid, signal); err != nil {
		t.Fatalf("telling the apiserver %v: %v", signal, err)
	}
}

// APIServer returns the process id of the apiserver, for those who measure it.
func (c *Cluster) APIServer() int { return c.apiserver.pid }

// Stop ends the cluster.
func (c *Cluster) Stop() {
	if c.apiserver != nil {
		c.apiserver.kill()
	}
	c.etcd.kill() // and removes the folder
}
