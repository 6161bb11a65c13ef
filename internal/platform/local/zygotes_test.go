package local

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	"modelmanager.dev/internal/spec"
)

// zygotePool is a pool over a folder, for models that need the standard library.
func zygotePool(t *testing.T, dir string, most int) *zygotes {
	sockets, err := os.MkdirTemp("/tmp", "mm-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	if err := os.MkdirAll(filepath.Join(dir, "modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	return newZygotes(zygoteOptions{
		homes: filepath.Join(dir, "run"), sockets: sockets, most: most, unused: time.Hour,
		backoff: control.Backoff{First: time.Millisecond, Most: time.Millisecond}, logger: slog.New(slog.DiscardHandler),
	}, moduleNotes{filepath.Join(dir, "modules"), slog.New(slog.DiscardHandler)})
}

func pythonWorkload(t *testing.T, env map[string]string) (platform.Workload, prepared) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	return platform.Workload{Spec: &spec.Spec{Run: spec.Run{Python: "predict.py:predict"}, Env: env}},
		prepared{environment: environment.Environment{Python: python}}
}

// noteModules writes what a worker that has run in dir says of itself.
func noteModules(t *testing.T, names string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".modules.json"), []byte(`{"modules":[`+names+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// zygoteProcesses counts the zygotes whose home is below dir.
func zygoteProcesses(dir string) int { return len(living(filepath.Join(dir, "run"))) }

func TestZygoteLife(t *testing.T) {
	dir := t.TempDir()
	z := zygotePool(t, dir, 8)
	w, p := pythonWorkload(t, nil)
	first := z.acquire(t.Context(), w, p)
	if first.socket() != "" {
		t.Error("there is a zygote before anything is known of what to import")
	}
	first.learn(noteModules(t, `"json", "decimal", "no_such_module", "../evil", "os; import evil"`))
	second := z.acquire(t.Context(), w, p)
	if second.socket() == "" || zygoteProcesses(dir) != 1 {
		t.Fatalf("no zygote was started (%d run)", zygoteProcesses(dir))
	}
	if got := z.notes.read(second.zygote.key).Modules; len(got) != 3 {
		t.Errorf("the modules are %q, want three", got)
	}
	// It dies, and is started again, since somebody uses it.
	for _, pid := range living(filepath.Join(dir, "run")) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the dead zygote is replaced", func() bool {
		z.mu.Lock()
		defer z.mu.Unlock()
		current := second.zygote.current
		return current != nil && current != second.generation
	})
	first.release()
	second.release()
	z.sweep(time.Now().Add(30 * time.Minute))
	if zygoteProcesses(dir) != 1 {
		t.Error("a zygote ended that was asked for half an hour ago")
	}
	z.sweep(time.Now().Add(2 * time.Hour))
	until(t, "the unused zygote has ended", func() bool { return zygoteProcesses(dir) == 0 })
	z.close()

	// The next server knows what to import, and starts it at once.
	z = zygotePool(t, dir, 8)
	z.restore()
	if zygoteProcesses(dir) != 1 {
		t.Error("the next server has not started the zygote that was in use")
	}
	z.close()
	if n := zygoteProcesses(dir); n != 0 {
		t.Errorf("%d zygotes are left", n)
	}
}

func TestZygotesAreBounded(t *testing.T) {
	dir := t.TempDir()
	z := zygotePool(t, dir, 2)
	defer z.close()
	notes := noteModules(t, `"json"`)
	var leases []*lease
	for i := range 3 {
		w, p := pythonWorkload(t, map[string]string{"FLAVOUR": fmt.Sprint(i)})
		z.acquire(t.Context(), w, p).learn(notes)
		leases = append(leases, z.acquire(t.Context(), w, p))
	}
	if leases[0].socket() == "" || leases[1].socket() == "" || leases[2].socket() != "" {
		t.Errorf("the sockets are %q, %q, %q; want two", leases[0].socket(), leases[1].socket(), leases[2].socket())
	}
	leases[0].release() // it may go now
	w, p := pythonWorkload(t, map[string]string{"FLAVOUR": "2"})
	until(t, "the third takes the first one's place", func() bool {
		l := z.acquire(t.Context(), w, p)
		defer l.release()
		return l.socket() != ""
	})
	until(t, "two are left", func() bool { return zygoteProcesses(dir) == 2 })
}

func TestZygotesOfWhom(t *testing.T) {
	z := zygotePool(t, t.TempDir(), 8)
	defer z.close()
	for _, name := range []string{"PYTHONPATH", "LD_PRELOAD"} {
		w, p := pythonWorkload(t, map[string]string{name: "lib"})
		if z.acquire(t.Context(), w, p) != nil {
			t.Errorf("a version that sets %s shares a zygote", name)
		}
	}
	w, p := pythonWorkload(t, nil)
	w.Spec.Run = spec.Run{R: "predict.R:predict"}
	if z.acquire(t.Context(), w, p) != nil {
		t.Error("a version in R has a zygote")
	}
}
