package local

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"modelmanager.dev/internal/proc"
)

// sealedVariable makes this test's program a sealed process, as agents are.
const sealedVariable = "TEST_SEALED"

func TestSealedAgentsAreFound(t *testing.T) {
	if os.Getenv(sealedVariable) != "" {
		if err := proc.Seal(); err != nil {
			t.Fatal(err)
		}
		fmt.Println("sealed")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	run := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-test.run=^TestSealedAgentsAreFound$", filepath.Join(run, "a", configFile))
	command.Env = []string{sealedVariable + "=yes"}
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "sealed\n" {
		t.Fatalf("%q, %v", line, err)
	}
	pid := command.Process.Pid
	asUser(t, func() {
		if !proc.Sealed(pid) {
			t.Error("the process isn't sealed")
		}
		if !livesIn(pid, run) {
			t.Error("a sealed agent isn't found by its configuration")
		}
		if livesIn(pid, filepath.Join(run, "another")) {
			t.Error("another driver's agent is found")
		}
		if livesIn(os.Getpid(), run) {
			t.Error("this process is found")
		}
	})
}

// asUser calls a function in a thread that is allowed what a user is, as root too.
func asUser(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}
