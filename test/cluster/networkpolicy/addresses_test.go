package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func writeSandbox(t *testing.T, path, uid, address string, age time.Duration) {
	t.Helper()
	text := `{"cniArgs": [["K8S_POD_NAMESPACE", "models"], ["K8S_POD_UID", "` + uid + `"]], "result": {"ips": [{"address": "` + address + `"}]}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestAddressFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	folder := &addressFolder{path: path}
	if folder.refresh(time.Now()) {
		t.Error("a folder that isn't there has changed")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	writeSandbox(t, filepath.Join(path, "a"), "uid-a", "10.0.0.1/16", time.Hour)
	writeSandbox(t, filepath.Join(path, "a-again"), "uid-a", "10.0.0.2/16", 0)
	if err := os.WriteFile(filepath.Join(path, "b"), []byte(`{"cniArgs": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if !folder.refresh(time.Now()) {
		t.Error("a folder with new files has not changed")
	}
	want := map[types.UID]netip.Addr{"uid-a": netip.MustParseAddr("10.0.0.2")}
	if diff := cmp.Diff(want, folder.known, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The half-written file is complete now, which the folder's time doesn't show.
	writeSandbox(t, filepath.Join(path, "b"), "uid-b", "10.0.0.3/16", 0)
	if !folder.refresh(folder.read.Add(100 * time.Millisecond)) {
		t.Error("a file written just now was not read again")
	}
	if folder.refresh(folder.read.Add(time.Hour)) {
		t.Error("an old folder has changed by itself")
	}

	pods := []*corev1.Pod{pod("models", "a", "", "model")}
	pods[0].UID = "uid-a"
	original := pods[0]
	pods = withAddresses(pods, folder.known)
	if pods[0].Status.PodIP != "10.0.0.2" || original.Status.PodIP != "" {
		t.Errorf("the pod has %q, the informer's own %q", pods[0].Status.PodIP, original.Status.PodIP)
	}
}
