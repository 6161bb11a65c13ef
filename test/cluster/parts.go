package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Ours says whether `make cluster` made the cluster, on this machine.
func (c *Cluster) Ours() bool { return c.scripts != "" }

// Kill kills programs of the cluster, at once and without warning: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy,
// network-policy, containerd, registry. Pods go on. Start brings the programs back, and so does
// the end of the test. On somebody
// else's cluster the test is skipped, whatever MM_TEST_NO_SKIP says: killing
// isn't ours to do there.
func (c *Cluster) Kill(t testing.TB, names ...string) {
	t.Helper()
	if !c.Ours() {
		t.Skip("this cluster is not ours to break")
	}
	t.Cleanup(func() { c.Start(t) })
	for _, name := range names {
		if err := kill(name); err != nil {
			t.Fatalf("killing %s: %v", name, err)
		}
	}
}

// Start brings back what was killed, and returns when the node is ready.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	output, err := exec.Command(filepath.Join(c.scripts, "start")).CombinedOutput()
	if err != nil {
		t.Fatalf("starting what was killed: %v\n%s", err, output)
	}
}

// kill kills one program by the pid that its start recorded, if it is still
// the process that was started then.
func kill(name string) error {
	record, err := os.ReadFile("/run/model-manager-test/" + name + ".pid")
	if err != nil {
		return err
	}
	pidText, started, _ := strings.Cut(strings.TrimSpace(string(record)), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return err
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pidText, "stat"))
	if err != nil {
		return err
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	if values := strings.Fields(fields); len(values) < 20 || values[19] != started {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
