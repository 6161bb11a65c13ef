package local

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/proc"
)

// TestMain makes this test binary an agent when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "fake-agent" {
		os.Exit(platformtest.FakeAgent(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	platformtest.Run(t, func(t *testing.T) *platformtest.Fixture { return fixture(t, options(t, t.TempDir())) })
}

func fixture(t *testing.T, o Options) *platformtest.Fixture {
	driver, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &platformtest.Fixture{
		Driver: driver,
		Workload: func(t *testing.T, name string, b platformtest.Behaviour) platform.Workload {
			return platformtest.NewWorkload(t, name, b, testArtifact(t))
		},
		Kill:      func(t *testing.T, r platform.Replica) { killAgent(t, o.Dir, r.ID) },
		Processes: func(*testing.T) int { return len(living(o.Dir)) },
	}
}

// options returns those of a driver whose agents are fake.
func options(t testing.TB, dir string) Options {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: dir, Agent: []string{self, "fake-agent"}, Slots: 4,
		Artifact: func(_ context.Context, a modelmanager.Artifact) (io.ReadCloser, error) {
			if a.Archive != testArchive {
				return nil, modelmanager.Errorf(modelmanager.CodeStorage, "there is no %s", a.Archive)
			}
			data, _ := testFolder(t)
			return io.NopCloser(bytes.NewReader(data)), nil
		},
		Environments: &environment.Manager{Dir: t.TempDir()},
		Backoff:      control.Backoff{First: 20 * time.Millisecond, Most: 300 * time.Millisecond},
		Logger:       slog.New(slog.DiscardHandler),
	}
}

//go:embed testdata/worker.py
var testWorker string

const testArchive = "artifacts/test.tar.zst"

func testArtifact(t testing.TB) modelmanager.Artifact {
	_, digest := testFolder(t)
	return modelmanager.Artifact{Digest: digest, Archive: testArchive}
}

func testFolder(t testing.TB) (data []byte, digest string) {
	content := testWorker
	var out bytes.Buffer
	digest, err := archive.Write(&out, []archive.File{{
		Path: "worker.py", Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), digest
}

// living returns the processes that belong to a driver's folder.
func living(dir string) []int {
	var pids []int
	for _, pid := range proc.List() {
		if livesIn(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAgent kills an agent, and not its worker.
func killAgent(t *testing.T, dir, id string) {
	t.Helper()
	run := filepath.Join(dir, "run", id)
	for _, pid := range living(run) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !bytes.Contains(environ, []byte(markVariable+"="+run+"\x00")) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("replica %s has no process", id)
}
