package local

import (
	"os/exec"
	"path/filepath"
	"testing"

	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/platform/platformtest"
)

// TestRealAgent runs the suite with the real agent and a worker in Python.
// Its jobs are tested where there is a server for them, in test/script.
func TestRealAgent(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mm-agent")
	if output, err := exec.Command("go", "build", "-o", program, "modelmanager.dev/cmd/mm-agent").CombinedOutput(); err != nil {
		t.Fatalf("building the agent: %v\n%s", err, output)
	}
	platformtest.Run(t, func(t *testing.T) *platformtest.Fixture {
		o := options(t, t.TempDir())
		o.Agent = []string{program}
		f := fixture(t, o)
		f.NoTasks = true
		return f
	})
}

func TestWorkerLogIsWhereAgentsKeepIt(t *testing.T) {
	if got, want := filepath.Join("/home", workerLog), worker.LogPath("/home"); got != want {
		t.Errorf("worker logs are looked for at %s, and kept at %s", got, want)
	}
}
