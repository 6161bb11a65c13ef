package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/platformtest"
)

// doomed is what a server that is about to be killed runs: a replica, and a
// task that never ends.
func doomed(t testing.TB, behaviour platformtest.Behaviour) (platform.Workload, platform.JobRun) {
	behaviour.Tasks = map[int]platformtest.TaskBehaviour{0: {Hang: true}}
	w := platformtest.NewWorkload(t, "doomed", behaviour, testArtifact(t))
	return w, platform.JobRun{Job: "doomed-job", Step: platform.StepShards, Workload: w, Count: 1, Parallelism: 1}
}

// TestDoomedServer isn't a test: it is the server that TestKilledServer kills.
func TestDoomedServer(t *testing.T) {
	dir := os.Getenv("MM_TEST_DOOMED")
	if dir == "" {
		return
	}
	driver, err := New(options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	w, run := doomed(t, platformtest.Behaviour{Orphan: os.Getenv("MM_TEST_ORPHAN") != ""})
	if err := driver.Scale(t.Context(), w, 2); err != nil {
		t.Fatal(err)
	}
	if err := driver.StartJob(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done() // killed before
}

// TestKilledServer kills a server, with agents that end with it and with
// agents that don't, and opens its folder again.
func TestKilledServer(t *testing.T) {
	for _, orphan := range []bool{false, true} {
		t.Run(fmt.Sprintf("orphan=%t", orphan), func(t *testing.T) {
			dir := t.TempDir()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			server := exec.Command(self, "-test.run=^TestDoomedServer$")
			server.Env = append(os.Environ(), "MM_TEST_DOOMED="+dir)
			if orphan {
				server.Env = append(server.Env, "MM_TEST_ORPHAN=1")
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, "three agents have started", func() bool { return strings.Count(started(dir), "starts") == 3 })
			if _, err := New(options(t, dir)); modelmanager.CodeOf(err) != modelmanager.CodeConflict {
				t.Errorf("a second driver over the same folder: %v, want code conflict", err)
			}
			if err := server.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = server.Wait() // killed
			if !orphan {
				until(t, "the agents have ended by themselves", func() bool { return len(living(dir)) == 0 })
			} else if n := len(living(dir)); n != 3 {
				t.Fatalf("%d agents outlive the server, want 3", n)
			}
			driver, err := New(options(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(living(dir)); n != 0 {
				t.Errorf("%d agents are left", n)
			}
			if entries, _ := os.ReadDir(filepath.Join(dir, "run")); len(entries) != 0 {
				t.Errorf("run folders are left: %v", entries)
			}
			logs, err := driver.Logs(t.Context(), platform.Ref{Model: "doomed", Version: 1}, 100)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := io.ReadAll(logs); strings.Count(string(text), "starts") != 3 {
				t.Errorf("the logs of the killed server's agents are %q", text)
			}
			if err := driver.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// started returns all that the agents of a folder have logged.
func started(dir string) string {
	var text strings.Builder
	files, _ := filepath.Glob(filepath.Join(dir, "logs", "*", "*", "*.log"))
	for _, name := range files {
		data, _ := os.ReadFile(name)
		text.Write(data)
	}
	return text.String()
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestSweepSparesOthers checks that a number which was noted can't get anybody
// killed: only what a process itself carries counts.
func TestSweepSparesOthers(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run", "old-1-abc")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "pids"), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60")
	other.Env = []string{"HOME=" + dir + "/runner"}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	driver, err := New(options(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if !livesIn(other.Process.Pid, dir+"/runner") {
		t.Error("a process of somebody else was ended")
	}
	_ = other.Process.Kill()
	_ = other.Wait() // killed
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
}
