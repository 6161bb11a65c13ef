package proc

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestOfAChild looks at a process that is known: whose it is, what it carries,
// what it ignores, and that it has gone.
func TestOfAChild(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	command := exec.Command("sh", "-c", "trap '' TERM; sleep 300; :")
	command.Env = append(os.Environ(), "MM_TEST_PROC=a=b")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	pid := command.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	until(t, "it ignores SIGTERM, and has a child", func() bool {
		children, ok := Children(pid)
		return Ignores(pid, syscall.SIGTERM) && (!ok || len(children) == 1)
	})
	if Ignores(pid, syscall.SIGUSR1) || Ignores(os.Getpid(), syscall.SIGTERM) {
		t.Error("signals are ignored that aren't")
	}
	s, ok := Read(pid)
	if !ok || s.PID != pid || s.Parent != os.Getpid() || s.Group != pid || s.Started == "" || s.Resident <= 0 || s.Zombie() {
		t.Errorf("the child is %+v, %t", s, ok)
	}
	if !slices.Contains(List(), pid) || !slices.ContainsFunc(Of(os.Getpid()), func(s Stat) bool { return s.PID == pid }) {
		t.Error("the child isn't listed")
	}
	has := func(value string) bool {
		return HasVariable(pid, func(name, v string) bool { return name == "MM_TEST_PROC" && v == value })
	}
	if !has("a=b") || has("a") {
		t.Error("its variables aren't what it was started with")
	}
	if share, ok := Proportional(pid); ok && share <= 0 || HighWater(pid) <= 0 {
		t.Errorf("its memory is %d, and was %d at most", share, HighWater(pid))
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it is a zombie", func() bool { s, ok := Read(pid); return ok && s.Zombie() })
	_ = command.Wait()
	if _, ok := Read(pid); ok || HighWater(pid) != 0 || HasVariable(pid, func(string, string) bool { return true }) {
		t.Error("it is told of a process that has gone")
	}
	if list, ok := Children(pid); !ok || len(list) > 0 {
		t.Errorf("its children are %v, %t", list, ok)
	}
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}
